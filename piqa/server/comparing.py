"""What tells two photos apart: by factors, and by what each model says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from piqa.explanation.difference import FactorDifference
from piqa.report.comparison import compare_facts
from piqa.report.facts import Facts
from piqa.server.models import Models
from piqa.server.photos import ScoreSeen


@dataclass(frozen=True)
class ScoresCompared:
    """What a model says of two photos.

    Attributes:
        a: Score of the first; None where there is none.
        b: Likewise of the second.
        p_a_better: Probability that the first is preferred; None where the model's card states no preference.
    """

    a: float | None
    b: float | None
    p_a_better: float | None


@dataclass(frozen=True)
class Compared:
    """Two photos compared: factors that differ, the most telling first, and scores by model."""

    factors: Sequence[FactorDifference]
    scores: Mapping[str, ScoresCompared]


def compare_two(
    models: Models,
    facts: tuple[Facts | None, Facts | None],
    scores: tuple[Mapping[str, ScoreSeen], Mapping[str, ScoreSeen]],
) -> Compared:
    """Compare two photos by what is known of each; no factor is compared where one is not measured."""
    first, second = facts
    factors = [] if first is None or second is None else compare_facts(first, second)
    return Compared(factors, {model.name: _scores(model.name, models, scores) for model in models})


def _scores(
    name: str, models: Models, scores: tuple[Mapping[str, ScoreSeen], Mapping[str, ScoreSeen]]
) -> ScoresCompared:
    a, b = (of_photo[name].score if name in of_photo else None for of_photo in scores)
    preference = models[name].preference
    if a is None or b is None or preference is None:
        return ScoresCompared(a, b, None)
    return ScoresCompared(a, b, float(preference.probability(a - b)))
