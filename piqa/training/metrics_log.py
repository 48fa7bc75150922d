"""The metrics of a run: `metrics.csv`, and where the run is resumed in its own folder, those of its former parts."""

from __future__ import annotations

import csv
import io
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from piqa.errors import InputError
from piqa.system.files import replacing

METRICS = "metrics.csv"


class MetricsFile(Logger):
    """Writes a row for whatever is logged together; a value that is not finite is an empty cell.

    Lightning's CSVLogger leaves half a row behind on a full disk, and warns of every folder that is not empty.

    Args:
        folder: Folder of `metrics.csv`, in which the run has begun.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._path = folder / METRICS
        self._columns: list[str] = []
        self._rows: list[dict[str, float]] = []  # all, as a new column is a new header

    @property
    def name(self) -> None:
        """Return no name, as there is one such logger a run."""

    @property
    def version(self) -> None:
        """Return no version either."""

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the config is written to its own file."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write a row.

        Raises:
            InputError: If it cannot be written; the rows before it are kept.
        """
        row = {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
        if "epoch" in metrics:
            row["epoch"] = int(metrics["epoch"])
        self._rows.append(row | {"step": step or 0})
        columns = sorted({*self._columns, *metrics, "step"})
        if columns == self._columns and self._path.is_file():
            self._append(self._as_csv(self._rows[-1:], columns, header=False))
        else:
            with replacing(self._path) as temporary:
                temporary.write_bytes(self._as_csv(self._rows, columns, header=True))
            self._columns = columns

    def _append(self, text: bytes) -> None:
        size = self._path.stat().st_size
        try:
            with self._path.open("ab") as file:
                file.write(text)
        except OSError as error:
            os.truncate(self._path, size)
            raise InputError(f"cannot write {self._path}: {error.strerror}; is there room on the disk?") from error

    @staticmethod
    def _as_csv(rows: list[dict[str, float]], columns: list[str], header: bool) -> bytes:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode()


@rank_zero_only
def keep_metrics(folder: Path, checkpoint: str) -> None:
    """Rename a run's metrics of the steps before a checkpoint to `metrics-<number>.csv`; a resumed run writes new ones.

    The metrics of later steps are left out, as these steps are repeated.
    """
    metrics = folder / METRICS
    if not metrics.exists():
        return
    numbers = [re.fullmatch(r"metrics-(\d+)\.csv", path.name) for path in folder.glob("metrics-*.csv")]
    part = folder / f"metrics-{max((int(found[1]) for found in numbers if found), default=0) + 1}.csv"
    steps = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["global_step"]
    try:
        rows = pd.read_csv(metrics, dtype=str)
        done = rows["step"].astype(int) < steps
    except (ValueError, KeyError):  # not as it was written: kept as it is
        metrics.rename(part)
        return
    if done.all():
        metrics.rename(part)
        return
    with replacing(part) as temporary:
        rows[done].to_csv(temporary, index=False)
    metrics.unlink()
