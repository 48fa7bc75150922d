"""What the scenes at hand could have shown, and how many more a difference of interest needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from scipy.stats import norm

from piqa.comparison.pair import FEWEST, PairResult
from piqa.comparison.power import (
    detectable_effect,
    detectable_win_rate,
    equivalence_scenes,
    non_inferiority_scenes,
    sign_scenes,
    t_power,
    t_scenes,
)

REPEATS = (1, 2, 3, 5, 10)
DETECT = {"difference": (0.2, 0.5, 0.8), "preference": (0.2, 0.5, 0.8), "win rate": (0.2, 0.5, 0.8)}  # of the deviation
FLAT = 1e-9  # a deviation below which nothing can be planned from it


@dataclass(frozen=True)
class Needed:
    """The scenes that a true difference needs, with the repeats that there are.

    Attributes:
        difference: In the unit of the values: of the score, or of P(A better) less 0.5.
        t, sign: Scenes for the t test and for the exact sign test.
        power: Of the t test with the scenes at hand.
        repeats: Scenes for the t test by number of repeats; empty where their spread is not known.
    """

    difference: float
    t: int
    sign: int
    power: float
    repeats: dict[int, int]


@dataclass(frozen=True)
class Plan:
    """What a pair of devices with this spread can show.

    Attributes:
        scenes: At hand.
        deviation: Standard deviation of the values over scenes.
        alpha, power: Two-sided level, and the power that is wanted.
        detectable: Smallest true difference that the t test finds with that power.
        detectable_win_rate: Likewise of the exact sign test; NaN where none can be found.
        needed: For each difference of interest.
        equivalence, non_inferiority: Scenes for the margin, if there is no true difference; None without a margin.
        correlation: Of two outcomes of one scene; None without repeats.
    """

    scenes: int
    deviation: float
    alpha: float
    power: float
    detectable: float
    detectable_win_rate: float
    needed: Sequence[Needed]
    equivalence: int | None
    non_inferiority: int | None
    correlation: float | None


def plan_for(pair: PairResult, detect: Sequence[float] = (), power: float = 0.8) -> Plan | None:
    """Return the plan of a pair; None where its scenes show no spread to plan with.

    Args:
        pair: The pair.
        detect: Differences of interest, in the unit of the values; by default 0.2, 0.5 and 0.8 of the deviation.
        power: Wanted.
    """
    n, deviation, settings = len(pair.scenes), pair.deviation, pair.settings
    if n < 2 or not deviation > FLAT:
        return None
    alpha = 2 * settings.alpha
    wanted = detect or [share * deviation for share in DETECT[settings.measure]]
    margin = settings.margin if settings.measure != "win rate" else 0.0
    return Plan(
        n,
        deviation,
        alpha,
        power,
        detectable_effect(n, power, alpha) * deviation,
        detectable_win_rate(n, power, alpha),
        [_needed(pair, abs(size), power, alpha) for size in wanted if size],
        _enough(equivalence_scenes(margin, deviation, power, settings.alpha)) if margin else None,
        _enough(non_inferiority_scenes(margin, deviation, power, settings.alpha)) if margin else None,
        pair.repeats.correlation,
    )


def _enough(scenes: int) -> int:
    """Return as many scenes as a verdict takes at least, however plain the difference is."""
    return max(scenes, FEWEST)


def _needed(pair: PairResult, size: float, power: float, alpha: float) -> Needed:
    effect = round(size / pair.deviation, 9)  # equal ones are computed once
    rate = min(float(norm.cdf(effect)), 1 - 1e-9)
    repeats = {}
    if pair.repeats.correlation is not None and pair.settings.measure != "preference":
        single = _single_deviation(pair)
        for count in REPEATS:
            rho = pair.repeats.correlation
            effect_of_means = size / (single * sqrt((1 + (count - 1) * rho) / count))
            repeats[count] = _enough(t_scenes(effect_of_means, power, alpha))
    t = _enough(t_scenes(effect, power, alpha))
    return Needed(size, t, _enough(sign_scenes(rate, power, alpha)), t_power(len(pair.scenes), effect, alpha), repeats)


def _single_deviation(pair: PairResult) -> float:
    """Return the standard deviation over scenes of a difference of two single shots."""
    rho, shot = pair.repeats.correlation, pair.repeats.deviation
    assert rho is not None and shot is not None
    if rho < 1 and shot > 0:
        return sqrt(2 * shot**2 / (1 - rho))
    return pair.deviation


def plan_lines(plan: Plan, unit: str) -> list[str]:
    """Return a plan in words, a line a fact."""
    lines = [
        f"{plan.scenes} scenes, standard deviation over scenes {plan.deviation:.3g} {unit}; two-sided "
        f"level {plan.alpha:g}, power {plan.power:g}",
        f"smallest difference that these scenes can show: {plan.detectable:.3g} {unit}"
        + (
            f", or a win rate of {plan.detectable_win_rate:.3f}"
            if plan.detectable_win_rate == plan.detectable_win_rate
            else ""
        ),
    ]
    for one in plan.needed:
        more = max(one.t - plan.scenes, 0)
        line = f"a true difference of {one.difference:.3g} {unit}: power {one.power:.2f} now; {one.t} scenes by t test"
        line += f" ({more} more), {one.sign} by sign test"
        if one.repeats:
            line += "; with repeats " + ", ".join(f"{r}: {scenes}" for r, scenes in one.repeats.items())
        lines.append(line)
    if plan.equivalence is not None:
        lines.append(
            f"the margin, if there is no true difference: {plan.equivalence} scenes for equivalence, "
            f"{plan.non_inferiority} for non-inferiority"
        )
    if plan.correlation is not None:
        lines.append(f"two outcomes of one scene correlate by {plan.correlation:.2f}: repeats cannot replace scenes")
    return lines
