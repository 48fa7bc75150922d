"""Distributions of ratings 1 to 10: how far apart two are, and which one stands for a mean rating."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import softmax
from torch import Tensor

from piqa.errors import InputError
from piqa.models.rating_distribution import RATING_LEVELS

STEEPEST = 60.0  # log ratio of neighbouring ratings beyond which float64 holds one rating only


def emd(predicted: Tensor, target: Tensor, r: int = 2) -> Tensor:
    """Return the earth mover's distance of each image: (mean over ratings of |CDF - CDF'|^r)^(1/r).

    The root is taken for each image. TANet's published code takes it over the whole batch, so that an image's
    weight in the gradient depends on the other images.

    Args:
        predicted: Probabilities of the ratings, float32, shape (images, 10).
        target: Observed probabilities, same shape.
        r: 2 for training, 1 for reports, as published.

    Returns:
        Distances, shape (images,): 0 when the two agree, where the gradient is 0 as well; at most (9 / 10)^(1/r).

    Reference: Talebi and Milanfar 2018, equation 1.
    """
    gaps = predicted.cumsum(dim=1) - target.cumsum(dim=1)
    distance: Tensor = torch.linalg.vector_norm(gaps, ord=r, dim=1) / gaps.shape[1] ** (1 / r)
    return distance


def vote_fractions(votes: Tensor) -> Tensor:
    """Return counts or probabilities of the ratings, (images, 10), as float32 probabilities.

    Raises:
        InputError: If an image has a negative count or no vote.
    """
    votes = votes.float()
    total = votes.sum(dim=1, keepdim=True)
    if (votes < 0).any() or (total <= 0).any():
        raise InputError("an image has no votes, or negative ones; correct the columns votes_1 .. votes_10")
    return votes / total


def maximum_entropy(means: Tensor) -> Tensor:
    """Return the distributions over the ratings 1 to 10 with most entropy for given means, p_i prop. to exp(c i).

    As in idealo's re-implementation of NIMA for TID2013, whose images have a score and no votes.

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
            f"no distribution of the ratings 1 to {RATING_LEVELS} has the mean {mean:g}; set `model.score_range`"
        )
    ratings = np.arange(1, RATING_LEVELS + 1)

    def excess(steepness: float) -> float:
        return float(softmax(steepness * ratings) @ ratings) - mean

    if excess(-STEEPEST) >= 0 or excess(STEEPEST) <= 0:  # the lowest or the highest rating only
        return np.asarray(ratings == round(mean), dtype=np.float64)
    probabilities: np.ndarray = softmax(brentq(excess, -STEEPEST, STEEPEST, xtol=1e-12) * ratings)
    return probabilities
