"""Maps of local sharpness and of local noise, in native pixels, cell by cell."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from piqa.factors.flat_patches import GREY, PATCH, USABLE, Values, deviations
from piqa.factors.maps import ImageMap
from piqa.factors.measured_image import MeasuredImage
from piqa.factors.native import Window
from piqa.factors.sharpness import gradient_and_removed
from piqa.system.phrases import Phrase

MOST_CELLS = 160  # in each direction
MARGIN = 8  # pixels around a row of cells that its filters reach
LEAST_GRADIENT = 12.0  # mean gradient of a cell below which nothing is said: an edge of 24 levels across 16 px
NOISES = 4.0  # times the noise of the cell: noise alone makes a mean gradient of 2.8 times itself
SHARP, NOISY = (0.1, 0.8), (0.0, 12.0)

Places = NDArray[np.intp]


def sharpness_map(image: MeasuredImage) -> ImageMap:
    """Return how sharp the image is in each cell, in [0, 1]: one less Crete's blur; NaN where a cell has no edges."""
    rows, columns = _borders(image.height), _borders(image.width)
    noise = _noise_of_cells(image)
    lowest = LEAST_GRADIENT if noise is None else np.maximum(LEAST_GRADIENT, NOISES * noise)
    strips = [_sharpness_of_row(image, top, bottom, columns) for top, bottom in pairwise(rows.tolist())]
    sharpness, gradient = (np.stack([strip[at] for strip in strips]) for at in (0, 1))
    values = np.where(gradient >= lowest, sharpness, np.nan).astype(np.float32)
    legend = ((SHARP[0], Phrase("blurred")), (sum(SHARP) / 2, Phrase("between")), (SHARP[1], Phrase("sharp")))
    return ImageMap(
        "sharpness", "local sharpness; strong grain reads as sharp", "", values, "sequential", SHARP, legend
    )


def _sharpness_of_row(
    image: MeasuredImage, top: int, bottom: int, columns: Places
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return sharpness and mean gradient of the cells of one row."""
    first = max(0, top - MARGIN)
    window = Window(_grey(image, first, min(image.height, bottom + MARGIN)))
    blur, strongest = np.zeros((2, len(columns) - 1))
    for turned in (False, True):
        parts = gradient_and_removed(window.smoothed_columns.T if turned else window.smoothed_rows)
        before, removed = (
            _sums(part.T if turned else part, slice(top - first, bottom - first), window.grey.shape, columns)
            for part in parts
        )
        blur = np.maximum(blur, 1 - removed / np.maximum(before, 1e-6))
        strongest = np.maximum(strongest, before)
    return 1 - blur, strongest / ((bottom - top) * np.diff(columns))


def noise_map(image: MeasuredImage) -> ImageMap | None:
    """Return the noise in the middle of each cell, in grey levels; NaN where values are cut off.

    None for images that are smaller than a patch.
    """
    values = _noise_of_cells(image, usable_only=True)
    if values is None:
        return None
    legend = ((NOISY[0], Phrase("none")), (sum(NOISY) / 2, Phrase("visible")), (NOISY[1], Phrase("strong")))
    return ImageMap("noise", "local noise, with fine texture", "grey levels", values, "sequential", NOISY, legend)


def _noise_of_cells(image: MeasuredImage, usable_only: bool = False) -> Values | None:
    """Return the noise of a patch in the middle of each cell; None for images that are smaller than a patch."""
    if min(image.width, image.height) < PATCH:
        return None
    rows, columns = (
        np.clip((_borders(size)[:-1] + _borders(size)[1:] - PATCH) // 2, 0, size - PATCH)
        for size in (image.height, image.width)
    )
    across = (columns[:, None] + np.arange(PATCH)).ravel()
    values = np.empty((len(rows), len(columns)), np.float32)
    for at, top in enumerate(rows):
        patches = _grey(image, top, top + PATCH)[:, across].reshape(PATCH, len(columns), PATCH).swapaxes(0, 1)
        values[at] = deviations(patches)
        if usable_only:
            cut_off = (patches.min(axis=(1, 2)) <= USABLE[0]) | (patches.max(axis=(1, 2)) >= USABLE[1])
            values[at, cut_off] = np.nan
    return values


def _borders(size: int) -> Places:
    """Return where cells begin along a side, and where the last one ends."""
    number = max(1, min(MOST_CELLS, size // PATCH))
    return np.linspace(0, size, number + 1).round().astype(np.intp)


def _grey(image: MeasuredImage, top: int, bottom: int) -> Values:
    grey: Values = image.pixels[top:bottom].astype(np.float32) @ GREY
    return grey


def _sums(part: Values, rows: slice, shape: tuple[int, ...], columns: Places) -> NDArray[np.float64]:
    """Return the sums of a part of a strip over the cells of one row; the part begins two pixels inside the strip."""
    whole = np.zeros(shape, np.float32)
    whole[2 : 2 + part.shape[0], 2 : 2 + part.shape[1]] = part
    sums: NDArray[np.float64] = np.add.reduceat(whole[rows].sum(axis=0, dtype=np.float64), columns[:-1])
    return sums
