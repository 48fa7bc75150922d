"""What a leaderboard holds: plain data, ready to be printed, written or drawn; `contest.hold` makes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

KINDS = ("naive", "model", "published", "ceiling")  # in the order of the lines
PROTOCOLS = {
    "official": "median over scenes, raw predictions",
    "authors": "mean over scenes; PLCC, MAE and RMSE after a logistic fit in each scene",
    "calibrated": "median over scenes, after one monotonic mapping fitted on training scenes only",
}
LOWER_IS_BETTER = ("mae", "rmse")


@dataclass(frozen=True)
class Leaderboard:
    """Who judges portraits how well, under which protocol, how surely, and where each fails.

    Every frame is in long form and its index says nothing. `model` is the name of a line, unique on the board. NaN
    stands for a number that is not defined or not known. Scores and errors are in units of the table's score (JOD for
    PIQ23), shares and probabilities lie in [0, 1].

    Attributes:
        facts: What was measured: `table`, `split` (the part of the table, "test"), `attribute` and `official_split`
            (PIQ23's; None elsewhere), `images`, `scenes`, `seed`, `samples` (of the bootstrap), `levels` (what it
            resamples), `permutations`, `draws` (of the ceiling), `max_missing`, `clear` and `near` (thresholds of the
            pairs), `protocols` (name to sentence), `unavailable` (protocol to model to reason), `calibration_images`
            (model to number of training images behind its mapping), `missing` and `unmatched` (model to names of
            images), and what the caller adds, such as `command`.
        entries: A row a line of the board, in its order (naive, models by official SROCC, published, ceiling): `model`;
            `kind`, one of `KINDS`; `protocol_note`, what sets a line's protocol apart, else ""; `selected_on`, the set
            that chose the checkpoint ("val", "test", None if not known); `source`, a file, a publication or a rule;
            `images` measured; `missing` images of the table and `unmatched` predictions; `undefined_scenes` without
            SROCC, `failed_fits` of the logistic; `predicted_fraction` of the table's images. Counts are NaN for
            published lines.
        measures: `model`, `protocol` (a key of `PROTOCOLS`), `measure` ("srocc", "krocc", "plcc", "mae", "rmse",
            "pair_accuracy"), `value`, `low` and `high` (95 % bootstrap interval; NaN for published lines; for the
            ceiling the 95 % spread of its draws), `best` (bool: nothing among models and published lines is better in
            this protocol and measure), `significant` (bool: this model is better than every other model and naive line
            it was compared with, each with a Holm-adjusted p below 0.05).
        scenes: `model`, `scene`, `condition` (None where unknown), `images`, and the columns of `metrics.per_scene`
            with `pair_accuracy`; for naive lines and models.
        groups: `model`, `by` ("condition" or "device"), `group`, `images`, `pairs`, `pair_accuracy`, `srocc` (mean over
            the scenes in which the group has at least five images and it is defined); for naive lines and models.
        comparisons: Pairs of lines: `model_a`, `model_b`, `protocol`, `measure`, `images` (that both predict),
            `difference` (a - b), `low`, `high` (95 % bootstrap), `p` (permutation test over
            scenes, two-sided), `p_adjusted` (Holm over the comparisons of this protocol and measure), `samples`.
        pairs: `model`, `kind` ("all", "clear", "near"), `pairs`, `accuracy` with `low`, `high`, and `brier` score of
            the predicted preference Phi(difference of raw predictions); pooled over scenes.
        reliability: `model`, `bin` (0, 1, ...), `predicted` (mean probability of the preferred image, in [0.5, 1]),
            `observed` (share of these pairs in which the experts agree), `pairs`; for models.
        failures: `model`, `scene`, `image_a`, `image_b`, `score_a`, `score_b`, `prediction_a`, `prediction_b`,
            `path_a`, `path_b` (None if not on disk): the pairs ordered wrongly that experts separate most, A being
            the better one by the experts; worst first within a model.
        predictions: `model`, `image`, `scene`, `score`, `prediction` (raw); for naive lines and models.
    """

    facts: dict[str, Any]
    entries: pd.DataFrame
    measures: pd.DataFrame
    scenes: pd.DataFrame
    groups: pd.DataFrame
    comparisons: pd.DataFrame
    pairs: pd.DataFrame
    reliability: pd.DataFrame
    failures: pd.DataFrame
    predictions: pd.DataFrame
