"""Scenes that the user names, in place of moments that are found: folders, or a column of a table."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from piqa.errors import InputError

FOLDERS = "folders"
FILE_COLUMNS = ("file", "image")


def scenes_of(files: Sequence[str], scene: str, table: str | Path | None = None) -> dict[str, str]:
    """Return the scene of each file that has one.

    Args:
        files: The images.
        scene: `folders` for one folder a scene; else the column of `table` that names scenes.
        table: A CSV with that column and `file` or `image`: paths from the table's folder, or as the images are given.

    Raises:
        InputError: If the table is missing, has no such column, or knows none of the images.
    """
    if scene == FOLDERS and table is None:
        return {file: os.path.dirname(os.path.abspath(file)) for file in files}  # noqa: PTH100, PTH120 -- of many
    if table is None:
        raise InputError(f"`scene` names the column {scene!r}; give the CSV that has it by `--table`, or `folders`")
    from piqa.system.csv_text import read_csv  # imports pandas, which a folder does not need

    frame = read_csv(table)
    column = next((name for name in FILE_COLUMNS if name in frame), None)
    missing = "`file` or `image`" if column is None else f"`{scene}`" if scene not in frame else None
    if column is None or missing:
        raise InputError(f"{table} has no column {missing}; it has {', '.join(map(str, frame.columns))}")
    by_place: dict[str, str] = {}
    for file, name in zip(frame[column], frame[scene], strict=True):
        if name:
            for place in (Path(file), Path(table).parent / file):
                by_place.setdefault(os.path.abspath(place), name)  # noqa: PTH100
    found = {file: by_place[place] for file in files if (place := os.path.abspath(file)) in by_place}  # noqa: PTH100
    if not found:
        raise InputError(f"{table} names none of the {len(files)} images; write their paths as seen from the table")
    return found
