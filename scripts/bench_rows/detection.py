"""The row on face detection: the side of the copy that the detector sees, what it costs and which faces it keeps."""

from __future__ import annotations

from functools import partial

import torch
from face_detection import CASES, overlap, people
from PIL import Image

from bench_rows.measure import Figures, Row, Settings, in_turn, portrait, threads
from piqa.preparation.faces import Face
from piqa.preparation.mtcnn import MTCNNDetector
from piqa.preparation.portrait import THRESHOLDS

SIDES = (1600, 1200, 800, 640)  # px, the longest of the copy; the first is what the others are compared with
SAME = 0.5  # intersection over union, from which on two boxes are of the same face
BOUNDLESS = 1_000_000


def detection(settings: Settings) -> Row:
    """Time the detector on a portrait by the side of the copy, and count the faces of hard cases that it keeps."""
    megapixels, sides = (0.5, (480, 320)) if settings.smoke else (12, SIDES)
    detectors = {f"{side} px": MTCNNDetector(side) for side in sides}
    large = portrait(megapixels)
    with threads(1):
        ways = in_turn(
            {name: partial(one.detect, large) for name, one in detectors.items()}
            | {"no bound": partial(MTCNNDetector(BOUNDLESS).detect, large)},
            settings.times(5),
            "cpu",
            torch.device("cpu"),
        )
        found = [{name: surest(one, image) for name, one in detectors.items()} for image in cases(settings.smoke)]
    for name in detectors:
        ways[name] |= kept([one[f"{sides[0]} px"] for one in found], [one[name] for one in found])
    half = f"{sides[len(sides) // 2]} px"
    return Row(
        row="detection",
        what=f"faces of an image of {megapixels} MP in a copy of a bounded side; {len(found)} images of two persons, "
        f"dark, small, covered, turned, blurred and squeezed: the share of the faces found at {sides[0]} px that are "
        f"found at another (boxes overlap by {SAME} and more), and those found there alone; one thread",
        ratio=ways[f"{sides[0]} px"]["median_s"] / ways[half]["median_s"],
        compared=f"images/s at {half} : at {sides[0]} px",
        expected="about 3, all faces kept",
        clock="cpu",
        ways=ways,
        facts={
            "images": len(found),
            "no_bound_over_first": ways["no bound"]["median_s"] / next(iter(ways.values()))["median_s"],
        },
    )


def cases(smoke: bool) -> list[Image.Image]:
    """Return the images of scripts/face_detection.py: each case of each person."""
    made = []
    sure = MTCNNDetector(SIDES[0])
    for person in people():
        if smoke:
            person.thumbnail((500, 500))
        face = surest(sure, person)
        if face is None:
            raise RuntimeError("the detector finds no face in an upright portrait")
        made += [make(person, face.box)[0] for make in list(CASES.values())[: 2 if smoke else None]]
    return made


def surest(detector: MTCNNDetector, image: Image.Image) -> Face | None:
    """Return the face of the highest probability above the preparation's threshold, if any."""
    faces = [face for face in detector.detect(image) if face.probability >= THRESHOLDS["mtcnn"]]
    return max(faces, key=lambda face: face.probability, default=None)


def kept(first: list[Face | None], other: list[Face | None]) -> Figures:
    """Return which share of the first detector's faces the other finds, and how many it finds where that has none."""
    had = [(one, two) for one, two in zip(first, other, strict=True) if one is not None]
    same = sum(two is not None and overlap(one.box, two.box) >= SAME for one, two in had)
    more = sum(one is None and two is not None for one, two in zip(first, other, strict=True))
    return {"faces_kept": same / max(len(had), 1), "faces": len(had), "more_faces": more}
