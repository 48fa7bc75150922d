"""The noise ceiling: how well the true scores would predict the measured ones, which are means of few opinions.

Each draw adds to every score a normal error with the score's own standard deviation. The result is how far a second
panel of the same size would agree with the first, if the errors of images are independent.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from piqa.evaluation.measures import MEASURES, all_measures
from piqa.evaluation.statistics.bootstrap import interval, median

DRAWS = 1000


def noise_ceiling(truth: pd.DataFrame, draws: int = DRAWS, seed: int = 0) -> pd.DataFrame:
    """Measure score + N(0, score_std) as a prediction of score, by the official protocol.

    Returns:
        Indexed by measure: `value`, the mean over draws of the median over scenes, and `low` and `high`, between which
        95 % of the draws lie.
    """
    rng = np.random.default_rng(seed)
    scenes = []
    for _, rows in truth.groupby("scene", sort=True):
        score, std = rows["score"].to_numpy(np.float64), rows["score_std"].to_numpy(np.float64)
        scenes.append(all_measures(score, score + std * rng.standard_normal((draws, len(score)))))
    drawn = {name: median(np.stack([measured[name] for measured in scenes], axis=1)) for name in MEASURES}
    numbers = [(float(np.mean(values)), *interval(values)) for values in drawn.values()]
    return pd.DataFrame(numbers, index=pd.Index(MEASURES, name="measure"), columns=["value", "low", "high"])
