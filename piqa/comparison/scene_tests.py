"""Tests of one difference over scenes: the t test, the exact sign test, and the sign-flip permutation test.

All are asked the same question, whether the value of A against B lies above a threshold, and answer with one-sided
p-values. Two-sided p-values, equivalence and non-inferiority follow from these:

* A differs from B: the two-sided p-value at the threshold "no difference",
* A is not inferior to B within a margin: the value lies above minus the margin,
* A and B are equivalent within a margin: it lies above minus the margin and below the margin (TOST).

The t and the flip test look at the mean of the scenes' values; the sign test at the win rate, ties left out.

References: Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics, 1987 (TOST); Fisher, The Design of
Experiments, 1935 (flips of signs).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.special import stdtr, stdtrit  # of Student's t, without the checks that take most of its time

from piqa.comparison.intervals import SAME, Array, exact_bounds

PrimaryTest = Literal["t", "sign", "flip"]

FLIPS = 10_000  # drawn where all patterns are too many
EXACT_FLIPS = 20  # scenes up to which all 2^n patterns are taken
AT_ONCE = 2_000_000  # signs in memory at a time


@dataclass(frozen=True)
class Outcomes:
    """How often A was better.

    Attributes:
        wins, losses, ties: Numbers of scenes.
    """

    wins: int
    losses: int
    ties: int

    @property
    def rate(self) -> float:
        """The win rate, a tie as half; NaN without a scene."""
        total = self.wins + self.losses + self.ties
        return (self.wins + self.ties / 2) / total if total else float("nan")


def outcomes(values: ArrayLike) -> Outcomes:
    """Count the scenes that A wins, loses and ties, by the signs of its differences.

    Examples:
        >>> outcomes([0.5, -0.2, 0.0, 1.0])
        Outcomes(wins=2, losses=1, ties=1)
    """
    x = np.asarray(values, np.float64)
    return Outcomes(int((x > 0).sum()), int((x < 0).sum()), int((x == 0).sum()))


def sign_p(values: ArrayLike) -> float:
    """Return the two-sided p-value of the exact sign test, ties left out; 1 where there are only ties.

    Examples:
        >>> sign_p([1, 2, 3, 4, 5, 6])
        0.03125
    """
    found = outcomes(values)
    return min(1.0, 2 * float(stats.binom.sf(max(found.wins, found.losses) - 1, found.wins + found.losses, 0.5)))


def flip_p(values: ArrayLike, seed: int = 0, flips: int = FLIPS) -> float:
    """Return the two-sided p-value of the sign-flip test of the mean: exact up to 20 scenes, else from drawn flips.

    Examples:
        >>> flip_p([0.1, 0.2, 0.1, 0.3])
        0.125
    """
    return _flip(np.asarray(values, np.float64), seed, flips, np.abs)


def t_p(values: ArrayLike) -> float:
    """Return the two-sided p-value of the t test over scenes; NaN for fewer than two."""
    x = np.asarray(values, np.float64)
    return min(1.0, 2 * min(_t_above(x, 0.0), _t_above(-x, 0.0))) if len(x) > 1 else float("nan")


def two_sided_p(values: ArrayLike, test: PrimaryTest, seed: int = 0) -> float:
    """Return the two-sided p-value of the test by that name, against no difference."""
    x = np.asarray(values, np.float64)
    if test == "t":
        return t_p(x)
    return sign_p(x) if test == "sign" else flip_p(x, seed)


def p_above(values: ArrayLike, margin: float, test: PrimaryTest, seed: int = 0) -> float:
    """Return the one-sided p-value for "A's value lies above minus the margin"; small ones speak for it.

    Args:
        values: Of A against B in every scene, 0 for no difference.
        margin: 0 asks whether A is better. For `t` and `flip` in the unit of the values, for `sign` in win rate.
        test: The test.
        seed: Of drawn flips.
    """
    x = np.asarray(values, np.float64)
    if not len(x):
        return float("nan")
    if test == "t":
        return _t_above(x, -margin)
    if test == "flip":
        return _flip(x + margin, seed, FLIPS, lambda sums: sums)
    found = outcomes(x)
    decided = found.wins + found.losses
    return float(stats.binom.sf(found.wins - 1, decided, min(max(0.5 - margin, 0.0), 1.0))) if decided else 1.0


def bounds(values: ArrayLike, test: PrimaryTest, alpha: float) -> tuple[float, float]:
    """Return both one-sided bounds of A's value at `alpha` each, against 0 for no difference.

    The interval between them has the level 1 - 2 alpha. For `sign` they are those of the win rate less 0.5. The flip
    test has none of its own; those of t are returned.
    """
    x = np.asarray(values, np.float64)
    if test == "sign":
        found = outcomes(x)
        low, high = exact_bounds(found.wins, found.wins + found.losses, alpha)
        return low - 0.5, high - 0.5
    if len(x) < 2:
        return float("nan"), float("nan")
    half = float(stdtrit(len(x) - 1, 1 - alpha)) * float(x.std(ddof=1)) / sqrt(len(x))
    return float(x.mean()) - half, float(x.mean()) + half


def _t_above(x: Array, threshold: float) -> float:
    """Return the one-sided p-value of the t test; without any spread that of a sign test, which needs none."""
    if len(x) < 2:
        return float("nan")
    shift, spread = float(x.mean()) - threshold, float(x.std(ddof=1))
    if spread <= SAME * max(1.0, float(np.abs(x).max())):
        return 0.5 ** len(x) if shift > 0 else 1.0
    return float(stdtr(len(x) - 1, -shift / (spread / sqrt(len(x)))))


def _flip(x: Array, seed: int, flips: int, size: Callable[[Array], Array]) -> float:
    """Return the share of flips whose sum has at least the observed size."""
    n = len(x)
    if not n:
        return float("nan")
    least = float(size(np.array([x.sum()]))[0]) - SAME * max(1.0, float(np.abs(x).sum()))
    if n <= EXACT_FLIPS:
        sums = np.zeros(1)
        for value in x:
            sums = np.concatenate([sums + value, sums - value])
        return float((size(sums) >= least).mean())
    generator, hits, step = np.random.default_rng(seed), 0, max(AT_ONCE // n, 1)
    for start in range(0, flips, step):
        signs = 2.0 * generator.integers(2, size=(min(step, flips - start), n), dtype=np.int8) - 1.0
        hits += int((size(signs @ x) >= least).sum())
    return (1 + hits) / (1 + flips)
