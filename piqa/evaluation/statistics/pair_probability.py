"""P(A better than B) by all that a model's card says: by the standard deviation of each image, or by one scale.

A model that states a standard deviation of each score, and whose card knows their unit, states probabilities by them;
any other by the one scale of `Preference`. Images without a standard deviation are compared by the scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from piqa.errors import InputError
from piqa.evaluation.measures import Array
from piqa.evaluation.statistics.conformal import least_probability, threshold
from piqa.evaluation.statistics.preference import Preference
from piqa.evaluation.statistics.uncertainty import ScoreUncertainty


@dataclass(frozen=True)
class PairProbability:
    """How sure the order of two images of a scene is.

    Args:
        preference: The one scale; None where the card does not say.
        uncertainty: What the card says of standard deviations and of answers with a stated error rate; likewise.
    """

    preference: Preference | None = None
    uncertainty: ScoreUncertainty | None = None

    @property
    def known(self) -> bool:
        """Whether probabilities are known at all."""
        return self.preference is not None or self.by_image

    @property
    def by_image(self) -> bool:
        """Whether standard deviations of the images count."""
        return self.uncertainty is not None and self.uncertainty.scale is not None

    def __call__(
        self,
        score_a: ArrayLike,
        score_b: ArrayLike,
        std_a: ArrayLike | None = None,
        std_b: ArrayLike | None = None,
    ) -> Array:
        """Return P(A better than B), of the shape to which all broadcast; NaN where it is not known.

        Args:
            score_a: Scores of A.
            score_b: Scores of B.
            std_a: Standard deviations of A's scores in their unit; NaN or None where they are not known.
            std_b: Those of B's.

        Examples:
            >>> one = PairProbability(Preference(scale=2.0))
            >>> one([2.0], [0.0]).round(2).tolist()
            [0.84]
        """
        difference = np.asarray(score_a, np.float64) - np.asarray(score_b, np.float64)
        found = np.full(difference.shape, np.nan)
        if self.preference is not None:
            found = self.preference.probability(difference)
        if self.uncertainty is None or self.uncertainty.scale is None or std_a is None or std_b is None:
            return found
        known = np.isfinite(np.asarray(std_a, np.float64)) & np.isfinite(np.asarray(std_b, np.float64))
        return np.where(known, self.uncertainty.probability(difference, std_a, std_b), found)

    def least(self, error_rate: float, first_two: bool = False) -> float:
        """Return the probability that an order must exceed to be told, so that it is wrong with this rate at most.

        Args:
            error_rate: Of scenes like those that the card was made on; see `conformal`.
            first_two: Whether the pair is the first and the second by score of several images.

        Raises:
            InputError: If the card does not say, or so few scenes cannot give the rate.
        """
        of_scenes = () if self.uncertainty is None else self.uncertainty.nonconformity
        if self.uncertainty is not None and first_two:
            of_scenes = self.uncertainty.first_two
        if not of_scenes:
            raise InputError(
                "the model's card does not say which error rates it keeps; `piqa evaluate` finds that, where the model "
                "is a run of piqa's"
            )
        q, own = threshold(of_scenes, error_rate), self.uncertainty.one_scale if self.uncertainty else None
        if own is not None and self.preference is not None and not self.by_image:
            # The card's preference may come from other scenes: the same difference of scores in its probabilities.
            q = float(ndtr(ndtri(q) * own / self.preference.scale))
        return least_probability(q)
