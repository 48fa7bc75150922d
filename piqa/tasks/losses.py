"""Losses: fidelity between predicted and observed preferences, in two forms, for ranking; PLCC for pretraining.

A preference is the probability that image A beats image B under Thurstone's model: Phi(quality difference).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

EPSILON = 1e-8  # of the published loss, inside its square roots
TAIL = 2.0  # quality difference beyond 0 and beyond the target from which on the loss is linear


def preference(difference: Tensor) -> Tensor:
    """Return Phi(difference), the probability that A beats B for a difference of unit variance, in [0, 1].

    Examples:
        >>> preference(torch.tensor([0.0, 0.6745])).round(decimals=2).tolist()
        [0.5, 0.75]
    """
    return 0.5 * (1 + torch.erf(difference / math.sqrt(2)))


def target_difference(score_a: Tensor, score_b: Tensor, std_a: Tensor | None, std_b: Tensor | None) -> Tensor:
    """Return the observed quality difference in units of its standard deviation.

    Args:
        score_a: Subjective scores of A, in JOD for PIQ23, shape (pairs,).
        score_b: Subjective scores of B.
        std_a: Standard deviations of A's scores; None for the published target, which takes unit variance.
        std_b: Standard deviations of B's scores.

    Returns:
        Differences whose Phi is the observed preference, shape (pairs,).
    """
    difference = score_a - score_b
    if std_a is None or std_b is None:
        return difference
    return difference / torch.hypot(std_a, std_b).clamp_min(1e-3)  # two scores without deviation: almost certain


def published_fidelity_loss(difference: Tensor, target: Tensor) -> Tensor:
    """Return the fidelity loss as published: 1 - sqrt(p p' + eps) - sqrt((1 - p)(1 - p') + eps) for each pair.

    In float32 its gradient is exactly 0 once p' rounds to 0 or 1 (differences beyond about 5.5), also for a pair that
    is badly wrong. Kept for parity with published numbers.

    Args:
        difference: Predicted score of A minus that of B, shape (pairs,).
        target: Observed difference, shape (pairs,); Phi of it is the target preference p.

    Returns:
        Loss of each pair, shape (pairs,); 0 when the two agree (down to -4e-6 because of the epsilons), below 1.

    Reference: Sun et al. 2024 (DN-PIQA); Tsai et al. 2007.

    Examples:
        >>> losses = published_fidelity_loss(torch.tensor([1.0, -1.0]), torch.tensor([1.0, 1.0]))
        >>> [round(loss, 2) for loss in losses.abs().tolist()]
        [0.0, 0.27]
    """
    predicted, observed = preference(difference), preference(target)
    return 1 - (predicted * observed + EPSILON).sqrt() - ((1 - predicted) * (1 - observed) + EPSILON).sqrt()


def fidelity_loss(difference: Tensor, target: Tensor) -> Tensor:
    """Return the fidelity loss, 1 - sqrt(p p') - sqrt((1 - p)(1 - p')) for each pair, with a non-vanishing gradient.

    There are two changes to the published form. The square roots are computed from log Phi, so no epsilon is needed and
    small preferences keep their precision. The loss is exact only for differences between min(0, target) - 2 and
    max(0, target) + 2; beyond them, where the true loss saturates, it continues as its tangent. The slope stays about
    0.1 to 0.2 for a pair in the wrong order, and small for one in the right order whose difference is too large.

    Args:
        difference: As in `published_fidelity_loss`.
        target: As in `published_fidelity_loss`.

    Returns:
        Loss of each pair, shape (pairs,); 0 when the two agree, at most 1 inside the exact range.

    Examples:
        >>> target = torch.tensor([1.0, 1.0])
        >>> agreeing, opposite = fidelity_loss(torch.tensor([1.0, -1.0]), target).abs()
        >>> round(agreeing.item(), 4), round(opposite.item(), 2)
        (0.0, 0.27)
    """
    lower, upper = target.clamp(max=0) - TAIL, target.clamp(min=0) + TAIL
    inside = torch.maximum(torch.minimum(difference, upper), lower)
    wins = _root_preference(target) * _root_preference(inside)
    losses = _root_preference(-target) * _root_preference(-inside)
    return 1 - wins - losses + _slope(inside.detach(), target) * (difference - inside)


def _root_preference(difference: Tensor) -> Tensor:
    """Return sqrt(Phi(difference)), without the infinite slope of a square root at 0."""
    root: Tensor = (0.5 * torch.special.log_ndtr(difference)).exp()
    return root


def _slope(difference: Tensor, target: Tensor) -> Tensor:
    """Return the derivative of the exact loss with respect to the difference: sqrt(Phi)' = phi / (2 sqrt(Phi))."""
    log_density = -0.5 * difference.square() - 0.5 * math.log(2 * math.pi)
    up = (log_density - 0.5 * torch.special.log_ndtr(difference)).exp()
    down = (log_density - 0.5 * torch.special.log_ndtr(-difference)).exp()
    slope: Tensor = 0.5 * (_root_preference(-target) * down - _root_preference(target) * up)
    return slope


