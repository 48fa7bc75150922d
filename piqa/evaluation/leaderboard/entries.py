"""The candidates of a leaderboard, and the same measured: the entries of the board."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from piqa.errors import InputError
from piqa.evaluation.leaderboard.entry_measures import EntryMeasures, measure_predictions
from piqa.evaluation.metrics import check_table
from piqa.evaluation.pairs import PairBands
from piqa.evaluation.statistics.bootstrap import Resamples
from piqa.evaluation.statistics.calibration import ScoreMapping, fit_mapping


@dataclass(frozen=True)
class Candidate:
    """Predictions of a model or of a naive rule.

    Attributes:
        name: Its name on the board.
        predictions: Predicted scores by the table's image name, finite; those of training images may be among them.
        kind: `model`, or `naive` for a rule that a model must beat.
        selected_on: The set that the checkpoint was chosen on: `val`, `test`, ...; None if not known.
        source: The file, or the rule in words.
        unmatched: Predicted images that are not in the table.
        failed: Images to be evaluated without a prediction because they are broken, which is allowed already.
    """

    name: str
    predictions: pd.Series[float]
    kind: Literal["naive", "model"] = "model"
    selected_on: str | None = None
    source: str = ""
    unmatched: Sequence[str] = ()
    failed: Sequence[str] = ()


@dataclass(frozen=True)
class MeasuredEntry:
    """A candidate with its measures.

    Attributes:
        candidate: Who predicts.
        frame: The truth with the column `prediction`, NaN where there is none.
        mapping: From the predictions to the scale of the score; None where there is none.
        reason: Why there is no mapping; empty where there is one.
        calibration_images: Number of training images behind the mapping.
        measured: Its measures.
    """

    candidate: Candidate
    frame: pd.DataFrame
    mapping: ScoreMapping | None
    reason: str
    calibration_images: int
    measured: EntryMeasures

    @property
    def name(self) -> str:
        """The candidate's name."""
        return self.candidate.name

    @property
    def known(self) -> pd.DataFrame:
        """The rows with a prediction."""
        return self.frame[self.frame["prediction"].notna()]

    @property
    def missing(self) -> list[str]:
        """The images without a prediction."""
        return self.frame.loc[self.frame["prediction"].isna(), "image"].to_list()


def measure_candidate(
    truth: pd.DataFrame,
    candidate: Candidate,
    training: pd.DataFrame | None,
    drawn: Resamples,
    bands: PairBands,
    advance: Callable[[int], object] = lambda scenes: None,
) -> MeasuredEntry:
    """Measure a candidate on the truth, which has columns `image`, `scene` and `score` and index 0..n-1.

    The other arguments are as in `build_leaderboard` and `measure_predictions`.
    """
    frame = truth.assign(prediction=truth["image"].map(candidate.predictions).astype(np.float64))
    mapping, images, reason = None, 0, "the table has no training images"
    if training is not None and len(training):
        predicted = training["image"].map(candidate.predictions).astype(np.float64)
        known = predicted.notna()
        images, reason = int(known.sum()), "no training image has a prediction"
        if images:
            mapping, reason = fit_mapping(predicted[known], training.loc[known, "score"]), ""
    measured = measure_predictions(truth, frame["prediction"].to_numpy(), mapping, drawn, bands, advance)
    return MeasuredEntry(candidate, frame, mapping, reason, images, measured)


def check_candidates(truth: pd.DataFrame, candidates: Sequence[Candidate], max_missing: float) -> None:
    """Make sure that candidates can be measured on the truth; raise an InputError as `build_leaderboard` does."""
    check_table(truth.assign(prediction=0.0))
    if not candidates:
        raise InputError("no model and no predictions to evaluate; give at least one")
    names = [candidate.name for candidate in candidates]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"two candidates are called {twice[0]!r}; name them apart, such as ours=a.csv peer=b.csv")
    images = truth["image"]
    for candidate in candidates:
        name, predictions = candidate.name, candidate.predictions
        if predictions.index.has_duplicates:
            repeated = predictions.index[predictions.index.duplicated()]
            raise InputError(f"{name} predicts {repeated[0]} more than once; keep one row an image")
        wrong = predictions.index[~np.isfinite(predictions.to_numpy(np.float64))]
        if len(wrong):
            raise InputError(
                f"{name} has {len(wrong)} predictions that are not finite (first: {wrong[0]}); correct them"
            )
        without = ~images.isin(predictions.index)
        missing = images[without & ~images.isin(candidate.failed)]
        if len(missing) > max_missing * len(images) or without.all():
            raise InputError(
                f"{name} predicts {int((~without).sum())} of the {len(images)} images to be evaluated (first "
                f"without: {images[without].iloc[0]}); add them, or raise `max_missing` (now {max_missing:g})"
            )
