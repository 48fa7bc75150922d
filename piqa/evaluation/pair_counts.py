"""Count the concordant pairs of a scene of any size: n log n work, and memory that grows with n, not with n squared.

Images are put in order of their scores. The images that are worse than image i by more than some difference are then
the first k(i) of them, and these are a few blocks of 1, 2, 4, ... images. In every block the images stand in order of
their predictions, with the running sum of how often each was drawn, so that two look-ups tell how many of a block are
predicted to be worse than i, and how many to be better. Where everything stands is worked out once for a scene; each
resample then costs a sum and the look-ups.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

Array = NDArray[np.float64]
Places = NDArray[np.int64]
Limits = tuple[float, float]  # pairs whose scores differ by more than the first and by less than the second

AT_ONCE = 500_000  # running sums in memory at a time, which stay in the cache of a processor


class PairCounter:
    """Counts pairs of the images of one scene, on as many resamples as are asked for.

    Args:
        score: The experts' scores, shape (images,), finite.
        prediction: The predicted scores, likewise.
        limits: Which pairs are counted, by the difference of their scores.
    """

    def __init__(self, score: Array, prediction: Array, limits: Sequence[Limits]) -> None:
        self._order = np.argsort(score, kind="stable")
        rank = np.unique(prediction, return_inverse=True)[1][self._order].astype(np.int64)
        ascending, images = score[self._order], len(score)
        reaches = []  # of every limit, how many images are farther below each image than either end
        for above, below in limits:
            near = _worse_by(ascending, above, strictly=True)
            far = np.minimum(near, _worse_by(ascending, below, strictly=False)) if below < math.inf else 0 * near
            reaches += [near, far]
        self._reaches = reaches
        self._levels = [
            _level(rank, reaches, bit)
            for bit in range(images.bit_length())
            if any((k >> bit & 1).any() for k in reaches)
        ]

    def count(self, counts: Array) -> list[tuple[Array, Array]]:
        """Return, for each of the limits, concordant minus discordant pairs and all pairs, each of shape (rows,).

        `counts` says how often each image was drawn in each resample, shape (rows, images).
        """
        rows = max(AT_ONCE // max(counts.shape[1], 1), 8)
        parts = [self._count(counts[start : start + rows]) for start in range(0, len(counts), rows)]
        whole = np.concatenate(parts, axis=2) if parts else np.zeros((2, len(self._reaches), 0))
        agreement, pairs = whole[:, 0::2] - whole[:, 1::2]
        return list(zip(agreement, pairs, strict=True))

    def _count(self, counts: Array) -> Array:
        """Return agreement and number of the pairs within each reach, shape (2, reaches, rows)."""
        drawn = np.ascontiguousarray(counts[:, self._order].T, np.float64)
        sums = _running_sum(drawn)
        pairs = [np.einsum("ir,ir->r", drawn, sums[reach]) for reach in self._reaches]
        agreement = np.zeros((len(self._reaches), drawn.shape[1]))
        for places, look_up in self._levels:
            found = look_up @ _running_sum(drawn[places])
            found = found.reshape(len(self._reaches), *drawn.shape)
            agreement += np.einsum("ir,kir->kr", drawn, found)
        return np.stack([agreement, np.stack(pairs)])


def _worse_by(ascending: Array, difference: float, strictly: bool) -> Places:
    """Return, for each image, how many of the first images are worse by more than the difference, or by as much.

    Differences are rounded as a subtraction rounds them, so that the count is that of a loop over all pairs.
    """
    low, high = np.zeros(len(ascending), np.int64), np.full(len(ascending), len(ascending))
    while (low < high).any():  # halve where the answer may be; a difference falls from one image to the next
        middle = (low + high) // 2
        apart = ascending - ascending[np.minimum(middle, len(ascending) - 1)]
        farther = (apart > difference if strictly else apart >= difference) & (low < high)
        low, high = np.where(farther, middle + 1, low), np.where(farther | (low >= high), high, middle)
    return low


def _level(rank: Places, reaches: Sequence[Places], bit: int) -> tuple[Places, csr_array]:
    """Return the images in blocks of 2^bit, each in order of prediction, and the look-ups in their running sum.

    The look-ups give, for each reach and image, how much of its block is predicted worse, less how much better.
    """
    images = len(rank)
    base = int(rank.max()) + 1
    key = (np.arange(images) >> bit) * base + rank
    places = np.argsort(key, kind="stable")
    ordered = key[places]
    parts = []
    for reach in reaches:
        asked = np.flatnonzero(reach >> bit & 1)
        block = (reach[asked] >> bit) - 1
        own = block * base + rank[asked]
        worse, not_better = (np.searchsorted(ordered, own, side) for side in ("left", "right"))
        columns = np.stack([worse, not_better, block << bit, (block + 1) << bit], axis=1)
        starts = np.zeros(images + 1, np.int64)
        starts[asked + 1] = 4
        signs = np.tile([1.0, 1.0, -1.0, -1.0], len(asked))
        parts.append(csr_array((signs, columns.ravel(), np.cumsum(starts)), shape=(images, images + 1)))
    return places, vstack(parts, format="csr")


def _running_sum(values: Array) -> Array:
    """Return the sums of the first 0, 1, 2, ... rows."""
    sums = np.zeros((len(values) + 1, values.shape[1]))
    np.cumsum(values, axis=0, out=sums[1:])
    return sums
