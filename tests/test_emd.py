import math

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance

from piqa.errors import InputError
from piqa.models.rating_distribution import rating_outputs
from piqa.tasks.emd import emd, maximum_entropy, vote_fractions


def one_hot(*marks):
    return torch.eye(10)[torch.tensor(marks) - 1]


def random_distributions(rows, seed):
    return torch.from_numpy(np.random.default_rng(seed).dirichlet(np.ones(10), rows)).float()


def test_distance_of_marks_two_apart_is_as_computed_by_hand():
    # The cumulative sums differ by 1 at two of the ten marks.
    assert emd(one_hot(3), one_hot(5), r=1).item() == pytest.approx(2 / 10)
    assert emd(one_hot(3), one_hot(5), r=2).item() == pytest.approx(math.sqrt(2 / 10))


def test_distance_of_r_1_is_a_tenth_of_the_wasserstein_distance():
    p, q = random_distributions(6, 0), random_distributions(6, 1)
    marks = np.arange(1, 11)
    expected = [wasserstein_distance(marks, marks, a, b) / 10 for a, b in zip(p.double(), q.double(), strict=True)]
    assert emd(p, q, r=1).tolist() == pytest.approx(expected, abs=1e-6)


def test_distance_of_r_2_is_the_root_of_the_mean_square_of_each_image():
    p, q = random_distributions(6, 2), random_distributions(6, 3)
    gaps = np.cumsum(p.numpy(), axis=1) - np.cumsum(q.numpy(), axis=1)
    assert emd(p, q).tolist() == pytest.approx(np.sqrt((gaps**2).mean(axis=1)).tolist(), abs=1e-6)


def test_gradient_is_finite_where_the_distributions_agree():
    predicted = one_hot(4, 7).requires_grad_()
    emd(predicted, one_hot(4, 7)).sum().backward()
    assert torch.equal(predicted.grad, torch.zeros(2, 10))


@pytest.mark.parametrize("mean", [1.0, 1.0001, 1.5, 3.3, 5.5, 7.25, 9.99, 10.0])
def test_distribution_of_most_entropy_has_its_mean(mean):
    distribution = maximum_entropy(torch.tensor([mean], dtype=torch.float64))
    assert distribution.sum().item() == pytest.approx(1, abs=1e-6)
    assert rating_outputs(distribution.double())["score"].item() == pytest.approx(mean, abs=1e-6)


def test_no_other_distribution_of_the_mean_has_more_entropy():
    from scipy.optimize import minimize

    marks = np.arange(1, 11)
    ours = maximum_entropy(torch.tensor([3.7]))[0].numpy()
    constraints = [
        {"type": "eq", "fun": lambda p: p.sum() - 1},
        {"type": "eq", "fun": lambda p: p @ marks - 3.7},
    ]
    found = minimize(
        lambda p: (p * np.log(p)).sum(), np.full(10, 0.1), bounds=[(1e-9, 1)] * 10, constraints=constraints
    )
    assert found.success and ours == pytest.approx(found.x, abs=1e-3)


def test_a_mean_beyond_the_marks_is_refused():
    with pytest.raises(InputError, match=r"mean 0\.5"):
        maximum_entropy(torch.tensor([5.0, 0.5]))


def test_votes_count_by_their_share():
    votes = torch.tensor([[0, 0, 1, 0, 3, 0, 0, 0, 0, 0]])
    assert vote_fractions(votes).tolist() == [[0, 0, 0.25, 0, 0.75, 0, 0, 0, 0, 0]]
    assert torch.equal(vote_fractions(votes * 7), vote_fractions(votes / 4))


def test_an_image_without_votes_is_refused():
    with pytest.raises(InputError, match="votes_1"):
        vote_fractions(torch.zeros(1, 10))


def test_mean_and_std_are_those_of_numpy():
    votes = np.array([1, 0, 2, 5, 9, 4, 4, 2, 0, 1])
    marks = np.repeat(np.arange(1, 11), votes)
    answer = rating_outputs(vote_fractions(torch.from_numpy(votes)[None]))
    assert answer["score"].item() == pytest.approx(marks.mean(), abs=1e-5)
    assert answer["std"].item() == pytest.approx(marks.std(), abs=1e-5)
