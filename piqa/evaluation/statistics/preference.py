"""How sure a model is that one image of a scene is better than another: its difference of scores as a probability.

A model that learns to rank gives scores on a scale of its own. On scenes with known scores one number makes
probabilities of them: P(A better) = Phi((A - B) / scale), Thurstone's Case V. The scale is fitted by maximum
likelihood on the pairs inside scenes, so that of all pairs with a stated probability of 0.7 about seven in ten agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import isfinite

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_ndtr, ndtr

from piqa.errors import InputError
from piqa.evaluation.measures import Array

Places = NDArray[np.intp]

PAIRS_OF_A_SCENE = 20_000  # drawn where a scene has more; a scene of 20,000 images has 200 million
SHALLOWEST, STEEPEST = 1e-3, 1e3  # scales that are tried, in standard deviations of the scores inside scenes


@dataclass(frozen=True)
class Preference:
    """The probability that one image is better than another of the same scene, by the difference of their scores.

    Attributes:
        scale: Difference of scores at which the better image is preferred with a probability of Phi(1) = 0.84.
        scenes, pairs: How many it was fitted on.
        log_loss: Mean negative log likelihood of those pairs, in nats; ln 2 = 0.693 is a coin's.
        source: Where those scenes come from, in words.
    """

    scale: float
    scenes: int = 0
    pairs: int = 0
    log_loss: float | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.scale, int | float) or not isfinite(self.scale) or self.scale <= 0:
            raise InputError(f"the preference of a model has the `scale` {self.scale!r}; a positive number is needed")

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
        None where no scene has two images with different predictions.
    """
    predicted, measured = np.asarray(prediction, np.float64), np.asarray(score, np.float64)
    deviation = None if score_std is None else np.asarray(score_std, np.float64)
    names = np.asarray(scene)
    generator = np.random.default_rng(seed)
    differences, targets, scenes = [], [], 0
    for name in np.unique(names):
        rows = np.flatnonzero(names == name)
        a, b = _pairs(rows, generator)
        if not len(a):
            continue
        scenes += 1
        differences.append(predicted[a] - predicted[b])
        gap = measured[a] - measured[b]
        if deviation is None:
            targets.append(0.5 + 0.5 * np.sign(gap))
        else:
            targets.append(ndtr(gap / np.maximum(np.hypot(deviation[a], deviation[b]), 1e-3)))
    if not scenes or not (difference := np.concatenate(differences)).any():
        return None
    target = np.concatenate(targets)

    def loss(log_scale: float) -> float:
        z = difference / np.exp(log_scale)
        return float(-(target * log_ndtr(z) + (1 - target) * log_ndtr(-z)).mean())

    middle = float(np.log(np.sqrt(np.mean(difference**2))))
    found = minimize_scalar(
        loss, bounds=(middle + np.log(SHALLOWEST), middle + np.log(STEEPEST)), method="bounded", options={"xatol": 1e-6}
    )
    return Preference(float(np.exp(found.x)), scenes, len(target), float(found.fun), source)


def _pairs(rows: Places, generator: np.random.Generator) -> tuple[Places, Places]:
    """Return both images of every pair of a scene, or of so many drawn ones."""
    count = len(rows)
    if count * (count - 1) // 2 <= PAIRS_OF_A_SCENE:
        first, second = np.triu_indices(count, 1)
        return rows[first], rows[second]
    first = generator.integers(count, size=PAIRS_OF_A_SCENE)
    second = (first + generator.integers(1, count, size=PAIRS_OF_A_SCENE)) % count
    return rows[first], rows[second]
