"""Templates of harmony: which parts of the hue circle an image needs (Cohen-Or et al. 2006, after Matsuda).

Harmony has no proven link to what people prefer in portraits: it describes, and does not rate.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from piqa.factors.cielab import lab
from piqa.factors.hue import LEAST_CHROMA
from piqa.factors.measured_image import LINEAR
from piqa.preparation.image_file import Pixels
from piqa.system.phrases import Phrase

NEAR = 2.0  # degrees: mean distance below which hues fit a template


class Template(NamedTuple):
    """Sectors of the hue circle that are in harmony, at any turn.

    Attributes:
        name: A letter that looks alike.
        words: What it is.
        sectors: Centre and width of each, in turns.
    """

    name: str
    words: str
    sectors: tuple[tuple[float, float], ...]

    @property
    def width(self) -> float:
        """Share of the circle."""
        return sum(width for _, width in self.sectors)


# from the smallest; L and its mirror image are one
TEMPLATES = (
    Template("i", Phrase("one narrow range of hues"), ((0, 0.05),)),
    Template("I", Phrase("two narrow opposite ranges"), ((0, 0.05), (0.5, 0.05))),
    Template("V", Phrase("one range of a quarter of the circle"), ((0, 0.26),)),
    Template("L", Phrase("a narrow range and a wide one at a right angle"), ((0, 0.05), (0.25, 0.22))),
    Template("L", Phrase("a narrow range and a wide one at a right angle"), ((0, 0.05), (0.75, 0.22))),
    Template("Y", Phrase("a wide range and a narrow opposite one"), ((0, 0.26), (0.5, 0.05))),
    Template("T", Phrase("half of the circle"), ((0.25, 0.5),)),
    Template("X", Phrase("two wide opposite ranges"), ((0, 0.26), (0.5, 0.26))),
)


def hue_histogram(pixels: Pixels) -> NDArray[np.float64] | None:
    """Return the share of each degree of hue in CIELAB, weighted by chroma; None where there is hardly any colour.

    Args:
        pixels: uint8 RGB, (rows, columns, 3), a small copy: in all pixels it reacts to noise more than to colour.
    """
    _, a, b = np.moveaxis(lab(LINEAR[pixels]).reshape(-1, 3), -1, 0)
    chroma = np.hypot(a, b)
    coloured = chroma > LEAST_CHROMA
    if not coloured.any():
        return None
    hues = np.rint(np.degrees(np.arctan2(b[coloured], a[coloured]))).astype(int) % 360
    sums = np.bincount(hues, weights=chroma[coloured], minlength=360)
    return np.asarray(sums / sums.sum())


def distances(hues: NDArray[np.float64]) -> list[float]:
    """Return the mean distance of hues from each template at its best turn, in degrees."""
    turned = np.fft.irfft(np.fft.rfft(hues) * np.conj(_spectra()), 360)
    return [float(max(0.0, one)) for one in turned.min(axis=1)]


def smallest(found: list[float]) -> Template | None:
    """Return the smallest template that hues fit, by their distances from each; None if they fit none."""
    return next((one for one, distance in zip(TEMPLATES, found, strict=True) if distance < NEAR), None)


@cache
def _spectra() -> NDArray[np.complex128]:
    """Return the Fourier transform over the circle of the distance from each template."""
    degrees = np.arange(360)
    outside = []
    for template in TEMPLATES:
        each = [np.abs((degrees - 360 * centre + 180) % 360 - 180) - 180 * width for centre, width in template.sectors]
        outside.append(np.maximum(0, np.min(each, axis=0)))
    return np.asarray(np.fft.rfft(np.array(outside)))
