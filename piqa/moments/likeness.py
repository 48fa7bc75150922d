"""How alike two images look, from their looks alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from piqa.moments.looks import Look

WHOLE, MIDDLE = 0, 1  # windows of a look
Stack = NDArray[np.float32]


def stacked(looks: Sequence[Look]) -> Stack:
    """Return looks in one array to compute with, (images, windows, values)."""
    return np.stack(looks).astype(np.float32)


def similarities(looks: Stack, others: Stack) -> NDArray[np.float32]:
    """Return the similarity of each image with each of the others, (images, others): 1 is the same, 0 unrelated.

    It is the best correlation of one image, whole or its middle, with any window of the other: so it hardly falls where
    one image is a crop of the other, or the camera moved.
    """
    return np.maximum(_best(looks, others), _best(others, looks).T)


def whole_similarities(looks: Stack, others: Stack) -> NDArray[np.float32]:
    """Return the correlation of whole images, (images, others), which is never above their similarity."""
    result: NDArray[np.float32] = looks[:, WHOLE] @ others[:, WHOLE].T
    return result


def _best(fixed: Stack, moved: Stack) -> NDArray[np.float32]:
    best = np.zeros((len(fixed), len(moved)), np.float32)
    for window in range(moved.shape[1]):
        for own in (WHOLE, MIDDLE):
            np.maximum(best, fixed[:, own] @ moved[:, window].T, out=best)
    return best
