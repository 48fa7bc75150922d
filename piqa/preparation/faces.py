"""Choose the face of an image that is judged: a detector finds faces, a named rule chooses one, a margin is added.

The released DN-PIQA crops come from YOLO5Face, whose first box is its most confident one. `most_confident` keeps the
reference's order; `largest` is the default because the subject of a portrait is seldom a small face in the background.
`piqa.preparation.mtcnn` and `piqa.preparation.yunet` hold the detectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, cast

from PIL import Image

FaceRule = Literal["largest", "most_confident", "none"]
Detector = Literal["mtcnn", "yunet"]
Box = tuple[float, float, float, float]
Point = tuple[float, float]
Points = tuple[Point, Point, Point, Point, Point]  # eyes, nose, corners of the mouth; the left of the picture first

# Clockwise degrees, in the order in which equally confident faces win: cameras lie on their side more often than not.
TURNS = {90: Image.Transpose.ROTATE_270, 270: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180}


@dataclass(frozen=True)
class Face:
    """One detected face."""

    box: Box  # x1, y1, x2, y2 in pixels of the image, without margin; may extend beyond its border
    probability: float  # the detector's confidence, in [0, 1]
    points: Points | None = None  # in pixels of the image, too; None where the detector gives none

    @property
    def area(self) -> float:
        """The area of the box in square pixels."""
        x1, y1, x2, y2 = self.box
        return (x2 - x1) * (y2 - y1)


class Found(NamedTuple):
    """The face that is judged, as `find_face` found it."""

    face: Face | None
    turn: int
    others: int


class FaceDetector(Protocol):
    """What finds faces.

    Attributes:
        sure: Probability that a face on its side or on its head does not reach, as far as was measured, and that nearly
            all upright faces in good light do.
    """

    sure: float

    def detect(self, image: Image.Image) -> list[Face]:
        """Return all faces of an RGB image that show in it at least in part, in no particular order."""


def bounded_copy(image: Image.Image, side: int) -> Image.Image:
    """Return the image, or where its longest side exceeds `side` a smaller copy, in which faces are found faster."""
    scale = min(1.0, side / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0) if scale < 1 else image


def faces_of(image: Image.Image, copy: Image.Image, found: Iterable[tuple[Box, float, Sequence[Point]]]) -> list[Face]:
    """Return boxes, probabilities and points found in a copy as faces of the image, without those outside of it."""
    x_scale, y_scale = image.width / copy.width, image.height / copy.height
    faces = []
    for (left, top, right, bottom), probability, points in found:
        x1, y1, x2, y2 = left * x_scale, top * y_scale, right * x_scale, bottom * y_scale
        if max(x1, 0) < min(x2, image.width) and max(y1, 0) < min(y2, image.height):
            scaled = tuple((x * x_scale, y * y_scale) for x, y in points)
            faces.append(Face((x1, y1, x2, y2), probability, cast(Points, scaled)))
    return faces


def choose_face(faces: list[Face], rule: FaceRule, threshold: float) -> Face | None:
    """Return the face that is judged by this rule, or None where no face is at least as probable as `threshold`."""
    candidates = [] if rule == "none" else [face for face in faces if face.probability >= threshold]
    key = (lambda face: face.area) if rule == "largest" else (lambda face: face.probability)
    return max(candidates, key=key, default=None)


def turned_clockwise(image: Image.Image, degrees: int) -> Image.Image:
    """Return the image turned by 0, 90, 180 or 270 degrees."""
    return image.transpose(TURNS[degrees]) if degrees else image


def find_face(image: Image.Image, detector: FaceDetector, rule: FaceRule, threshold: float, try_turns: bool) -> Found:
    """Find the face that is judged, and the clockwise degrees by which the image must be turned to show it upright.

    Detectors find some faces that lie on their side or stand on their head, but are less sure of them. So with
    `try_turns`, where the detector is not sure of any face, it also looks at the image turned, and the turn with the
    most probable face is taken, if that face counts and is more probable than any in the image as it is.

    Args:
        image: The image as it is.
        detector: Finds the faces.
        rule: Chooses among them.
        threshold: Lowest probability of a face that counts.
        try_turns: Whether turns are tried: three more detections, of images without a sure face only.

    Returns:
        The face, in pixels of the turned image, the turn, and how many others count; None, 0, 0 if none does.
    """
    faces = {0: detector.detect(image)}
    if try_turns and rule != "none" and _surest(faces[0]) < max(detector.sure, threshold):
        faces |= {turn: detector.detect(turned_clockwise(image, turn)) for turn in TURNS}
    turn = max(faces, key=lambda turn: _surest(faces[turn]))
    face = choose_face(faces[turn], rule, threshold)
    if face is None:
        return Found(None, 0, 0)
    return Found(face, turn, sum(one.probability >= threshold for one in faces[turn]) - 1)


def _surest(faces: list[Face]) -> float:
    return max((face.probability for face in faces), default=0.0)


def crop_face(image: Image.Image, box: Box, margin: int) -> Image.Image:
    """Cut out a face with `margin` pixels on every side; black beyond the image's border, as published."""
    x1, y1, x2, y2 = (round(value) for value in box)
    return image.crop((x1 - margin, y1 - margin, x2 + margin, y2 + margin))


def relative_margin(box: Box, fraction: float) -> int:
    """Return a fraction of the longer side of a face box, in whole pixels."""
    x1, y1, x2, y2 = box
    return round(fraction * max(x2 - x1, y2 - y1))
