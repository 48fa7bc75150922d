"""Is one model better than another? A permutation test over scenes, and Holm's correction where several are compared.

The test swaps the two models' measures in whole scenes, which turns the sign of their difference there. If the models
are equally good, it is chance which of a scene's two figures belongs to which, so every pattern of swaps is as likely
as the one seen; the p-value is the share of patterns whose mean difference over scenes is at least as large. That is
exact whatever the distribution. It takes the scene, not the image, as what was sampled (images of a scene are judged
together and are not independent), and never puts predictions on two scales into one ranking, as swapping single images
would. With few scenes it cannot find much: S scenes have 2^S patterns, so p is never below 2 / 2^S.

The mean is the statistic under every protocol. A difference of medians hangs on a scene or two, so that even a model
that is better in all scenes by far would not stand out. Where mean and median point to different models nothing is
claimed. The bootstrap interval beside the p-value says how large the difference of the protocol's own figures is.
"""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from piqa.evaluation.measures import Array

PERMUTATIONS = 10_000
SAME = 1e-12  # two patterns that are equally far from 0 but for rounding


def permutation_p(differences: ArrayLike, seed: int = 0, permutations: int = PERMUTATIONS) -> float:
    """Two-sided p-value of two models' mean difference under swaps of whole scenes.

    Args:
        differences: One model's measure less the other's in every scene, shape (scenes,). Scenes in which either is not
            defined, NaN, are left out, as they are from the figures.
        seed: Of the patterns drawn.
        permutations: How many patterns are drawn where there are more than so many; else each is taken once.

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
    if exact:
        signs = np.array(list(product([-1.0, 1.0], repeat=values.size)))
    else:
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(permutations, values.size))
    seen, swapped = abs(values.mean()), np.abs(signs @ values) / values.size
    as_far = int((swapped >= seen - SAME).sum())
    return as_far / len(signs) if exact else (as_far + 1) / (len(signs) + 1)


def holm(p: ArrayLike) -> Array:
    """P-values of several comparisons adjusted by Holm's method; what is NaN is no comparison and stays NaN.

    Args:
        p: Shape (comparisons,).

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
    """Adds `p_adjusted`, Holm's over the comparisons of each `protocol` and `measure`, to a frame with `p`."""
    adjusted = pd.Series(np.nan, index=comparisons.index, dtype="float64")
    for _, rows in comparisons.groupby(["protocol", "measure"]):
        adjusted[rows.index] = holm(rows["p"])
    return comparisons.assign(p_adjusted=adjusted)
