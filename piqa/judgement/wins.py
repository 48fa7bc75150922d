"""Counts of answers by pair, of all raters or of some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from piqa.judgement.answers import SAME
from piqa.judgement.thurstone import Array, Counts, Places


def wins_of(answers: pd.DataFrame, scene: str, images: Sequence[str]) -> Array:
    """Return how often the image of the row was preferred to that of the column, shape (images, images).

    Args:
        answers: As of `piqa.judgement.answers.answers_table`, of any scenes; all kinds count, "same" as half a win of
            each.
        scene: The scene.
        images: Its images; answers with others are left out.
    """
    rows = answers[(answers["scene"] == scene).to_numpy(bool)]
    first, second, share = _as_places(rows, images)
    known = (first >= 0) & (second >= 0)
    first, second, share = first[known], second[known], share[known]
    cells = np.concatenate([first * len(images) + second, second * len(images) + first])
    wins = np.bincount(cells, np.concatenate([share, 1 - share]), len(images) ** 2)
    return np.asarray(wins, np.float64).reshape(len(images), len(images))


@dataclass(frozen=True)
class RaterTally:
    """The answers of each rater in a scene.

    Attributes:
        images: How many images.
        raters: Their names.
        first, second: Places of the images of each compared pair, shape (pairs,), first < second.
        rater, pair: Numbers of the rater and of the pair of each answer, shape (answers,).
        share: 1 where the pair's first image was preferred, 0 where the second, 0.5 for "same".
    """

    images: int
    raters: tuple[str, ...]
    first: Places
    second: Places
    rater: Places
    pair: Places
    share: Array

    @classmethod
    def of(cls, rows: pd.DataFrame, images: Sequence[str]) -> RaterTally:
        """Return the tally of the answers of one scene, whose images these are."""
        one, other, share = _as_places(rows, images)
        share = np.where(one < other, share, 1 - share)
        cells, pair = np.unique(np.minimum(one, other) * len(images) + np.maximum(one, other), return_inverse=True)
        rater, names = pd.factorize(rows["rater"], sort=True)
        return cls(
            len(images), tuple(map(str, names)), cells // len(images), cells % len(images), rater, pair.ravel(), share
        )

    def counts(self, weights: Array | None = None) -> Counts:
        """Return counts of pairs, raters weighted, shape (raters,); pairs without answers are left out."""
        of_answer = np.ones(len(self.share)) if weights is None else weights[self.rater]
        total = np.bincount(self.pair, of_answer, len(self.first)).astype(np.float64)
        wins = np.bincount(self.pair, of_answer * self.share, len(self.first)).astype(np.float64)
        kept = total > 0
        return Counts(self.images, self.first[kept], self.second[kept], wins[kept], total[kept])


def _as_places(rows: pd.DataFrame, images: Sequence[str]) -> tuple[Places, Places, Array]:
    """Return the places of `image_a` and `image_b`, -1 for others, and the share of the win that `image_a` has."""
    place = pd.Index(images)
    winner = rows["winner"].to_numpy()
    share = np.where(winner == SAME, 0.5, np.where(winner == "a", 1.0, 0.0))
    return place.get_indexer(pd.Index(rows["image_a"])), place.get_indexer(pd.Index(rows["image_b"])), share
