"""The measures of `piqa.evaluation.metrics` on many resamples of one scene at once.

A resample is a row of counts: how often each image was drawn. An image drawn twice is two images with equal scores and
equal predictions, tied with each other. Every function equals its namesake in `metrics` on the images written out, and
takes milliseconds where a loop over resamples takes seconds.

In all of them `score` and `prediction` have shape (images,), `counts` has shape (resamples, images) with at least one
image drawn in every row, and the result has shape (resamples,).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from piqa.evaluation.metrics import ROUNDING

Array = NDArray[np.float64]

BLOCK = 1024  # rows of the table of pairs in memory at a time: 40 MB for a scene of 5000 images


def srocc(score: Array, prediction: Array, counts: Array) -> Array:
    """Spearman's rank correlation, ties given their mean rank; NaN where `metrics.srocc` is."""
    correlation = _pearson(_mean_ranks(score, counts), _mean_ranks(prediction, counts), counts)
    return np.where(_constant(score, counts) | _constant(prediction, counts), np.nan, correlation)


def plcc(score: Array, prediction: Array, counts: Array) -> Array:
    """Pearson's linear correlation; NaN where `metrics.plcc` is."""
    correlation = _pearson(score[None], prediction[None], counts)
    return np.where(_constant(score, counts) | _constant(prediction, counts), np.nan, correlation)


def krocc(score: Array, prediction: Array, counts: Array) -> Array:
    """Kendall's tau-b; NaN where `metrics.krocc` is."""
    surplus, _ = ordered_pairs(score, prediction, counts)
    # square roots apart, as the product of two numbers of pairs may pass 2^53
    norm = np.sqrt(_untied_pairs(score, counts)) * np.sqrt(_untied_pairs(prediction, counts))
    with np.errstate(invalid="ignore", divide="ignore"):
        tau = np.clip(surplus / norm, -1, 1)
    return np.where(_constant(score, counts) | _constant(prediction, counts), np.nan, tau)


def mae(score: Array, prediction: Array, counts: Array) -> Array:
    """Mean absolute error in units of the score."""
    return np.asarray(counts @ np.abs(score - prediction) / counts.sum(axis=1))


def rmse(score: Array, prediction: Array, counts: Array) -> Array:
    """Root of the mean squared error in units of the score."""
    return np.asarray(np.sqrt(counts @ np.square(score - prediction) / counts.sum(axis=1)))


def ordered_pairs(
    score: Array, prediction: Array, counts: Array, above: float = 0.0, below: float = math.inf
) -> tuple[Array, Array]:
    """Pairs in the right order less those in the wrong one, and all pairs.

    Args:
        score: The experts' scores.
        prediction: The predicted scores; an equal prediction is neither right nor wrong.
        counts: As for all functions here.
        above: Only pairs whose scores differ by more than this count.
        below: And by less than this.

    Returns:
        Right less wrong pairs, and pairs, both of shape (resamples,).
    """
    surplus, pairs = np.zeros(len(counts)), np.zeros(len(counts))
    for start in range(0, len(score), BLOCK):
        rows = slice(start, start + BLOCK)
        difference = score[rows, None] - score
        counted = ((np.abs(difference) > above) & (np.abs(difference) < below)).astype(np.float64)
        agreement = np.sign(difference) * np.sign(prediction[rows, None] - prediction) * counted
        surplus += (counts @ agreement.T * counts[:, rows]).sum(axis=1)
        pairs += (counts @ counted.T * counts[:, rows]).sum(axis=1)
    return surplus / 2, pairs / 2  # every pair was met from both sides


def _mean_ranks(values: Array, counts: Array) -> Array:
    """Every image's rank in its resample, the mean rank where values are tied; shape (resamples, images)."""
    drawn, group = _by_value(values, counts)
    return np.asarray((np.cumsum(drawn, axis=1) - (drawn - 1) / 2)[:, group])


def _untied_pairs(values: Array, counts: Array) -> Array:
    drawn, _ = _by_value(values, counts)
    images = drawn.sum(axis=1)
    return np.asarray((images * (images - 1) - (drawn * (drawn - 1)).sum(axis=1)) / 2)


def _by_value(values: Array, counts: Array) -> tuple[Array, NDArray[np.int64]]:
    """How often each distinct value was drawn, in ascending order, and which of them every image has."""
    _, group, images = np.unique(values, return_inverse=True, return_counts=True)
    first = np.cumsum(images) - images
    return np.add.reduceat(counts[:, np.argsort(values)], first, axis=1), group


def _pearson(x: Array, y: Array, counts: Array) -> Array:
    images = counts.sum(axis=1, keepdims=True)
    dx = x - (counts * x).sum(axis=1, keepdims=True) / images
    dy = y - (counts * y).sum(axis=1, keepdims=True) / images
    with np.errstate(invalid="ignore", divide="ignore"):
        norm = np.sqrt((counts * dx * dx).sum(axis=1)) * np.sqrt((counts * dy * dy).sum(axis=1))
        return np.asarray(np.clip((counts * dx * dy).sum(axis=1) / norm, -1, 1))


def _constant(values: Array, counts: Array) -> NDArray[np.bool_]:
    """Whether all that was drawn is equal but for the rounding of float32."""
    drawn, _ = _by_value(values, counts)
    distinct, there = np.unique(values), drawn > 0
    lowest, highest = distinct[there.argmax(axis=1)], distinct[::-1][there[:, ::-1].argmax(axis=1)]
    return np.asarray(highest - lowest <= ROUNDING * np.maximum(np.abs(lowest), np.abs(highest)))
