"""The hues of an image on the painters' wheel of twelve, and the word for how they lie on it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from piqa.factors.cielab import chroma, lab
from piqa.factors.measured_image import LINEAR, MeasuredImage, Values
from piqa.preparation.image_file import Pixels
from piqa.system.phrases import Phrase, listed

# Itten's twelve, from red; a sector is 30 degrees about its colour
HUES = (
    *("red", "red-orange", "orange", "yellow-orange", "yellow", "yellow-green"),
    *("green", "blue-green", "blue", "blue-violet", "violet", "red-violet"),
)
LEAST_CHROMA = 8  # C*; below, a colour has no hue to speak of
LEAST_COLOURED = 0.01  # of the image; with less, hues are chance
MOST = 0.6  # of all colour, so much in one sector or two makes a type
# hue of RGB to hue on the painters' wheel, both in turns (darktable)
RGB_KNOTS = np.arange(7) / 6
PAINTERS_KNOTS = np.array([0, 0.3333, 0.4722, 0.6111, 0.7153, 0.8333, 1])


def painters_hue(rgb: Values) -> NDArray[np.float64]:
    """Return the hue on the painters' wheel in turns, in [0, 1), 0 for greys; of encoded RGB, (..., 3)."""
    most, least = rgb.max(axis=-1), rgb.min(axis=-1)
    span = np.where(most > least, most - least, 1)
    red, green, blue = np.moveaxis(rgb.astype(np.float64), -1, 0)
    sixths = np.select(
        [most == least, most == red, most == green],
        [0, (green - blue) / span % 6, (blue - red) / span + 2],
        (red - green) / span + 4,
    )
    turns: NDArray[np.float64] = np.interp(sixths / 6, RGB_KNOTS, PAINTERS_KNOTS) % 1
    return turns


def hue_shares(pixels: Pixels) -> tuple[float, ...] | None:
    """Return the share of each of the twelve hues, weighted by chroma, from red; they sum to 1.

    Args:
        pixels: uint8 RGB, (rows, columns, 3), a small copy: hues are looked at from afar, not pixel by pixel.

    Returns:
        None where less than one per cent of the image has a hue.
    """
    chromas = chroma(lab(LINEAR[pixels]))
    coloured = chromas > LEAST_CHROMA
    if coloured.mean() < LEAST_COLOURED:
        return None
    sectors = np.rint(painters_hue(pixels[coloured].astype(np.float32)) * len(HUES)).astype(int) % len(HUES)
    sums = np.bincount(sectors, weights=chromas[coloured], minlength=len(HUES))
    return tuple((sums / sums.sum()).tolist())


def hue_wheel(image: MeasuredImage) -> tuple[float, ...] | None:
    """Return the share of each of the twelve hues of an image, from red; None if it is grey or nearly."""
    return None if image.is_grey else hue_shares(image.thumbnail)


def hue_type(shares: tuple[float, ...]) -> str:
    """Return in words how the hues of an image lie on the wheel of twelve.

    Types are tried from the simplest: one hue with more than 60 per cent of all colour, two or three neighbours,
    two about opposite (150 to 210 degrees apart), three at equal distances; else many.
    """
    count = len(shares)
    top = int(np.argmax(shares))
    if shares[top] > MOST:
        return Phrase("mostly one hue, {hue}", hue=Phrase(HUES[top]))
    first = max(range(count), key=lambda at: sum(shares[(at + step) % count] for step in range(3)))
    neighbours = [(first + step) % count for step in range(3)]
    if sum(shares[at] for at in neighbours) > MOST:
        return Phrase("mostly neighbouring hues, {hues}", hues=_listed(shares, neighbours))
    pairs = [(at, (at + apart) % count) for at in range(count) for apart in (5, 6, 7)]
    pair = max(pairs, key=lambda pair: shares[pair[0]] + shares[pair[1]])
    if shares[pair[0]] + shares[pair[1]] > MOST:
        return Phrase("mostly opposite hues, {hues}", hues=_listed(shares, pair))
    triad = max(range(count // 3), key=lambda at: shares[at] + shares[at + 4] + shares[at + 8])
    three = (triad, triad + 4, triad + 8)
    if sum(shares[at] for at in three) > MOST and min(shares[at] for at in three) > 0.1:
        return Phrase("mostly three hues at equal distances, {hues}", hues=_listed(shares, three))
    return Phrase("many hues")


def _listed(shares: tuple[float, ...], at: list[int] | tuple[int, ...]) -> Phrase:
    """Return the names of hues, the largest share first: those with a tenth of all colour, at least two."""
    ordered = sorted(at, key=lambda one: -shares[one])
    return listed([Phrase(HUES[one]) for rank, one in enumerate(ordered) if rank < 2 or shares[one] >= 0.1])
