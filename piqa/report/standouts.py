"""What stands out in a portrait: the factors in which it differs most from its scene, or that call for something."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from piqa.factors.factor import Reading
from piqa.report.scenes import place_in_words
from piqa.system.phrases import Phrase

MOST = 5
MOST_OF_A_FAMILY = 2  # factors of one family often move together
EXTREME, FAR_EXTREME = 10, 20  # per cent of the scene at each end, for what differs by one step, and by two
A_STEP, FAR = 1.0, 2.0  # what a viewer sees; a value that differs by less is not worth a word, however rare it is
FOR_ADVICE, FOR_PRINCIPAL = 1.5, 2.0  # steps that are added where something can be done, and for principal factors
FARTHEST = 6.0  # steps: as far as the strongest of the graded spoilings
# One or two of each family, which say most in fewest words; the index shows these first.
PRINCIPAL = (
    *("face_stops", "face_vs_surroundings", "contrast_face", "cast_blue", "colourfulness", "noise", "edge_width_eyes"),
    *("focus_gap", "jpeg_quality", "head_size", "eye_distance"),
)
# They tell people apart, or describe without a judgement: they are shown, but are no reason to point at an image.
NOT_TELLING = ("skin_a", "skin_b", "skin_hue", "motion_direction", "harmony_distance")


@dataclass(frozen=True)
class StandOut:
    """A factor that stands out in an image.

    Attributes:
        reading: Its reading, with a percentile where that is known.
        steps: How far it lies from the scene's median, in steps that a viewer sees; None where that is not known.
        place: Where it lies in the scene, in words.
    """

    reading: Reading
    steps: float | None
    place: str


def stand_outs(readings: Iterable[tuple[Reading, float | None]]) -> list[StandOut]:
    """Return the factors that stand out, most telling first.

    A factor stands out where it is at least one step away from the scene's median and among the extreme tenth of the
    scene, or two steps and among the extreme fifth (of too few images: two steps), or where its sentence comes with
    advice and most images are better in it. No factor whose value is not reliable stands out.

    Args:
        readings: Each with its distance from the scene's median in steps.
    """
    found = [(weight, reading, steps) for reading, steps in readings if (weight := _weight(reading, steps))]
    found.sort(key=lambda entry: -entry[0])
    chosen: list[StandOut] = []
    of_family: Counter[str] = Counter()
    for _, reading, steps in found:
        if len(chosen) < MOST and of_family[reading.factor.family] < MOST_OF_A_FAMILY:
            of_family[reading.factor.family] += 1
            chosen.append(StandOut(reading, steps, place_in_words(reading) or _distance(steps)))
    return chosen


def _weight(reading: Reading, steps: float | None) -> float:
    """Return how telling a factor is; 0 where it does not stand out."""
    if not reading.reliable or reading.factor.name in NOT_TELLING:
        return 0.0
    far = 0.0 if steps is None else min(abs(steps), FARTHEST)
    if reading.percentile is None:
        differs = far >= FAR
    else:
        from_end = min(reading.percentile, 100 - reading.percentile)
        differs = (far >= A_STEP and from_end <= EXTREME) or (far >= FAR and from_end <= FAR_EXTREME)
    advised = bool(reading.advice) and not _is_on_the_better_side(reading, steps)
    if not differs and not (advised and (steps is None or far >= A_STEP)):
        return 0.0
    more = FOR_PRINCIPAL if reading.factor.name in PRINCIPAL else 0.0
    return far + more + (FOR_ADVICE if advised else 0.0)


def _is_on_the_better_side(reading: Reading, steps: float | None) -> bool:
    """Whether most other images are worse in this factor; advice would then only distract."""
    if steps is None or reading.factor.direction == "middle":
        return False
    return steps > 0 if reading.factor.direction == "up" else steps < 0


def _distance(steps: float | None) -> str:
    if steps is None or abs(steps) < A_STEP:
        return ""
    if steps > 0:
        return Phrase("clearly higher than in most of these images")
    return Phrase("clearly lower than in most of these images")
