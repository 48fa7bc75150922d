"""How reliable each rater is: likelihood of the answers, side bias, repeats, known answers and time."""

from __future__ import annotations

import pandas as pd

from piqa.judgement.scaling import ScalingOptions


def judge_raters(answers: pd.DataFrame, options: ScalingOptions | None = None) -> pd.DataFrame:
    """Return one row a rater, sorted by name.

    Args:
        answers: As of `piqa.judgement.answers.answers_table`.
        options: How the answers of the other raters are scaled.

    Returns:
        Columns `rater`, `answers` (that count for the scale), `likelihood` (mean log10 likelihood of a compared pair
        under the scale of all others), `rater_score` (distance below the first quartile in interquartile ranges, 0
        above it; above 1.5 a rater deserves a look), `agreement` (share of the answers that go with the scale of the
        others), `left` (share of answers for the left image), `left_p` (two-sided binomial test of it), `repeats`,
        `repeat_rate` (answered alike), `gold`, `gold_rate`, `seconds` (median), `fast` (share below half a second),
        `longest_run` (answers for one side in a row), `outlier` (bool) and `why`. NaN where nothing is known.
    """
    raise NotImplementedError
