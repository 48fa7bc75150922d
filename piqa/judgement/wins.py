"""Counts of answers by pair: how often one image of a scene was preferred to another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]


def wins_of(answers: pd.DataFrame, scene: str, images: Sequence[str], ties: bool = True) -> Array:
    """Return how often the image of the row was preferred to that of the column, shape (images, images).

    Args:
        answers: As of `piqa.judgement.answers.answers_table`, of any scenes; all kinds count.
        scene: The scene.
        images: Its images; answers with others are left out.
        ties: Whether an answer "same" counts as half a win of each; else it does not count.
    """
    rows = answers[(answers["scene"] == scene).to_numpy(bool)]
    place = pd.Index(images)
    first, second = place.get_indexer(rows["image_a"]), place.get_indexer(rows["image_b"])
    known = (first >= 0) & (second >= 0)
    first, second, winner = first[known], second[known], rows["winner"].to_numpy()[known]
    weight = np.where(winner == "same", 0.5 if ties else 0.0, np.where(winner == "a", 1.0, 0.0))
    other = np.where(winner == "same", 0.5 if ties else 0.0, np.where(winner == "b", 1.0, 0.0))
    wins = np.zeros((len(images), len(images)))
    np.add.at(wins, (first, second), weight)
    np.add.at(wins, (second, first), other)
    return wins
