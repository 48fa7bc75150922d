"""Scores and factors of the shots: streamed, each kept when it is there, so that an interrupted run goes on."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from piqa.errors import FileAccessError, InputError, stopped_with
from piqa.factors.families import FACTORS, VERSION
from piqa.factors.measure import PREPARATION, FactorMeasurer
from piqa.scoring.devices import ScoringDevices
from piqa.scoring.image_batches import NO_STAMP, Stamp, stamp_of
from piqa.scoring.options import ModelOptions
from piqa.scoring.resumable_csv import ScoreParts
from piqa.scoring.score_output import ScoreOutput
from piqa.scoring.scorer import Row, Scorer
from piqa.system.device import core_count
from piqa.system.progress import progress, told_if_slow
from piqa.system.sigterm import sigterm_stops
from piqa.system.worker_pool import map_in_workers
from piqa.weights.model_file import find_model

SCORES, MEASURES = "scores.csv", "factors.csv"
FACTOR_ROW = ["file", "score", "face_found", "turned", "error", *FACTORS]
PER_WORKER, MOST_WORKERS = 6, 16  # images that justify one more process, and processes

Rows = dict[str, dict[str, str]]  # cells by column, by file


def score_files(files: Sequence[str], folder: Path, options: ModelOptions) -> tuple[Rows, Scorer]:
    """Score images into `folder`, and return their rows, with the scorer; rows of an unread image name its error.

    Raises:
        InputError: If the model cannot be read.
        Stopped: By Ctrl-C or SIGTERM; what was scored is kept.
    """
    output = ScoreOutput(folder / SCORES)
    output.check()
    devices = ScoringDevices(options.device, 1, 1, options.batch_size, options.workers)
    with told_if_slow("loading the model"):
        scorer = Scorer.load(
            options.ckpt_path,
            liqe=options.liqe,
            device=devices.loading_device,
            precision=options.precision,
            try_turns=True,
            trust=options.trust,
        )
        settings = scorer.settings(find_model(options.ckpt_path)) | {"crops": options.test_crops}
    parts = ScoreParts(output, scorer.columns, settings)
    left = _left(parts, files)
    with stopped_with("what was scored is kept: give the command again to go on"), sigterm_stops():
        devices.score(scorer, left, len(files), parts, options.test_crops)
    return _finished(parts, files), scorer


def measure_files(files: Sequence[str], folder: Path, workers: int | None = None) -> Rows:
    """Measure the factors of images into `folder`, and return their rows; errors as of `score_files`."""
    output = ScoreOutput(folder / MEASURES)
    output.check()
    parts = ScoreParts(output, FACTOR_ROW, {"factors": list(FACTORS), "version": VERSION, "preparation": PREPARATION})
    left = _left(parts, files)
    if workers is None:
        workers = min(core_count(), len(left) // PER_WORKER, MOST_WORKERS)
    make: Callable[[], Callable[[str], tuple[Row, Stamp | None]]] = partial(_measuring)
    with stopped_with("what was measured is kept: give the command again to go on"), sigterm_stops():
        with parts.writing(), progress(len(files), len(files) - len(left), task="measuring") as advance:
            for row, stamp in map_in_workers(make, left, workers):
                parts.append([row], [stamp])
                advance(1)
    return _finished(parts, files)


def _measuring() -> Callable[[str], tuple[Row, Stamp | None]]:
    return partial(_measure, FactorMeasurer())


def _measure(measure: FactorMeasurer, file: str) -> tuple[Row, Stamp | None]:
    """Measure an image; whatever is wrong with it costs its row alone."""
    row: Row = {**dict.fromkeys(FACTOR_ROW), "file": file}
    stamp: Stamp | None = stamp_of(file) or NO_STAMP
    try:
        found = measure(file)
    except FileAccessError as error:
        return row | {"error": str(error)}, None
    except Exception as error:  # whatever a hostile image does to a library
        told = str(error) if isinstance(error, InputError) else f"{file} could not be measured ({type(error).__name__})"
        return row | {"error": told}, stamp
    about: Row = {"face_found": found.face_box is not None, "turned": found.turned}
    return row | about | dict(found.values), stamp


def _left(parts: ScoreParts, files: Sequence[str]) -> list[str]:
    with told_if_slow("looking up what is scored already"):
        left = parts.left(files)
    if done := len(files) - len(left):
        print(f"going on after {done} images that were done before")
    return left


def _finished(parts: ScoreParts, files: Sequence[str]) -> Rows:
    parts.finish(files)
    with parts.output.table.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def numbers_of(rows: Rows, column: str) -> dict[str, float]:
    """Return a column's values by file; files without a value are left out."""
    return {file: float(row[column]) for file, row in rows.items() if row.get(column)}


def errors_of(rows: Rows, names: Mapping[str, str]) -> dict[str, str]:
    """Return why files have no row of values, by what they are called, without where they lie."""
    found = {names[file]: (row["error"], file) for file, row in rows.items() if row["error"]}
    return {name: error.replace(file, name) for name, (error, file) in found.items()}
