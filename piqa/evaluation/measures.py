"""The measures of one scene: SROCC, KROCC, PLCC, MAE, RMSE and pair accuracy, each computed here and nowhere else.

Every function measures one prediction, many predictions or many bootstrap resamples at once. In all of them

- `score` holds the experts' scores, shape (images,),
- `prediction` holds predicted scores: shape (images,), or (rows, images) for many predictions of the same images,
- `counts` says how often each image was drawn in each resample, shape (rows, images), float64; `prediction` then has
  shape (images,). An image drawn twice is two images with equal scores and equal predictions, tied with each other.

Results have shape () for one prediction, else (rows,). What is not defined is NaN. Correlations are not defined for
fewer than two images, for values that are not finite, and where either side is constant, which includes a range that is
no more than the rounding of float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau, rankdata

from piqa.evaluation.pair_counts import Limits, PairCounter

Array = NDArray[np.float64]

# The outputs of a network that are equal for every image still differ in the last digits, by batch and by device.
ROUNDING = 8 * float(np.finfo(np.float32).eps)
BLOCK = 250_000  # pairs in memory at a time: 2 MB an array, which stays in the cache of a processor
LARGE = 700  # images of a scene from which on a look at each pair takes longer than n log n steps

MEASURES = ("srocc", "krocc", "plcc", "mae", "rmse", "pair_accuracy")
undefined_is_nan = np.errstate(invalid="ignore", divide="ignore")


def srocc(score: Array, prediction: Array, counts: Array | None = None) -> Array:
    """Return Spearman's rank correlation; tied images have their mean rank."""
    correlation = _pearson(_mean_ranks(score, counts), _mean_ranks(prediction, counts), counts)
    return _where_defined(correlation, score, prediction, counts)


def krocc(score: Array, prediction: Array, counts: Array | None = None) -> Array:
    """Return Kendall's rank correlation, tau-b."""
    return tau_b(concordance(score, prediction, counts)[0], score, prediction, counts)


def plcc(score: Array, prediction: Array, counts: Array | None = None) -> Array:
    """Return Pearson's linear correlation."""
    correlation = _pearson(_scaled(score), _scaled(prediction), counts)
    return _where_defined(correlation, score, prediction, counts)


def mae(score: Array, prediction: Array, counts: Array | None = None) -> Array:
    """Return the mean absolute error in units of the score; NaN without images."""
    return _mean(np.abs(score - prediction), counts)


def rmse(score: Array, prediction: Array, counts: Array | None = None) -> Array:
    """Return the root of the mean squared error in units of the score; NaN without images."""
    return np.asarray(np.sqrt(_mean(np.square(score - prediction), counts)))


