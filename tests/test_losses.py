import numpy as np
import pytest
import torch
from scipy.stats import norm

from piqa.tasks.losses import (
    TAIL,
    fidelity_loss,
    mean_within_groups,
    pairs_within,
    preference,
    published_fidelity_loss,
    target_difference,
)

TARGETS = [0.0, 0.5, -1.0, 3.0, -3.0, 8.0, -8.0, 40.0, -40.0]


def exact_loss(difference, target):
    """1 - sqrt(p p') - sqrt((1 - p)(1 - p')) in float64, by scipy."""
    wins = np.sqrt(norm.cdf(difference) * norm.cdf(target))
    losses = np.sqrt(norm.sf(difference) * norm.sf(target))
    return 1 - wins - losses


def straightened_loss(difference, target):
    """A second implementation of the loss that goes on as a straight line, with a numeric slope."""
    limit = np.clip(difference, np.minimum(target, 0) - TAIL, np.maximum(target, 0) + TAIL)
    step = 1e-5
    slope = (exact_loss(limit + step, target) - exact_loss(limit - step, target)) / (2 * step)
    return exact_loss(limit, target) + slope * (difference - limit)


def loss_and_gradient(loss, difference, target, dtype=torch.float32):
    leaf = torch.tensor(difference, dtype=dtype, requires_grad=True)
    losses = loss(leaf, torch.tensor(target, dtype=dtype).expand_as(leaf))
    losses.sum().backward()
    return losses.detach().numpy(), leaf.grad.numpy()


@pytest.fixture(scope="module")
def published(golden):
    """The pairs of the parity data, and what the published code made of them."""
    case = golden["fidelity_loss"]
    return case | {name: torch.tensor(case[name]) for name in ("prediction_a", "prediction_b", "label_a", "label_b")}


def test_preferences_equal_the_published(published):
    predicted = preference(published["prediction_a"] - published["prediction_b"])
    observed = preference(published["label_a"] - published["label_b"])
    np.testing.assert_allclose(predicted, published["predicted_probability"], rtol=0, atol=1e-8)
    np.testing.assert_allclose(observed, published["label_probability"], rtol=0, atol=1e-8)


def test_published_loss_and_its_gradients_equal_the_published(published):
    a, b = (published[name].clone().requires_grad_() for name in ("prediction_a", "prediction_b"))
    target = target_difference(published["label_a"], published["label_b"], None, None)
    losses = published_fidelity_loss(a - b, target)
    losses.mean().backward()
    assert losses.dtype == torch.float32
    np.testing.assert_allclose(losses.detach(), published["pair_losses"], rtol=0, atol=1e-6)
    assert losses.mean().item() == pytest.approx(published["loss"], abs=1e-6)
    np.testing.assert_allclose(a.grad, published["grad_prediction_a"], rtol=0, atol=1e-8)
    np.testing.assert_allclose(b.grad, published["grad_prediction_b"], rtol=0, atol=1e-8)


@pytest.mark.parametrize("target", [1.5, -1.5])
def test_published_loss_learns_nothing_at_a_difference_of_40(target):
    _, gradient = loss_and_gradient(published_fidelity_loss, [40.0, -40.0], target)
    assert gradient.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("target", TARGETS)
def test_fidelity_loss_equals_the_published_inside_its_exact_range(target):
    difference = np.linspace(min(target, 0) - TAIL, max(target, 0) + TAIL, 200).tolist()
    ours, _ = loss_and_gradient(fidelity_loss, difference, target)
    theirs, _ = loss_and_gradient(published_fidelity_loss, difference, target)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1.1e-4)  # the published epsilon: sqrt(1e-8)


