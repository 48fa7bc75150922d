"""The standard deviation of a model's scores: one factor that makes what a network states right, and what follows.

A network that learns from pairs states standard deviations s whose factor nothing has fixed, and a model is surer of
the scenes that it was trained on than of others. So the factor is fitted on held-out scenes, on the errors that are
left of the model's own when the noise of the measured scores is taken off:

    y = offset of the scene + gain * f + e,   var e = (gain * factor * s)^2 + (standard deviation of y)^2

f and s are what the network states, y are the measured scores. Offsets and gain are those of weighted least squares,
the factor is that of the highest restricted likelihood (REML), which bears in mind that each scene's offset was fitted.
Of a network without s the same is done with s = 1, which gives the standard deviation of its errors. Where the table
does not tell how noisy its scores are, their noise counts as the model's error.

The probability of a pair is Phi((f_a - f_b) / (scale * hypot(factor s_a, factor s_b))). Its scale is fitted on pairs as
that of `piqa.evaluation.statistics.preference` is; it is 1 where errors are normal and independent.

Reference: Patterson and Thompson, Recovery of inter-block information, Biometrika 1971 (REML).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from math import log

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from scipy.special import ndtr

from piqa.errors import InputError
from piqa.evaluation.measures import Array
from piqa.evaluation.statistics.conformal import nonconformity_of_scenes
from piqa.evaluation.statistics.preference import ScenePairs, fitted_scale, scene_pairs
from piqa.weights.trust import is_number, shown

SMALLEST, LARGEST = 0.02, 5.0  # factors that are tried, in that which would explain all errors without label noise
SMALLEST_STD = 1e-9  # of a stated one, in typical ones, so that no weight is infinite


@dataclass(frozen=True)
class ScoreUncertainty:
    """What held-out scenes say of the errors of a model's scores: a fact of its card.

    Attributes:
        gain: Units of the measured score to one of the model's.
        centre: Mean score of the images.
        std: Standard deviation of the scores' errors beyond label noise, the same for all images, in the model's unit.
        factor: Makes of the `score_std` that the network answers a standard deviation in the unit of its score; None
            of a network that answers none.
        scale: Of the probability of a pair by these standard deviations; None likewise.
        nonconformity: By scene, 1 - P(the better one) of a pair; ascending. See `conformal`.
        first_two: The same of the first two of a few images.
        scenes, images: How many it was fitted on.
        source: Where those scenes come from, in words.
        one_scale: The scale for all images that `nonconformity` is by, where there is no `scale`.
    """

    gain: float
    centre: float
    std: float
    factor: float | None = None
    scale: float | None = None
    nonconformity: Sequence[float] = ()
    first_two: Sequence[float] = ()
    scenes: int = 0
    images: int = 0
    source: str = ""
    one_scale: float | None = None

    def __post_init__(self) -> None:
        for name in ("gain", "centre", "std", "factor", "scale", "one_scale"):
            value, optional = getattr(self, name), name in ("factor", "scale", "one_scale")
            if value is None and optional:
                continue
            if not is_number(value) or (name != "centre" and value <= 0):
                kind = "a number" if name == "centre" else "a positive number"
                raise InputError(f"the uncertainty of a model has the `{name}` {shown(value)}; {kind} is needed")
        if (self.factor is None) != (self.scale is None):
            raise InputError("the uncertainty of a model has one of `factor` and `scale`; both or neither are needed")
        for name in ("nonconformity", "first_two"):
            values = getattr(self, name)
            if not isinstance(values, list | tuple) or not all(is_number(one) and 0 <= one <= 1 for one in values):
                raise InputError(f"the uncertainty of a model has a `{name}` that is no list of numbers from 0 to 1")
            object.__setattr__(self, name, tuple(values))

    def probability(self, difference: ArrayLike, std_a: ArrayLike, std_b: ArrayLike) -> Array:
        """Return P(A better than B) for scores of A less those of B, by their standard deviations in the same unit.

        Raises:
            InputError: Of a model that states no standard deviations.

        Examples:
            >>> ScoreUncertainty(1.0, 0.0, 1.0, 1.0, 1.0).probability([5.0], [3.0], [4.0]).round(2).tolist()
            [0.84]
        """
        if self.scale is None:
            raise InputError("this model states no standard deviation of its scores")
        spread = self.scale * np.hypot(np.asarray(std_a, np.float64), np.asarray(std_b, np.float64))
        gap = np.asarray(difference, np.float64)
        return np.asarray(ndtr(np.divide(gap, spread, out=np.zeros(np.broadcast(gap, spread).shape), where=spread > 0)))

    def to_dict(self) -> dict[str, object]:
        """Return what a model's card keeps."""
        known = {name: value for name, value in asdict(self).items() if value is not None}
        return known | {name: list(getattr(self, name)) for name in ("nonconformity", "first_two")}

    @classmethod
    def from_dict(cls, content: Mapping[str, object] | None) -> ScoreUncertainty | None:
        """Read what a card keeps; None of a card without any.

        Raises:
            InputError: If it is none.
        """
        if not content:
            return None
        if unknown := sorted(content.keys() - {one.name for one in fields(cls)}):
            raise InputError(f"the uncertainty in a card has the unknown entry `{unknown[0]}`")
        if missing := [name for name in ("gain", "centre", "std") if name not in content]:
            raise InputError(f"the uncertainty in a card has no `{missing[0]}`")
        return cls(**content)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Images:
    """Images of some scenes with what a model and viewers say of them; all of shape (images,).

    Attributes:
        prediction, std: Score and its standard deviation as the network states them; `std` is 1 where it states none.
        score, score_std: What viewers say; `score_std` is 0 where that is not known.
        scene: The number of each image's scene, from 0.
        states_std: Whether the network states standard deviations.
    """

    prediction: Array
    std: Array
    score: Array
    score_std: Array
    scene: np.ndarray
    states_std: bool

    @classmethod
    def of(
        cls,
        prediction: ArrayLike,
        score: ArrayLike,
        scene: ArrayLike,
        prediction_std: ArrayLike | None = None,
        score_std: ArrayLike | None = None,
    ) -> Images:
        """Check and hold them, without scenes of one image.

        Raises:
            ValueError: If the shapes differ, or a number is not finite or a stated standard deviation negative.
        """
        f, y = np.asarray(prediction, np.float64), np.asarray(score, np.float64)
        s = np.ones_like(f) if prediction_std is None else np.asarray(prediction_std, np.float64)
        noise = np.zeros_like(f) if score_std is None else np.nan_to_num(np.asarray(score_std, np.float64))
        names = np.asarray(scene)
        if f.ndim != 1 or not f.shape == y.shape == s.shape == noise.shape == names.shape:
            raise ValueError(f"expected vectors of one length, found shapes {f.shape}, {y.shape}, {s.shape}")
        if not all(np.isfinite(one).all() for one in (f, y, s)) or (s < 0).any():
            raise ValueError("a score is no finite number, or a standard deviation is negative")
        _, number, images = np.unique(names, return_inverse=True, return_counts=True)
        several = images[number] > 1
        _, number = np.unique(number[several], return_inverse=True)
        typical = float(np.median(s)) if len(s) else 1.0
        s = np.maximum(s, SMALLEST_STD * (typical or 1.0))
        return cls(f[several], s[several], y[several], noise[several], number, prediction_std is not None)

    @property
    def scenes(self) -> int:
        """How many scenes there are."""
        return int(self.scene.max()) + 1 if len(self.scene) else 0

    def part(self, chosen: np.ndarray) -> Images:
        """Return some whole scenes."""
        _, number = np.unique(self.scene[chosen], return_inverse=True)
        kept = {one.name: getattr(self, one.name)[chosen] for one in fields(self) if one.name != "states_std"}
        return replace(self, **kept | {"scene": number})

    def pairs(self, seed: int = 0) -> ScenePairs:
        """Return the pairs inside scenes."""
        return scene_pairs(self.prediction, self.score, self.scene, self.score_std, seed)

    def pairs_by_std(self, factor: float, seed: int = 0) -> ScenePairs:
        """Return the pairs, their differences over the standard deviation that `factor` makes of the stated ones."""
        pairs = self.pairs(seed)
        spread = factor * np.hypot(self.std[pairs.first], self.std[pairs.second])
        return replace(pairs, difference=pairs.difference / spread)


