"""Which pair is judged next: at random, or the pairs from which most is learnt."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Choice = Literal["active", "random"]


def next_pairs(
    wins: Array,
    count: int,
    rng: np.random.Generator,
    method: Choice = "active",
    allowed: NDArray[np.bool_] | None = None,
) -> list[tuple[int, int]]:
    """Return pairs of images of one scene to be judged next, best first in a random order of a batch.

    Args:
        wins: How often the image of the row was preferred to that of the column, halves for "same", shape
            (images, images).
        count: How many pairs at most.
        rng: Draws.
        method: "active": by expected information gain, in batches that connect all images; "random".
        allowed: Pairs that may be asked, symmetric, shape (images, images); None: all.

    Returns:
        Pairs of indices i < j, without repetition; fewer than `count` where fewer are allowed.
    """
    size = len(wins)
    may = ~np.eye(size, dtype=bool) if allowed is None else np.asarray(allowed, bool) & ~np.eye(size, dtype=bool)
    first, second = np.nonzero(np.triu(may, 1))
    if method == "active":  # to come
        pass
    taken = rng.permutation(len(first))[:count]
    return [(int(first[at]), int(second[at])) for at in taken]
