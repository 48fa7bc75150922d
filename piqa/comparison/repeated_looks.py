"""Repeated looks at the same growing data: at which level each look must test so that all of them together keep alpha.

The test statistics of the looks are Brownian motion, seen when the shares `t` of the planned scenes have come in: the
statistic at t has variance 1, those at s < t have correlation sqrt(s / t). The chance of crossing a boundary for the
first time at each look is found by recursive numerical integration over the values that have not crossed yet.

* `pocock`: the same critical z at every look.
* `obrien_fleming`: critical z falling with sqrt(K / k), so that early looks hardly ever stop.
* `spending_obrien_fleming`, `spending_pocock`: Lan and DeMets' functions, which spend alpha with the share of the
  scenes and approximate either boundary whatever the times of later looks.

References: Armitage, McPherson and Rowe, JRSS A 1969; Pocock, Biometrika 1977; O'Brien and Fleming, Biometrics 1979;
Lan and DeMets, Biometrika 1983.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import e, log, pi, sqrt
from typing import Literal

import numpy as np
from scipy import optimize, stats

from piqa.comparison.intervals import Array
from piqa.errors import InputError

Spending = Literal["obrien_fleming", "pocock", "spending_obrien_fleming", "spending_pocock"]

NODES = 201  # of Simpson's rule over the values of one look; errors are far below 1e-4
FAR = 8.5  # standard deviations beyond which nothing is


def crossing_probabilities(critical: Sequence[float], times: Sequence[float], two_sided: bool = False) -> Array:
    """Return the chance that each look is the first to cross its boundary, where there is no difference.

    Args:
        critical: Critical z of each look.
        times: Share of the planned scenes at each look, rising.
        two_sided: Whether below minus the critical z counts as well.

    Examples:
        >>> round(float(crossing_probabilities([1.96, 1.96], [0.5, 1.0], two_sided=True).sum()), 3)
        0.083
    """
    crossed = []
    grid = weights = density = np.zeros(0)
    before = 0.0
    for z, time in zip(critical, times, strict=True):
        # The sum W(t) = Z sqrt(t) has independent steps of variance t - s.
        step, upper = sqrt(time - before), z * sqrt(time)
        lower = -upper if two_sided else -FAR * sqrt(time)
        start = np.zeros(1) if not len(grid) else grid
        mass = np.ones(1) if not len(grid) else weights * density
        above = stats.norm.sf((upper - start) / step)
        below = stats.norm.cdf((lower - start) / step) if two_sided else 0.0
        crossed.append(float((mass * (above + below)).sum()))
        top = min(upper, FAR * sqrt(time))
        grid = np.linspace(lower, top, NODES)
        weights = _simpson(grid)
        density = np.exp(-0.5 * ((grid[:, None] - start[None, :]) / step) ** 2) @ (mass / (step * sqrt(2 * pi)))
        before = time
    return np.asarray(crossed)


def critical_values(
    looks: int | Sequence[float], alpha: float = 0.05, spending: Spending = "obrien_fleming", two_sided: bool = False
) -> Array:
    """Return the critical z of each look.

    Args:
        looks: Number of equally spaced looks, or the share of the planned scenes at each, rising to at most 1.
        alpha: Of all looks together, one-sided unless `two_sided`.
        spending: The boundary.
        two_sided: Whether both directions count.

    Raises:
        InputError: If alpha or the looks are not possible.

    Examples:
        >>> critical_values(5, 0.05, "pocock", two_sided=True).round(2).tolist()
        [2.41, 2.41, 2.41, 2.41, 2.41]
    """
    times = [(k + 1) / looks for k in range(looks)] if isinstance(looks, int) else list(looks)
    if not times or any(b <= a for a, b in zip([0.0, *times], times, strict=False)) or times[-1] > 1 + 1e-9:
        raise InputError(f"the looks {times} are not possible; shares of the planned scenes rise from above 0 to 1")
    if not 0 < alpha < 0.5:
        raise InputError(f"`alpha` {alpha:g} must lie between 0 and 0.5")
    if spending in ("pocock", "obrien_fleming"):
        shape = np.ones(len(times)) if spending == "pocock" else np.sqrt(times[-1] / np.asarray(times))

        def excess(scale: float) -> float:
            return float(crossing_probabilities((scale * shape).tolist(), times, two_sided).sum()) - alpha

        return np.asarray(optimize.brentq(excess, 0.3, 8.0, xtol=1e-6) * shape)
    return _spent(times, alpha, _spending_function(spending, alpha, two_sided), two_sided)


def level_of_look(look: int, looks: int, alpha: float, spending: Spending = "obrien_fleming") -> float:
    """Return the one-sided level at which one look of equally spaced ones must test; `looks` 1 gives alpha itself.

    Raises:
        InputError: If there is no such look.
    """
    if not 1 <= look <= looks:
        raise InputError(f"`look` {look} of `looks` {looks}: looks are counted from 1 to the number planned")
    if looks == 1:
        return alpha
    return float(stats.norm.sf(critical_values(looks, alpha, spending)[look - 1]))


def _spending_function(spending: str, alpha: float, two_sided: bool) -> Callable[[float], float]:
    """Return how much of alpha may be spent up to a share of the scenes."""
    if spending == "spending_pocock":
        return lambda time: alpha * log(1 + (e - 1) * time)
    # of each side: 2 (1 - Phi(z / sqrt t)) with z for half of that side's alpha
    sides = 2 if two_sided else 1
    z = float(stats.norm.isf(alpha / sides / 2))
    return lambda time: sides * 2 * float(stats.norm.sf(z / sqrt(time)))


def _spent(times: Sequence[float], alpha: float, spend: Callable[[float], float], two_sided: bool) -> Array:
    """Find each look's critical value in turn, so that what is spent up to it is as the function says."""
    found: list[float] = []
    for place, time in enumerate(times):
        target = min(spend(min(time, 1.0)), alpha)

        def excess(z: float, place: int = place, target: float = target) -> float:
            spent = crossing_probabilities([*found, z], times[: place + 1], two_sided).sum()
            return float(spent) - target

        found.append(float(optimize.brentq(excess, 0.0, FAR - 0.1, xtol=1e-6)) if excess(FAR - 0.1) < 0 else FAR)
    return np.asarray(found)


def _simpson(grid: Array) -> Array:
    weights = np.ones(len(grid))
    weights[1:-1:2], weights[2:-1:2] = 4.0, 2.0
    return np.asarray(weights * (grid[1] - grid[0]) / 3)
