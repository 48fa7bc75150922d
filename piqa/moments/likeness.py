"""How alike two images look, from their looks alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from piqa.moments.looks import Look

Similarities = NDArray[np.float32]


def similarities(looks: Sequence[Look], others: Sequence[Look]) -> Similarities:
    """Return the similarity of each look with each of the others, (looks, others), from 0 to 1."""
    signs = np.stack([look.bits for look in looks]).astype(np.float32) * 2 - 1
    other_signs = np.stack([look.bits for look in others]).astype(np.float32) * 2 - 1
    result: Similarities = (1 + signs @ other_signs.T / signs.shape[1]) / 2
    return result
