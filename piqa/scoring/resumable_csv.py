"""The rows of a scoring run while it grows: append-only files, from which it goes on after any interruption.

    .scores.csv.parts/<number>-<run>.jsonl

Each process of each run writes a file of its own: a line that tells the settings, then a line for each scored image.
Nothing written is ever changed, so that whatever a kill leaves behind, a line cut short at most, can be read. Later
files have higher numbers; a row counts for the file as it was read, by its stamp. At the end the rows are brought into
the order of the input, or of a column, and the table appears under its name in one step.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from piqa.errors import FileAccessError, InputError
from piqa.scoring.image_batches import Stamp, stamp_of
from piqa.scoring.row_order import RowOrder
from piqa.scoring.score_output import WHAT_PARTS, ScoreOutput
from piqa.scoring.scorer import Cell, Row
from piqa.system.csv_cells import csv_line
from piqa.system.files import replacing
from piqa.system.json_text import plain
from piqa.system.ownership import MARKER, folder_mark, new_mark

PART = re.compile(r"(\d{6,19})-[0-9a-f]{32}\.jsonl")  # number and run
FORMER_PART = re.compile(r"\d{20}-[0-9a-f]{32}\.jsonl")  # of version 0.1.0: its time in place of a number
# What a row is worth for the file as it is now. PASSING is one that says that the file could not be read.
NONE, PASSING, OF_FILE_NOW_ABSENT, CURRENT = -1, 0, 1, 2


@dataclass(frozen=True)
class Counts:
    """What a finished table holds, in images; `passing` is how many of the failed could not be read at all."""

    images: int
    failed: int
    no_face: int
    passing: int = 0  # of those that failed, the ones that could not be read because of the machine
    turned: int = 0  # to find a face


@dataclass(frozen=True)
class KeptRows:
    """Rows of parts, each read from the disk when it is asked for, so that memory does not grow with their content.

    Attributes:
        columns: Of a row.
        parts: The files of rows.
        part, offset: Of each image, which of these holds its row, and where.
        position: Of each image that has a row.
        passing: How many rows say that the machine refused the image: another try may succeed.
    """

    columns: Sequence[str]
    parts: Sequence[Path]
    part: np.ndarray
    offset: np.ndarray
    position: Mapping[str, int]
    passing: int

    def __getitem__(self, file: str) -> dict[str, Any] | None:
        """Return the row of an image, by column; None where it has none. InputError if it cannot be read."""
        at = self.position.get(file)
        if at is None:
            return None
        try:
            values = next(_read(self.parts, self.part[at : at + 1], self.offset[at : at + 1]))
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read what was kept of {file} ({error}); give the command again") from error
        return dict(zip(self.columns, values, strict=True))


class ScoreParts:
    """Rows on their way to the CSV `out`.

    Args:
        out: The CSV to be.
        columns: Its columns.
        settings: Everything that the scores depend on apart from the images; rows of other settings are not used.
    """

    def __init__(self, out: str | Path | ScoreOutput, columns: Sequence[str], settings: Mapping[str, object]) -> None:
        self.output = out if isinstance(out, ScoreOutput) else ScoreOutput(out)
        self.columns = list(columns)
        self._header = json.loads(json.dumps(plain({"columns": self.columns, "settings": dict(settings)})))
        self.run: str | None = None  # in the names of parts; known once the folder of them is claimed
        self._file: FileIO | None = None

    def left(self, files: Sequence[str]) -> list[str]:
        """Return the images without a row, or changed since it was made, in order; InputError if `out` cannot be.

        An image that could not be read is left, too: it may be readable by now.
        """
        with self._told():
            self.output.table.parent.mkdir(parents=True, exist_ok=True)
            self.run = self.output.claim(_made_before)
            _, _, _, worth = self._places(files)
        return [file for file, row in zip(files, worth, strict=True) if row < CURRENT]

    @contextmanager
    def writing(self) -> Iterator[ScoreParts]:
        """Open a new part for `append`; InputError if it cannot be written."""
        with self._told():
            self._file = self._new_part()
        with self._file:
            self.append([], [])
            yield self

    def append(self, rows: Sequence[Row], stamps: Sequence[Stamp | None]) -> None:
        """Add rows, which then stay; InputError if that fails.

        Args:
            rows: By column.
            stamps: `stamp_of` each image when it was read; None of one that could not be read because of the machine,
                which the next run tries again.
        """
        assert self._file is not None
        lines: list[object] = [] if self._file.tell() else [self._header]
        lines += [[stamp, *(row[name] for name in self.columns)] for row, stamp in zip(rows, stamps, strict=True)]
        content = "".join(f"{json.dumps(line, allow_nan=False)}\n" for line in lines).encode("ascii")
        with self._told():
            while content:  # an almost full disk takes a part of it
                content = content[self._file.write(content) :]

    def kept(self, files: Sequence[str]) -> KeptRows:
        """Return the rows that images have by now; InputError if they cannot be read."""
        with self._told():
            parts, part, offset, worth = self._places(files)
        position = {file: at for at, file in enumerate(files) if worth[at] > NONE}
        return KeptRows(self.columns, parts, part, offset, position, int((worth == PASSING).sum()))

    def finish(
        self,
        files: Sequence[str],
        summary: Callable[[Counts], Mapping[str, object]] = asdict,
        order: RowOrder | None = None,
    ) -> Counts:
        """Write the table, one row an image, and its summary; then remove the parts.

        The parts stay where images could not be read, so that the next run tries these alone.

        Args:
            files: All images.
            summary: Returns what the JSON beside the table says.
            order: Of the rows; None for that of `files`.

        Raises:
            InputError: If an image has no row, or the table cannot be written; then the parts stay.
            FileAccessError: If rows are missing because images could not be read any more.
        """
        with self._told():
            parts, part, offset, worth = self._places(files)
        if missing := int((worth == NONE).sum()):
            self._tell_missing(missing, parts, part[worth == PASSING], offset[worth == PASSING], len(files))
        if order is not None:
            rows = order.of(row[self.columns.index(order.column)] for row in _read(parts, part, offset))
            part, offset = part[rows], offset[rows]
        failed = no_face = turned = 0
        self.output.check()
        with replacing(self.output.table) as temporary:
            # A file's name may hold bytes that are no UTF-8: they go out as they came in.
            with temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
                file.write(csv_line(self.columns))
                for values in _read(parts, part, offset):
                    row = dict(zip(self.columns, values, strict=True))
                    failed += row["error"] is not None
                    no_face += row["face_found"] is False
                    turned += bool(row.get("turned"))
                    file.write(csv_line(values))
            self.output.about_to_write(temporary)
        counts = Counts(len(files), failed, no_face, int((worth == PASSING).sum()), turned)
        self.output.write_summary(summary(counts))
        if not counts.passing:
            for path in parts:
                with suppress(OSError):
                    path.unlink()
            self.output.remove_folder()
        return counts

    def _tell_missing(self, missing: int, parts: list[Path], part: np.ndarray, offset: np.ndarray, total: int) -> None:
        out = self.output.table
        if len(part):
            row = next(_read(parts, part[-1:], offset[-1:]))
            reason, left = row[self.columns.index("error")], missing + len(part)
            raise FileAccessError(
                f"the images can no longer be read: {reason}. {left} of {total} are not scored yet; see whether their "
                f"disk is there, and give the command again to go on"
            )
        raise InputError(
            f"{missing} of {total} images have no row yet: images were added, removed or changed, or two runs wrote "
            f"{out}; give the command again to score them"
        )

    def _parts(self) -> list[Path]:
        """Return the parts in the order in which they were begun; nothing else in the folder counts."""
        numbers = {path: _number(path) for path in self.output.folder.glob("*.jsonl")}
        own = {path: number for path, number in numbers.items() if number is not None}
        return sorted(own, key=lambda path: (own[path], path))

    def _new_part(self) -> FileIO:
        """Open a part with the next number, which several processes may want at once, of the same run."""
        run = self.run or (folder_mark(self.output.folder) or new_mark(WHAT_PARTS))["run"]
        number = max([-1, *(_number(path) or 0 for path in self._parts())])
        while True:
            number += 1
            with suppress(FileExistsError):  # unbuffered: closing a file whose disk is full must not fail once more
                return (self.output.folder / f"{number:06d}-{run}.jsonl").open("xb", buffering=0)

    def _places(self, files: Sequence[str]) -> tuple[list[Path], np.ndarray, np.ndarray, np.ndarray]:
        """Return all parts, and each image's best row: its part, its offset there, and what it is worth.

        Of rows that are worth the same the last one counts. One of an image that has changed since is worth nothing.
        """
        number = {file: position for position, file in enumerate(files)}
        part, offset = np.full(len(files), -1, np.int32), np.full(len(files), -1, np.int64)
        worth = np.full(len(files), NONE, np.int8)
        parts = self._parts()
        for which, path in enumerate(parts):
            lines = _whole_lines(path)
            if next(lines, (0, None))[1] != self._header:
                continue
            for start, line in lines:
                if not isinstance(line, list) or len(line) != len(self.columns) + 1 or not isinstance(line[1], str):
                    continue  # damaged: that image is scored again
                position = number.get(line[1])
                if position is not None and (row := _worth(line[0], line[1])) >= max(worth[position], PASSING):
                    part[position], offset[position], worth[position] = which, start, row
        return parts, part, offset, worth

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason, out = error.strerror or error, self.output.table
            raise InputError(f"cannot write {out}: {reason}; is there room, and may you write there?") from error


def _worth(stamp: object, file: str) -> int:
    if stamp is None:
        return PASSING
    now = stamp_of(file)
    return OF_FILE_NOW_ABSENT if now is None else CURRENT if stamp == now else NONE


def _number(part: Path) -> int | None:
    """Return the number of a part; None where the file is none of ours."""
    if FORMER_PART.fullmatch(part.name):
        return -1  # before all others; among themselves by their names
    match = PART.fullmatch(part.name)
    return int(match[1]) if match else None


def _made_before(folder: Path) -> bool:
    """Whether version 0.1.0 left this folder, which has no marker."""
    return all(FORMER_PART.fullmatch(path.name) for path in folder.iterdir() if path.name != MARKER)


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
            except (ValueError, RecursionError):  # of lists in lists without end
                yield start, None
            start += len(line)
