"""Distributions of marks 1 to 10: how far apart two are, and which one stands for a plain score."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import softmax
from torch import Tensor

from piqa.errors import InputError
from piqa.models.rating_distribution import RATING_LEVELS

STEEPEST = 60.0  # log ratio of neighbouring marks at which float64 knows one mark alone


def emd(predicted: Tensor, target: Tensor, r: int = 2) -> Tensor:
    """Earth mover's distance of each image: (mean over marks of |CDF - CDF'|^r)^(1/r).

    The root is taken for each image. TANet's published code takes one over the whole batch, so that an image's
    weight in the gradient depends on its neighbours.

    Args:
        predicted: Probabilities of the marks, float32, shape (images, 10).
        target: The observed ones, likewise.
        r: 2 for training, 1 for reports, as published.

    Returns:
        Distances, shape (images,): 0 when the two agree, where the gradient is 0 as well; at most (9 / 10)^(1/r).

    Reference: Talebi and Milanfar 2018, equation 1.
    """
    gaps = predicted.cumsum(dim=1) - target.cumsum(dim=1)
    distance: Tensor = torch.linalg.vector_norm(gaps, ord=r, dim=1) / gaps.shape[1] ** (1 / r)
    return distance


def shares(votes: Tensor) -> Tensor:
    """Counts or probabilities of the marks, (images, 10), as float32 probabilities.

    Raises:
        InputError: If an image has a negative count or no vote.
    """
    votes = votes.float()
    total = votes.sum(dim=1, keepdim=True)
    if (votes < 0).any() or (total <= 0).any():
        raise InputError("an image has no votes, or negative ones; correct the columns votes_1 .. votes_10")
    return votes / total


def maximum_entropy(means: Tensor) -> Tensor:
    """The distributions over the marks 1 to 10 that claim nothing beyond their mean, p_i proportional to exp(c i).

    As idealo's re-implementation of NIMA does for TID2013, whose images have a score and no votes.

    Args:
        means: In [1, 10], shape (images,).

    Returns:
        Probabilities, float32, shape (images, 10).

    Raises:
        InputError: If a mean lies outside 1 to 10.
    """
    rows = np.array([_of_mean(mean) for mean in means.double().tolist()]).reshape(-1, RATING_LEVELS)
    return torch.from_numpy(rows).to(means.device, torch.float32)


@lru_cache(maxsize=1_000_000)  # a database's scores come again every epoch
def _of_mean(mean: float) -> np.ndarray:
    if not 1 <= mean <= RATING_LEVELS:
        raise InputError(
            f"no distribution of the marks 1 to {RATING_LEVELS} has the mean {mean:g}; see `model.score_range`"
        )
    marks = np.arange(1, RATING_LEVELS + 1)

    def excess(steepness: float) -> float:
        return float(softmax(steepness * marks) @ marks) - mean

    if excess(-STEEPEST) >= 0 or excess(STEEPEST) <= 0:  # the lowest or the highest mark alone
        return np.asarray(marks == round(mean), dtype=np.float64)
    probabilities: np.ndarray = softmax(brentq(excess, -STEEPEST, STEEPEST, xtol=1e-12) * marks)
    return probabilities
