"""How well a perfect judge would do: scores are means of few opinions, so even the truth does not repeat exactly.

The judge answers each image's score with an error as large as the score's own standard deviation, drawn anew for every
draw. That is how far a second panel of the same size would agree with the first, if images err independently.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from piqa.evaluation.statistics.bootstrap import Array, interval, median

DRAWS = 1000
BLOCK = 4_000_000  # pairs in memory at a time, 32 MB


def noise_ceiling(truth: pd.DataFrame, draws: int = DRAWS, seed: int = 0) -> pd.DataFrame:
    """The measures, by the official protocol, of score + N(0, score_std) as a prediction of score.

    Args:
        truth: One row an image with columns `scene`, `score` and `score_std`.
        draws: How often the errors are drawn.
        seed: Of the draws.

    Returns:
        Indexed by measure (`srocc`, `krocc`, `plcc`, `mae`, `rmse`, `pair_accuracy`): `value`, the mean over draws of
        the median over scenes, and `low` and `high`, between which 95 % of the draws lie.
    """
    rng = np.random.default_rng(seed)
    scenes = []
    for _, rows in truth.groupby("scene", sort=True):
        score, std = rows["score"].to_numpy(np.float64), rows["score_std"].to_numpy(np.float64)
        scenes.append(_measures(score, score + std * rng.standard_normal((draws, len(score)))))
    result = {}
    for name in scenes[0]:
        summed_up = median(np.stack([measured[name] for measured in scenes], axis=1))
        low, high = interval(summed_up)
        result[name] = {"value": float(np.mean(summed_up)), "low": low, "high": high}
    return pd.DataFrame.from_dict(result, orient="index").rename_axis("measure")


def _measures(score: Array, predictions: Array) -> dict[str, Array]:
    """All measures of many predictions, shape (draws, images), of one scene's score; each (draws,)."""
    error = predictions - score
    surplus, untied, untied_predictions = _pairs(score, predictions)
    with np.errstate(invalid="ignore", divide="ignore"):  # a scene of equal scores has no correlation: NaN
        return {
            "srocc": _pearson(rankdata(score), rankdata(predictions, axis=1)),
            "krocc": surplus / np.sqrt(untied * untied_predictions),
            "plcc": _pearson(score, predictions),
            "mae": np.abs(error).mean(axis=1),
            "rmse": np.sqrt(np.square(error).mean(axis=1)),
            "pair_accuracy": (1 + surplus / untied) / 2,
        }


def _pearson(x: Array, y: Array) -> Array:
    dx, dy = x - x.mean(), y - y.mean(axis=1, keepdims=True)
    return np.asarray(dy @ dx / np.sqrt((dx @ dx) * np.square(dy).sum(axis=1)))


def _pairs(score: Array, predictions: Array) -> tuple[Array, float, Array]:
    """Right less wrong pairs of every draw, pairs of different score, and pairs of different prediction of each."""
    first, second = np.triu_indices(len(score), k=1)
    order = np.sign(score[first] - score[second])
    surplus, untied = np.empty(len(predictions)), np.empty(len(predictions))
    step = max(BLOCK // max(len(first), 1), 1)
    for start in range(0, len(predictions), step):
        block = predictions[start : start + step]
        signs = np.sign(block[:, first] - block[:, second])
        surplus[start : start + step] = signs @ order
        untied[start : start + step] = np.abs(signs).sum(axis=1)
    return surplus, float(np.abs(order).sum()), untied
