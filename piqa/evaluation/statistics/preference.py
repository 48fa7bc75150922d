"""How sure a model is that one image of a scene is better than another: its difference of scores as a probability.

A model that learns to rank gives scores on a scale of its own. On scenes with known scores one number makes
probabilities of them: P(A better) = Phi((A - B) / scale), Thurstone's Case V. The scale is fitted by maximum
likelihood on the pairs inside scenes, so that of all pairs with a stated probability of 0.7 about seven in ten agree;
`piqa.evaluation.statistics.reliability` tells whether they do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from math import log

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_ndtr, ndtr

from piqa.errors import InputError
from piqa.evaluation.measures import Array
from piqa.weights.trust import is_number, shown

Places = NDArray[np.intp]

PAIRS_OF_A_SCENE = 20_000  # drawn where a scene has more; a scene of 20,000 images has 200 million
SHALLOWEST, STEEPEST = 1e-3, 1e3  # scales that are tried, in typical differences of the scores inside scenes
SMALLEST_STD = 1e-3  # of a difference of measured scores
COIN = log(2)  # log loss of a coin's throw, in nats


@dataclass(frozen=True)
class Preference:
    """The probability that one image is better than another of the same scene, by the difference of their scores.

    Attributes:
        scale: Difference of scores at which the better image is preferred with a probability of Phi(1) = 0.84.
        scenes, pairs: How many it was fitted on.
        log_loss: Mean negative log likelihood of those pairs, in nats; ln 2 = 0.693 is a coin's.
        held_out_log_loss: The same, each scene by the scale of the other scenes; None of a single scene.
        source: Where those scenes come from, in words.
    """

    scale: float
    scenes: int = 0
    pairs: int = 0
    log_loss: float | None = None
    held_out_log_loss: float | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if not is_number(self.scale) or self.scale <= 0:
            told = f"the preference of a model has the `scale` {shown(self.scale)}"
            raise InputError(f"{told}; a positive number is needed")

    def probability(self, difference: ArrayLike) -> Array:
        """Return P(A better than B) for scores of A less those of B, same shape.

        Examples:
            >>> Preference(scale=2.0).probability([0.0, 2.0]).round(2).tolist()
            [0.5, 0.84]
        """
        return np.asarray(ndtr(np.asarray(difference, np.float64) / self.scale))

    def to_dict(self) -> dict[str, object]:
        """Return what a model's card keeps."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, content: Mapping[str, object] | None) -> Preference | None:
        """Read what a card keeps; None of a card without any.

        Raises:
            InputError: If it is none.
        """
        if not content:
            return None
        if unknown := sorted(content.keys() - {one.name for one in fields(cls)}):
            raise InputError(f"the preference in a card has the unknown entry `{unknown[0]}`")
        if "scale" not in content:
            raise InputError("the preference in a card has no `scale`")
        return cls(**content)  # type: ignore[arg-type]


@dataclass(frozen=True)
class ScenePairs:
    """Pairs of images of the same scene.

    Attributes:
        difference: Prediction of the first less that of the second, shape (pairs,).
        target: Share of viewers who find the first better, in [0, 1], by the measured scores.
        scene: The number of each pair's scene, from 0.
        first, second: The places of both images among those that were given; empty where they are of no use.
    """

    difference: Array
    target: Array
    scene: Places
    first: Places = field(default_factory=lambda: np.empty(0, np.intp))
    second: Places = field(default_factory=lambda: np.empty(0, np.intp))

    @property
    def scenes(self) -> int:
        """How many scenes have a pair."""
        return int(self.scene[-1]) + 1 if len(self.scene) else 0

    def of(self, chosen: NDArray[np.bool_]) -> ScenePairs:
        """Return some of the pairs, whose scenes keep their numbers."""
        return ScenePairs(self.difference[chosen], self.target[chosen], self.scene[chosen])


