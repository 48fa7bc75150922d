"""Whether a model's stated probabilities hold on scenes that they were not fitted on.

Scenes are left out in turn: the scale that the other scenes give states the probabilities of the pairs of those left
out. In bands of the stated probability of the better score, the table tells how often viewers agree, with an interval
over scenes, as the pairs of a scene share its images.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from piqa.evaluation.measures import Array
from piqa.evaluation.statistics.preference import (
    Preference,
    ScenePairs,
    fitted_scale,
    pair_losses,
    scene_pairs,
)

BANDS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of the stated probability
FOLDS = 10  # parts of the scenes that are left out in turn; fewer scenes are left out one by one
RESAMPLES = 1000  # of the scenes, for the intervals
LEVEL = 0.95


@dataclass(frozen=True)
class Band:
    """Pairs whose stated probability lies in a band.

    Attributes:
        low, high: Ends of the band; `high` belongs to the last one alone.
        pairs: How many pairs.
        stated: Their mean stated probability.
        agreed: The share of viewers who agree, by the measured scores.
        agreed_low, agreed_high: Its 95 % interval over scenes; None of one scene.
    """

    low: float
    high: float
    pairs: int
    stated: float
    agreed: float
    agreed_low: float | None = None
    agreed_high: float | None = None


@dataclass(frozen=True)
class Reliability:
    """What became of the stated probabilities of scenes that were left out.

    Attributes:
        scenes, pairs: How many.
        log_loss: Mean negative log likelihood of the pairs, in nats; ln 2 = 0.693 is a coin's.
        error: Mean distance of stated and agreed share over the bands, weighted by their pairs (expected calibration
            error).
        bands: From the lowest probability on; those without pairs are left out.
    """

    scenes: int
    pairs: int
    log_loss: float
    error: float
    bands: tuple[Band, ...]

    def to_dict(self) -> dict[str, object]:
        """Return what a report keeps."""
        return asdict(self)


@dataclass(frozen=True)
class Calibration:
    """A fitted preference, and how far its probabilities hold on scenes that were left out, if there are two."""

    preference: Preference
    reliability: Reliability | None

    def to_dict(self) -> dict[str, object]:
        """Return what a report keeps."""
        held = None if self.reliability is None else self.reliability.to_dict()
        return {**self.preference.to_dict(), "reliability": held}


def calibrate(
    prediction: ArrayLike,
    score: ArrayLike,
    scene: ArrayLike,
    score_std: ArrayLike | None = None,
    source: str = "",
    seed: int = 0,
) -> Calibration | None:
    """Fit the preference on all scenes, and test it on scenes that are left out; arguments as of `fit_preference`.

    Returns:
        None where no scene has two images with different predictions.
    """
    pairs = scene_pairs(prediction, score, scene, score_std, seed)
    scale = fitted_scale(pairs)
    if scale is None:
        return None
    loss = float(pair_losses(pairs, scale).mean())
    preference = Preference(scale, pairs.scenes, len(pairs.target), loss, source=source)
    scales = held_out_scales(pairs, seed)
    if scales is None:
        return Calibration(preference, None)
    held = float(pair_losses(pairs, scales).mean())
    probability = np.asarray(ndtr(pairs.difference / scales))
    found = reliability_of(probability, pairs.target, pairs.scene, held, seed)
    return Calibration(replace(preference, held_out_log_loss=held), found)


def held_out_scales(pairs: ScenePairs, seed: int = 0) -> Array | None:
    """Return for each pair the scale that scenes without its own give; None where that is not possible."""
    if pairs.scenes < 2:
        return None
    folds = min(FOLDS, pairs.scenes)
    of_scene = np.random.default_rng(seed).permutation(pairs.scenes) % folds
    of_pair = of_scene[pairs.scene]
    scales = np.empty(len(pairs.target))
    for fold in range(folds):
        left_out = of_pair == fold
        scale = fitted_scale(pairs.of(~left_out))
        if scale is None:
            return None
        scales[left_out] = scale
    return scales


def reliability_of(
    probability: ArrayLike, target: ArrayLike, scene: ArrayLike, log_loss: float, seed: int = 0
) -> Reliability:
    """Compare stated probabilities with what viewers found.

    Args:
        probability: That the first of a pair is better, shape (pairs,).
        target: Share of viewers who find it better.
        scene: The number of each pair's scene, from 0.
        log_loss: Of these probabilities.
        seed: Draws the resamples of scenes.
    """
    stated, agreed = np.asarray(probability, np.float64), np.asarray(target, np.float64)
    agreed = np.where(stated < 0.5, 1 - agreed, agreed)
    agreed = np.where(stated == 0.5, 0.5, agreed)  # neither is said to be better: half of all viewers agree
    stated = np.maximum(stated, 1 - stated)
    number = np.asarray(scene, np.intp)
    scenes, bands = int(number.max()) + 1, len(BANDS) - 1
    band = np.clip(np.searchsorted(BANDS, stated, side="right") - 1, 0, bands - 1)
    cell = number * bands + band
    sums = [
        np.bincount(cell, weights, scenes * bands).reshape(scenes, bands)
        for weights in (np.ones_like(stated), stated, agreed)
    ]
    pairs, of_stated, of_agreed = (one.sum(0) for one in sums)
    low, high = _interval(sums[0].astype(np.float64), sums[2].astype(np.float64), seed)
    found = tuple(
        Band(
            BANDS[at],
            BANDS[at + 1],
            int(pairs[at]),
            float(of_stated[at] / pairs[at]),
            float(of_agreed[at] / pairs[at]),
            None if np.isnan(low[at]) else float(low[at]),
            None if np.isnan(high[at]) else float(high[at]),
        )
        for at in range(bands)
        if pairs[at]
    )
    error = sum(one.pairs * abs(one.stated - one.agreed) for one in found) / len(stated)
    return Reliability(scenes, len(stated), log_loss, float(error), found)


def _interval(pairs: Array, agreed: Array, seed: int) -> tuple[Array, Array]:
    """Return both ends of the share agreed in each band, by resampling scenes; NaN where fewer than two have pairs."""
    scenes, bands = pairs.shape
    weights = np.random.default_rng(seed).multinomial(scenes, np.full(scenes, 1 / scenes), RESAMPLES)
    counts = weights @ pairs
    shares = np.divide(weights @ agreed, counts, out=np.full((RESAMPLES, bands), np.nan), where=counts > 0)
    known = (pairs > 0).sum(0) > 1
    low, high = np.full(bands, np.nan), np.full(bands, np.nan)
    if known.any():
        tail = (1 - LEVEL) / 2
        low[known], high[known] = np.nanquantile(shares[:, known], (tail, 1 - tail), axis=0)
    return low, high
