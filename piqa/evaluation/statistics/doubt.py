"""How good the standard deviations are that a model states of its scores, on scenes that their factor has not seen.

Scenes are left out in turn; what the other scenes give is applied to those left out. Three ways stand side by side: the
standard deviations as the network states them, the same after calibration, and one standard deviation for all images,
which every model can have. What is learnt about single images is worth something only where it beats the last.

What the model's card states already, found on other scenes, is a fourth.

* Coverage and width: how many measured scores lie within the interval of each level, label noise included, and how wide
  it is in the unit of the measured score. An interval that is right and narrow is better than one that is right.
* ECE and Brier: of the probabilities of pairs. ECE takes bands of equally many pairs of max(P, 1 - P).
* AUSE: the images of largest standard deviation are dropped step by step; how much the mean error of the others lies
  above that of an oracle that drops the largest errors, over the mean error. Chance has `ause_of_chance`.
* Errors among the surest pairs: the share of clear pairs in the wrong order among all, the surer 80 % and 50 % of them.

Reference: Ilg et al., Uncertainty Estimates and Multi-Hypotheses Networks for Optical Flow, ECCV 2018 (AUSE).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from piqa.errors import InputError
from piqa.evaluation.measures import Array
from piqa.evaluation.statistics.bootstrap import interval
from piqa.evaluation.statistics.conformal import CLEAR, answers, threshold
from piqa.evaluation.statistics.preference import ScenePairs, fitted_scale
from piqa.evaluation.statistics.uncertainty import (
    Images,
    ScoreUncertainty,
    fit_factor,
    fit_uncertainty,
    plain_errors,
    residuals,
)

Way = Literal["as stated", "calibrated", "as in its card", "one for all"]
LEVELS = (0.5, 0.8, 0.9, 0.95)
BINS = 10  # of equally many pairs
KEPT = (1.0, 0.8, 0.5)  # surest shares of the pairs
FOLDS = 10
RESAMPLES = 1000
ERROR_RATES = (0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Coverage:
    """Measured scores within the interval of a level.

    Attributes:
        level: That is stated.
        inside: The share that lies inside.
        low, high: Its 95 % interval over scenes; None of one scene.
        width: Mean width in the unit of the measured score, label noise included.
    """

    level: float
    inside: float
    low: float | None
    high: float | None
    width: float


@dataclass(frozen=True)
class StatedDoubt:
    """How good standard deviations are that were stated in one way.

    Attributes:
        way: As the network states them, after calibration, or one for all images.
        coverage: By level.
        ece, brier: Of the probabilities of pairs.
        ece_low, ece_high: The 95 % interval of `ece` over scenes; None of one scene.
        ause: 0 for an oracle; NaN where all standard deviations are equal.
        wrong: Share of clear pairs in the wrong order among the surest shares `KEPT`.
    """

    way: Way
    coverage: tuple[Coverage, ...]
    ece: float
    brier: float
    ece_low: float | None
    ece_high: float | None
    ause: float
    wrong: tuple[float, ...]


@dataclass(frozen=True)
class ConformalTest:
    """Answers with a stated error rate, on scenes that were left out.

    Attributes:
        error_rate: That is stated.
        wrong: Share of clear pairs whose answer lacks the true order, the mean over scenes.
        told: Share that is told apart, likewise.
    """

    error_rate: float
    wrong: float
    told: float


@dataclass(frozen=True)
class Doubt:
    """What an evaluation says of a model's uncertainty.

    Attributes:
        uncertainty: Fitted on all evaluated scenes: what the card keeps.
        ways: How good each way of stating it is on scenes left out; none of fewer than three scenes.
        conformal: Answers on scenes left out, for the error rates that so many scenes can give.
        ause_of_chance: AUSE where images are dropped at random.
    """

    uncertainty: ScoreUncertainty
    ways: tuple[StatedDoubt, ...] = ()
    conformal: tuple[ConformalTest, ...] = ()
    ause_of_chance: float = float("nan")

    def to_dict(self) -> dict[str, object]:
        """Return what a report keeps."""
        own = asdict(self)
        return {**self.uncertainty.to_dict(), **{name: own[name] for name in ("ways", "conformal", "ause_of_chance")}}


def measure_doubt(
    prediction: ArrayLike,
    score: ArrayLike,
    scene: ArrayLike,
    prediction_std: ArrayLike | None = None,
    score_std: ArrayLike | None = None,
    source: str = "",
    kept: ScoreUncertainty | None = None,
    seed: int = 0,
) -> Doubt | None:
    """Fit a model's uncertainty on all scenes, and test it on scenes that are left out in turn.

    Args:
        prediction: Scores by the model, shape (images,).
        score: Measured scores.
        scene: The scene of each image.
        prediction_std: What the network states of its scores; None where it states nothing.
        score_std: Standard deviations of the measured scores.
        source: Where the scenes come from, in words.
        kept: What was found before on other scenes, which is tested as it is.
        seed: Of everything that is drawn.

    Returns:
        None where it cannot be fitted, as of `fit_uncertainty`.
    """
    images = Images.of(prediction, score, scene, prediction_std, score_std)
    found = fit_uncertainty(images, source, seed)
    if found is None:
        return None
    ways: list[Way] = ["as stated", "calibrated"] if images.states_std else []
    held = {way: _held_out(images, way, seed) for way in [*ways, "one for all"]} if images.scenes > 2 else {}
    tested = [_tested(images, way, parts, seed) for way, parts in held.items() if parts is not None]
    if kept is not None and kept.source != source and (images.states_std or kept.factor is None):
        tested.append(apply_uncertainty(images, kept, seed))
    best = held.get("calibrated") or held.get("one for all")
    conformal = () if best is None else tuple(_conformal(images, best[2], seed))
    chance = ause_of_chance(best[3]) if best is not None else float("nan")
    return Doubt(found, tuple(tested), conformal, chance)


def apply_uncertainty(images: Images, kept: ScoreUncertainty, seed: int = 0) -> StatedDoubt:
    """Return how good the standard deviations are that a card states, on other scenes than it was made on."""
    factor, scale = kept.factor, kept.scale
    if factor is None or scale is None:
        images, factor, scale = replace(images, std=np.ones_like(images.std)), kept.std, 1.0
    pairs, errors = images.pairs_by_std(factor * scale, seed), plain_errors(images, kept.gain)
    held = *residuals(images, kept.gain, factor), pairs, errors
    return _tested(images, "as in its card", held, seed)


# residuals, their stated standard deviations, pairs in standard deviations, and the sizes of the errors
Held = tuple[Array, Array, ScenePairs, Array]


def _held_out(images: Images, way: Way, seed: int) -> Held | None:
    """Return what scenes say by what the other scenes give; None where these give nothing."""
    used = replace(images, std=np.ones_like(images.std)) if way == "one for all" else images
    folds = min(FOLDS, images.scenes)
    of_image = (np.random.default_rng(seed).permutation(images.scenes) % folds)[images.scene]
    residual, std, errors = (np.empty(len(images.prediction)) for _ in range(3))
    pairs = used.pairs(seed)
    unit = np.hypot(used.std[pairs.first], used.std[pairs.second])
    for fold in range(folds):
        out = of_image == fold
        fitted = fit_factor(used.part(~out))
        if fitted is None:
            return None
        gain, factor = fitted[0], 1.0 if way == "as stated" else fitted[1]
        residual[out], std[out] = residuals(used.part(out), gain, factor)
        errors[out] = plain_errors(used.part(out), gain)
        of_pair = out[pairs.first]
        scale = factor
        if way != "as stated":
            scale = factor * (fitted_scale(used.part(~out).pairs_by_std(factor, seed)) or 1.0)
        unit[of_pair] *= scale
    return residual, std, replace(pairs, difference=pairs.difference / unit), errors


def _tested(images: Images, way: Way, held: Held, seed: int) -> StatedDoubt:
    residual, std, pairs, errors = held
    stated = np.asarray(ndtr(pairs.difference))
    low, high = _ece_interval(stated, pairs, seed)
    gap, noise = (_of_pairs(images, pairs, name) for name in ("score", "score_std"))
    clear = (gap != 0) & (np.abs(gap) >= CLEAR * noise)
    coverage = tuple(_coverage(images, residual, std, level, seed) for level in LEVELS)
    brier = float(np.mean((stated - pairs.target) ** 2))
    error = float("nan") if way == "one for all" else ause(errors, images.std)
    wrong = wrong_among_surest(pairs.difference[clear], gap[clear])
    return StatedDoubt(way, coverage, ece(stated, pairs.target), brier, low, high, error, wrong)


def _of_pairs(images: Images, pairs: ScenePairs, name: str) -> Array:
    values: Array = getattr(images, name)
    a, b = values[pairs.first], values[pairs.second]
    return np.hypot(a, b) if name == "score_std" else a - b


def _coverage(images: Images, residual: Array, std: Array, level: float, seed: int) -> Coverage:
    half = float(ndtri((1 + level) / 2)) * std
    inside = (np.abs(residual) <= half).astype(np.float64)
    sums = np.bincount(images.scene, inside), np.bincount(images.scene)
    low, high = _over_scenes(lambda weights: (weights @ sums[0]) / (weights @ sums[1]), images.scenes, seed)
    return Coverage(level, float(inside.mean()), low, high, float(2 * half.mean()))


def ece(probability: ArrayLike, target: ArrayLike, bins: int = BINS) -> float:
    """Return the expected calibration error of P(A better), in bands of equally many pairs of max(P, 1 - P).

    Args:
        probability: Stated, shape (pairs,).
        target: Share of viewers who find A better.
        bins: How many bands.

    Examples:
        >>> round(ece([0.9, 0.9, 0.1, 0.6], [1.0, 1.0, 1.0, 0.0], bins=1), 3)
        0.325
    """
    stated, agreed = np.asarray(probability, np.float64), np.asarray(target, np.float64)
    agreed = np.where(stated < 0.5, 1 - agreed, np.where(stated == 0.5, 0.5, agreed))
    stated = np.maximum(stated, 1 - stated)
    if not len(stated):
        return float("nan")
    order = np.argsort(stated, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return float(sum(len(part) * abs(stated[part].mean() - agreed[part].mean()) for part in parts) / len(stated))


def ause(error: ArrayLike, std: ArrayLike) -> float:
    """Return the area between the sparsification curves of a standard deviation and of an oracle, over the mean error.

    Examples:
        >>> ause([1.0, 2.0, 3.0], [0.1, 0.2, 0.3]), round(ause([1.0, 2.0, 3.0], [0.3, 0.2, 0.1]), 3)
        (0.0, 0.5)
    """
    errors, doubt = np.asarray(error, np.float64), np.asarray(std, np.float64)
    if not len(errors) or not errors.any() or not np.ptp(doubt):
        return float("nan")

    def curve(order: np.ndarray) -> Array:
        """Return the mean error of the first one, two, ... images."""
        return np.asarray(np.cumsum(errors[order]) / np.arange(1, len(errors) + 1))

    ours, oracle = (curve(np.argsort(one, kind="stable")) for one in (doubt, errors))
    return float((ours - oracle).mean() / errors.mean())


def ause_of_chance(error: ArrayLike) -> float:
    """Return the expected AUSE where images are dropped at random, as the mean error of the others then stays.

    Examples:
        >>> round(ause_of_chance([1.0, 2.0, 3.0]), 3)
        0.25
    """
    errors = np.asarray(error, np.float64)
    if not len(errors) or not errors.any():
        return float("nan")
    oracle = np.cumsum(np.sort(errors)) / np.arange(1, len(errors) + 1)
    return float(1 - oracle.mean() / errors.mean())


def wrong_among_surest(difference: ArrayLike, gap: ArrayLike, kept: Sequence[float] = KEPT) -> tuple[float, ...]:
    """Return the share of pairs in the wrong order among the surest ones; NaN without pairs.

    Args:
        difference: Predicted, in standard deviations: the larger, the surer.
        gap: Measured.
        kept: Surest shares.

    Examples:
        >>> wrong_among_surest([3.0, -2.0, 1.0, 0.5], [1.0, -1.0, -1.0, 1.0], kept=[1.0, 0.5])
        (0.25, 0.0)
    """
    d, g = np.asarray(difference, np.float64), np.asarray(gap, np.float64)
    wrong = np.where(d == 0, 0.5, np.sign(d) != np.sign(g)).astype(np.float64)
    order = np.argsort(-np.abs(d), kind="stable")
    return tuple(
        float(wrong[order[: max(1, round(share * len(d)))]].mean()) if len(d) else float("nan") for share in kept
    )


def _ece_interval(stated: Array, pairs: ScenePairs, seed: int) -> tuple[float | None, float | None]:
    """Return the interval of the ECE by resampling scenes, in the bands of all pairs together."""
    better = np.maximum(stated, 1 - stated)
    agreed = np.where(stated < 0.5, 1 - pairs.target, pairs.target)
    band = np.empty(len(stated), np.intp)
    for number, part in enumerate(np.array_split(np.argsort(better, kind="stable"), BINS)):
        band[part] = number
    scenes = pairs.scenes
    off = np.bincount(pairs.scene * BINS + band, better - agreed, scenes * BINS).reshape(scenes, BINS)
    count = np.bincount(pairs.scene, minlength=scenes)
    return _over_scenes(lambda weights: np.abs(weights @ off).sum(1) / (weights @ count), scenes, seed)


def _over_scenes(value: Callable[[Array], Array], scenes: int, seed: int) -> tuple[float | None, float | None]:
    """Return the interval of a value of the weights of scenes, shape (resamples, scenes); None of one scene."""
    if scenes < 2:
        return None, None
    weights = np.random.default_rng(seed).multinomial(scenes, np.full(scenes, 1 / scenes), RESAMPLES)
    return interval(value(weights.astype(np.float64)))


def _conformal(images: Images, pairs: ScenePairs, seed: int) -> list[ConformalTest]:
    """Answer the clear pairs of each scene by the thresholds that the other scenes give."""
    gap, noise = (_of_pairs(images, pairs, name) for name in ("score", "score_std"))
    clear = (gap != 0) & (np.abs(gap) >= CLEAR * noise)
    p = np.asarray(ndtr(np.where(gap > 0, pairs.difference, -pairs.difference)))  # of the true order
    generator, drawn = np.random.default_rng(seed), {}
    for scene in range(images.scenes):
        own = np.flatnonzero(clear & (pairs.scene == scene))
        if len(own):
            drawn[scene] = (1 - p[generator.choice(own)], p[own])
    tests = []
    for rate in ERROR_RATES:
        wrong, told = [], []
        for scene, (_, probabilities) in drawn.items():
            others = [one for other, (one, _) in drawn.items() if other != scene]
            try:
                said = answers(probabilities, threshold(others, rate))
            except InputError:  # so few scenes cannot state this rate
                break
            wrong.append(np.mean([one == "B" for one in said]))
            told.append(np.mean([one != "cannot tell" for one in said]))
        else:
            if wrong:
                tests.append(ConformalTest(rate, float(np.mean(wrong)), float(np.mean(told))))
    return tests
