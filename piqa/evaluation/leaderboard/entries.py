"""Who takes part in a contest: somebody's predictions, and the same as a measured line of the board."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from piqa.errors import InputError
from piqa.evaluation.leaderboard.entry_measures import Measured, measure
from piqa.evaluation.metrics import check_table
from piqa.evaluation.pairs import Bands
from piqa.evaluation.statistics.bootstrap import Resamples
from piqa.evaluation.statistics.calibration import Mapping, fit_mapping


@dataclass(frozen=True)
class Contestant:
    """Somebody's predictions.

    Attributes:
        name: Its line on the board.
        predictions: Predicted scores by the table's image name, finite; those of training images may be among them.
        kind: `model`, or `naive` for a rule to be beaten.
        selected_on: The set that chose the checkpoint: `val`, `test`, ...; None if not known.
        source: The file, or the rule in words.
        unmatched: Images that were predicted and are not in the table.
    """

    name: str
    predictions: pd.Series[float]
    kind: Literal["naive", "model"] = "model"
    selected_on: str | None = None
    source: str = ""
    unmatched: Sequence[str] = ()


@dataclass(frozen=True)
class Line:
    """A contestant, measured.

    Attributes:
        contestant: Whose line it is.
        frame: The truth with the column `prediction`, NaN where there is none.
        mapping: To the scale of the score; None where there is none.
        reason: Why there is no mapping; "" where there is one.
        trained: Training images behind the mapping.
        measured: Its measures.
    """

    contestant: Contestant
    frame: pd.DataFrame
    mapping: Mapping | None
    reason: str
    trained: int
    measured: Measured

    @property
    def name(self) -> str:
        """The contestant's."""
        return self.contestant.name

    @property
    def known(self) -> pd.DataFrame:
        """The rows that are predicted."""
        return self.frame[self.frame["prediction"].notna()]

    @property
    def missing(self) -> list[str]:
        """Images without a prediction."""
        return self.frame.loc[self.frame["prediction"].isna(), "image"].to_list()


def enter(
    truth: pd.DataFrame, contestant: Contestant, training: pd.DataFrame | None, drawn: Resamples, bands: Bands
) -> Line:
    """Measures a contestant.

    Args:
        truth: One row an image with columns `image`, `scene` and `score`, index 0..n-1.
        contestant: Who.
        training: `image` and `score` of the training images, none of which is in `truth`; None if not known.
        drawn: The resamples of `truth`.
        bands: What clear and near pairs are.
    """
    frame = truth.assign(prediction=truth["image"].map(contestant.predictions).astype(np.float64))
    mapping, trained, reason = None, 0, "the table has no training images"
    if training is not None and len(training):
        predicted = training["image"].map(contestant.predictions).astype(np.float64)
        known = predicted.notna()
        trained, reason = int(known.sum()), "no training image has a prediction"
        if trained:
            mapping, reason = fit_mapping(predicted[known], training.loc[known, "score"]), ""
    measured = measure(truth, frame["prediction"].to_numpy(), mapping, drawn, bands)
    return Line(contestant, frame, mapping, reason, trained, measured)


def check(truth: pd.DataFrame, contestants: Sequence[Contestant], max_missing: float) -> None:
    """Refuses contestants that cannot be measured on the truth.

    Raises:
        InputError: If the truth is not sound, there is nobody, a name or an image stands twice, a prediction is not
            finite, or too many images lack one.
    """
    check_table(truth.assign(prediction=0.0))
    if not contestants:
        raise InputError("nobody takes part; give a model or a CSV of predictions")
    names = [contestant.name for contestant in contestants]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(
            f"two lines are called {twice[0]!r}; name them apart, such as --predictions ours=a.csv peer=b.csv"
        )
    for contestant in contestants:
        _check_predictions(truth["image"], contestant, max_missing)


def _check_predictions(images: pd.Series[str], contestant: Contestant, max_missing: float) -> None:
    name, predictions = contestant.name, contestant.predictions
    if predictions.index.has_duplicates:
        repeated = predictions.index[predictions.index.duplicated()][0]
        raise InputError(f"{name} predicts {repeated} more than once; keep one row an image")
    wrong = predictions.index[~np.isfinite(predictions.to_numpy(np.float64))]
    if len(wrong):
        raise InputError(f"{name} has {len(wrong)} predictions that are not finite (first: {wrong[0]}); mend them")
    missing = images[~images.isin(predictions.index)]
    if len(missing) > max_missing * len(images) or len(missing) == len(images):
        raise InputError(
            f"{name} predicts {len(images) - len(missing)} of the {len(images)} images to be evaluated (first without: "
            f"{missing.iloc[0]}); add them, or raise max_missing (now {max_missing:g})"
        )
