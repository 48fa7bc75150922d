"""How many scenes a comparison needs, and which difference so many scenes can show.

Exact power is that of the two-sided sign test from the binomial distribution and of the t test from the noncentral t.
The plain formulas for equivalence, non-inferiority and repeats use the normal distribution.

References: Noether, JASA 1987 (sign test); Chow, Shao and Wang, Sample Size Calculations in Clinical Research, 2008
(equivalence, non-inferiority); Kish, Survey Sampling, 1965 (clusters: here the repeats of a scene).
"""

from __future__ import annotations

from functools import cache
from math import ceil, sqrt

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

from piqa.errors import InputError

ALPHA, POWER = 0.05, 0.8
MOST_SCENES = 200_000  # no plan asks for more; the search ends there


def sign_power(scenes: int | ArrayLike, win_rate: float, alpha: float = ALPHA) -> np.ndarray:
    """Return the exact power of the two-sided sign test, for any array of numbers of scenes."""
    n = np.asarray(scenes, np.int64)
    least = stats.binom.isf(alpha / 2, n, 0.5) + 1  # smallest number of wins that rejects
    power = stats.binom.sf(least - 1, n, win_rate) + stats.binom.cdf(n - least, n, win_rate)
    return np.asarray(np.where(least > n, 0.0, power))


@cache
def sign_scenes(win_rate: float, power: float = POWER, alpha: float = ALPHA, exact: bool = True) -> int:
    """Return the number of scenes from which on a sign test finds a win rate with this power.

    The exact power is a saw-tooth: the number is the smallest one after which it never falls below `power` again.

    Raises:
        InputError: If the win rate is 0.5, or does not lie between 0 and 1.

    Examples:
        >>> sign_scenes(0.8), sign_scenes(0.8, exact=False)
        (23, 20)
    """
    if not 0 < win_rate < 1 or win_rate == 0.5:
        raise InputError(
            f"a win rate of {win_rate:g} cannot be planned for; it must lie between 0 and 1, and not be 0.5"
        )
    z, z_power = float(stats.norm.ppf(1 - alpha / 2)), float(stats.norm.ppf(power))
    normal = ceil((z / 2 + z_power * sqrt(win_rate * (1 - win_rate))) ** 2 / (win_rate - 0.5) ** 2)
    if not exact:
        return normal
    if normal > MOST_SCENES:
        return normal  # there, exact and normal are one
    numbers = np.arange(1, 2 * normal + 60)
    return int(numbers[np.flatnonzero(sign_power(numbers, win_rate, alpha) < power)[-1]]) + 1


@cache
def t_power(scenes: float, effect: float, alpha: float = ALPHA) -> float:
    """Return the power of the two-sided t test for a difference of `effect` standard deviations over scenes."""
    if scenes < 2:
        return 0.0
    shift, critical = abs(effect) * sqrt(scenes), stats.t.ppf(1 - alpha / 2, scenes - 1)
    upper = float(stats.nct.sf(critical, scenes - 1, shift))
    lower = float(stats.nct.cdf(-critical, scenes - 1, shift))
    if not np.isfinite(upper):  # scipy's noncentral t gives up far in the tail
        upper = float(stats.norm.sf(critical - shift))
    return upper + (lower if np.isfinite(lower) else 0.0)


@cache
def t_scenes(effect: float, power: float = POWER, alpha: float = ALPHA) -> int:
    """Return the scenes that a t test needs to find a difference of `effect` standard deviations.

    Raises:
        InputError: If the difference is 0.

    Examples:
        >>> t_scenes(0.5), t_scenes(1.0)
        (34, 10)
    """
    if not effect:
        raise InputError("a difference of 0 cannot be found with any number of scenes")
    low, high = 1, 4
    while t_power(high, effect, alpha) < power:
        low, high = high, 2 * high
        if high > MOST_SCENES:
            z = float(stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power))
            return ceil((z / effect) ** 2)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if t_power(middle, effect, alpha) >= power else (middle, high)
    return high


@cache
def detectable_effect(scenes: int, power: float = POWER, alpha: float = ALPHA) -> float:
    """Return the smallest difference, in standard deviations over scenes, that a t test finds with this power.

    Examples:
        >>> round(detectable_effect(10), 2)
        1.0
    """
    if scenes < 2:
        return float("nan")
    return float(optimize.brentq(lambda effect: t_power(scenes, effect, alpha) - power, 1e-6, 60.0))


@cache
def detectable_win_rate(scenes: int, power: float = POWER, alpha: float = ALPHA) -> float:
    """Return the smallest win rate above 0.5 that the exact sign test finds with this power; NaN if none."""
    if float(sign_power(scenes, 1 - 1e-12, alpha)) < power:
        return float("nan")
    return float(optimize.brentq(lambda rate: float(sign_power(scenes, rate, alpha)) - power, 0.5, 1 - 1e-12))


def equivalence_scenes(margin: float, deviation: float = 1.0, power: float = POWER, alpha: float = ALPHA) -> int:
    """Return the scenes that TOST needs where there is no true difference, by the normal formula.

    Args:
        margin: In the unit of the difference.
        deviation: Standard deviation of the difference over scenes.
        power: Wanted.
        alpha: Of each one-sided test.
    """
    z = float(stats.norm.ppf(1 - alpha) + stats.norm.ppf((1 + power) / 2))
    return ceil((z * deviation / margin) ** 2)


def non_inferiority_scenes(margin: float, deviation: float = 1.0, power: float = POWER, alpha: float = ALPHA) -> int:
    """Return the scenes that a test of non-inferiority needs where there is no true difference; as above."""
    z = float(stats.norm.ppf(1 - alpha) + stats.norm.ppf(power))
    return ceil((z * deviation / margin) ** 2)


def scenes_with_repeats(scenes: int, repeats: float, correlation: float) -> int:
    """Return the scenes that are needed with repeats in place of `scenes` with a single pair each.

    Args:
        scenes: That are needed without repeats.
        repeats: Of every scene.
        correlation: Of two outcomes of one scene, rho. Repeats cannot replace scenes: rho x `scenes` remain.

    Examples:
        >>> scenes_with_repeats(194, 5, 0.4)
        101
    """
    return ceil(scenes * (1 + (repeats - 1) * correlation) / repeats - 1e-9)
