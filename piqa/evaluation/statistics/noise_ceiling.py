"""The noise ceiling: how well the true scores would predict the measured ones, which are means of few opinions.

Each draw adds to every score a normal error with the score's own standard deviation. The result is how far a second
panel of the same size would agree with the first, if the errors of images are independent.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from piqa.evaluation.measures import MEASURES, Array, all_measures
from piqa.evaluation.statistics.bootstrap import interval, median
from piqa.system.progress import Advance, progress

DRAWS = 1000
NOISE_AT_ONCE = 2_000_000  # scores with noise in memory at a time, times a dozen intermediate arrays
VALUES_AT_ONCE = 50_000_000  # values of scenes in memory at a time


def noise_ceiling(truth: pd.DataFrame, draws: int = DRAWS, seed: int = 0) -> pd.DataFrame:
    """Measure score + N(0, score_std) as a prediction of score, by the official protocol.

    Returns:
        Indexed by measure: `value`, the mean over draws of the median over scenes, and `low` and `high`, between which
        95 % of the draws lie.
    """
    scenes = [rows[["score", "score_std"]].to_numpy(np.float64).T for _, rows in truth.groupby("scene", sort=True)]
    at_once = max(VALUES_AT_ONCE // (draws * len(scenes)), 1)
    groups = [MEASURES[start : start + at_once] for start in range(0, len(MEASURES), at_once)]
    numbers: dict[str, tuple[float, float, float]] = {}
    with progress(len(groups) * draws * len(scenes), task="noise ceiling", unit="scenes") as advance:
        for names in groups:  # more than one group only where there are very many scenes
            for name, values in _draw(scenes, draws, seed, names, advance).items():
                of_draws = median(values)
                numbers[name] = float(np.mean(of_draws)), *interval(of_draws)
    return pd.DataFrame(
        list(numbers.values()), index=pd.Index(numbers, name="measure"), columns=["value", "low", "high"]
    )


def _draw(scenes: Sequence[Array], draws: int, seed: int, names: Sequence[str], advance: Advance) -> dict[str, Array]:
    """Return measures of every draw in every scene, each of shape (draws, scenes)."""
    rng = np.random.default_rng(seed)
    found = {name: np.empty((draws, len(scenes))) for name in names}
    for place, (score, std) in enumerate(scenes):
        step = max(NOISE_AT_ONCE // len(score), 1)
        for start in range(0, draws, step):
            rows = min(step, draws - start)
            measured = all_measures(score, score + std * rng.standard_normal((rows, len(score))))
            for name in names:
                found[name][start : start + rows, place] = measured[name]
            advance(rows)
    return found
