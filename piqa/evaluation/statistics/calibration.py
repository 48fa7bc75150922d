"""Map predictions to the scale of the experts' scores, by one monotonic curve fitted on training scenes.

A model trained to rank predicts on a scale of its own; its errors in JOD mean nothing until they are mapped. A logistic
fitted in every test scene sees the test scores; this mapping sees none of them. It is one curve for all scenes, as for
a user who scores new images, so predictions that drift from scene to scene count as errors.

A model fits its training scenes better than new ones, so the curve may be too steep for new scenes. All images that the
table marks `train` are used, the same ones for every entry. Where the table names no validation split, as PIQ23's does
not, the scenes that a training run held out to choose its checkpoint are among them: the network was not fitted to
their scores, so that they make the curve less steep, not more. Images that the table marks `val` are not used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import isotonic_regression

from piqa.evaluation.measures import Array


@dataclass(frozen=True)
class ScoreMapping:
    """A curve through knots, both sides strictly ascending, linear between them and constant beyond the outermost."""

    prediction: Array
    score: Array

    def __call__(self, prediction: ArrayLike) -> Array:
        """Return predictions on the scale of the score, same shape."""
        return np.asarray(np.interp(np.asarray(prediction, np.float64), self.prediction, self.score))


def fit_mapping(prediction: ArrayLike, score: ArrayLike) -> ScoreMapping:
    """Fit the centred isotonic regression of score on prediction.

    Isotonic least squares gives a step function. Each of its levels becomes one knot, at the mean prediction of its
    images, so different predictions stay different between the outermost knots. No shape is assumed.

    Args:
        prediction: Predictions of training images, shape (images,), at least one.
        score: Their scores.

    Raises:
        ValueError: If the shapes differ or there is nothing to fit.

    Reference: Oron and Flournoy, Centered isotonic regression, Statistics in Biopharmaceutical Research, 2017.

    Examples:
        >>> mapping = fit_mapping(prediction=[0.1, 0.2, 0.4], score=[1.0, 2.0, 4.0])
        >>> mapping([0.0, 0.3, 0.9]).tolist()
        [1.0, 3.0, 4.0]
    """
    x, y = np.asarray(prediction, np.float64), np.asarray(score, np.float64)
    if x.ndim != 1 or x.shape != y.shape or not x.size:
        raise ValueError(f"expected two vectors of one length, found shapes {x.shape} and {y.shape}")
    values, group, images = np.unique(x, return_inverse=True, return_counts=True)
    fit = isotonic_regression(np.bincount(group, weights=y) / images, weights=images)
    starts = fit.blocks[:-1]
    centres = np.add.reduceat(values * images, starts) / np.add.reduceat(images, starts)
    return ScoreMapping(centres, fit.x[starts])
