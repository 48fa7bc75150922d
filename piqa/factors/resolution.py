"""Resolution: how many pixels there are, and how many of them show the face."""

from __future__ import annotations

from piqa.factors.factor import Factor, Measurement, Words
from piqa.factors.measured_image import MeasuredImage
from piqa.system.phrases import Phrase

NO_POINTS = Phrase("no face was found")
FINE, ENOUGH = 120, 70  # pixels between the eyes: OFIQ's scalar is 92 and 50 of 100 there


def _say_eyes(value: float) -> Words:
    if value < 40:
        said = Phrase("the eyes are {distance:.0f} px apart: too few to judge how sharp they are", distance=value)
        return said, Phrase("come nearer, or crop less")
    return Phrase("the eyes are {distance:.0f} px apart", distance=value), ""


def _say_megapixels(value: float) -> Words:
    return Phrase("the image has {size:.1f} million pixels", size=value), ""


FACTORS = (
    Factor(
        *("eye_distance", "distance of the eyes", "resolution", "px", "up", "face"),
        step=20,
        say=_say_eyes,
        digits=0,
        source="OFIQ v1.0.3, InterEyeDistance, without its division by the cosine of the yaw",
    ),
    Factor(
        *("megapixels", "size of the image", "resolution", "million pixels", "up", "whole"),
        step=2,
        say=_say_megapixels,
        digits=1,
    ),
)


def measure(image: MeasuredImage) -> dict[str, Measurement]:
    """Return a measurement for each of `FACTORS`, by name."""
    distance = image.regions.eye_distance
    return {
        "eye_distance": Measurement(distance, "" if distance is not None else NO_POINTS),
        "megapixels": Measurement(image.width * image.height / 1e6),
    }
