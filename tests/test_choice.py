"""Which pair is next: the expected information gain, and batches that connect all images."""

import numpy as np
import pytest
from scipy.special import entr, ndtr

from piqa.judgement.choice import gain_of, information_gain, next_pairs, posterior
from piqa.judgement.thurstone import SIGMA

CHOICES = ("active", "random")


def entropy(p):
    return entr(p) + entr(1 - p)


def random_wins(images, answers, seed=0):
    rng = np.random.default_rng(seed)
    wins = np.zeros((images, images))
    for _ in range(answers):
        one, other = rng.choice(images, 2, replace=False)
        wins[one, other] += 1
    return wins


def test_the_gain_is_that_of_numerical_integration():
    mean, variance = np.array([0.0, 0.7, -2.0, 4.0]), np.array([2.0, 0.3, 1.5, 3.0])
    grid = np.linspace(-9, 9, 20_001)
    weight = np.exp(-(grid**2) / 2)
    weight /= weight.sum()
    after = [
        (weight * entropy(ndtr((m + grid * np.sqrt(v)) / SIGMA))).sum() for m, v in zip(mean, variance, strict=True)
    ]
    expected = entropy(ndtr(mean / np.sqrt(SIGMA**2 + variance))) - after
    assert gain_of(mean, variance) == pytest.approx(expected, rel=1e-3)


def test_most_is_learnt_from_close_images_and_from_those_seldom_seen():
    wins = np.zeros((4, 4))
    wins[0, 1] = wins[1, 2] = wins[0, 2] = 9  # 0 beats 1 beats 2; 3 was never seen
    wins[1, 0] = wins[2, 1] = 3
    first, second = np.triu_indices(4, 1)
    gain = dict(
        zip(zip(first.tolist(), second.tolist(), strict=True), information_gain(wins, first, second), strict=True)
    )
    assert gain[0, 2] < gain[0, 1]
    assert max(gain, key=gain.get)[1] == 3


@pytest.mark.parametrize("method", CHOICES)
def test_pairs_are_new_to_each_other_and_all_come_in_the_end(method):
    pairs = next_pairs(random_wins(6, 20), 100, np.random.default_rng(0), method)
    assert sorted(pairs) == [(one, other) for one in range(6) for other in range(one + 1, 6)]


@pytest.mark.parametrize("answers", [0, 40, 400])
def test_a_batch_of_the_active_choice_connects_all_images(answers):
    images = 12
    pairs = next_pairs(random_wins(images, answers), images - 1, np.random.default_rng(1))
    reached = {0}
    for _ in range(images):
        reached |= {end for pair in pairs for end in pair if reached & set(pair)}
    assert reached == set(range(images))


def test_each_pair_of_a_batch_is_the_best_once_those_before_are_answered():
    images = 12
    wins = random_wins(images, 60)
    pairs = next_pairs(wins, images - 1, np.random.default_rng(1))
    fit = posterior(wins)
    covariance, part = fit.covariance.copy(), np.arange(images)
    first, second = np.triu_indices(images, 1)
    for one, other in pairs:
        variance = np.diag(covariance)
        spread = variance[:, None] + variance - 2 * covariance
        gain = gain_of(fit.score[first] - fit.score[second], spread[first, second])
        joins = part[first] != part[second]
        chosen = gain[(first == one) & (second == other)][0]
        assert joins[(first == one) & (second == other)][0] and chosen > 0.9999 * gain[joins].max()
        part[part == part[other]] = part[one]
        toward, before = covariance[one] - covariance[other], spread[one, other]
        covariance -= np.outer(toward, toward) / before * (1 - np.exp(-2 * chosen))
        after = covariance[one, one] + covariance[other, other] - 2 * covariance[one, other]
        assert np.log(before / after) / 2 == pytest.approx(chosen)


def test_without_answers_every_image_is_seen_once_before_any_twice():
    pairs = next_pairs(np.zeros((12, 12)), 6, np.random.default_rng(3))
    assert sorted(end for pair in pairs for end in pair) == list(range(12))


@pytest.mark.parametrize("method", CHOICES)
def test_only_allowed_pairs_are_asked(method):
    allowed = np.zeros((5, 5), bool)
    allowed[0, 1] = allowed[1, 0] = allowed[3, 4] = allowed[4, 3] = True
    assert sorted(next_pairs(random_wins(5, 9), 10, np.random.default_rng(2), method, allowed)) == [(0, 1), (3, 4)]
    assert next_pairs(np.zeros((5, 5)), 10, np.random.default_rng(2), method, np.zeros((5, 5), bool)) == []


@pytest.mark.parametrize("method", CHOICES)
def test_the_draws_decide(method):
    wins = np.zeros((8, 8))  # all pairs are alike
    one, again, other = (next_pairs(wins, 5, np.random.default_rng(seed), method) for seed in (1, 1, 2))
    assert one == again != other
