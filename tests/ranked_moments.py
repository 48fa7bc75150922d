"""Moments of shots whose measured factors and scores are written down, for tests of their ranking."""

from __future__ import annotations

from piqa.factors.factor import Reading
from piqa.factors.families import FACTORS
from piqa.moments.measuring import Measured
from piqa.moments.moment import Moment, Shot

PLAIN = {
    "face_stops": 0.0,
    "over_face": 0.0,
    "clip_face": 0.0,
    "noise": 1.0,
    "chroma_noise": 1.0,
    "blur_eyes": 0.3,
    "edge_width_eyes": 4.0,
    "blur_face": 0.3,
    "edge_width_face": 4.0,
    "motion": 0.1,
    "blockiness": 1.0,
    "jpeg_quality": 90.0,
}
BOX = [100.0, 100.0, 200.0, 200.0]
POINTS = [[130.0, 140.0], [170.0, 140.0], [150.0, 160.0], [135.0, 180.0], [165.0, 180.0]]


def measured(box=BOX, notes=None, **values):
    """What was measured of a shot of 300 x 300 pixels: `PLAIN`, but for these values, in steps of the factor if named
    `NAME_steps`; `notes` say of some why they cannot be relied on."""
    all_values = dict(PLAIN)
    for name, value in values.items():
        plain = name.removesuffix("_steps")
        all_values[plain] = PLAIN[plain] + value * FACTORS[plain].step if name.endswith("_steps") else value
    readings = {name: Reading(FACTORS[name], value, (notes or {}).get(name, "")) for name, value in all_values.items()}
    return Measured(None, 300, 300, box, POINTS if box else None, 0, readings)


def moment(*files, kind="burst", **facts):
    """A moment of shots, a second apart."""
    shots = tuple(
        Shot(file, seconds=float(at), **facts.get(file.partition(".")[0], {})) for at, file in enumerate(files)
    )
    return Moment("m", shots, kind, "")
