"""What tells two images apart: by their measured factors, by the branches of a model, and by places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from piqa.factors.factor import Factor
from piqa.factors.maps import ImageMap
from piqa.factors.measure import PortraitFactors


@dataclass(frozen=True)
class FactorDifference:
    """How far two images differ in one factor.

    Attributes:
        factor: What was measured.
        a: Value of the first image, in the factor's unit.
        b: Value of the second.
        steps: By how many steps of the factor the first is better; where no direction is better, by how many they
            differ, a less b.
    """

    factor: Factor
    a: float
    b: float
    steps: float


@dataclass(frozen=True, eq=False)
class ScoreDifference:
    """What makes the score of one image differ from another's.

    Attributes:
        score_a: Score of the first.
        score_b: Score of the second.
        shares: What each branch adds to the difference: they sum to `score_a` less `score_b`; empty for a network with
            one input.
        factors: Measured factors that differ, the most telling first. The model knows nothing of them.
        maps_a: Maps of the first, as of an explanation.
        maps_b: Those of the second, with the same colours.
    """

    score_a: float
    score_b: float
    shares: Mapping[str, float]
    factors: Sequence[FactorDifference]
    maps_a: Mapping[str, ImageMap]
    maps_b: Mapping[str, ImageMap]


def compare_factors(a: PortraitFactors, b: PortraitFactors) -> list[FactorDifference]:
    """Return the factors by which two images differ, the most telling first.

    A factor counts if both images have a value that can be relied on.
    """
    found = []
    for name, reading in a.readings.items():
        other = b.readings[name]
        if reading.reliable and other.reliable and reading.value is not None and other.value is not None:
            factor = reading.factor
            steps = (reading.value - other.value) / factor.step
            found.append(
                FactorDifference(factor, reading.value, other.value, -steps if factor.direction == "down" else steps)
            )
    return sorted(found, key=lambda one: -abs(one.steps))
