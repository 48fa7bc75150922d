"""Noise: the grain of brightness and of colour in the flattest patches, in native pixels."""

from __future__ import annotations

from piqa.factors.factor import Factor, Measurement, Words
from piqa.factors.measured_image import MeasuredImage
from piqa.factors.native import COMMON_EYE_DISTANCE
from piqa.system.phrases import Phrase

VISIBLE = 6.0  # grey levels; two grades of the spoiling
TOO_FEW = Phrase("there are too few even places to measure noise")
TOO_NEAR = Phrase(f"the eyes are nearer than {COMMON_EYE_DISTANCE} px")


def _say_noise(value: float) -> Words:
    if value < 0.5:
        return Phrase("hardly any noise is left; with soft edges that is smoothing, not a clean camera"), ""
    if value >= VISIBLE:
        said = Phrase("visible grain: even places vary by {levels:.1f} grey levels", levels=value)
        return said, Phrase("lower ISO, more light")
    return Phrase("even places vary by {levels:.1f} grey levels", levels=value), ""


def _say_shadows(value: float) -> Words:
    advice = Phrase("expose more, so that shadows need no lifting") if value >= VISIBLE else ""
    return Phrase("the darkest even places vary by {levels:.1f} grey levels", levels=value), advice


def _say_chroma(value: float) -> Words:
    advice = Phrase("lower ISO, or reduce noise of colour") if value >= VISIBLE else ""
    return Phrase("colour varies by {levels:.1f} grey levels in even places", levels=value), advice


def _say_common(value: float) -> Words:
    common = "at the common size, eyes {distance} px apart, even places vary by {levels:.1f} grey levels"
    return Phrase(common, distance=COMMON_EYE_DISTANCE, levels=value), ""


SOURCE = (
    "absolute Haar details (Donoho and Johnstone 1994), mean between quartiles, in the flattest fifth of the patches"
)
TEXTURE = "Fine texture counts as noise where an image has no flat patch; JPEG compression and blur hide noise."

FACTORS = (
    Factor(
        *("noise", "noise", "noise", "grey levels", "down", "whole"),
        step=1.8,
        say=_say_noise,
        digits=1,
        caveat=TEXTURE,
        source=SOURCE,
    ),
    Factor(
        *("shadow_noise", "noise of the shadows", "noise", "grey levels", "down", "whole"),
        step=1.4,
        say=_say_shadows,
        digits=1,
        caveat=TEXTURE,
        source=f"{SOURCE}, the darkest eighth of the patches",
    ),
    Factor(
        *("chroma_noise", "noise of colour", "noise", "grey levels", "down", "whole"),
        step=2.9,
        say=_say_chroma,
        digits=1,
        caveat="Noise that is independent in red, green and blue, as of a raw sensor, counts here, too.",
        source=f"{SOURCE}, of Cb and Cr",
    ),
    Factor(
        *("noise_60", "noise at the common size", "noise", "grey levels", "down", "face"),
        step=0.85,
        say=_say_common,
        digits=1,
        caveat="Fine texture of skin, hair and cloth becomes noise in the reduced copy.",
        source=f"{SOURCE}, of the face and what is next to it at {COMMON_EYE_DISTANCE} px between the eyes",
    ),
)


def measure(image: MeasuredImage) -> dict[str, Measurement]:
    """Return a measurement for each of `FACTORS`, by name."""
    found = image.native.noise
    common = image.native.common_noise
    return {
        "noise": _found(found.luma),
        "shadow_noise": _found(found.shadows),
        "chroma_noise": Measurement(None, Phrase("the image is grey")) if image.is_grey else _found(found.chroma),
        "noise_60": Measurement(None, missing_common(image)) if common is None else _found(common.luma),
    }


def _found(value: float | None) -> Measurement:
    return Measurement(value, "" if value is not None else TOO_FEW)


def missing_common(image: MeasuredImage) -> str:
    """Return why an image has no values at the common size."""
    return Phrase("no face was found") if image.regions.eye_distance is None else TOO_NEAR
