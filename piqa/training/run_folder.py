"""The folder of a training run: whose it is, which run is in it, and how a new run takes its place.

Nothing is deleted but files that a training run writes, by their names, in a folder that piqa has marked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from piqa.errors import InputError
from piqa.system.ownership import LOCK, MARKER, claim_folder
from piqa.training.checkpoints import BEST, CHECKPOINTS, LAST, step_files

KIND = "training run"
RECORD, CONFIG = "record.json", "config.yaml"
BEFORE_TRAINING = {MARKER, f".piqa{LOCK}", RECORD, CONFIG}  # what is there before there is a result
CHECKPOINT = re.compile(rf"({BEST}|{LAST}|step-\d{{7,}})\.ckpt")
RESULT = re.compile(r"metrics(-\d+)?\.csv|model\.(safetensors|json)|labels\.csv|hparams\.yaml")
TEST = ("test", re.compile(r"predictions\.csv|per_scene\.csv|metrics\.json|scatter\.png"))
RECORD_OF_0_1_0 = {"command", "started", "data", "packages"}  # entries of its record.json


def claim_run(folder: Path, is_checkpoint: Callable[[Path], bool], overwrite: bool) -> None:
    """Mark a folder as that of a training run, before anything else is written into it.

    Args:
        folder: Made if it does not exist; a run that version 0.1.0 left there is adopted.
        is_checkpoint: Whether a file is a checkpoint that piqa wrote.
        overwrite: Whether the user wants to replace what is there, for the message.

    Raises:
        InputError: If there are files that are not a run of piqa's, or the folder cannot be written.
    """

    def made_before(folder: Path) -> bool:
        named = [path for path in (folder / CHECKPOINTS).glob("*.ckpt") if CHECKPOINT.fullmatch(path.name)]
        return _made_by_0_1_0(folder) or any(map(is_checkpoint, named))

    try:
        claim_folder(folder, KIND, made_before=made_before)
    except InputError as error:
        only = "; `--overwrite true` replaces only a run of piqa's" if overwrite else ""
        raise InputError(f"{error}{only}") from error


def holds_run(folder: Path) -> bool:
    """Whether a marked folder holds anything but what a run writes before it trains."""
    return any(path.is_file() and path.name not in BEFORE_TRAINING for path in folder.rglob("*"))


def holds_result(folder: Path) -> bool:
    """Whether a marked folder holds the model or a checkpoint of a run."""
    return (folder / "model.safetensors").is_file() or any((folder / CHECKPOINTS).glob("*.ckpt"))


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the checkpoint to resume a run from: `last.ckpt`, else that of the highest step; None without one."""
    last = folder / CHECKPOINTS / f"{LAST}.ckpt"
    return last if last.is_file() else next(iter(reversed(step_files(folder / CHECKPOINTS))), None)


def remove_former_run(folder: Path) -> None:
    """Remove what a former run wrote into a marked folder, so that nothing of it stands beside a new one.

    Raises:
        InputError: If something cannot be removed.
    """
    try:
        for path in _results(folder):
            path.unlink()
    except OSError as error:
        raise InputError(f"cannot replace the run in {folder}: {error.strerror}; choose another `--out`") from error


def _results(folder: Path) -> Iterator[Path]:
    tests = [folder / TEST[0], *(folder / TEST[0] / "by_attribute").glob("*/")]
    for place, names in (folder / CHECKPOINTS, CHECKPOINT), (folder, RESULT), *((test, TEST[1]) for test in tests):
        yield from [path for path in place.glob("*") if path.is_file() and names.fullmatch(path.name)]


def _made_by_0_1_0(folder: Path) -> bool:
    """Whether a folder without a marker holds the record or the model of a run of version 0.1.0."""
    record, card = _table_in(folder / RECORD), _table_in(folder / "model.json")
    is_model = str(card.get("format", "")).startswith("piqa ") and "network" in card
    return set(record) >= RECORD_OF_0_1_0 or (is_model and (folder / "model.safetensors").is_file())


def _table_in(path: Path) -> dict[str, object]:
    """Return the table in a JSON file; empty where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
