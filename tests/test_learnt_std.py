"""Standard deviations learnt from pairs: closed forms, gradients, the factor that is fixed, and a small training."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import norm
from torch import nn
from torch.nn.functional import softplus

from piqa.errors import InputError
from piqa.tasks.learnt_std import MARGIN, anchor_loss, in_standard_deviations, order_loss
from piqa.tasks.losses import fidelity_loss
from piqa.tasks.ranking import RankingTask


class Given(nn.Module):
    """Answers what it is told, whatever the image."""

    inputs = ("whole",)

    def __init__(self, scores, stds=None):
        super().__init__()
        self.score = nn.Parameter(torch.tensor(scores))
        self.spread = None if stds is None else nn.Parameter(torch.tensor(stds))

    def forward(self, whole):
        found = {"score": self.score}
        return found if self.spread is None else found | {"score_std": softplus(self.spread)}


def batch_of(scores, stds=None, groups=None):
    count = len(scores)
    found = {
        "whole": torch.zeros(count, 3, 8, 8),
        "score": torch.tensor(scores),
        "group": torch.zeros(count, dtype=torch.long) if groups is None else torch.tensor(groups),
        "groups": torch.tensor(1.0),
    }
    return found if stds is None else found | {"score_std": torch.tensor(stds)}


def loss_of(task, batch):
    return task.loss_of(task.outputs(batch), batch)


def test_the_preference_is_thurstones_with_both_variances():
    a, b, difference = torch.tensor([0.3]), torch.tensor([0.4]), torch.tensor([0.6])
    z = in_standard_deviations(difference, a, b).item()
    assert norm.cdf(z) == pytest.approx(norm.cdf(0.6 / math.sqrt(0.25 + 1e-8)), abs=1e-6)


def test_without_the_output_the_loss_is_as_before():
    batch = batch_of([0.0, 1.0, -0.5], [0.3, 0.4, 0.5])
    task = RankingTask(Given([0.1, 0.2, 0.3]))
    assert torch.equal(loss_of(task, batch), task.loss(task.outputs(batch)["score"], batch))


def test_equal_deviations_of_unit_variance_give_the_loss_without_any():
    # softplus(t) = sqrt(1/2): every pair has the variance 1, and the anchor costs nothing.
    t = math.log(math.expm1(math.sqrt(0.5)))
    batch = batch_of([0.0, 1.0, -0.5])
    plain, with_std = RankingTask(Given([0.1, 0.2, 0.3])), RankingTask(Given([0.1, 0.2, 0.3], [t, t, t]))
    assert loss_of(with_std, batch).item() == pytest.approx(loss_of(plain, batch).item(), abs=1e-6)


def test_the_gradient_is_that_of_finite_differences():
    def loss(values):
        f, s = values[:2], values[2:]
        z = in_standard_deviations(f[:1] - f[1:], s[:1], s[1:])
        return (fidelity_loss(z, torch.tensor([0.8], dtype=torch.float64)) + anchor_loss(s[:1], s[1:])).sum()

    at = torch.tensor([0.9, 0.2, 0.5, 0.9], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, at)


def test_a_pair_in_the_wrong_order_makes_both_images_more_doubtful():
    network = Given([1.0, -1.0], [0.0, 0.0])
    loss_of(RankingTask(network), batch_of([-1.0, 1.0])).backward()
    assert (network.spread.grad < 0).all()  # descent raises it
    network = Given([1.0, -1.0], [3.0, 3.0])
    loss_of(RankingTask(network), batch_of([1.0, -1.0])).backward()
    assert (network.spread.grad > 0).all()


def test_the_anchor_fixes_the_common_factor_and_no_preference():
    torch.manual_seed(0)
    f, s = torch.randn(6), torch.rand(6) + 0.2
    a, b = torch.triu_indices(6, 6, 1)

    def parts(factor):
        preference = in_standard_deviations(factor * (f[a] - f[b]), factor * s[a], factor * s[b])
        return preference, anchor_loss(factor * s[a], factor * s[b]).mean().item()

    best = 1 / math.sqrt((s[a].square() + s[b].square()).mean().item())
    assert torch.allclose(parts(best)[0], parts(5.0)[0], atol=1e-4)
    assert parts(best)[1] < min(parts(best * 1.01)[1], parts(best / 1.01)[1])
    assert anchor_loss(torch.tensor([0.6]), torch.tensor([0.8])).item() == pytest.approx(0, abs=1e-6)


def test_raters_order_teaches_the_deviation_alone():
    network = Given([0.5, 0.0], [0.0, 0.0])
    task = RankingTask(network, learnt_std="raters")
    loss_of(task, batch_of([1.0, 0.0], [0.9, 0.1])).backward()
    slope = torch.sigmoid(torch.tensor(0.0)).item()  # of softplus
    assert network.spread.grad.tolist() == pytest.approx([-slope, slope])  # nothing of the preference's loss
    assert network.score.grad.abs().sum() > 0
    unknown = order_loss(torch.tensor([0.9]), torch.tensor([0.1]), torch.tensor([float("nan")]), torch.tensor([1.0]))
    calm = order_loss(torch.tensor([0.9]), torch.tensor([0.1]), torch.tensor([2.0]), torch.tensor([1.0]))
    equal = order_loss(torch.tensor([0.9]), torch.tensor([0.1]), torch.tensor([1.0]), torch.tensor([1.0]))
    wrong = order_loss(torch.tensor([0.1]), torch.tensor([0.9]), torch.tensor([2.0]), torch.tensor([1.0]))
    assert calm.item() == equal.item() == unknown.item() == 0 and wrong.item() == pytest.approx(MARGIN + 0.8)


def test_raters_need_the_column(tmp_path):
    from types import SimpleNamespace

    task = RankingTask(Given([0.0]), learnt_std="raters")
    data = SimpleNamespace(splits={"train": {"score": []}}, table=SimpleNamespace(name="some.csv"))
    task._trainer = SimpleNamespace(datamodule=data)
    with pytest.raises(InputError, match=r"learnt_std: raters.*some.csv lacks; take `joint`"):
        task.setup("fit")


def test_noisy_images_get_the_larger_deviation():
    """Scores of half the images cannot be predicted: their deviation grows, that of the others shrinks."""
    generator = torch.Generator().manual_seed(0)
    groups, images = 200, 6
    noisy = torch.rand(groups, images, generator=generator) < 0.5
    quality = torch.randn(groups, images, generator=generator)
    label = quality + noisy * 3 * torch.randn(groups, images, generator=generator)
    slope, spread = torch.tensor(1.0, requires_grad=True), torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.Adam([slope, spread], lr=0.05)
    task = RankingTask(Given([0.0]))
    batch = {"group": torch.arange(groups).repeat_interleave(images), "groups": torch.tensor(float(groups))}
    for _ in range(120):
        optimizer.zero_grad()
        stds = softplus(spread)[noisy.long()].flatten()
        task.pair_loss(slope * quality.flatten(), label.flatten(), None, batch, stds).backward()
        optimizer.step()
    plain, doubtful = softplus(spread).tolist()
    assert doubtful > 1.5 * plain
    a, b = torch.triu_indices(images, images, 1)
    variance = (stds.view(groups, images)[:, a] ** 2 + stds.view(groups, images)[:, b] ** 2).mean().item()
    assert variance == pytest.approx(1, abs=0.1)  # the anchor's
