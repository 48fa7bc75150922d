"""The order of the shots of a moment by measured factors alone, where there is no model.

A simple rule, of which nothing was learnt. Each aspect of quality is told by a few factors in which more, or less, is
better whatever is meant. In every factor a shot lies so many steps behind the best shot of the moment, a step being
what a viewer just sees (`piqa.factors.factor.Factor`); an aspect counts the mean of its factors, at most six steps.
Differences of less than a step tell nothing. The score is minus the sum of the aspects, so that 0 is a shot that is
best in everything, and -2 one that lies two steps behind. Shots without a face are compared with each other and come
after those with one. A face that the edge of the image cuts counts as six steps, where the moment has whole ones.

Brightness has no target: what counts is by how much the face is darker or brighter than skin usually is, between one
stop below and one above mid-grey (zones IV to VI of the zone system), and what of it is lost in black or white.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from piqa.factors.families import FACTORS
from piqa.moments.measuring import Measured
from piqa.system.phrases import Phrase

FARTHEST = 6.0  # steps: as far as the strongest of the graded spoilings
A_STEP = 1.0  # what shots differ in by less, a viewer does not see
USUAL_SKIN = 1.0  # stops from mid-grey
EDGE = 1.0  # pixels from the edge of the image at which a face is cut

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Aspect:
    """What several factors tell.

    Attributes:
        factors: By name; those in pixels of the image count only where all faces are about as large.
        better, worse: What a shot is said to be that is better or worse in it.
    """

    factors: tuple[str, ...]
    better: Phrase
    worse: Phrase


ASPECTS: dict[str, Aspect] = {
    "eyes": Aspect(("blur_eyes", "edge_width_eyes"), Phrase("sharper eyes"), Phrase("softer eyes")),
    "face": Aspect(("blur_face", "edge_width_face"), Phrase("a sharper face"), Phrase("a softer face")),
    "motion": Aspect(("motion",), Phrase("less smear of motion"), Phrase("more smear of motion")),
    "light": Aspect(
        ("unusual_light",), Phrase("a better exposed face"), Phrase("a face that is too dark or too bright")
    ),
    "lost": Aspect(
        ("over_face", "clip_face"), Phrase("less of the face lost in white"), Phrase("more of the face lost in white")
    ),
    "noise": Aspect(("noise", "chroma_noise"), Phrase("less noise"), Phrase("more noise")),
    "compression": Aspect(("blockiness", "jpeg_quality"), Phrase("less compression"), Phrase("more compression")),
}


WITHOUT_FACE = FARTHEST * (len(ASPECTS) + 1)  # steps; more than a face can lie behind


def _unusual_light(measured: Measured) -> float | None:
    reading = measured.readings.get("face_stops")
    if reading is None or reading.value is None or not reading.reliable:
        return None
    return max(abs(reading.value) - USUAL_SKIN, 0.0)


DERIVED: Mapping[str, tuple[Callable[[Measured], float | None], float]] = {
    "unusual_light": (_unusual_light, FACTORS["face_stops"].step)  # stops beyond what is usual, and a step of them
}


def is_cut(measured: Measured) -> bool:
    """Whether the edge of the image cuts the face."""
    if measured.face_box is None:
        return False
    x1, y1, x2, y2 = measured.face_box
    return min(x1, y1) <= EDGE or x2 >= measured.width - EDGE or y2 >= measured.height - EDGE


def behind(shots: Sequence[Measured]) -> dict[str, Values]:
    """Return by how many steps each shot lies behind the best of them, aspect by aspect; only aspects that tell.

    A factor counts where every shot has a value that can be relied on.
    """
    found = {}
    for name, aspect in ASPECTS.items():
        steps = [own for factor in aspect.factors if (own := _steps(shots, factor)) is not None]
        if not steps:
            continue
        mean = np.minimum(np.mean(steps, axis=0), FARTHEST)
        mean = mean - mean.min()
        if mean.max() >= A_STEP:
            found[name] = mean
    return found


def _steps(shots: Sequence[Measured], factor: str) -> Values | None:
    """Return by how many steps of a factor each shot lies behind the best; None where a shot has no value."""
    if factor in DERIVED:
        derive, step = DERIVED[factor]
        values = [derive(shot) for shot in shots]
        sign = 1.0
    else:
        readings = [shot.readings.get(factor) for shot in shots]
        values = [one.value if one is not None and one.reliable else None for one in readings]
        step, sign = FACTORS[factor].step, -1.0 if FACTORS[factor].direction == "up" else 1.0
    if any(value is None for value in values):
        return None
    steps = sign * np.array(values, np.float64) / step
    return np.asarray(steps - steps.min())


def factor_scores(shots: Sequence[Measured]) -> list[float]:
    """Return the score of each shot of a moment: minus the steps that it lies behind the best in each aspect."""
    scores = np.zeros(len(shots))
    for with_face in (True, False):
        own = [at for at, shot in enumerate(shots) if (shot.face_box is not None) == with_face]
        if not own:
            continue
        for steps in behind([shots[at] for at in own]).values():
            scores[own] -= steps
        if not with_face and len(own) < len(shots):
            scores[own] -= WITHOUT_FACE
    cut = np.array([is_cut(shot) for shot in shots])
    if not cut.all():
        scores[cut] -= FARTHEST
    return [float(score) for score in scores]
