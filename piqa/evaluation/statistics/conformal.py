"""Which image of a pair is better, with a stated rate of errors: split conformal prediction of preferences.

On scenes that no training has seen, each scene gives one number: 1 - P(the better one), of a pair whose order viewers
tell. With n scenes, the threshold q is the ceil((n + 1)(1 - e))-th smallest of them for the error rate e. The answer to
a new pair holds every order whose 1 - P is at most q, and the more probable one in any case: A, B, or both, which is
"cannot tell". The answer lacks the true order with a probability of at most e, if the new scene and those scenes are
exchangeable; nothing else is assumed, not even that the probabilities hold.

* Pairs of a scene share its images and are not independent, so that a scene gives one number, not one for each pair.
* The rate is that over scenes and over the pairs that are drawn in them, not one for every single scene.
* Multiplying all differences by one factor changes P but no answer, so that a factor fitted on the same scenes does no
  harm.
* n scenes cannot give an error rate below 1 / (n + 1).

The first two of a moment by their scores are no pair that was drawn: they are closer than most, and the first was
chosen because its score is high. For them each scene gives a second number, of the first and the second of a few drawn
images.

Reference: Vovk et al., Algorithmic Learning in a Random World, 2005; Dunn, Wasserman and Ramdas, Distribution-Free
Prediction Sets for Two-Layer Hierarchical Models, JASA 2023 (one draw a group).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from piqa.errors import InputError
from piqa.evaluation.measures import Array

Answer = Literal["A", "B", "cannot tell"]
Places = NDArray[np.intp]
PairProbability = Callable[[Places, Places], Array]  # P(A better) of pairs of images, by their places

CLEAR = 1.96  # standard deviations of a measured difference from which on its order counts as known
DRAWN = 4  # images of which the first two are compared
TRIES = 50  # draws of a scene, until the order of the pair is known
ROUNDING = 1e-9  # of (n + 1)(1 - e), which shall be a whole number where it is one


def threshold(nonconformity: Sequence[float], error_rate: float) -> float:
    """Return q, above which 1 - P of an order leaves it out of the answer.

    Args:
        nonconformity: 1 - P(the better one), one a scene.
        error_rate: That is stated, in (0, 0.5).

    Raises:
        InputError: If so few scenes cannot give this rate, or it is out of range.

    Examples:
        >>> threshold([0.1, 0.2, 0.3, 0.4], 0.25)
        0.4
    """
    scenes = len(nonconformity)
    if not 0 < error_rate < 0.5:
        raise InputError(f"`error_rate` is {error_rate:g}; a value between 0 and 0.5 is needed, such as 0.1")
    place = ceil((scenes + 1) * (1 - error_rate) - ROUNDING)
    if place > scenes:
        raise InputError(
            f"an error rate of {error_rate:g} cannot be stated from {scenes} scenes; the lowest is "
            f"{1 / (scenes + 1):.3g}: evaluate on more scenes, or raise `error_rate`"
        )
    return float(np.sort(np.asarray(nonconformity, np.float64))[place - 1])


def least_probability(q: float) -> float:
    """Return the probability that an order must exceed to be the answer alone: the other one is then not in it.

    Examples:
        >>> least_probability(0.7), least_probability(0.4)
        (0.7, 0.5)
    """
    return max(q, 0.5)


def answers(probability: ArrayLike, q: float) -> list[Answer]:
    """Return the answer to each pair.

    Examples:
        >>> answers([0.95, 0.7, 0.1], q=0.8)
        ['A', 'cannot tell', 'B']
    """
    p, least = np.asarray(probability, np.float64), least_probability(q)
    return ["A" if one > least else "B" if 1 - one > least else "cannot tell" for one in p.tolist()]


def nonconformity_of_scenes(
    prediction: ArrayLike,
    score: ArrayLike,
    scene: ArrayLike,
    probability: PairProbability,
    score_std: ArrayLike | None = None,
    seed: int = 0,
) -> tuple[list[float], list[float]]:
    """Return 1 - P(the better one), one a scene: of any two images, and of the first two of a few.

    Scenes in which no pair is found whose order is known are left out.

    Args:
        prediction: Scores by the model, shape (images,).
        score: Measured scores.
        scene: The scene of each image.
        probability: P(A better) by the model.
        score_std: Standard deviations of the measured scores. The order of a pair is known where the difference is at
            least 1.96 of its standard deviations; without them where it is not 0.
        seed: Draws the pairs.
    """
    predicted, measured = np.asarray(prediction, np.float64), np.asarray(score, np.float64)
    deviation = np.zeros_like(measured) if score_std is None else np.nan_to_num(np.asarray(score_std, np.float64))
    generator = np.random.default_rng(seed)
    _, number = np.unique(np.asarray(scene), return_inverse=True)
    order = np.argsort(number, kind="stable")
    found: tuple[list[float], list[float]] = ([], [])
    for rows in np.split(order, np.flatnonzero(np.diff(number[order])) + 1):
        for values, drawn, of_drawn in zip(found, (2, DRAWN), (_as_drawn, _first_two), strict=True):
            pair = _clear_pair(rows, min(drawn, len(rows)), generator, of_drawn, (predicted, measured, deviation))
            if pair is not None:
                better, worse = (pair if measured[pair[0]] > measured[pair[1]] else pair[::-1])[:, None]
                values.append(1 - float(probability(better, worse)[0]))
    return found


def _as_drawn(rows: Places, predicted: Array) -> Places:
    return rows


def _first_two(rows: Places, predicted: Array) -> Places:
    return rows[np.argsort(-predicted[rows], kind="stable")[:2]]


def _clear_pair(
    rows: Places,
    drawn: int,
    generator: np.random.Generator,
    of_drawn: Callable[[Places, Array], Places],
    values: tuple[Array, Array, Array],
) -> Places | None:
    """Return two of some drawn images of a scene, as soon as their order is known; None where none is found."""
    predicted, measured, deviation = values
    for _ in range(TRIES if len(rows) > 1 else 0):
        pair = of_drawn(generator.choice(rows, drawn, replace=False), predicted)
        gap = abs(measured[pair[0]] - measured[pair[1]])
        if gap > 0 and gap >= CLEAR * np.hypot(*deviation[pair]):
            return pair
    return None