@undefined_is_nan
def concordance(
    score: Array, prediction: Array, counts: Array | None = None, above: float = 0.0, below: float = math.inf
) -> tuple[Array, Array]:
    """Count pairs of images: concordant minus discordant ones, and all of them.

    A pair is concordant if score and prediction order its images alike. A tie of the prediction is neither concordant
    nor discordant. A tie of the score is no pair. Only pairs whose scores differ by more than `above` and by less than
    `below` are counted. Both results are whole numbers, so that they do not depend on how they were counted.
    """
    if _is_large(score, prediction):
        if prediction.ndim > 1:
            return _concordance_of_many(score, prediction, (above, below))
        return concordance_of_kinds(score, prediction, counts, [(above, below)])[0]
    images, rows = len(score), prediction.shape[:-1] if counts is None else counts.shape[:1]
    difference, pairs = np.zeros(rows), np.zeros(rows)
    step = max(BLOCK // max(prediction.size, 1), 1)
    for start in range(0, images, step):
        block = slice(start, start + step)
        apart = score[block, None] - score[start:]
        counted = np.triu((np.abs(apart) > above) & (np.abs(apart) < below), k=1).astype(np.float64)  # each pair once
        order = np.sign(apart) * counted
        predicted_order = np.sign(prediction[..., block, None] - prediction[..., None, start:])
        if counts is None:
            difference += predicted_order.reshape(*rows, -1) @ order.ravel()
            pairs += counted.sum()
        else:
            agreement = order * predicted_order
            difference += (counts[:, start:] @ agreement.T * counts[:, block]).sum(axis=1)
            pairs += (counts[:, start:] @ counted.T * counts[:, block]).sum(axis=1)
    return difference, pairs


def concordance_of_kinds(
    score: Array, prediction: Array, counts: Array | None, limits: Sequence[Limits]
) -> list[tuple[Array, Array]]:
    """Return what `concordance` counts, of one prediction, for several limits of the difference of scores."""
    if not _is_large(score, prediction):
        return [concordance(score, prediction, counts, *ends) for ends in limits]
    found = PairCounter(score, prediction, limits).count(np.ones((1, len(score))) if counts is None else counts)
    return [(ordered[0], pairs[0]) for ordered, pairs in found] if counts is None else found


def _concordance_of_many(score: Array, predictions: Array, limits: Limits) -> tuple[Array, Array]:
    """Return what `concordance` counts of many predictions of a large scene."""
    if limits != (0.0, math.inf):
        found = [concordance(score, one, None, *limits) for one in predictions]
        return np.array([ordered for ordered, _ in found]), np.array([pairs for _, pairs in found])
    untied = _untied_pairs(score, None)
    tau = [kendalltau(score, one, method="asymptotic").statistic for one in predictions]  # NaN where one is constant
    ordered = np.nan_to_num(np.array(tau)) * np.sqrt(untied) * np.sqrt(_untied_pairs(predictions, None))
    return np.rint(ordered), np.full(len(predictions), untied)


def _is_large(score: Array, prediction: Array) -> bool:
    return len(score) >= LARGE and bool(np.isfinite(score).all() and np.isfinite(prediction).all())


@undefined_is_nan
def pair_accuracy(concordance: Array, pairs: Array) -> Array:
    """Return the fraction of pairs in the experts' order, of what `concordance` counted; a predicted tie counts half.

    With C concordant and D discordant pairs it is (1 + (C - D) / pairs) / 2; NaN without pairs.
    """
    return np.asarray((1 + np.asarray(concordance) / pairs) / 2)


@undefined_is_nan
def tau_b(concordance: Array, score: Array, prediction: Array, counts: Array | None = None) -> Array:
    """Return `krocc` where concordant minus discordant pairs are counted already."""
    # Two square roots, as the product of two numbers of pairs may pass 2^53.
    norm = np.sqrt(_untied_pairs(score, counts)) * np.sqrt(_untied_pairs(prediction, counts))
    return _where_defined(np.clip(concordance / norm, -1, 1), score, prediction, counts)


def all_measures(
    score: Array, prediction: Array, counts: Array | None = None, counted: tuple[Array, Array] | None = None
) -> dict[str, Array]:
    """Return all measures by name, and `concordance` and `pairs`, which KROCC and pair accuracy share.

    `counted` holds these two where they are known already.
    """
    difference, pairs = concordance(score, prediction, counts) if counted is None else counted
    others = {measure.__name__: measure(score, prediction, counts) for measure in (srocc, plcc, mae, rmse)}
    shared = {"concordance": difference, "pairs": pairs, "pair_accuracy": pair_accuracy(difference, pairs)}
    return others | shared | {"krocc": tau_b(difference, score, prediction, counts)}


@undefined_is_nan
def is_constant(values: Array, counts: Array | None = None) -> NDArray[np.bool_]:
    """Return whether no correlation with these values is defined, whatever the other side."""
    low, high = (values, values) if counts is None else (np.where(counts > 0, values, end) for end in (np.inf, -np.inf))
    lowest, highest = low.min(axis=-1, initial=np.inf), high.max(axis=-1, initial=-np.inf)
    varies = highest - lowest > ROUNDING * np.maximum(np.abs(lowest), np.abs(highest))  # false for NaN and infinity
    return np.asarray(~varies)


@undefined_is_nan
def _pearson(x: Array, y: Array, counts: Array | None) -> Array:
    dx, dy = (values - _mean(values, counts)[..., None] for values in (x, y))
    norm = np.sqrt(_sum(dx * dx, counts) * _sum(dy * dy, counts))  # one root: a perfect correlation is exactly 1
    return np.asarray(np.clip(_sum(dx * dy, counts) / norm, -1, 1))


@undefined_is_nan
def _mean(values: Array, counts: Array | None) -> Array:
    images = values.shape[-1] if counts is None else counts.sum(axis=1)
    return np.asarray(_sum(values, counts) / images)


def _sum(values: Array, counts: Array | None) -> Array:
    if counts is None:
        return np.asarray(values.sum(axis=-1))
    return np.asarray(counts @ values if values.ndim == 1 else np.einsum("ri,ri->r", counts, values))


def _mean_ranks(values: Array, counts: Array | None) -> Array:
    """Return every image's rank, the mean rank where values are tied; shape of the values or of the counts."""
    if counts is None:
        return np.asarray(rankdata(values, axis=-1), np.float64)
    drawn, group = _by_value(values, counts)
    return np.asarray((np.cumsum(drawn, axis=1) - (drawn - 1) / 2)[:, group])


def _untied_pairs(values: Array, counts: Array | None) -> Array:
    """Return the number of pairs of different values."""
    if counts is None:
        tied = rankdata(values, "max", axis=-1) - rankdata(values, "min", axis=-1)  # with how many others
        return np.asarray((values.shape[-1] - 1 - tied).sum(axis=-1) / 2)
    drawn, _ = _by_value(values, counts)
    images = drawn.sum(axis=1)
    return np.asarray((images * (images - 1) - (drawn * (drawn - 1)).sum(axis=1)) / 2)


def _by_value(values: Array, counts: Array) -> tuple[Array, NDArray[np.int64]]:
    """Return how often each distinct value was drawn, in ascending order, and which of them every image has."""
    _, group, images = np.unique(values, return_inverse=True, return_counts=True)
    first = np.cumsum(images) - images
    return np.add.reduceat(counts[:, np.argsort(values)], first, axis=1), group


@undefined_is_nan
def _where_defined(correlation: Array, score: Array, prediction: Array, counts: Array | None) -> Array:
    return np.where(is_constant(score, counts) | is_constant(prediction, counts), np.nan, correlation)


def _scaled(values: Array) -> Array:
    """Return the values times a power of two, exactly, so that no square of theirs overflows or underflows."""
    exponent = np.frexp(np.abs(values).max(axis=-1, keepdims=True, initial=0.0))[1]
    return np.asarray(np.ldexp(values, -exponent))