def fit_uncertainty(images: Images, source: str = "", seed: int = 0) -> ScoreUncertainty | None:
    """Fit what a card keeps on held-out scenes.

    Returns:
        None where there are fewer than three images more than scenes, or the scores do not rise with the measured ones.
    """
    plain = fit_factor(replace(images, std=np.ones_like(images.std)))
    if plain is None:
        return None
    gain, std = plain
    factor = scale = None
    if images.states_std and (fitted := fit_factor(images)) is not None:
        gain, factor = fitted
        scale = fitted_scale(images.pairs_by_std(factor, seed))
        factor = None if scale is None else factor
    one_scale = fitted_scale(images.pairs(seed)) or 1.0

    def probability(a: np.ndarray, b: np.ndarray) -> Array:
        difference = images.prediction[a] - images.prediction[b]
        if factor is None or scale is None:
            return np.asarray(ndtr(difference / one_scale))
        return np.asarray(ndtr(difference / (scale * factor * np.hypot(images.std[a], images.std[b]))))

    drawn = nonconformity_of_scenes(images.prediction, images.score, images.scene, probability, images.score_std, seed)
    of_pairs, of_first = (tuple(round(one, 6) for one in sorted(values)) for values in drawn)
    centre, count = float(images.prediction.mean()), len(images.prediction)
    own = None if scale is not None else one_scale
    return ScoreUncertainty(gain, centre, std, factor, scale, of_pairs, of_first, images.scenes, count, source, own)


