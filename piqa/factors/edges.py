"""Widths of edges, the measure of sharpness that neither contrast nor brightness changes (Marziliano et al. 2002)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from piqa.factors.flat_patches import Values
from piqa.factors.native import NativePixels, Window

ENOUGH_EDGES = 20  # pixels on edges; with fewer nothing is said
LONGEST_RUN = 96  # pixels on one side of an edge; beyond, it is a shade and no edge
LEAST_HEIGHT = 8.0  # grey levels; lower steps are those of JPEG blocks and of quantisation
NOISES = 7.0  # times the noise; of a million pixels of noise alone, runs through three are so high

STRONG, WEAK = 3.0, 2.0  # times the mean gradient; eyes and nose are too small to have 20 strong edge pixels

Numbers = NDArray[np.float64]
Whole = NDArray[np.intp]


@dataclass(frozen=True)
class Edges:
    """Edges found in a region.

    Attributes:
        widths: Pixels, of edges crossed along rows, and of those crossed along columns.
        strengths: Gradients of the same edges, as multiples of the region's mean.
    """

    widths: tuple[Numbers, Numbers]
    strengths: tuple[Numbers, Numbers]

    @property
    def number(self) -> int:
        """How many edge pixels there are."""
        return len(self.widths[0]) + len(self.widths[1])

    @property
    def width(self) -> float | None:
        """Mean width, both directions weighted alike, so that a smear that leaves few edges in one of them still shows.

        None with too few edge pixels; a direction with less than half of them has no say.
        """
        if self.number < ENOUGH_EDGES:
            return None
        found = [widths.mean() for widths in self.widths if len(widths) >= ENOUGH_EDGES / 2]
        return float(np.mean(found)) if found else None

    def stronger(self, strength: float) -> Edges:
        """Return those whose gradient is larger than `strength` times the region's mean."""
        kept = [strengths > strength for strengths in self.strengths]
        x, y = ((self.widths[at][kept[at]], self.strengths[at][kept[at]]) for at in (0, 1))
        return Edges((x[0], y[0]), (x[1], y[1]))


def edges_by_window(windows: Sequence[Window], strength: float, noise: float = 0.0) -> list[Edges]:
    """Return the edges of each window of a region.

    An edge pixel is a local maximum of Sobel's gradient across it, larger than `strength` times the gradient's mean
    over the region. Its width is that of the run on which values rise, or fall, through it.

    Args:
        windows: Of one region.
        strength: Factor of the mean gradient.
        noise: Standard deviation in grey levels; runs that are not higher than it can make are left out.
    """
    lowest = max(LEAST_HEIGHT, NOISES * noise)
    x = _crossed([one.grey for one in windows], [np.abs(one.gradient_x) for one in windows], strength, lowest)
    y = _crossed([one.grey.T for one in windows], [np.abs(one.gradient_y).T for one in windows], strength, lowest)
    return [Edges((a[0], b[0]), (a[1], b[1])) for a, b in zip(x, y, strict=True)]


def edges_of(windows: Sequence[Window], strength: float, noise: float = 0.0) -> Edges:
    """Return the edges of a region, all of its windows together; arguments as of `edges_by_window`."""
    return together(edges_by_window(windows, strength, noise))


def together(found: Sequence[Edges]) -> Edges:
    """Return the edges of several windows as one."""
    none: Numbers = np.zeros(0)
    widths, strengths = (
        [np.concatenate([none, *(getattr(one, name)[at] for one in found)]) for at in (0, 1)]
        for name in ("widths", "strengths")
    )
    return Edges((widths[0], widths[1]), (strengths[0], strengths[1]))


class ImageEdges:
    """Edges of the regions of an image.

    Args:
        native: Its native pixels.
    """

    def __init__(self, native: NativePixels) -> None:
        self._native = native

    @cached_property
    def face(self) -> Edges:
        """Strong edges of the face."""
        return edges_of(self._native.face, STRONG, self._noise)

    @cached_property
    def surroundings(self) -> Edges:
        """Strong edges of the surroundings."""
        return together(self.tiles).stronger(STRONG)

    @cached_property
    def eyes(self) -> Edges:
        """Edges at the eyes."""
        return edges_of(self._native.eyes, WEAK, self._noise)

    @cached_property
    def nose(self) -> Edges:
        """Edges at the nose."""
        return edges_of(self._native.nose, WEAK, self._noise)

    @cached_property
    def tiles(self) -> list[Edges]:
        """Edges of each tile of the surroundings, as weak as those that count at the eyes."""
        return edges_by_window(self._native.tiles, WEAK, self._noise)

    @property
    def _noise(self) -> float:
        return self._native.noise.luma or 0.0


def _crossed(
    greys: Sequence[Values], gradients: Sequence[Values], strength: float, lowest: float
) -> list[tuple[Numbers, Numbers]]:
    """Return widths and strengths of the edges of each window that are crossed along its rows."""
    pixels = sum(gradient.size for gradient in gradients)
    mean = sum(float(gradient.sum(dtype=np.float64)) for gradient in gradients) / max(pixels, 1)
    return [
        _runs(np.ascontiguousarray(grey), np.ascontiguousarray(gradient), mean, strength, lowest)
        for grey, gradient in zip(greys, gradients, strict=True)
    ]


def _runs(grey: Values, gradient: Values, mean: float, strength: float, lowest: float) -> tuple[Numbers, Numbers]:
    """Return widths and strengths of the runs through the edge pixels of one window."""
    strong = np.flatnonzero(gradient > strength * mean)
    columns = strong % gradient.shape[1]
    strong = strong[(columns > 0) & (columns < gradient.shape[1] - 1)]
    slopes = gradient.ravel()
    strong = strong[(slopes[strong] > slopes[strong - 1]) & (slopes[strong] >= slopes[strong + 1])]
    rows, columns = np.divmod(strong, gradient.shape[1])
    columns = columns + 1  # the gradient begins one pixel inside
    values, at = grey.ravel(), (rows + 1) * grey.shape[1] + columns
    rising = np.sign(values[at + 1] - values[at - 1])
    right = _run(values, at, rising, 1, grey.shape[1] - 1 - columns)
    left = _run(values, at, rising, -1, columns)
    kept = np.abs(values[at + right] - values[at - left]) >= lowest
    widths: Numbers = (right + left)[kept].astype(np.float64)
    return widths, (slopes[strong[kept]] / max(mean, 1e-12)).astype(np.float64)


def _run(values: Values, at: Whole, rising: Values, step: int, most: Whole) -> Whole:
    """Return how many pixels values go on to rise, or to fall, from each pixel in one direction."""
    length = np.zeros(len(at), np.intp)
    going = np.arange(len(at))
    for reached in range(LONGEST_RUN):
        going = going[reached < most[going]]
        here = at[going] + step * reached
        going = going[(values[here + step] - values[here]) * rising[going] * step > 0]
        if not going.size:
            break
        length[going] = reached + 1
    return length
