"""The rows of a scoring run while it grows: append-only files, from which it goes on after any interruption.

    .scores.csv.parts/<time>-<random>.jsonl

Each process of each run writes a file of its own: a line that tells the settings, then a line for each scored image.
Nothing written is ever changed, so that whatever a kill leaves behind, a line cut short at most, can be read. At the
end the rows are brought into the order of the input, and the table appears under its name in one step.
"""

from __future__ import annotations

import csv
import json
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import numpy as np

from piqa.errors import InputError
from piqa.scoring.image_batches import Stamp, stamp_of
from piqa.scoring.scorer import Cell, Row
from piqa.system.files import replacing


@dataclass(frozen=True)
class Counts:
    """What a finished table holds, in images."""

    images: int
    failed: int
    no_face: int
    turned: int = 0  # to find a face


class ScoreParts:
    """Rows on their way to the CSV `out`.

    Args:
        out: The CSV to be.
        columns: Its columns.
        settings: Everything that the scores depend on apart from the images; rows of other settings are not used.
    """

    def __init__(self, out: str | Path, columns: Sequence[str], settings: Mapping[str, object]) -> None:
        self.out = Path(out)
        self.columns = list(columns)
        self._folder = self.out.with_name(f".{self.out.name}.parts")
        self._header = json.loads(json.dumps({"columns": self.columns, "settings": dict(settings)}))
        self._file: FileIO | None = None

    def left(self, files: Sequence[str]) -> list[str]:
        """Return the images without a row, or changed since it was made, in order; InputError if `out` cannot be."""
        if self.out.is_dir():
            raise InputError(f"{self.out} is a folder; name the CSV to write")
        with self._told():
            self._folder.mkdir(parents=True, exist_ok=True)
            _, part, _ = self._places(files, unchanged=True)
        return [file for file, which in zip(files, part, strict=True) if which < 0]

    @contextmanager
    def writing(self) -> Iterator[ScoreParts]:
        """Open a new part for `append`; InputError if it cannot be written."""
        with self._told():  # unbuffered: closing a file whose disk is full must not fail once more
            self._file = (self._folder / f"{time.time_ns():020d}-{uuid.uuid4().hex}.jsonl").open("xb", buffering=0)
        with self._file:
            self.append([], [])
            yield self

    def append(self, rows: Sequence[Row], stamps: Sequence[Stamp | None]) -> None:
        """Add rows, which then stay, with `stamp_of` each image when it was read; InputError if that fails."""
        assert self._file is not None
        lines: list[object] = [] if self._file.tell() else [self._header]
        lines += [[stamp, *(row[name] for name in self.columns)] for row, stamp in zip(rows, stamps, strict=True)]
        content = "".join(f"{json.dumps(line)}\n" for line in lines).encode("ascii")
        with self._told():
            while content:  # an almost full disk takes a part of it
                content = content[self._file.write(content) :]

    def finish(self, files: Sequence[str]) -> Counts:
        """Write the table, one row an image in the order of `files`, and remove the parts.

        Raises:
            InputError: If an image has no row, or the table cannot be written; then the parts stay.
        """
        with self._told():
            parts, part, offset = self._places(files)
        if missing := int((part < 0).sum()):
            raise InputError(
                f"{missing} of {len(files)} images have no row yet: images were added or removed, or two runs "
                f"wrote {self.out}; give the command again to score them"
            )
        failed = no_face = turned = 0
        with replacing(self.out) as temporary:
            # A file's name may hold bytes that are no UTF-8: they go out as they came in.
            with temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
                table = csv.writer(file, lineterminator="\n")
                table.writerow(self.columns)
                for values in _read(parts, part, offset):
                    row = dict(zip(self.columns, values, strict=True))
                    failed += row["error"] is not None
                    no_face += row["face_found"] is False
                    turned += bool(row.get("turned"))
                    table.writerow(values)
        shutil.rmtree(self._folder, ignore_errors=True)
        return Counts(len(files), failed, no_face, turned)

    def _places(self, files: Sequence[str], unchanged: bool = False) -> tuple[list[Path], np.ndarray, np.ndarray]:
        """Return all parts, and each image's last row: its part, -1 for none, and its offset there.

        `unchanged` skips the rows of images that have changed.
        """
        number = {file: position for position, file in enumerate(files)}
        part, offset = np.full(len(files), -1, np.int32), np.full(len(files), -1, np.int64)
        parts = sorted(self._folder.glob("*.jsonl"))
        for which, path in enumerate(parts):
            lines = _whole_lines(path)
            if next(lines, (0, None))[1] != self._header:
                continue
            for start, line in lines:
                if not isinstance(line, list) or len(line) != len(self.columns) + 1:
                    continue  # damaged: that image is scored again
                position = number.get(line[1])
                if position is not None and not (unchanged and line[0] != stamp_of(line[1])):
                    part[position], offset[position] = which, start
        return parts, part, offset

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"cannot write {self.out}: {reason}; is there room, and may you write there?") from error


def _read(parts: Sequence[Path], part: np.ndarray, offset: np.ndarray) -> Iterator[list[Cell]]:
    """Yield the rows in order, each read from its place, so that memory does not grow with their number."""
    with ExitStack() as stack:
        used = {int(which): stack.enter_context(parts[which].open("rb")) for which in np.unique(part)}
        for which, start in zip(part, offset, strict=True):
            file = used[int(which)]
            if file.tell() != start:
                file.seek(start)
            yield json.loads(file.readline())[1:]


def _whole_lines(path: Path) -> Iterator[tuple[int, object]]:
    """Yield offset and content of each line, None for a damaged one. A last line cut short is left out."""
    start = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                yield start, json.loads(line)
            except ValueError:
                yield start, None
            start += len(line)
