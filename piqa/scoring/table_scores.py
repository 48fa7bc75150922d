"""Scores of the images of a table by trained models, for an evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import pandas as pd

from piqa.errors import InputError
from piqa.evaluation.attributes import PREDICTION
from piqa.evaluation.inputs import CandidateTable
from piqa.evaluation.leaderboard.entries import Candidate
from piqa.preparation.store import PreparedStore
from piqa.scoring.options import ScoringOptions
from piqa.scoring.precision import tell_precision
from piqa.scoring.scorer import Row, Scorer
from piqa.scoring.stated_std import STD
from piqa.system.progress import Advance, progress
from piqa.system.shown_paths import shown_path
from piqa.weights.licences import licence_of

Item = TypeVar("Item")
Scores = pd.DataFrame  # of each image that could be scored, by its path: the network's outputs that are numbers
Broken = list[tuple[str, str]]  # images and why they could not be prepared


def scored_candidates(
    models: Mapping[str, str],
    scorer: Scorer | None,
    labels: pd.DataFrame,
    used: Sequence[str],
    max_failed: float,
    options: ScoringOptions,
    load: Callable[[str], Scorer],
    attributes: Sequence[str] = (),
) -> Iterator[CandidateTable]:
    """Yield every model's predictions of the images of some splits, of which the first is evaluated.

    A network's `score_std` becomes the column `prediction_std`, as the network states it, so that its factor can be
    fitted anew.

    Args:
        models: Path or name of each model, by its name on the board.
        scorer: The first model's, loaded already.
        labels: The whole table.
        used: The splits.
        max_failed: Fraction of the table's images that may be broken.
        options: How models score.
        load: Loads the scorer of a model.
        attributes: Attributes of the table. The output that is called like one is kept as `prediction.<attribute>`.

    Raises:
        InputError: If too many images are broken, or a model cannot be loaded.
    """
    frame = labels[labels["split"].isin(used)]
    for name, model in models.items():
        scorer = scorer or load(model)
        scorer.std_factor = 1.0
        tell_precision(scorer.card, options.precision, shown_path(model))
        selected_on, licence = scorer.card.trained_on.get("selected_on"), licence_of(scorer.card)
        uncertainty = scorer.card.uncertainty
        score = score_stored if scorer.takes_portraits else score_files
        found, broken = score(scorer, frame["path"], options)
        _check_failed(broken, len(labels), len(frame), max_failed)
        failed = frame["path"].isin([path for path, _ in broken])
        scorer = None  # one network in memory at a time
        outputs = found.loc[frame.loc[~failed, "path"]].set_axis(frame.index[~failed])
        scored = frame[~failed].assign(prediction=outputs["score"])
        if STD in outputs and outputs[STD].notna().all():
            scored["prediction_std"] = outputs[STD]
        for attribute in [attribute for attribute in attributes if attribute in outputs]:
            scored[PREDICTION + attribute] = outputs[attribute]
        without = frame.loc[failed & (frame["split"] == used[0]), "image"].to_list()
        candidate = Candidate(
            name,
            scored.set_index("image")["prediction"],
            selected_on=selected_on,
            source=shown_path(model),
            failed=tuple(without),
        )
        evaluated = scored[scored["split"] == used[0]].reset_index(drop=True).drop(columns="path")
        evaluated.attrs = {"failed": without, "licence": licence, "uncertainty": uncertainty}
        yield CandidateTable(candidate, evaluated, scored)


def score_stored(scorer: Scorer, paths: pd.Series[str], options: ScoringOptions) -> tuple[Scores, Broken]:
    """Return the scores of images by way of the store, and the images that could not be prepared."""
    prepared = PreparedStore(options.store, scorer.preparation)
    report = prepared.build(paths, str(scorer.device), max_failed=1)
    if report.unplaced and "face_box" in scorer.engine.inputs:
        return score_files(scorer, paths, options)  # an old store has lost where the faces are
    broken = [*report.failed]
    failed = {path for path, _ in broken}
    usable = [path for path in paths if path not in failed]
    with progress(len(usable)) as advance:
        portraits = _counted(map(prepared.load, usable), advance)
        rows = scorer.portrait_outputs(portraits, test_crops=options.test_crops, batch_size=options.batch_size)
    return _numbers(scorer, dict(zip(usable, rows, strict=True))), broken


def score_files(scorer: Scorer, paths: pd.Series[str], options: ScoringOptions) -> tuple[Scores, Broken]:
    """Return the same of the files themselves, for a model that the store does not serve."""
    rows: dict[str, Row] = {}
    broken: Broken = []
    with progress(len(paths)) as advance:
        for batch in scorer.batches(paths, test_crops=options.test_crops, batch_size=options.batch_size):
            for row in scorer.rows(batch):
                file, error = str(row["file"]), row["error"]
                if error is None:
                    rows[file] = row
                else:
                    broken.append((file, str(error)))
            advance(len(batch.files))
    return _numbers(scorer, rows), broken


def _numbers(scorer: Scorer, rows: Mapping[str, Row]) -> Scores:
    """Return the outputs that are numbers, one row an image."""
    found = {file: [row[name] for name in scorer.numbers] for file, row in rows.items()}
    return pd.DataFrame.from_dict(found, orient="index", columns=scorer.numbers, dtype="float64")


def _counted(portraits: Iterable[Item], advance: Advance) -> Iterator[Item]:
    for portrait in portraits:
        yield portrait
        advance(1)


def _check_failed(failed: Sequence[tuple[str, str]], images: int, wanted: int, max_failed: float) -> None:
    """Apply the rule of training: of all images of the table, at most this fraction may be broken."""
    if len(failed) > max_failed * images or len(failed) == wanted:
        raise InputError(
            f"{len(failed)} of the {wanted} images to be scored could not be prepared, more than the fraction of "
            f"{max_failed:g} of the table's {images} images; mend them or raise `max_failed`; the first: "
            f"{min(failed)[1]}"
        )