def fit_factor(images: Images) -> tuple[float, float] | None:
    """Return gain and factor of the highest restricted likelihood.

    Returns:
        None where there are too few images, or the gain is not positive: scores that do not rise with the measured ones
        have no errors in their own unit.
    """
    if len(images.prediction) - images.scenes < 3 or not np.ptp(images.prediction):
        return None
    gain, _, _, residual = _least_squares(images, np.ones_like(images.std))
    if gain <= 0:
        return None
    typical = float(np.sqrt(np.mean(residual**2) / np.mean(images.std**2)))  # in the unit of the measured score
    if not typical > 0:
        return None
    found = minimize_scalar(
        lambda log_factor: _restricted_loss(images, float(np.exp(log_factor))),
        bounds=(log(typical * SMALLEST), log(typical * LARGEST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    factor = float(np.exp(found.x))
    gain = _least_squares(images, _variances(images, factor))[0]
    return (gain, factor / gain) if gain > 0 else None


def residuals(images: Images, gain: float, factor: float) -> tuple[Array, Array]:
    """Return the errors in the unit of the measured score, and the standard deviation that is stated of each.

    An error is taken from the scene's offset, which was fitted to it, too; the standard deviation is less by that.

    Args:
        images: With the stated standard deviations.
        gain: Of the model.
        factor: Makes of the stated standard deviations those in the unit of the model's score.
    """
    variance = _variances(images, gain * factor)
    weight = 1 / variance
    total = np.bincount(images.scene, weight)
    off = images.score - gain * images.prediction
    mean = np.bincount(images.scene, weight * off) / total
    return off - mean[images.scene], np.sqrt(np.maximum(variance - 1 / total[images.scene], 0))


def plain_errors(images: Images, gain: float) -> Array:
    """Return the sizes of the errors from the plain mean of each scene, on which no stated deviation has an influence.

    An offset that weighs images by what is stated of them lies closest to those that are said to be sure, rightly or
    not.
    """
    off = images.score - gain * images.prediction
    mean = np.bincount(images.scene, off) / np.bincount(images.scene)
    return np.asarray(np.abs(off - mean[images.scene]))


def _variances(images: Images, factor: float) -> Array:
    return np.asarray((factor * images.std) ** 2 + images.score_std**2)


def _least_squares(images: Images, variance: Array) -> tuple[float, float, Array, Array]:
    """Return gain, its weight, the weight of each scene, and the residuals, all within scenes."""
    weight = 1 / variance
    total = np.bincount(images.scene, weight).astype(np.float64)

    def centred(values: Array) -> Array:
        return np.asarray(values - (np.bincount(images.scene, weight * values) / total)[images.scene])

    f, y = centred(images.prediction), centred(images.score)
    leverage = float(np.sum(weight * f * f))
    gain = float(np.sum(weight * f * y)) / leverage if leverage > 0 else 0.0
    return gain, leverage, total, y - gain * f


def _restricted_loss(images: Images, factor: float) -> float:
    """Return twice the negative logarithm of the restricted likelihood, but for a constant."""
    variance = _variances(images, factor)
    _, leverage, total, residual = _least_squares(images, variance)
    return float(np.log(variance).sum() + np.log(total).sum() + np.log(leverage) + np.sum(residual**2 / variance))
