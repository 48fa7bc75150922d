"""Widths of edges, the measure of sharpness that neither contrast nor brightness changes (Marziliano et al. 2002)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from piqa.factors.flat_patches import Values
from piqa.factors.native import Window

ENOUGH_EDGES = 20  # pixels on edges; with fewer nothing is said
LONGEST_RUN = 96  # pixels on one side of an edge; beyond, it is a shade and no edge
LEAST_HEIGHT = 8.0  # grey levels; lower steps are those of JPEG blocks and of quantisation
NOISES = 5.0  # times the noise: a step of its own makes hardly any edge that is so high

Numbers = NDArray[np.float64]
Whole = NDArray[np.intp]


@dataclass(frozen=True)
class Edges:
    """Widths in pixels of the edges found in a region.

    Attributes:
        along_x: Of those crossed along rows.
        along_y: Of those crossed along columns.
    """

    along_x: Numbers
    along_y: Numbers

    @property
    def number(self) -> int:
        """How many edge pixels there are."""
        return len(self.along_x) + len(self.along_y)

    @property
    def width(self) -> float | None:
        """Mean width, both directions weighted alike, so that a smear that leaves few edges in one of them still shows.

        None with too few edge pixels; a direction with less than half of them has no say.
        """
        if self.number < ENOUGH_EDGES:
            return None
        found = [widths.mean() for widths in (self.along_x, self.along_y) if len(widths) >= ENOUGH_EDGES / 2]
        return float(np.mean(found)) if found else None


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
    across = [_widths(windows, [np.abs(one.gradient_x) for one in windows], False, strength, lowest)]
    across.append(_widths(windows, [np.abs(one.gradient_y).T for one in windows], True, strength, lowest))
    return [Edges(x, y) for x, y in zip(*across, strict=True)]


def edges_of(windows: Sequence[Window], strength: float, noise: float = 0.0) -> Edges:
    """Return the edges of a region, all of its windows together; arguments as of `edges_by_window`."""
    return together(edges_by_window(windows, strength, noise))


def together(found: Sequence[Edges]) -> Edges:
    """Return the edges of several windows as one."""
    none: Numbers = np.zeros(0)
    return Edges(
        np.concatenate([none, *(one.along_x for one in found)]), np.concatenate([none, *(one.along_y for one in found)])
    )


def _widths(
    windows: Sequence[Window], gradients: Sequence[Values], turned: bool, strength: float, lowest: float
) -> list[Numbers]:
    pixels = sum(gradient.size for gradient in gradients)
    threshold = strength * sum(float(gradient.sum(dtype=np.float64)) for gradient in gradients) / max(pixels, 1)
    return [
        _runs(np.ascontiguousarray(window.grey.T if turned else window.grey), gradient, threshold, lowest)
        for window, gradient in zip(windows, gradients, strict=True)
    ]


def _runs(grey: Values, gradient: Values, threshold: float, lowest: float) -> Numbers:
    """Return the widths of the runs through the edge pixels of one window, crossed along its rows."""
    middle = gradient[:, 1:-1]
    rows, columns = np.nonzero((middle > threshold) & (middle > gradient[:, :-2]) & (middle >= gradient[:, 2:]))
    columns = columns + 2  # the gradient begins one pixel inside, its local maxima two
    values, at = grey.ravel(), (rows + 1) * grey.shape[1] + columns
    rising = np.sign(values[at + 1] - values[at - 1])
    right = _run(values, at, rising, 1, grey.shape[1] - 1 - columns)
    left = _run(values, at, rising, -1, columns)
    height = np.abs(values[at + right] - values[at - left])
    widths: Numbers = (right + left)[height >= lowest].astype(np.float64)
    return widths


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
