"""The table of ratings, and mean opinion scores (MOS) from it by the model of biased and inconsistent raters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from piqa.errors import InputError
from piqa.judgement.answers import KINDS, optional_numbers, renamed
from piqa.system.csv_text import as_numbers, read_csv, require_columns, row_list, with_rows

NEEDED = ("image", "scene", "rater", "rating")
OPTIONAL = ("seconds", "kind", "time")
COLUMNS = (*NEEDED, *OPTIONAL)


def ratings_table(rows: Iterable[Mapping[str, object]] = (), source: str | Path = "the ratings") -> pd.DataFrame:
    """Make the table of ratings from rows, such as those of a database, in the order in which they were given.

    Returns:
        The columns `COLUMNS`, one row a rating: `image`, `scene`, `rater` (text), `rating` (float), and `seconds`,
        `kind` and `time` as of `piqa.judgement.answers.answers_table`; kinds are "new", "repeat" and "training".

    Raises:
        InputError: If a row cannot be used.
    """
    listed_rows = list(rows)
    found = {name: ["" if row.get(name) is None else row[name] for row in listed_rows] for name in COLUMNS}
    frame = pd.DataFrame(found, index=pd.RangeIndex(1, len(listed_rows) + 1), columns=list(COLUMNS), dtype=object)
    return check_ratings(frame, source)


def read_ratings(csv: str | Path, columns: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Read ratings from a CSV with the columns `image, scene, rater, rating`; see `ratings_table`.

    Args:
        csv: The file.
        columns: Names of the columns where they differ, ours to theirs.

    Raises:
        InputError: If the file or a row cannot be used.
    """
    frame = renamed(read_csv(csv, numbers=["rating", "seconds"], names=COLUMNS), columns, COLUMNS, csv)
    require_columns(frame, NEEDED, csv, "rename it, or map it in `columns`, such as {rating: opinion}")
    return check_ratings(frame, csv)


def check_ratings(frame: pd.DataFrame, source: str | Path) -> pd.DataFrame:
    """Check a table of ratings and give its columns their types; the index is the row that messages name.

    Raises:
        InputError: At the first check that fails, naming the rows concerned.
    """
    table = pd.DataFrame(index=frame.index)
    for name in COLUMNS:
        column = frame[name] if name in frame else pd.Series("", frame.index, dtype=object)
        table[name] = column if name in ("rating", "seconds") else column.fillna("").astype(str)
    for name in ("image", "scene", "rater"):
        if (empty := table[name] == "").any():
            raise InputError(f"{source} has no {name} in {row_list(table.index[empty])}; fill it in or delete them")
    table["kind"] = table["kind"].str.strip().str.lower().replace("", "new")
    if (unknown := ~table["kind"].isin(KINDS)).any():
        shown = with_rows(table["kind"][unknown].map(repr))
        raise InputError(f"the kind in {source} must be one of {', '.join(KINDS)}, found {shown}; correct them")
    table["rating"] = as_numbers(table["rating"], source)
    table["seconds"] = optional_numbers(table["seconds"], source)
    return table
