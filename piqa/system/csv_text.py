"""Reading a label file: CSV cells as text, and the row that each stands in."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from piqa.errors import InputError


def read_labels(path: str | Path) -> pd.DataFrame:
    """Read a CSV file as text, keeping count of its rows.

    pandas would turn scene `007` into 7, skip blank lines without counting them, and shift the columns of rows that
    are too long; here all cells stay text, stripped of spaces, and the index is the row as a spreadsheet shows it.

    Args:
        path: CSV file in UTF-8, with or without byte order mark, separated by commas, semicolons or tabs.

    Returns:
        All columns that have a name, as text; the index is the row in the file (the header is row 1).

    Raises:
        InputError: If the file is absent, empty or not CSV, or if a row does not fit the header.
    """
    path = Path(path)
    (_, header), *body = _read_cells(path)
    _check_header(header, path)
    named = [bool(name) for name in header]  # an index that pandas wrote has no name
    return pd.DataFrame(
        [_fit_to_header(cells, header, row, path) for row, cells in body],
        columns=header,
        index=[row for row, _ in body],
        dtype=object,
    ).loc[:, named]


def require_columns(frame: pd.DataFrame, names: Iterable[str], source: str | Path, mend: str) -> None:
    """Check that a table has the named columns.

    Raises:
        InputError: Telling which are missing, what there is, and how to mend it (`mend`).
    """
    missing = [name for name in names if name not in frame.columns]
    if missing:
        found = ", ".join(str(column) for column in frame.columns) or "none"
        raise InputError(f"{source} lacks the column {', '.join(missing)} (found: {found}); {mend}.")


def _read_cells(path: Path) -> list[tuple[int, list[str]]]:
    """The cells of every row that is not blank, each with the number of its row."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"Cannot read the labels {path}: {error.strerror}; check the path.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text in UTF-8; save it as CSV (UTF-8).") from error
    header = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(",;\t", key=header.count)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    try:
        rows = [(row, [cell.strip() for cell in cells]) for row, cells in enumerate(lines, start=1)]
    except csv.Error as error:
        raise InputError(f"Line {lines.line_num} of {path} is not CSV ({error}); check the quotation marks.") from error
    rows = [(row, cells) for row, cells in rows if any(cells)]
    if not rows:
        raise InputError(f"{path} is empty; it needs a header and one row an image.")
    return rows


def _check_header(header: list[str], path: Path) -> None:
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise InputError(f"{path} names the column {', '.join(twice)} more than once; rename or remove one.")


def _fit_to_header(cells: list[str], header: list[str], row: int, path: Path) -> list[str]:
    if len(cells) < len(header) or any(cells[len(header) :]):
        raise InputError(
            f"Row {row} of {path} has {len(cells)} cells where the header names {len(header)} columns; "
            "put a value that holds the separator in quotation marks."
        )
    return cells[: len(header)]
