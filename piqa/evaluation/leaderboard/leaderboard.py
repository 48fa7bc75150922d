"""What a leaderboard holds: plain data, ready to be printed, written or drawn; `build.build_leaderboard` makes it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from piqa.evaluation.leaderboard.facts import LeaderboardFacts

KINDS = ("naive", "model", "published", "ceiling")  # in the order of the entries
LOWER_IS_BETTER = ("mae", "rmse")


@dataclass(frozen=True)
class Leaderboard:
    """The values of all entries under each protocol, their uncertainty, and where each entry fails.

    Every frame is in long form and its index carries no information. `model` is the name of an entry, unique on the
    board. NaN stands for a number that is not defined or not known. Scores and errors are in units of the table's score
    (JOD for PIQ23); fractions and probabilities lie in [0, 1].

    Attributes:
        facts: What the leaderboard was computed from, and how.
        entries: A row an entry, in the order of the board (naive, models by official SROCC, published, ceiling):
            `model`; `kind`, one of `KINDS`; `protocol_note`, how an entry's protocol deviates, else ""; `selected_on`,
            the set that the checkpoint was chosen on ("val", "test", None if not known); `source`, a file, a
            publication or a rule; `images` measured; `missing` images of the table and `unmatched` predictions;
            `undefined_scenes` without SROCC, `failed_fits` of the logistic; `predicted_fraction` of the table's images.
            Counts are NaN for published entries.
        measures: `model`, `protocol` (a key of `PROTOCOLS`), `measure` ("srocc", "krocc", "plcc", "mae", "rmse",
            "pair_accuracy"), `value`, `low` and `high` (95 % bootstrap interval; NaN for published entries; for the
            ceiling the range of 95 % of its draws), `best` (bool: no model and no published entry is better in this
            protocol and measure), `significant` (bool: this model is better than every other model and naive entry
            that it was compared with, each with a Holm-adjusted p below 0.05).
        scenes: `model`, `scene`, `condition` (None where unknown), `images`, and the columns of `metrics.per_scene`
            with `pair_accuracy`; for naive entries and models.
        groups: `model` and the columns of `pairs.by_group`, by "condition" and "device"; for naive entries and models.
        comparisons: Pairs of entries: `model_a`, `model_b`, `protocol`, `measure`, `images` (that all entries predict),
            `difference` (a - b), `low`, `high` (95 % bootstrap interval), `p` (permutation test over scenes,
            two-sided), `p_adjusted` (Holm over the comparisons of this protocol and measure), `bootstrap_samples`.
        pairs: `model` and the columns of `pairs.preferences`, with `low` and `high` of `accuracy` (95 % bootstrap
            interval).
        reliability: `model` and the columns of `pairs.reliability`; for models.
        failures: `model` and the columns of `pairs.worst_pairs`; for models.
        predictions: `model`, `image`, `scene`, `score`, `prediction` (raw); for naive entries and models.
    """

    facts: LeaderboardFacts
    entries: pd.DataFrame
    measures: pd.DataFrame
    scenes: pd.DataFrame
    groups: pd.DataFrame
    comparisons: pd.DataFrame
    pairs: pd.DataFrame
    reliability: pd.DataFrame
    failures: pd.DataFrame
    predictions: pd.DataFrame


def without_places(board: Leaderboard) -> Leaderboard:
    """Return the board with images that are named by absolute paths named from their common folder on."""
    names = {str(name) for name in board.predictions["image"] if os.path.isabs(str(name))}  # noqa: PTH117
    names |= {name for own in board.facts.missing.values() for name in own if os.path.isabs(name)}  # noqa: PTH117
    if not names:
        return board
    folder = os.path.commonpath([os.path.dirname(name) for name in names])  # noqa: PTH120
    shown = {name: os.path.relpath(name, folder) for name in names}

    def rename(frame: pd.DataFrame) -> pd.DataFrame:
        columns = [column for column in ("image", "image_a", "image_b") if column in frame]
        return frame.assign(**{column: frame[column].map(lambda name: shown.get(name, name)) for column in columns})

    def renamed(own: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        return {model: [shown.get(name, name) for name in names] for model, names in own.items()}

    facts = replace(board.facts, missing=renamed(board.facts.missing), failed=renamed(board.facts.failed))
    return replace(board, facts=facts, predictions=rename(board.predictions), failures=rename(board.failures))
