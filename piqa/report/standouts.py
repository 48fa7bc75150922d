"""What stands out in a portrait: the factors in which it differs most from its scene, or that call for something."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from piqa.factors.factor import Reading
from piqa.report.scenes import place_in_words

MOST = 5
MOST_OF_A_FAMILY = 2  # factors of one family often move together
EXTREME = 10  # per cent of the scene at each end
A_STEP = 1.0  # what a viewer sees; a value that differs by less is not worth a word, however rare it is
FOR_ADVICE = 1.5  # steps that are added to a factor that calls for something
FARTHEST = 6.0  # steps: as far as the strongest of the graded spoilings


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
    scene (or, of too few images, twice as far away), or where its sentence comes with advice. No factor whose value is
    not reliable stands out.

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
    if not reading.reliable:
        return 0.0
    far = 0.0 if steps is None else min(abs(steps), FARTHEST)
    if reading.percentile is None:
        differs = far >= 2 * A_STEP
    else:
        differs = far >= A_STEP and not EXTREME < reading.percentile < 100 - EXTREME
    if not differs and not reading.advice:
        return 0.0
    return far + (FOR_ADVICE if reading.advice else 0.0)


def _distance(steps: float | None) -> str:
    if steps is None or abs(steps) < A_STEP:
        return ""
    return f"clearly {'higher' if steps > 0 else 'lower'} than in most of these images"
