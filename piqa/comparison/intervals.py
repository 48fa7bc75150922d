"""Intervals over scenes: of a mean by Student's t and by the bootstrap, of a win rate by Wilson and Clopper-Pearson.

The scene is the unit of inference. Repeats of one scene are averaged before anything here is called, so that they are
no new evidence. The percentile bootstrap of a mean is too short for few scenes: it covers 0.90 instead of 0.95 at ten,
and 0.93 still at fifty. Below `FEW` scenes the bootstrap-t is used in its place, which studentises every resample.

References: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 12 and 13; Wilson, JASA 1927;
Clopper and Pearson, Biometrika 1934.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.special import ndtri, stdtrit

Array = NDArray[np.float64]

LEVEL = 0.95
FEW = 100  # scenes below which the percentile interval is too short
SAMPLES = 2_000  # bootstrap resamples
SAME = 1e-12  # values that differ by less, relative to their size, are equal but for rounding


@dataclass(frozen=True)
class Interval:
    """A confidence interval; both ends are NaN where it is not defined.

    Attributes:
        low, high: Its ends.
        method: How it was computed, in words.
    """

    low: float
    high: float
    method: str

    @property
    def ends(self) -> tuple[float, float]:
        """Both ends."""
        return self.low, self.high


def t_interval(values: ArrayLike, level: float = LEVEL) -> Interval:
    """Return Student's interval of the mean over scenes; NaN for fewer than two scenes.

    Examples:
        >>> t_interval([1.0, 2.0, 3.0]).low.__round__(3)
        -0.484
    """
    x = np.asarray(values, np.float64)
    if len(x) < 2:
        return Interval(float("nan"), float("nan"), "t")
    half = float(stdtrit(len(x) - 1, (1 + level) / 2)) * float(x.std(ddof=1)) / sqrt(len(x))
    return Interval(float(x.mean()) - half, float(x.mean()) + half, "t")


def bootstrap_interval(
    values: ArrayLike, level: float = LEVEL, seed: int = 0, samples: int = SAMPLES, few: int = FEW
) -> Interval:
    """Return the bootstrap interval of the mean over whole scenes: bootstrap-t below `few` scenes, else percentile.

    A resample whose values are all equal has no studentised mean and is left out of the bootstrap-t.
    """
    x = np.asarray(values, np.float64)
    n = len(x)
    name = "bootstrap-t" if n < few else "percentile bootstrap"
    if n < 2:
        return Interval(float("nan"), float("nan"), name)
    drawn = x[np.random.default_rng(seed).integers(n, size=(samples, n))]
    means, tails = drawn.mean(axis=1), [(1 - level) / 2, (1 + level) / 2]
    if n >= few:
        low, high = np.quantile(means, tails)
        return Interval(float(low), float(high), name)
    spread, own = drawn.std(axis=1, ddof=1), float(x.std(ddof=1))
    usable = spread > SAME * max(own, 1e-300)
    if own == 0 or not usable.any():
        return Interval(float(x.mean()), float(x.mean()), name)
    low, high = np.quantile((means - x.mean())[usable] / spread[usable], tails)
    return Interval(float(x.mean() - high * own), float(x.mean() - low * own), name)


def wilson_interval(wins: float, scenes: int, level: float = LEVEL) -> Interval:
    """Return Wilson's interval of a win rate; `wins` counts a tie as half.

    Examples:
        >>> [round(end, 3) for end in wilson_interval(8, 10).ends]
        [0.49, 0.943]
    """
    if not scenes:
        return Interval(float("nan"), float("nan"), "Wilson")
    z = float(ndtri((1 + level) / 2))
    rate, shrink = wins / scenes, 1 + z * z / scenes
    middle = (rate + z * z / (2 * scenes)) / shrink
    half = z / shrink * sqrt(rate * (1 - rate) / scenes + z * z / (4 * scenes * scenes))
    return Interval(max(0.0, middle - half), min(1.0, middle + half), "Wilson")


def exact_bounds(wins: int, decided: int, alpha: float) -> tuple[float, float]:
    """Return both one-sided exact bounds of a win rate at `alpha` each (Clopper-Pearson), ties left out."""
    low = 0.0 if wins == 0 else float(stats.beta.ppf(alpha, wins, decided - wins + 1))
    high = 1.0 if wins == decided else float(stats.beta.ppf(1 - alpha, wins + 1, decided - wins))
    return low, high
