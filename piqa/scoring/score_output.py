"""Where a scoring run writes: the CSV, the summary beside it, and the folder of rows while the run lasts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from PIL import Image

from piqa.errors import InputError
from piqa.preparation.image_formats import PHOTO_ENDINGS
from piqa.system.files import digest_of, regular_target
from piqa.system.json_text import write_json
from piqa.system.ownership import MARKER, check_replaceable, claim_folder, folder_mark, write_marked

WHAT = "scores"
WHAT_PARTS = "rows of a table of scores"
ABOUT_TO_WRITE = "table.json"  # in the folder of rows: the digest of the table that takes its place
NO_TABLES = {".json", ".jsonl", ".xlsx", ".xls", ".parquet", ".html"}  # endings that promise what a CSV is not


class ScoreOutput:
    """The files of a scoring run, named after its CSV; nothing that piqa did not write is replaced.

    Args:
        out: The CSV. Where it is a symbolic link, the file that this points to is written.

    Attributes:
        table: The CSV.
        summary: The JSON beside it.
        folder: The folder of rows, hidden beside it.

    Raises:
        InputError: If `out` cannot be a CSV: a folder, a device, an image, a JSON.
    """

    def __init__(self, out: str | Path) -> None:
        self.table = regular_target(out)
        ending = self.table.suffix.lower()
        Image.init()
        if ending in PHOTO_ENDINGS or ending in Image.registered_extensions():
            raise InputError(f"{out} is to be the CSV of scores, but has the name of an image; give `--out scores.csv`")
        if ending in NO_TABLES:
            raise InputError(f"{out} is to be the CSV of scores, which is no {ending}; give `--out scores.csv`")
        self.summary = self.table.with_suffix(".json")
        self.folder = self.table.with_name(f".{self.table.name}.parts")

    def check(self) -> None:
        """Check that the CSV and the summary are new, or were written by piqa and not changed; else InputError."""
        check_replaceable(self.table, self.summary, self._about_to_be_written())

    def claim(self, made_before: Callable[[Path], bool]) -> str:
        """Make the folder of rows piqa's, and return its run id; errors and arguments as of `claim_folder`."""
        return claim_folder(self.folder, WHAT_PARTS, made_before=made_before)

    def about_to_write(self, table: Path) -> None:
        """Note the content that will be the CSV's: a run that is killed before the summary is written goes on."""
        write_json({"digest": digest_of(table)}, self.folder / ABOUT_TO_WRITE)

    def write_summary(self, summary: Mapping[str, object]) -> None:
        """Write the summary, by which the CSV is known as piqa's from now on."""
        write_marked(summary, self.summary, WHAT, self.table)

    def remove_folder(self) -> None:
        """Remove the folder of rows; whatever else lies in it stays, and so does the folder then."""
        with suppress(OSError):
            (self.folder / ABOUT_TO_WRITE).unlink(missing_ok=True)
            if {path.name for path in self.folder.iterdir()} <= {MARKER}:
                (self.folder / MARKER).unlink(missing_ok=True)
                self.folder.rmdir()

    def _about_to_be_written(self) -> str | None:
        """Return the digest of the CSV that a run has written, or was about to, when it was killed."""
        try:
            noted = json.loads((self.folder / ABOUT_TO_WRITE).read_text(encoding="utf-8"))["digest"]
            return noted if isinstance(noted, str) and folder_mark(self.folder) is not None else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None
