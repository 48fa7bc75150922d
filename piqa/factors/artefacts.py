"""Artefacts: blocks and quality of JPEG compression, halos of sharpening, banding.

Enlarging is not here: an image that was enlarged up to twofold cannot be told from one that is blurred. It reads as
wide edges in `sharpness`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from piqa.factors.edges import ENOUGH_EDGES
from piqa.factors.factor import Factor, Measurement, Words
from piqa.factors.flat_patches import ENOUGH_PATCHES, GREY, USABLE, Values, patches_of
from piqa.factors.measured_image import MeasuredImage
from piqa.factors.native import Window
from piqa.preparation.file_facts import FileFacts
from piqa.preparation.image_file import Pixels
from piqa.system.phrases import Phrase

BLOCK = 8  # pixels on a side of JPEG's blocks
LINES = 192  # rows, and columns, in which blocks are looked for
BAND_PATCH, BAND_PATCHES = 32, 1000
BAND_RANGE = 6, 60  # grey levels from the darkest to the brightest pixel of a shade
HALO_SIGMAS, HALO_BAND = (1.0, 2.5), 7  # pixels
HALO_SIDE = 256  # pixels of a window in which halos are looked for
HALO_PIXELS = 600_000  # of all windows together
STRONGEST, LEAST_SLOPE = 0.05, 2.0  # fraction of the pixels; grey levels a pixel, to pass over even places

# ITU-T T.81 (JPEG), table K.1, by rows
LUMINANCE = np.array(
    [
        *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55),
        *(14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62),
        *(18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
        *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
    ]
)


def blockiness(pixels: Pixels) -> float | None:
    """Return how much larger steps are at the borders of 8 x 8 blocks than elsewhere; 1 where there are none.

    After a crop blocks begin anywhere: of the eight places in each direction the one with the largest steps counts.
    None for images with less than three blocks in a direction.
    """
    if min(pixels.shape[:2]) < 3 * BLOCK:
        return None
    found = []
    for image in (pixels, pixels.transpose(1, 0, 2)):
        lines = np.unique(np.linspace(0, len(image) - 1, LINES).round().astype(int))
        steps = np.abs(np.diff(image[lines].astype(np.float32) @ GREY, axis=1)).mean(axis=0, dtype=np.float64)
        by_place = np.array([steps[place::BLOCK].mean() for place in range(BLOCK)])
        elsewhere = (by_place.sum() - by_place) / (BLOCK - 1)
        found.append(float(np.max(by_place / np.maximum(elsewhere, 1e-6))) if by_place.any() else 1.0)
    return sum(found) / 2


@cache
def _standard_tables() -> NDArray[np.int64]:
    """Return the luminance tables of qualities 1 to 100 of the Independent JPEG Group, (100, 64)."""
    scales = np.array([5000 // quality if quality < 50 else 200 - 2 * quality for quality in range(1, 101)])
    tables: NDArray[np.int64] = np.clip((LUMINANCE[None] * scales[:, None] + 50) // 100, 1, 255)
    return tables


def jpeg_quality(table: tuple[int, ...]) -> tuple[int, float]:
    """Return the quality, 1 to 100, whose standard table is the nearest, and the mean difference of their numbers.

    Args:
        table: The 64 numbers by which a file's luminance is quantised, by rows.
    """
    distances = np.abs(_standard_tables() - np.array(table)).sum(axis=1)
    best = int(np.argmin(distances))
    return best + 1, float(distances[best]) / len(table)


def levels_used(pixels: Pixels) -> float | None:
    """Return how many of the grey levels between the darkest and the brightest of a shade occur; None without shades.

    The median over patches whose values span 6 to 60 levels; 1 for a smooth shade, less where it falls into bands.
    """
    patches = patches_of(pixels, BAND_PATCH, BAND_PATCHES)
    grey = np.rint(patches.astype(np.float32) @ GREY).astype(np.uint8).reshape(len(patches), BAND_PATCH**2)
    lowest, highest = grey.min(axis=1, initial=255), grey.max(axis=1, initial=0)
    span = highest.astype(int) - lowest
    shade = (lowest > USABLE[0]) & (highest < USABLE[1]) & (span >= BAND_RANGE[0]) & (span <= BAND_RANGE[1])
    if np.count_nonzero(shade) < ENOUGH_PATCHES:
        return None
    ordered = np.sort(grey[shade], axis=1)
    levels = 1 + np.count_nonzero(np.diff(ordered, axis=1), axis=1)
    return float(np.median(levels / (span[shade] + 1)))


def halo(windows: Sequence[Window]) -> float | None:
    """Return how strong the fine bands along the strongest edges are, over the edges' gradient; None without edges.

    Bands are what two Gaussian blurs, of 1 and of 2.5 px, differ by within 3 px of an edge.
    """
    bands, slopes, pixels = 0.0, 0.0, 0
    step = math.ceil(sum(_middle_of(window.grey).size for window in windows) / HALO_PIXELS)
    for window in windows[:: max(1, step)]:
        grey = _middle_of(window.grey)
        fine, coarse = (ndimage.gaussian_filter(grey, sigma, truncate=3.0) for sigma in HALO_SIGMAS)
        slope = np.hypot(*np.gradient(fine))
        edges = (slope >= np.quantile(slope, 1 - STRONGEST)) & (slope > LEAST_SLOPE)
        band = ndimage.maximum_filter(edges, size=HALO_BAND)
        number = int(np.count_nonzero(band))
        if number:
            bands += float(np.abs(fine - coarse)[band].sum(dtype=np.float64))
            slopes += float(slope[edges].mean(dtype=np.float64)) * number
            pixels += number
    return bands / slopes if pixels >= ENOUGH_EDGES else None


def _middle_of(grey: Values) -> Values:
    top, left = (max(0, side - HALO_SIDE) // 2 for side in grey.shape)
    return grey[top : top + HALO_SIDE, left : left + HALO_SIDE]


def _say_blocks(value: float) -> Words:
    if value < 1.15:
        return Phrase("no blocks of compression are seen"), ""
    said = Phrase("steps at the borders of 8 px blocks are {times:.2f} times those elsewhere", times=value)
    return said, Phrase("use the original file")


def _say_quality(value: float) -> Words:
    advice = Phrase("use the original file") if value < 50 else ""
    return Phrase("saved at a JPEG quality of about {quality:.0f}", quality=value), advice


def _say_chroma(value: float) -> Words:
    if value == 1:
        return Phrase("colour is stored at full resolution"), ""
    return Phrase("colour is stored for one in {pixels:.0f} pixels", pixels=1 / value), ""


def _say_halo(value: float) -> Words:
    return Phrase("fine bands along the strongest edges are {share:.3f} of the edges' gradient", share=value), ""


def _say_levels(value: float) -> Words:
    if value > 0.75:
        return Phrase("shades are smooth"), ""
    said = Phrase("shades use {percent:.0f} % of the levels that they span: bands", percent=100 * value)
    return said, Phrase("edit at 16 bits a channel")


FACTORS = (
    Factor(
        *("blockiness", "blocks of compression", "artefacts", "", "down", "whole"),
        step=0.19,
        say=_say_blocks,
        caveat="Later blur, enlarging or reducing hides the blocks.",
        source="steps at block borders over others, the largest over all offsets",
    ),
    Factor(
        *("jpeg_quality", "quality of the JPEG file", "artefacts", "1 to 100", "up", "file"),
        step=15,
        say=_say_quality,
        digits=0,
        caveat="Of the last time that the file was saved; earlier compression does not show.",
        source="tables of the Independent JPEG Group",
    ),
    Factor(
        *("chroma_resolution", "resolution of colour in the file", "artefacts", "", "up", "file"),
        step=0.5,
        say=_say_chroma,
        caveat="Nearly all cameras store colour for one in two or four pixels.",
        source="sampling factors of the JPEG file",
    ),
    Factor(
        *("halo", "halos of sharpening", "artefacts", "", "down", "whole"),
        step=0.0046,
        say=_say_halo,
        digits=3,
        caveat="Only a larger value than in other images of the scene tells: blur and enlarging lower it, whatever "
        "was sharpened; thin lines have bands by nature.",
        source="difference of Gaussian blurs of 1 and 2.5 px along edges, over the gradient",
    ),
    Factor(
        *("levels_used", "levels of shades", "artefacts", "", "up", "whole"),
        step=0.135,
        say=_say_levels,
        caveat="Strong JPEG compression (quality below 18) makes bands, too; noise hides them.",
    ),
)


def measure(image: MeasuredImage) -> dict[str, Measurement]:
    """Return a measurement for each of `FACTORS`, by name."""
    blocks, levels = blockiness(image.pixels), levels_used(image.pixels)
    halos = halo(image.native.face + image.native.tiles)
    return {
        "blockiness": Measurement(
            blocks, "" if blocks is not None else Phrase("the image is too small to show blocks")
        ),
        **_of_file(image.file),
        "halo": Measurement(halos, "" if halos is not None else Phrase("there are too few edges")),
        "levels_used": Measurement(levels, "" if levels is not None else Phrase("there are too few even shades")),
    }


def _of_file(file: FileFacts | None) -> dict[str, Measurement]:
    """Return what the file says of its compression."""
    names = ("jpeg_quality", "chroma_resolution")
    if file is None:
        return dict.fromkeys(names, Measurement(None, Phrase("the image is in memory, not in a file")))
    if not file.quantization or len(file.quantization[0]) != len(LUMINANCE):
        return dict.fromkeys(names, Measurement(None, Phrase("the file is no JPEG")))
    quality, distance = jpeg_quality(file.quantization[0])
    differs = "its own tables of numbers differ by {distance:.1f} on average from the nearest standard one"
    chroma = Measurement(None, Phrase("the file holds no colour"))
    if len(file.subsampling) >= 3:
        luma, blue, red = file.subsampling[:3]
        chroma = Measurement((blue[0] * blue[1] + red[0] * red[1]) / (2 * luma[0] * luma[1]))
    return {
        "jpeg_quality": Measurement(float(quality), detail=Phrase(differs, distance=distance) if distance else ""),
        "chroma_resolution": chroma,
    }
