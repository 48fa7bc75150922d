"""Marks out of ten: what a distribution over the marks 1 to 10 says of an image."""

from __future__ import annotations

import torch
from torch import Tensor

RATING_LEVELS = 10  # the lowest mark is 1


def rating_outputs(distribution: Tensor) -> dict[str, Tensor]:
    """The answer of a network that predicts how people's marks are spread.

    Args:
        distribution: Probabilities of the marks 1 to 10, shape (images, 10), each row summing to 1.

    Returns:
        `score`, the mean mark, and `spread`, the marks' standard deviation, each (images,), and `distribution`.
    """
    marks = torch.arange(1, RATING_LEVELS + 1, dtype=distribution.dtype, device=distribution.device)
    score = distribution @ marks
    variance = (distribution * (marks - score[:, None]).square()).sum(dim=1)
    return {"score": score, "spread": variance.sqrt(), "distribution": distribution}