def pairs_within(group: Tensor) -> tuple[Tensor, Tensor]:
    """Return all pairs a < b within each group.

    Args:
        group: Group of each image, shape (images,).

    Returns:
        Positions of A and of B, each of shape (pairs,).

    Examples:
        >>> a, b = pairs_within(torch.tensor([7, 7, 7, 9, 9]))
        >>> list(zip(a.tolist(), b.tolist()))
        [(0, 1), (0, 2), (1, 2), (3, 4)]
    """
    same = group[:, None] == group[None, :]
    a, b = torch.triu(same, diagonal=1).nonzero(as_tuple=True)
    return a, b


def mean_within_groups(losses: Tensor, group: Tensor, groups: Tensor | float) -> Tensor:
    """Return the mean over the pairs of each group, then over groups, so that all groups count the same.

    Args:
        losses: Loss of each pair, or of each image, shape (pairs,).
        group: Group of each pair or image, shape (pairs,).
        groups: Divisor of the sum over groups: groups in the whole step, divided by the number of batches in it.
    """
    _, position, sizes = torch.unique(group, return_inverse=True, return_counts=True)
    mean: Tensor = (losses / sizes[position]).sum() / groups
    return mean


def plcc_loss(predicted: Tensor, score: Tensor) -> Tensor:
    """Return the PLCC loss as published for LSVQ: (mean((a - b)^2) + mean((r a - b)^2)) / 8 = (1 - r)(3 + r) / 8.

    a and b are the two standardised vectors, r is their mean product. The loss is invariant to shift and positive scale
    of the predictions.

    Args:
        predicted: Scores of one batch, float32, shape (images,), at least two.
        score: Subjective scores, same shape.

    Returns:
        Scalar in [0, 0.5], 0 for r = 1. Constant predictions give 0.25, with a finite gradient.

    Raises:
        ValueError: If the shapes differ or there are fewer than two images.

    Reference: Sun et al. 2024 (MinimalisticVQA).

    Examples:
        >>> score = torch.tensor([1.0, 2.0, 3.0])
        >>> round(plcc_loss(10 * score, score).item(), 4), round(plcc_loss(-score, score).item(), 4)
        (0.0, 0.5)
    """
    if predicted.shape != score.shape or predicted.numel() < 2:
        raise ValueError(f"plcc_loss needs two vectors of one length > 1, not {predicted.shape} and {score.shape}")
    a, b = _standardised(predicted), _standardised(score)
    r = (a * b).mean()
    return ((a - b).square().mean() + (r * a - b).square().mean()) / 8


def _standardised(values: Tensor) -> Tensor:
    centred = values - values.mean()
    variance = centred.square().mean()  # biased
    return centred / (variance + 1e-8**2).sqrt()  # published: 1e-8 beside the deviation, whose slope at 0 is NaN
