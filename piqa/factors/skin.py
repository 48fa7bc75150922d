"""The colour of the skin, measured on both cheeks: what a cast of the light does to it. It says nothing on a person.

OFIQ's natural colour is not here: it jumps where a* or b* falls below zero, and does not rank a cast.
"""

from __future__ import annotations

import math

import numpy as np

from piqa.factors.cielab import lab
from piqa.factors.exposure import NO_FACE
from piqa.factors.face_light import TOO_SMALL
from piqa.factors.factor import Factor, Measurement, Words
from piqa.factors.measured_image import MeasuredImage, Values, linear_light
from piqa.system.phrases import Phrase

GREY = Phrase("the image is grey")
LEAST_EYE_DISTANCE = 27  # pixels; below, a cheek is smaller than a block of JPEG
SMALL_NOTE = Phrase("the face is small, so that JPEG moves its colour")
LEAST_CHROMA = 4  # C*; below, a hue is chance
# a* and b* of skin in neutral light (OFIQ v1.0.3, NaturalColour)
NATURAL = ((5, 25), (5, 35))


def _say_a(value: float) -> Words:
    if value >= 0:
        return Phrase("the cheeks are {amount:.0f} to the red side of grey (a*)", amount=abs(value)), ""
    return Phrase("the cheeks are {amount:.0f} to the green side of grey (a*)", amount=-value), ""


def _say_b(value: float) -> Words:
    if value >= 0:
        return Phrase("the cheeks are {amount:.0f} to the yellow side of grey (b*)", amount=abs(value)), ""
    return Phrase("the cheeks are {amount:.0f} to the blue side of grey (b*)", amount=-value), ""


def _say_hue(value: float) -> Words:
    hue = "the hue of the cheeks is at {degrees:.0f} degrees, where 0 is magenta-red and 90 is yellow"
    return Phrase(hue, degrees=value), ""


AMOUNT = "It grows and shrinks with brightness, contrast and the strength of all colours; the hue hardly does."
FACTORS = (
    Factor(
        *("skin_a", "skin, green to red", "colour", "a*", "middle", "cheeks"),
        step=3.3,
        say=_say_a,
        digits=1,
        caveat=AMOUNT,
        source="CIELAB under D50, of the mean of both cheeks",
    ),
    Factor(
        *("skin_b", "skin, blue to yellow", "colour", "b*", "middle", "cheeks"),
        step=4,
        say=_say_b,
        digits=1,
        caveat=AMOUNT,
        source="CIELAB under D50, of the mean of both cheeks",
    ),
    Factor(
        *("skin_hue", "hue of the skin", "colour", "degrees", "middle", "cheeks"),
        step=6.5,
        say=_say_hue,
        digits=0,
        caveat="Coloured light, make-up and sepia move it as a wrong white balance does; clipped cheeks have none.",
        source="atan2(b*, a*) of the mean of both cheeks",
    ),
)


def measure(image: MeasuredImage) -> dict[str, Measurement]:
    """Return a measurement for each of `FACTORS`, by name."""
    colour, note = cheek_colour(image)
    if colour is None:
        return dict.fromkeys((factor.name for factor in FACTORS), Measurement(None, note))
    a, b = float(colour[1]), float(colour[2])
    away = distance_from_natural(a, b)
    outside = Phrase("{away:.0f} outside of a* 5 to 25 and b* 5 to 35, where OFIQ expects it", away=away)
    detail = outside if away >= 1 else ""
    hardly = Phrase("the cheeks have hardly any colour") if math.hypot(a, b) < LEAST_CHROMA else ""
    return {
        "skin_a": Measurement(a, note),
        "skin_b": Measurement(b, note),
        "skin_hue": Measurement(math.degrees(math.atan2(b, a)), note or hardly, detail),
    }


def cheek_colour(image: MeasuredImage) -> tuple[Values | None, str]:
    """Return L*, a* and b* of both cheeks together, and why they are not reliable; None where there is no colour.

    Encoded values are averaged, as by OFIQ: in linear light noise would raise the mean of the darker channels.
    """
    if image.regions.cheeks is None:
        return None, NO_FACE
    if image.is_grey:
        return None, GREY
    zones = [image.zone(cheek) for cheek in image.regions.cheeks]
    if any(zone is None for zone in zones):
        return None, TOO_SMALL
    encoded = np.concatenate([zone.reshape(-1, 3) for zone in zones if zone is not None]).mean(axis=0) / 255
    small = (image.regions.eye_distance or 0) < LEAST_EYE_DISTANCE
    return lab(linear_light(encoded)), SMALL_NOTE if small else ""


def distance_from_natural(a: float, b: float) -> float:
    """Return the distance of a colour to the range that OFIQ takes for natural; 0 within, without OFIQ's jump."""
    return math.hypot(
        *(max(0.0, low - value, value - high) for value, (low, high) in zip((a, b), NATURAL, strict=True))
    )
