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

MOST_CELLS = 160  # in each direction
MARGIN = 8  # pixels around a row of cells that its filters reach
LEAST_GRADIENT, NOISES = (
    6.0,
    4.5,
)  # mean gradient of a cell below which nothing is said; noise alone makes 2.8 times itself
SHARP, NOISY = (0.1, 0.7), (0.0, 12.0)

Places = NDArray[np.intp]


def sharpness_map(image: MeasuredImage) -> ImageMap:
    """Return how sharp the image is in each cell, in [0, 1]: one less Crete's blur; NaN where a cell has no edges."""
    rows, columns = _borders(image.height), _borders(image.width)
    values = np.full((len(rows) - 1, len(columns) - 1), np.nan, np.float32)
    lowest = max(LEAST_GRADIENT, NOISES * (image.native.noise.luma or 0.0))
    for at, (top, bottom) in enumerate(pairwise(rows.tolist())):
        first = max(0, top - MARGIN)
        window = Window(_grey(image, first, min(image.height, bottom + MARGIN)))
        cut = slice(top - first, bottom - first)
        blur = np.zeros(values.shape[1])
        strongest = np.zeros(values.shape[1])
        for turned in (False, True):
            smoothed = window.smoothed_columns.T if turned else window.smoothed_rows
            before, removed = (
                _sums(part.T if turned else part, cut, window.grey.shape, columns)
                for part in gradient_and_removed(smoothed)
            )
            enough = before > 0
            blur[enough] = np.maximum(blur[enough], 1 - removed[enough] / before[enough])
            strongest = np.maximum(strongest, before)
        mean = strongest / ((bottom - top) * np.diff(columns))
        values[at] = np.where(mean >= lowest, 1 - blur, np.nan)
    return ImageMap(
        "sharpness",
        "local sharpness",
        "",
        values,
        "sequential",
        SHARP,
        (
            (SHARP[0], "blurred"),
            (0.4, "between"),
            (SHARP[1], "sharp"),
        ),
    )


def noise_map(image: MeasuredImage) -> ImageMap | None:
    """Return the noise in the middle of each cell, in grey levels; NaN where values are cut off.

    None for images that are smaller than a patch.
    """
    if min(image.width, image.height) < PATCH:
        return None
    rows, columns = ((_borders(size)[:-1] + _borders(size)[1:] - PATCH) // 2 for size in (image.height, image.width))
    rows, columns = (
        np.clip(starts, 0, size - PATCH) for starts, size in ((rows, image.height), (columns, image.width))
    )
    across = (columns[:, None] + np.arange(PATCH)).ravel()
    values = np.full((len(rows), len(columns)), np.nan, np.float32)
    for at, top in enumerate(rows):
        patches = _grey(image, top, top + PATCH)[:, across].reshape(PATCH, len(columns), PATCH).swapaxes(0, 1)
        usable = (patches.min(axis=(1, 2)) > USABLE[0]) & (patches.max(axis=(1, 2)) < USABLE[1])
        values[at] = np.where(usable, deviations(patches), np.nan)
    return ImageMap(
        "noise",
        "local noise, with which fine texture counts",
        "grey levels",
        values,
        "sequential",
        NOISY,
        ((NOISY[0], "none"), (NOISY[1] / 2, "visible"), (NOISY[1], "strong")),
    )


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