@pytest.mark.parametrize("target", TARGETS)
def test_fidelity_loss_equals_a_second_implementation(target):
    difference = np.random.default_rng(0).normal(0, 8, 300).tolist()
    ours, _ = loss_and_gradient(fidelity_loss, difference, target)
    np.testing.assert_allclose(ours, straightened_loss(np.array(difference), target), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("target", TARGETS)
def test_fidelity_gradient_equals_numeric_derivatives(target):
    difference = np.random.default_rng(1).normal(0, 8, 300)
    _, gradient = loss_and_gradient(fidelity_loss, difference.tolist(), target)
    step = 1e-5
    numeric = (straightened_loss(difference + step, target) - straightened_loss(difference - step, target)) / (2 * step)
    np.testing.assert_allclose(gradient, numeric, rtol=0, atol=1e-6)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("side", [-1, 1])
def test_value_and_slope_are_continuous_where_the_straight_line_begins(target, side):
    end = side * (TAIL + max(side * target, 0))
    near = [end - 1e-7, end, end + 1e-7]
    losses, gradient = loss_and_gradient(fidelity_loss, near, target, torch.float64)
    slope = (exact_loss(end + 1e-5, target) - exact_loss(end - 1e-5, target)) / 2e-5
    np.testing.assert_allclose(losses, exact_loss(end, target), rtol=0, atol=1e-7)
    np.testing.assert_allclose(gradient, slope, rtol=0, atol=1e-6)


@pytest.mark.parametrize("difference", [6.0, 40.0, 1e3, 1e6])
@pytest.mark.parametrize("target", [0.5, 3.0, 8.0, 40.0])
def test_a_badly_wrong_pair_is_pulled_the_right_way(difference, target):
    losses, gradient = loss_and_gradient(fidelity_loss, [-difference], target)
    mirrored, mirrored_gradient = loss_and_gradient(fidelity_loss, [difference], -target)
    assert np.isfinite([losses, mirrored]).all()
    assert -0.2 < gradient.item() < -0.1  # the descent raises the difference
    assert 0.1 < mirrored_gradient.item() < 0.2


def test_loss_and_gradient_are_finite_for_any_difference():
    sizes = [0.0, 1e-30, 1e-3, 1.0, 2.0, 5.5, 10.0, 40.0, 1e3, 1e6, 1e10, 1e20, 1e30]
    for target in [*TARGETS, 1e3, -1e6, 1e10]:
        losses, gradient = loss_and_gradient(fidelity_loss, sizes + [-size for size in sizes], target)
        assert np.isfinite(losses).all() and np.isfinite(gradient).all(), target


@pytest.mark.parametrize("target", TARGETS)
def test_loss_and_gradient_are_zero_at_agreement(target):
    losses, gradient = loss_and_gradient(fidelity_loss, [target], target)
    assert losses.item() == pytest.approx(0, abs=1e-6)
    assert gradient.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("loss", "rounding"), [(fidelity_loss, 1e-6), (published_fidelity_loss, 2e-4)])
def test_swapping_a_and_b_changes_nothing(loss, rounding):
    rng = np.random.default_rng(2)
    difference, target = torch.tensor(rng.normal(0, 4, (2, 500)), dtype=torch.float32)
    torch.testing.assert_close(loss(difference, target), loss(-difference, -target), rtol=0, atol=rounding)


def test_target_is_the_score_difference_as_published():
    target = target_difference(torch.tensor([1.5, -1.0]), torch.tensor([0.5, 2.0]), None, None)
    assert target.tolist() == [1.0, -3.0]
    np.testing.assert_allclose(preference(target), [0.8413447, 0.0013499], atol=1e-6)  # Phi(1), Phi(-3)


def test_target_counts_in_units_of_both_scores_uncertainty():
    score_a, score_b = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.3])
    target = target_difference(score_a, score_b, torch.tensor([0.3, 0.5]), torch.tensor([0.4, 1.2]))
    np.testing.assert_allclose(target, [2 / 0.5, -1.3 / 1.3], rtol=1e-6)


def test_scores_without_spread_give_a_finite_target():
    none = torch.zeros(3)
    target = target_difference(torch.tensor([1.0, 0.0, 2.0]), torch.tensor([0.0, 1.0, 2.0]), none, none)
    assert torch.isfinite(target).all()
    assert preference(target).tolist() == [1.0, 0.0, 0.5]


def test_pairs_are_all_those_within_a_group():
    a, b = pairs_within(torch.tensor([7, 7, 2, 7, 2]))
    assert list(zip(a.tolist(), b.tolist(), strict=True)) == [(0, 1), (0, 3), (1, 3), (2, 4)]


def test_pairs_never_cross_groups():
    group = torch.from_numpy(np.random.default_rng(3).integers(0, 5, 40))
    a, b = pairs_within(group)
    assert torch.equal(group[a], group[b])
    assert len(a) == sum(n * (n - 1) // 2 for n in torch.bincount(group).tolist())


def test_a_larger_group_counts_no_more_than_another():
    losses, group = torch.tensor([1.0, 2.0, 6.0, 5.0]), torch.tensor([4, 4, 4, 9])
    assert mean_within_groups(losses, group, 2).item() == pytest.approx((3.0 + 5.0) / 2)


def test_processes_average_to_the_gradient_of_the_whole_step():
    group = torch.arange(5).repeat_interleave(torch.tensor([6, 5, 4, 2, 3]))
    score = torch.from_numpy(np.random.default_rng(4).normal(size=len(group)))
    target = torch.from_numpy(np.random.default_rng(5).normal(size=len(group)))

    def gradient(groups, divisor):
        mine = torch.isin(group, torch.tensor(groups))
        leaf = score.clone().requires_grad_()
        a, b = pairs_within(group[mine])
        losses = fidelity_loss(leaf[mine][a] - leaf[mine][b], target[mine][a] - target[mine][b])
        mean_within_groups(losses, group[mine][a], divisor).backward()
        return leaf.grad

    whole = gradient([0, 1, 2, 3, 4], 5)
    shares = [gradient([0, 2, 4], 5 / 2), gradient([1, 3], 5 / 2)]
    torch.testing.assert_close(torch.stack(shares).mean(0), whole)
