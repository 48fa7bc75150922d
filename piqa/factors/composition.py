"""Composition: size and place of the head, room above it and before it, tilt; from the face box and five points."""

from __future__ import annotations

import math

from piqa.factors.factor import Factor, Measurement, Words
from piqa.factors.measured_image import MeasuredImage
from piqa.factors.regions import Regions
from piqa.preparation.faces import Box, Points
from piqa.system.phrases import Phrase

NO_FACE = Phrase("no face was found")
TOP_OF_HEAD = 1.2  # distances of eyes and chin from the eyes up: they lie half-way, and hair adds a little [estimate]
TURNED = 0.15  # distances of the eyes by which the nose of a turned head lies beside their middle [own rule]
TILTED = 5.0  # degrees [own rule]
THIRDS = (1 / 3, 2 / 3)


def _say_size(value: float) -> Words:
    return Phrase("the face takes {percent:.0f} % of the height", percent=100 * value), ""


def _say_across(value: float) -> Words:
    return Phrase("the middle of the face lies at {percent:.0f} % of the width, from the left", percent=100 * value), ""


def _say_down(value: float) -> Words:
    return Phrase("the middle of the face lies at {percent:.0f} % of the height, from the top", percent=100 * value), ""


def _say_eyes(value: float) -> Words:
    return Phrase("the eyes lie at {percent:.0f} % of the height, from the top", percent=100 * value), ""


def _say_thirds(value: float) -> Words:
    thirds = "the middle of the face is {percent:.0f} % of the diagonal away from the nearest crossing of the thirds"
    return Phrase(thirds, percent=100 * value), ""


def _say_centre(value: float) -> Words:
    centre = "the middle of the face is {percent:.0f} % of the diagonal away from the centre of the image"
    return Phrase(centre, percent=100 * value), ""


def _say_head_room(value: float) -> Words:
    if value < 0:
        return Phrase("the top of the head seems to be cut off"), Phrase("leave room above the head")
    return Phrase("the room above the head is {percent:.0f} % of the height", percent=100 * value), ""


def _say_look_room(value: float) -> Words:
    room = "{percent:.0f} % of the room beside the face lies on the side to which it is turned"
    return Phrase(room, percent=100 * value), ""


def _say_tilt(value: float) -> Words:
    if abs(value) <= TILTED:
        return Phrase("the eyes are level within {degrees:.0f} degrees", degrees=abs(value)), ""
    if value > 0:
        return Phrase("head or camera is tilted by {degrees:.0f} degrees clockwise", degrees=value), ""
    return Phrase("head or camera is tilted by {degrees:.0f} degrees anticlockwise", degrees=-value), ""


FACTORS = (
    Factor(
        *("head_size", "size of the face", "composition", "", "middle", "face"),
        step=0.1,
        say=_say_size,
        source="height of the face box over that of the image",
    ),
    Factor(
        *("face_x", "place of the face across", "composition", "", "middle", "face"),
        step=0.1,
        say=_say_across,
    ),
    Factor(
        *("face_y", "place of the face from the top", "composition", "", "middle", "face"),
        step=0.1,
        say=_say_down,
    ),
    Factor(
        *("eyes_height", "height of the eyes", "composition", "", "middle", "eyes"),
        step=0.1,
        say=_say_eyes,
    ),
    Factor(
        *("thirds_distance", "distance from the rule of thirds", "composition", "", "middle", "face"),
        step=0.05,
        say=_say_thirds,
    ),
    Factor(
        *("centre_distance", "distance from the centre", "composition", "", "middle", "face"),
        step=0.05,
        say=_say_centre,
    ),
    Factor(
        *("head_room", "room above the head", "composition", "", "middle", "face"),
        step=0.05,
        say=_say_head_room,
        caveat="The top of the head is estimated from the eyes and the lower border of the face box.",
        source=f"top of the head {TOP_OF_HEAD} times as far above the eyes as the chin is below them",
    ),
    Factor(
        *("look_room", "room on the side of the look", "composition", "", "middle", "face"),
        step=0.15,
        say=_say_look_room,
        caveat="The side is that to which the nose points, not that to which the eyes look.",
    ),
    Factor(
        *("tilt", "tilt of the head", "composition", "degrees", "middle", "eyes"),
        step=5,
        say=_say_tilt,
        digits=1,
        caveat="A tilted head and a tilted camera give the same value. The points of the face err by 2 degrees, "
        "in heads that are tilted by 30 degrees by up to 4.",
        source="line of the eyes",
    ),
)


def measure(image: MeasuredImage) -> dict[str, Measurement]:
    """Return a measurement for each of `FACTORS`, by name."""
    found = {factor.name: Measurement(None, NO_FACE) for factor in FACTORS}
    regions = image.regions
    if regions.face_box is not None:
        found |= _place(regions, regions.face_box)
        if regions.points is not None:
            found |= _eyes(regions, regions.face_box, regions.points)
    return found


def _place(regions: Regions, box: Box) -> dict[str, Measurement]:
    width, height = regions.width, regions.height
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    diagonal = math.hypot(width, height)
    thirds = min(math.dist((x, y), (across * width, down * height)) for across in THIRDS for down in THIRDS)
    return {
        "head_size": Measurement((box[3] - box[1]) / height),
        "face_x": Measurement(x / width),
        "face_y": Measurement(y / height),
        "thirds_distance": Measurement(thirds / diagonal),
        "centre_distance": Measurement(math.dist((x, y), (width / 2, height / 2)) / diagonal),
    }


def _eyes(regions: Regions, box: Box, points: Points) -> dict[str, Measurement]:
    (left_x, left_y), (right_x, right_y), nose = points[:3]
    x, y = (left_x + right_x) / 2, (left_y + right_y) / 2
    tilt = math.atan2(right_y - left_y, right_x - left_x)
    distance = max(math.hypot(right_x - left_x, right_y - left_y), 1e-6)
    # where the nose lies along the line of the eyes
    turn = ((nose[0] - x) * math.cos(tilt) + (nose[1] - y) * math.sin(tilt)) / distance
    return {
        "eyes_height": Measurement(y / regions.height),
        "head_room": Measurement((y - TOP_OF_HEAD * (box[3] - y)) / regions.height),
        "look_room": _look_room(regions.width, box, turn),
        "tilt": Measurement(math.degrees(tilt)),
    }


def _look_room(width: int, box: Box, turn: float) -> Measurement:
    """Return the fraction of the room beside the face that lies on the side to which the nose points."""
    if abs(turn) < TURNED:
        return Measurement(None, Phrase("the face is turned to neither side"))
    left, right = max(0.0, box[0]), max(0.0, width - box[2])
    if left + right <= 0:
        return Measurement(None, Phrase("the face leaves no room beside it"))
    return Measurement((right if turn > 0 else left) / (left + right))
