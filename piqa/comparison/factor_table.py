"""Factors of two devices over scenes, without any model: in steps that a viewer sees, positive where A is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from piqa.comparison.pair import PairResult, Settings, compare_pair
from piqa.comparison.shots import Scenes, Shot
from piqa.errors import InputError
from piqa.evaluation.statistics.significance import holm
from piqa.factors.factor import Factor
from piqa.factors.families import FACTORS


@dataclass(frozen=True, eq=False)
class FactorResult:
    """One factor of two devices.

    Attributes:
        factor: What was measured.
        pair: The devices, with the difference in steps; its `p_adjusted` is Holm's over all factors and pairs.
    """

    factor: Factor
    pair: PairResult


def factor_named(name: str) -> Factor:
    """Return a factor that one can judge by; InputError if there is none, or neither more nor less of it is better."""
    found = FACTORS.get(name)
    if found is None:
        raise InputError(f"there is no factor {name!r}; there are {', '.join(FACTORS)}")
    if found.direction == "middle":
        raise InputError(f"neither more nor less of {name} is better, so that it cannot decide; choose another factor")
    return found


def in_steps(factor: Factor, values: Mapping[str, float]) -> dict[str, float]:
    """Return values by file as steps of the factor, so that more is better."""
    sign = -1.0 if factor.direction == "down" else 1.0
    return {file: sign * value / factor.step for file, value in values.items()}


def compare_factors_of(
    shots: Sequence[Shot], values: Mapping[str, Mapping[str, float]], settings: Settings
) -> list[FactorResult]:
    """Compare every two devices in every factor that has a better direction.

    Args:
        shots: All.
        values: Values by file, by factor.
        settings: How; without a preference, as factors have none.
    """
    plain = replace(
        settings, preference=None, margin=0.0, unit="steps", test="t" if settings.test == "sign" else settings.test
    )
    found = []
    for name, factor in FACTORS.items():
        if factor.direction == "middle":
            continue
        steps = in_steps(factor, values.get(name, {}))
        scenes = Scenes(replace(shot, score=steps[shot.file]) for shot in shots if shot.file in steps)
        pairs = [compare_pair(scenes, a, b, plain) for a, b in combinations(scenes.devices, 2)]
        found += [FactorResult(factor, pair) for pair in pairs if pair.enough and not pair.all_tied]
    adjusted = holm([one.pair.p for one in found]).tolist()
    results = [FactorResult(o.factor, replace(o.pair, p_adjusted=p)) for o, p in zip(found, adjusted, strict=True)]
    return sorted(results, key=lambda one: (one.pair.p_adjusted, -abs(one.pair.estimate)))
