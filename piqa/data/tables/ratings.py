"""Read the ratings of individual people, for personalised scoring."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from piqa.errors import InputError
from piqa.system.csv_text import as_numbers, read_csv, require_columns


def read_ratings(source: str | Path) -> pd.DataFrame:
    """Read the ratings of individual people.

    Returns:
        `image`, `path`, `score` and `user`, in the order of the file.

    Raises:
        InputError: If the file cannot be read, lacks a column, has a score that is no number, or a user who rated an
            image twice.
    """
    source = Path(source)
    frame = read_csv(source, numbers=("score",), names=("image", "score", "user"))
    require_columns(frame, ("image", "score", "user"), source, "rename its columns")
    frame = frame[["image", "score", "user"]].assign(score=as_numbers(frame["score"], source))
    empty = frame.index[(frame["image"].str.strip() == "") | (frame["user"].str.strip() == "")]
    twice = frame.index[frame.duplicated(["image", "user"])]
    for rows, fault in ((empty, "has no image or no user; fill it in"), (twice, "repeats a user's image; keep one")):
        if len(rows):
            raise InputError(f"row {rows[0]} of {source} {fault}")
    images = frame["image"].str.replace("\\", "/")
    return frame.assign(path=[str(source.parent / image) for image in images])
