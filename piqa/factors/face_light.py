"""How evenly light falls on the face: from one side, or from above.

OFIQ's illumination uniformity, which compares histograms of two small zones, is not here: it does not rank light from
the side.
"""

from __future__ import annotations

import math

from piqa.factors.exposure import NO_FACE
from piqa.factors.factor import Factor, Measurement, Words
from piqa.factors.measured_image import MeasuredImage
from piqa.factors.regions import Square
from piqa.preparation.faces import Point
from piqa.system.phrases import Phrase

DARKEST = 0.002  # of white, added to both sides: below, it is noise
ONE_SIDED = 1.0  # stops [own rule]
EVEN = 0.15  # stops; less is not seen
TURNED = 0.15  # eye distances from the eyes' middle to the nose, along the line of the eyes
TOO_SMALL = Phrase("the face is too small to compare its parts")
LEAST_EYE_DISTANCE = 40  # pixels; below, what lies beside a zone counts in any blur
SMALL_NOTE = Phrase("the face is small, so that its parts run into each other")
TURNED_NOTE = Phrase("the head is turned, so that its two sides are not alike")


def _say_cheeks(value: float) -> Words:
    if abs(value) < EVEN:
        return Phrase("both sides of the face get the same light"), ""
    one_sided = Phrase("put a reflector on the darker side, or keep the light if it is meant")
    advice = one_sided if abs(value) >= ONE_SIDED else ""
    if value > 0:
        left = "the side of the face on the left of the picture gets {stops:.1f} stops more light"
        return Phrase(left, stops=value), advice
    right = "the side of the face on the right of the picture gets {stops:.1f} stops more light"
    return Phrase(right, stops=-value), advice


def _say_overhead(value: float) -> Words:
    if abs(value) < EVEN:
        return Phrase("forehead and chin are equally bright"), ""
    if value > 0:
        return Phrase("the forehead is {stops:.1f} stops brighter than the chin", stops=value), ""
    return Phrase("the chin is {stops:.1f} stops brighter than the forehead", stops=-value), ""


FACTORS = (
    Factor(
        *("cheek_stops", "light from one side", "exposure", "stops", "middle", "cheeks"),
        step=0.08,
        say=_say_cheeks,
        caveat="Clipping evens it out.",
        source="log2 of the ratio of the mean luminances of both cheeks; zones as in OFIQ v1.0.3",
    ),
    Factor(
        *("overhead_stops", "light from above", "exposure", "stops", "middle", "face"),
        step=0.11,
        say=_say_overhead,
        caveat="Hair on the forehead and a beard move it; clipping and flat contrast shrink it.",
        source="log2 of the ratio of the mean luminances of forehead and chin",
    ),
)


def measure(image: MeasuredImage) -> dict[str, Measurement]:
    """Return a measurement for each of `FACTORS`, by name."""
    regions = image.regions
    if regions.cheeks is None:
        return dict.fromkeys((factor.name for factor in FACTORS), Measurement(None, NO_FACE))
    small = SMALL_NOTE if (regions.eye_distance or 0) < LEAST_EYE_DISTANCE else ""
    turned = TURNED_NOTE if abs(nose_offset(image) or 0) > TURNED else ""
    return {
        "cheek_stops": _ratio(image, *regions.cheeks, turned or small),
        "overhead_stops": _ratio(image, *forehead_and_chin(image), small),
    }


def nose_offset(image: MeasuredImage) -> float | None:
    """Return how far the nose lies from the eyes' middle along the line of the eyes, in eye distances; signed."""
    regions = image.regions
    if regions.points is None or not regions.eye_distance or regions.eyes_middle is None:
        return None
    (x1, y1), (x2, y2), nose = regions.points[:3]
    x, y = regions.eyes_middle
    return ((nose[0] - x) * (x2 - x1) + (nose[1] - y) * (y2 - y1)) / regions.eye_distance**2


def forehead_and_chin(image: MeasuredImage) -> tuple[Square, Square]:
    """Return squares of side 0.3 eye distances: 0.6 above the eyes, and 0.5 below the mouth, as the head is tilted."""
    regions = image.regions
    assert regions.points is not None and regions.eyes_middle is not None and regions.eye_distance is not None
    (left_x, left_y), (right_x, right_y) = regions.points[3:]
    mouth, eyes = ((left_x + right_x) / 2, (left_y + right_y) / 2), regions.eyes_middle
    down = math.hypot(mouth[0] - eyes[0], mouth[1] - eyes[1]) or 1.0
    x, y = (mouth[0] - eyes[0]) / down, (mouth[1] - eyes[1]) / down

    def square(start: Point, distances: float) -> Square:
        step = distances * (regions.eye_distance or 0)
        return regions.square_about((start[0] + x * step, start[1] + y * step), 0.3)

    return square(eyes, -0.6), square(mouth, 0.5)


def _ratio(image: MeasuredImage, first: Square, second: Square, note: str) -> Measurement:
    one, other = image.zone_luminance(first), image.zone_luminance(second)
    if one is None or other is None:
        return Measurement(None, TOO_SMALL)
    return Measurement(math.log2((one + DARKEST) / (other + DARKEST)), note)