def fit_preference(
    prediction: ArrayLike,
    score: ArrayLike,
    scene: ArrayLike,
    score_std: ArrayLike | None = None,
    source: str = "",
    seed: int = 0,
) -> Preference | None:
    """Fit the scale on all pairs inside scenes.

    Args:
        prediction: The model's scores, shape (images,).
        score: The measured scores.
        scene: The scene of each image.
        score_std: Standard deviations of the measured scores. A pair then counts as A's by the probability
            Phi((a - b) / hypot(std a, std b)); without them as 1, 0, or of equal scores 0.5.
        source: Where the scenes come from, in words.
        seed: Draws the pairs of scenes that have more than `PAIRS_OF_A_SCENE`.

    Returns:
        None where no scene has two images with different predictions. Predictions that are no better than chance get
        a scale so large that every probability is near 0.5.

    Raises:
        ValueError: If the shapes differ, or a prediction or score is no finite number.

    Examples:
        >>> found = fit_preference([0.0, 1.0, 2.0], [1.0, 3.0, 2.0], ["a", "a", "a"])
        >>> found.pairs, bool(0.5 < found.probability(1.0) < 0.84)
        (3, True)
    """
    pairs = scene_pairs(prediction, score, scene, score_std, seed)
    scale = fitted_scale(pairs)
    if scale is None:
        return None
    loss = float(pair_losses(pairs, scale).mean())
    return Preference(scale, pairs.scenes, len(pairs.target), loss, source=source)


def scene_pairs(
    prediction: ArrayLike, score: ArrayLike, scene: ArrayLike, score_std: ArrayLike | None = None, seed: int = 0
) -> ScenePairs:
    """Return all pairs inside scenes, or so many drawn ones of a scene that has more; as of `fit_preference`.

    Raises:
        ValueError: If the shapes differ, or a prediction or a score is no finite number.
    """
    predicted, measured = np.asarray(prediction, np.float64), np.asarray(score, np.float64)
    names = np.asarray(scene)
    deviation = np.zeros_like(measured) if score_std is None else np.nan_to_num(np.asarray(score_std, np.float64))
    if not predicted.shape == measured.shape == names.shape == deviation.shape or predicted.ndim != 1:
        shapes = ", ".join(str(one.shape) for one in (predicted, measured, names, deviation))
        raise ValueError(f"expected vectors of one length, found shapes {shapes}")
    if not (np.isfinite(predicted).all() and np.isfinite(measured).all()):
        raise ValueError("a prediction or a score is no finite number; leave out images without")
    generator = np.random.default_rng(seed)
    _, number = np.unique(names, return_inverse=True)
    order = np.argsort(number, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(number[order])) + 1)
    drawn = [(a, b) for rows in groups if len(rows) > 1 for a, b in [_pairs(rows, generator)]]
    if not drawn:
        return ScenePairs(np.empty(0), np.empty(0), np.empty(0, np.intp))
    first, second = (np.concatenate(side) for side in zip(*drawn, strict=True))
    gap = measured[first] - measured[second]
    spread = np.hypot(deviation[first], deviation[second])
    hard = 0.5 + 0.5 * np.sign(gap)
    target = np.where(spread > 0, ndtr(gap / np.maximum(spread, SMALLEST_STD)), hard)
    number_of_pair = np.repeat(np.arange(len(drawn)), [len(a) for a, _ in drawn])
    return ScenePairs(predicted[first] - predicted[second], target, number_of_pair, first, second)


def fitted_scale(pairs: ScenePairs) -> float | None:
    """Return the scale of maximum likelihood; None where no two predictions differ.

    To the pairs is added one with the typical difference on which viewers are divided: a few pairs that all agree would
    otherwise make every probability 1. Among many pairs it hardly counts.
    """
    if not pairs.difference.any():
        return None
    typical = float(np.sqrt(np.mean(pairs.difference**2)))
    divided = ScenePairs(np.append(pairs.difference, typical), np.append(pairs.target, 0.5), np.append(pairs.scene, 0))
    found = minimize_scalar(
        lambda log_scale: float(pair_losses(divided, np.exp(log_scale)).mean()),
        bounds=(log(typical * SHALLOWEST), log(typical * STEEPEST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


def pair_losses(pairs: ScenePairs, scale: ArrayLike) -> Array:
    """Return the negative log likelihood of each pair, in nats; `scale` may be one a pair."""
    z = pairs.difference / np.asarray(scale, np.float64)
    return np.asarray(-(pairs.target * log_ndtr(z) + (1 - pairs.target) * log_ndtr(-z)))


def _pairs(rows: Places, generator: np.random.Generator) -> tuple[Places, Places]:
    """Return both images of every pair of a scene, or of so many drawn ones."""
    count = len(rows)
    if count * (count - 1) // 2 <= PAIRS_OF_A_SCENE:
        first, second = np.triu_indices(count, 1)
        return rows[first], rows[second]
    first = generator.integers(count, size=PAIRS_OF_A_SCENE)
    second = (first + generator.integers(1, count, size=PAIRS_OF_A_SCENE)) % count
    return rows[first], rows[second]
