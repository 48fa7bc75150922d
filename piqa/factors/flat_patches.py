"""The noise of patches of an image: standard deviations in the flattest of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from piqa.preparation.image_file import Pixels

Values = NDArray[np.float32]

PATCH = 16  # pixels on a side
MOST_PATCHES = 3000
ENOUGH_PATCHES = 5
FLATTEST = 0.2  # fraction of the usable patches
SHADOWS = 1 / 8  # fraction of the usable patches, the darkest
USABLE = 8, 247  # grey levels between which nothing is cut off
MIDDLE_OF_NORMAL = 0.6933  # mean of |x| of a standard normal variable between its quartiles

GREY = np.array([0.299, 0.587, 0.114], np.float32)
_CHROMA = np.array([[-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32).T  # Cb, Cr of BT.601


def patches_of(pixels: Pixels, side: int = PATCH, most: int = MOST_PATCHES) -> Pixels:
    """Return square patches spread evenly over an image, uint8, (patches, side, side, 3); none of a smaller one."""
    rows, columns = pixels.shape[0] // side, pixels.shape[1] // side
    step = max(1, int(np.ceil(np.sqrt(rows * columns / most))))
    grid = pixels[: rows * side, : columns * side].reshape(rows, side, columns, side, 3)[::step, :, ::step]
    return np.ascontiguousarray(grid.transpose(0, 2, 1, 3, 4)).reshape(-1, side, side, 3)


@dataclass(frozen=True)
class Noise:
    """Standard deviations of the noise in grey levels; None where too few patches show it.

    Attributes:
        luma: Of grey values, in the flattest patches.
        chroma: Of Cb and Cr, their mean.
        shadows: Of grey values, in the flattest of the darkest patches.
    """

    luma: float | None
    chroma: float | None
    shadows: float | None


def noise_of(patches: Pixels) -> Noise:
    """Return the noise of square patches, uint8, (patches, side, side, 3).

    Patches with values that are cut off are left out. Of the others the flattest are kept: those whose smoothed
    gradient varies least, as noise hardly moves it. Their median is the noise; see
    `deviations`.
    """
    values = patches.astype(np.float32)
    grey = values @ GREY
    if not len(patches):
        return Noise(None, None, None)
    flat = grey.reshape(len(grey), -1)
    usable = np.flatnonzero((flat.min(1, initial=255) > USABLE[0]) & (flat.max(1, initial=0) < USABLE[1]))
    if len(usable) < ENOUGH_PATCHES:
        return Noise(None, None, None)
    texture = _texture(grey[usable])
    chosen = usable[_flattest(texture)]
    colour = values[chosen] @ _CHROMA
    dark = np.argsort(flat[usable].mean(1))[: int(len(usable) * SHADOWS)]
    enough = len(dark) >= ENOUGH_PATCHES
    return Noise(
        luma=_median_deviation(grey[chosen]),
        chroma=(_median_deviation(colour[..., 0]) + _median_deviation(colour[..., 1])) / 2,
        shadows=_median_deviation(grey[usable[dark[_flattest(texture[dark])]]]) if enough else None,
    )


def _texture(grey: Values) -> Values:
    """Return for each patch the variance of the gradients of its 3 x 3 means."""
    rows = grey[:, :-2] + grey[:, 1:-1] + grey[:, 2:]
    means = (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]) / 9
    texture: Values = np.diff(means, axis=1).var(axis=(1, 2)) + np.diff(means, axis=2).var(axis=(1, 2))
    return texture


def _flattest(texture: Values) -> NDArray[np.intp]:
    return np.argsort(texture, kind="stable")[: max(ENOUGH_PATCHES, round(FLATTEST * len(texture)))]


def haar_diagonal(values: Values) -> Values:
    """Return Haar's diagonal details of the last two axes; noise keeps its standard deviation in them."""
    even, odd = values[..., ::2, :], values[..., 1::2, :]
    details: Values = (even[..., ::2] - even[..., 1::2] - odd[..., ::2] + odd[..., 1::2]) / np.float32(2)
    return details


def _median_deviation(patches: Values) -> float:
    """Return the median over patches of the noise of each."""
    return float(np.median(deviations(patches)))


def deviations(patches: Values) -> Values:
    """Return the standard deviation of the noise of each patch, (patches,), from (patches, side, side).

    The mean of the absolute details between their quartiles: as robust as their median, which of 8-bit values knows
    but steps of 0.7.
    """
    details = np.sort(np.abs(haar_diagonal(patches)).reshape(len(patches), -1), axis=1)
    quarter = details.shape[1] // 4
    found: Values = details[:, quarter : details.shape[1] - quarter].mean(axis=1) / np.float32(MIDDLE_OF_NORMAL)
    return found
