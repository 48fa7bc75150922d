"""Maps as pictures: colours that people with any kind of colour vision can tell apart, and a legend in words."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from piqa.factors.maps import ImageMap, Palette

COLOURS = 256
# Colours at even distances, between which sRGB values are interpolated. `sequential` follows cividis within 8 of 255
# (Nunez et al. 2018), which looks alike to people with and without red-green blindness; `diverging` runs from blue
# over white to orange, with equal lightness on both sides of white.
ANCHORS: dict[Palette, tuple[str, ...]] = {
    "sequential": (
        *("#00224e", "#023271", "#30426d", "#49526c", "#5e626e", "#727374"),
        *("#878478", "#9e9676", "#b5a86f", "#cdbc63", "#e7d050", "#fee838"),
    ),
    "diverging": ("#163f88", "#3f75ba", "#90b5de", "#f6f6f6", "#e6a467", "#b15d17", "#712e01"),
}

Colours = NDArray[np.uint8]


@cache
def palette(name: Palette) -> Colours:
    """Return the colours of a palette from its lowest to its highest value, uint8 RGB, (256, 3)."""
    anchors = np.array([[int(colour[at : at + 2], 16) for at in (1, 3, 5)] for colour in ANCHORS[name]])
    places = np.linspace(0, len(anchors) - 1, COLOURS)
    channels = [np.interp(places, np.arange(len(anchors)), anchors[:, channel]) for channel in range(3)]
    colours: Colours = np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
    colours.flags.writeable = False  # it is shared
    return colours


def overlay(image_map: ImageMap, size: tuple[int, int] | None = None) -> Image.Image:
    """Return a map in its colours, RGBA: opaque where it has a value, transparent where it has none.

    Args:
        image_map: The map.
        size: Width and height of the picture in pixels; by default a pixel for each value.
    """
    values = np.asarray(image_map.values, dtype=np.float32)
    known = np.isfinite(values)
    if size is not None and size != values.shape[::-1]:
        values, known = _resized(values, known, size)
    colours = palette(image_map.palette)[_indices(image_map, np.where(known, values, 0))]
    return Image.fromarray(np.dstack([colours, np.where(known, 255, 0).astype(np.uint8)]), "RGBA")


def legend(image_map: ImageMap) -> list[tuple[str, str]]:
    """Return the words of a map's legend, each with its colour as CSS takes it, from the lowest value up."""
    values = np.array([value for value, _ in image_map.legend], dtype=np.float32)
    colours = palette(image_map.palette)[_indices(image_map, values)]
    return [
        (text, "#" + "".join(f"{channel:02x}" for channel in colour))
        for (_, text), colour in zip(image_map.legend, colours.tolist(), strict=True)
    ]


def _indices(image_map: ImageMap, values: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the place of each value in the palette; values beyond the limits are those at the limits."""
    low, high = image_map.limits
    places = (values - low) / max(high - low, 1e-12) * (COLOURS - 1)
    indices: NDArray[np.intp] = np.rint(np.clip(places, 0, COLOURS - 1)).astype(np.intp)
    return indices


def _resized(
    values: NDArray[np.float32], known: NDArray[np.bool_], size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return values and where they are known at another size; the unknown does not bleed into the known."""

    def bilinear(of: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(Image.fromarray(of).resize(size, Image.Resampling.BILINEAR))

    weights = bilinear(known.astype(np.float32))
    sums = bilinear(np.where(known, values, 0))
    means = (sums / np.maximum(weights, 1e-6)).astype(np.float32)
    return means, weights >= 0.5
