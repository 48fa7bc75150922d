"""Is one model better than another? A permutation test over scenes, and Holm's correction where several are compared.

The test swaps the two models' measures in whole scenes, which turns the sign of their difference there. If the models
are equally good, every pattern of swaps is as likely as the observed one. The p-value is the fraction of patterns whose
mean difference over scenes is at least as large; it is exact for any distribution. The sampling unit is the scene, not
the image: images of a scene are judged together and are not independent, and swapping single images would mix
predictions of two scales in one ranking. S scenes have 2^S patterns, so p is never below 2 / 2^S.

The mean is the statistic under every protocol. A difference of medians depends on a scene or two, so that even a model
that is far better in all scenes would not be significant. Where mean and median favour different models, no
significance is claimed. The bootstrap interval gives the size of the difference of the protocol's own values.

`scipy.stats.permutation_test` gives the same exact p-values. It is not used for drawn patterns: it doubles the smaller
tail instead of counting both, so that the smallest p is twice as large, and takes several times as long.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from piqa.evaluation.measures import Array

PERMUTATIONS = 10_000
SIGNS_AT_ONCE = 2_000_000  # in memory at a time
SAME = 1e-12  # mean differences that differ by less are equal but for rounding


def permutation_p(differences: ArrayLike, seed: int = 0, permutations: int = PERMUTATIONS) -> float:
    """Return the two-sided p-value of two models' mean difference under swaps of whole scenes.

    Args:
        differences: One model's measure less the other's in every scene, shape (scenes,). Scenes in which either is not
            defined, NaN, are left out, as in the values of the board.
        seed: Seed of the patterns drawn.
        permutations: Number of patterns drawn where there are more than that; else each is taken once.

    Returns:
        A p-value in (0, 1]; NaN if no scene is left.

    Examples:
        >>> permutation_p([0.1, 0.2, 0.1, 0.3])
        0.125
    """
    values = np.asarray(differences, np.float64)
    values = values[~np.isnan(values)]
    if not values.size:
        return float("nan")
    exact = values.size < 60 and 2**values.size <= permutations
    seen, as_far, patterns = abs(values.mean()), 0, 0
    for signs in _all_patterns(values.size) if exact else _drawn_patterns(values.size, permutations, seed):
        as_far += int((np.abs(signs @ values) / values.size >= seen - SAME).sum())
        patterns += len(signs)
    return as_far / patterns if exact else (as_far + 1) / (patterns + 1)


def _all_patterns(scenes: int) -> Iterator[Array]:
    yield np.array(list(product([-1.0, 1.0], repeat=scenes)))


def _drawn_patterns(scenes: int, permutations: int, seed: int) -> Iterator[Array]:
    """Yield patterns of swaps in blocks, the same ones whatever the size of a block."""
    generator, step = np.random.default_rng(seed), max(SIGNS_AT_ONCE // scenes, 1)
    for start in range(0, permutations, step):
        yield generator.choice([-1.0, 1.0], size=(min(step, permutations - start), scenes))


def holm(p: ArrayLike) -> Array:
    """Adjust the p-values of several comparisons by Holm's method; NaN is no comparison and stays NaN.

    Returns:
        Adjusted p-values: rejecting those below 0.05 keeps the chance of any false rejection below 0.05.

    Reference: Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics, 1979.

    Examples:
        >>> holm([0.01, 0.04, 0.5]).tolist()
        [0.03, 0.08, 0.5]
    """
    values = np.asarray(p, dtype=np.float64)
    adjusted = np.full(values.shape, np.nan)
    tested = np.flatnonzero(~np.isnan(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * values[order]), 1)
    return adjusted


def adjust(comparisons: pd.DataFrame) -> pd.DataFrame:
    """Add `p_adjusted`, by Holm over the comparisons of each `protocol` and `measure`, to a frame with `p`."""
    adjusted = pd.Series(np.nan, index=comparisons.index, dtype="float64")
    for _, rows in comparisons.groupby(["protocol", "measure"]):
        adjusted[rows.index] = holm(rows["p"])
    return comparisons.assign(p_adjusted=adjusted)
