"""Ratings from 1 to 10: the mean and the standard deviation of a predicted distribution."""

from __future__ import annotations

import torch
from torch import Tensor

RATING_LEVELS = 10  # the lowest rating is 1


def rating_outputs(distribution: Tensor) -> dict[str, Tensor]:
    """Return `score`, the mean rating, and `std`, the standard deviation, each (images,), and the `distribution`.

    Args:
        distribution: Probabilities of the ratings 1 to 10, shape (images, 10), each row summing to 1.

    Returns:
        `score`, the mean rating, and `std`, the ratings' standard deviation, each (images,), and `distribution`.

    Examples:
        >>> distribution = torch.tensor([[0.0, 0, 0, 0.5, 0, 0.5, 0, 0, 0, 0]])
        >>> outputs = rating_outputs(distribution)
        >>> outputs["score"].tolist(), outputs["std"].tolist()
        ([5.0], [1.0])
    """
    ratings = torch.arange(1, RATING_LEVELS + 1, dtype=distribution.dtype, device=distribution.device)
    score = distribution @ ratings
    variance = (distribution * (ratings - score[:, None]).square()).sum(dim=1)
    return {"score": score, "std": variance.sqrt(), "distribution": distribution}
