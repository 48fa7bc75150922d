"""Windows over what a network sees, and where they lie in the upright image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from piqa.factors.measured_image import Values

WINDOWS = 7  # along the short side; at 384 px windows of 96 px, 48 px apart
MOST_WINDOWS = 15  # along the long side
FEATHER = 0.5  # of the distance of two windows: a quarter of a window, over which it fades out
MAP_SIDE = 192  # cells of a map along the longer side of the image

Place = tuple[float, float, float, float]  # left, top, right, bottom in pixels of the upright image


@dataclass(frozen=True)
class WindowGrid:
    """Overlapping windows that cover an image: each is two steps long, neighbours are one step apart.

    Attributes:
        height: Of the image in pixels.
        width: Likewise.
        rows: Windows from top to bottom.
        columns: Windows from left to right.
    """

    height: int
    width: int
    rows: int
    columns: int

    @classmethod
    def over(cls, height: int, width: int) -> WindowGrid:
        """Return the grid of an image: 7 windows along its short side, nearly square ones, 15 at most.

        Examples:
            >>> WindowGrid.over(384, 384)
            WindowGrid(height=384, width=384, rows=7, columns=7)
            >>> WindowGrid.over(300, 400).columns
            10
        """
        step = min(height, width) / (WINDOWS + 1)
        rows, columns = (min(max(round(side / step) - 1, WINDOWS), MOST_WINDOWS) for side in (height, width))
        return cls(height, width, rows, columns)

    @property
    def windows(self) -> int:
        """The number of windows."""
        return self.rows * self.columns

    def masks(self) -> Values:
        """Return the weight of every pixel in every window, float32 in [0, 1], (windows, height, width)."""
        down = profiles(np.arange(self.height) + 0.5, self.height, self.rows)
        across = profiles(np.arange(self.width) + 0.5, self.width, self.columns)
        masks: Values = (down.T[:, None, :, None] * across.T[None, :, None, :]).reshape(-1, self.height, self.width)
        return masks


def profiles(at: np.ndarray, side: int, count: int) -> Values:
    """Return the weight of places along one side in each window: 1 inside, fading out towards its ends.

    The first and last windows do not fade at the border of the image.

    Args:
        at: Places in pixels; those outside of the image have no weight.
        side: Length of the image in pixels.
        count: Number of windows.

    Returns:
        float32, (places, windows).
    """
    steps = (at * (count + 1) / side)[:, None]
    first = np.arange(count)
    from_left = np.where(first == 0, np.inf, steps - first)
    to_right = np.where(first == count - 1, np.inf, first + 2 - steps)
    ramp = np.clip(np.minimum(from_left, to_right) / FEATHER, 0, 1)
    inside = (at >= 0) & (at <= side)
    weights: Values = (ramp * ramp * (3 - 2 * ramp) * inside[:, None]).astype(np.float32)
    return weights


def map_shape(height: int, width: int) -> tuple[int, int]:
    """Return rows and columns of the map of an image."""
    scale = min(1.0, MAP_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def image_values(
    effects: Sequence[Values], places: Sequence[Place], grids: Sequence[WindowGrid], height: int, width: int
) -> Values:
    """Return the effects of windows as a map of the whole image.

    A place has the mean over the windows that hold it, weighted as they cover it; then over what the network saw.

    Args:
        effects: Of each thing that the network saw, (rows, columns) of its windows.
        places: Where it lies in the image.
        grids: Its windows.
        height: Of the upright image in pixels.
        width: Likewise.

    Returns:
        float32, with NaN where no window lies.
    """
    rows, columns = map_shape(height, width)
    total, seen = np.zeros((rows, columns)), np.zeros((rows, columns))
    for values, (left, top, right, bottom), grid in zip(effects, places, grids, strict=True):
        y = ((np.arange(rows) + 0.5) * height / rows - top) * grid.height / (bottom - top)
        x = ((np.arange(columns) + 0.5) * width / columns - left) * grid.width / (right - left)
        down, across = profiles(y, grid.height, grid.rows), profiles(x, grid.width, grid.columns)
        weight = down.sum(axis=1)[:, None] * across.sum(axis=1)[None, :]
        inside = weight > 0
        total[inside] += (down @ values @ across.T)[inside] / weight[inside]
        seen += inside
    found: Values = np.where(seen > 0, total / np.maximum(seen, 1), np.nan).astype(np.float32)
    return found


def crop_place(corner: tuple[int, int], size: tuple[int, int], shown: tuple[int, int], place: Place) -> Place:
    """Return where a crop lies in the upright image.

    Args:
        corner: Its top left corner (y, x) in the resized image.
        size: Its height and width there.
        shown: Height and width of the resized image.
        place: What of the upright image that shows.
    """
    left, top, right, bottom = place
    x_scale, y_scale = (right - left) / shown[1], (bottom - top) / shown[0]
    y, x = corner
    return left + x * x_scale, top + y * y_scale, left + (x + size[1]) * x_scale, top + (y + size[0]) * y_scale


def colour_limit(*maps: Values) -> float:
    """Return the value at the end of the colours of maps that share them: 98 % of all values lie within."""
    values = np.concatenate([values[np.isfinite(values)].ravel() for values in maps])
    limit = float(np.quantile(np.abs(values), 0.98)) if len(values) else 0.0
    return limit if limit > 0 and math.isfinite(limit) else 1e-6
