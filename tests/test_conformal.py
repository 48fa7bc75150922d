"""Answers with a stated error rate: the threshold by hand, what it covers by simulation, and what few scenes give."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from piqa.errors import InputError
from piqa.evaluation.statistics.conformal import (
    answers,
    least_probability,
    nonconformity_of_scenes,
    threshold,
)
from piqa.evaluation.statistics.pair_probability import PairProbability
from piqa.evaluation.statistics.uncertainty import ScoreUncertainty


@pytest.mark.parametrize(
    ("scenes", "rate", "place"),
    [(9, 0.1, 9), (19, 0.1, 18), (19, 0.05, 19), (8, 0.2, 8), (99, 0.1, 90), (3, 0.25, 3)],
)
def test_the_threshold_is_the_ceiling_of_n_plus_1_times_the_level(scenes, rate, place):
    values = [number / 100 for number in range(1, scenes + 1)]
    assert threshold(values[::-1], rate) == values[place - 1]


@pytest.mark.parametrize(("scenes", "rate"), [(8, 0.1), (0, 0.1), (18, 0.05), (3, 0.2)])
def test_a_rate_that_so_few_scenes_cannot_give_is_refused(scenes, rate):
    with pytest.raises(InputError, match=f"from {scenes} scenes; the lowest is"):
        threshold([0.1] * scenes, rate)


@pytest.mark.parametrize("rate", [0.0, 0.5, -0.1, 1.0])
def test_a_rate_that_is_none_is_refused(rate):
    with pytest.raises(InputError, match="between 0 and"):
        threshold([0.1] * 100, rate)


def test_the_more_probable_order_is_in_every_answer():
    # With a q below one half neither order may have 1 - P <= q; the more probable one is told in any case.
    assert answers([0.9, 0.6, 0.5, 0.2], q=0.1) == ["A", "A", "cannot tell", "B"]
    assert answers([0.9, 0.6, 0.5, 0.2], q=0.8) == ["A", "cannot tell", "cannot tell", "cannot tell"]
    assert least_probability(0.1) == 0.5


def scenes_of(generator, count, images=6, noise=0.8):
    """Scenes whose difficulty differs, so that the pairs of one are far from independent."""
    hard = np.exp(generator.normal(0, 0.7, count)).repeat(images)
    score = generator.normal(0, 1, count * images)
    return score + noise * hard * generator.normal(size=count * images), score, np.arange(count).repeat(images)


def error_rates(rate, calibration, first_two, trials=160, factor=1.0):
    """The share of new scenes whose drawn pair is answered wrongly, over many calibrations."""
    generator = np.random.default_rng(11)
    wrong, told = [], []
    for trial in range(trials):
        drawn = []
        for count in (calibration, 20):
            prediction, score, scene = scenes_of(generator, count)

            def probability(a, b, prediction=prediction):
                return ndtr((prediction[a] - prediction[b]) / factor)

            drawn.append(nonconformity_of_scenes(prediction, score, scene, probability, seed=trial)[first_two])
        q = threshold(drawn[0], rate)
        said = answers(1 - np.array(drawn[1]), q)  # A is the truth
        wrong.append(np.mean([one == "B" for one in said]))
        told.append(np.mean([one != "cannot tell" for one in said]))
    return float(np.mean(wrong)), float(np.std(wrong) / np.sqrt(trials)), float(np.mean(told))


@pytest.mark.parametrize("first_two", [0, 1])
@pytest.mark.parametrize(("rate", "calibration"), [(0.1, 19), (0.2, 9)])
def test_the_error_rate_holds_over_scenes(rate, calibration, first_two):
    wrong, error, told = error_rates(rate, calibration, first_two)
    assert wrong <= rate + 3 * error
    assert wrong > rate / 3  # it is no vacuous promise
    assert told > 0.3


def test_a_wrong_scale_of_the_probabilities_changes_no_error():
    one, other = (error_rates(0.2, 9, 0, trials=40, factor=factor) for factor in (1.0, 0.2))
    assert one[0] == pytest.approx(other[0], abs=0.01)


def test_pairs_whose_order_is_not_known_do_not_count():
    def probability(a, b):
        return np.full(len(a), 0.7)

    scores, scene = [0.0, 0.1, 5.0, 5.0], ["a", "a", "b", "b"]
    assert nonconformity_of_scenes(scores, scores, scene, probability, [1.0] * 4) == ([], [])
    assert nonconformity_of_scenes(scores, scores, scene, probability)[0] == pytest.approx([0.3])  # not of equal ones


def test_the_card_answers_for_drawn_pairs_and_for_the_first_two():
    card = ScoreUncertainty(1.0, 0.0, 1.0, nonconformity=[0.2] * 8 + [0.6], first_two=[0.5] * 8 + [0.9])
    pair = PairProbability(None, card)
    assert (pair.least(0.1), pair.least(0.1, first_two=True), pair.least(0.2)) == (0.6, 0.9, 0.5)
    with pytest.raises(InputError, match="from 9 scenes"):
        pair.least(0.05)
