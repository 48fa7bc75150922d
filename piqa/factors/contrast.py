"""Contrast: how far lightness is spread over the face, and within small parts of the image."""

from __future__ import annotations

import numpy as np

from piqa.factors.cielab import lightness
from piqa.factors.exposure import NO_FACE
from piqa.factors.factor import Factor, Measurement, Words
from piqa.factors.measured_image import LINEAR, LUMINANCE, MeasuredImage, Values
from piqa.system.phrases import Phrase

TILES = 16  # along each side
DARKNESS = "Darkening lowers it too, as lightness does not follow stops."


def _say_face(value: float) -> Words:
    return Phrase("lightness in the face varies by {lightness:.0f} of 100 about its mean", lightness=value), ""


def _say_range(value: float) -> Words:
    span = "lightness in the face spans {lightness:.0f} of 100 between its darkest and brightest twentieth"
    return Phrase(span, lightness=value), ""


def _say_local(value: float) -> Words:
    return Phrase("within small parts of the image, lightness varies by {lightness:.1f} of 100", lightness=value), ""


FACTORS = (
    Factor(
        *("contrast_face", "contrast of the face", "contrast", "L*", "middle", "face"),
        step=2,
        say=_say_face,
        digits=1,
        caveat=f"{DARKNESS} Sharpening raises it.",
        source="standard deviation of L*",
    ),
    Factor(
        *("contrast_range", "range of tones in the face", "contrast", "L*", "middle", "face"),
        step=6.5,
        say=_say_range,
        digits=0,
        caveat=f"{DARKNESS} Sharpening raises it.",
        source="95th less 5th percentile of L*",
    ),
    Factor(
        *("contrast_local", "local contrast", "contrast", "L*", "middle", "whole"),
        step=1.6,
        say=_say_local,
        digits=1,
        caveat=f"{DARKNESS} Sharpening raises it.",
        source="mean standard deviation of L* in 16 x 16 parts of the image, in a copy of 256 px",
    ),
)


def measure(image: MeasuredImage) -> dict[str, Measurement]:
    """Return a measurement for each of `FACTORS`, by name."""
    local = Measurement(local_contrast(lightness(LINEAR[image.small] @ LUMINANCE)))
    if image.face_luminance is None:
        none = Measurement(None, NO_FACE)
        return {"contrast_face": none, "contrast_range": none, "contrast_local": local}
    face = lightness(image.face_luminance)
    dark, bright = np.percentile(face, [5, 95])
    return {
        "contrast_face": Measurement(float(face.std(dtype=np.float64))),
        "contrast_range": Measurement(float(bright - dark)),
        "contrast_local": local,
    }


def local_contrast(values: Values) -> float:
    """Return the mean standard deviation in 16 x 16 parts of an image; what is left over at its border is left out."""
    rows, columns = (max(1, size // TILES) for size in values.shape)
    across, down = values.shape[1] // columns, values.shape[0] // rows
    parts = values[: down * rows, : across * columns].reshape(down, rows, across, columns)
    return float(parts.std(axis=(1, 3)).mean())
