"""The one reader of CSV and text files from outside: whatever a spreadsheet or another program wrote, as text cells."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from piqa.errors import InputError

SEPARATORS = ",;\t"
SEPARATOR_LINE = re.compile(
    rf'\s*"?sep=([{SEPARATORS}])"?[\s{SEPARATORS}]*', re.IGNORECASE
)  # what Excel may begin with
DECIMAL_COMMA = re.compile(r"[+-]?(\d+,\d*|,\d+)([eE][+-]?\d+)?")


def read_text(path: str | Path, errors: str = "strict") -> str:
    """Read a text file in UTF-8, with or without byte order mark, or in UTF-16 with one.

    Args:
        path: The file.
        errors: What to do with bytes that are not UTF-8, as `bytes.decode` takes it.

    Raises:
        InputError: If the file cannot be read, or is not text.
    """
    try:
        content = Path(path).read_bytes()
        utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return content.decode("utf-16" if utf16 else "utf-8-sig", errors)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text in UTF-8; save it in UTF-8") from error


def read_csv(path: str | Path, *, numbers: Iterable[str] = (), lower_case_header: bool = False) -> pd.DataFrame:
    """Read a CSV file as text, keeping count of its rows.

    pandas would turn scene `007` into 7, skip blank lines without counting them, and shift the columns of rows that
    are too long; here all cells stay text, stripped of spaces, and the index is the row as a spreadsheet shows it.

    Args:
        path: The file, encoded as for `read_text`; the header tells whether commas, semicolons or tabs separate, or
            else a line `sep=;` before it, which spreadsheets do not show and which is not counted.
        numbers: Columns of numbers. Their decimal commas become points where the separator is not a comma.
        lower_case_header: Whether the case of the header does not matter; then all names come in lower case.

    Returns:
        All columns that have a name, as text; the index is the row in the file (the header is row 1).

    Raises:
        InputError: If the file is absent, empty or not CSV, or if a row does not fit the header.
    """
    path = Path(path)
    text, separator = _split_off_separator(read_text(path))
    (_, header), *body = _read_cells(text, separator, path)
    header = [name.lower() for name in header] if lower_case_header else header
    _check_header(header, path)
    named = [bool(name) for name in header]  # an index that pandas wrote has no name
    frame = pd.DataFrame(
        [_fit_to_header(cells, header, row, path) for row, cells in body],
        columns=header,
        index=[row for row, _ in body],
        dtype=object,
    ).loc[:, named]
    for name in numbers:
        if separator != "," and name in frame:
            frame[name] = frame[name].map(_with_decimal_point).astype(object)
    return frame


def require_columns(frame: pd.DataFrame, names: Iterable[str], source: str | Path, mend: str) -> None:
    """Check that a table has the named columns.

    Raises:
        InputError: Telling which are missing, what there is, and how to mend it (`mend`).
    """
    missing = [name for name in names if name not in frame.columns]
    if missing:
        found = ", ".join(str(column) for column in frame.columns) or "none"
        raise InputError(f"{source} lacks the column {', '.join(missing)} (found: {found}); {mend}")


def as_numbers(column: pd.Series[str], source: str | Path) -> pd.Series[float]:
    """Return a column of text as finite numbers; those of `score_std` must not be negative.

    Raises:
        InputError: Naming the rows (the index of the column) where they are none.
    """
    numbers = column.map(_number).astype(np.float64)
    wanted = "finite numbers"
    good = np.isfinite(numbers)
    if column.name == "score_std":
        wanted += " >= 0 in every row or in none"
        good &= numbers >= 0
    if not good.all():
        bad = with_rows(column[~good].map(repr))
        raise InputError(f"the {column.name} in {source} must be {wanted}, found {bad}; correct or remove them")
    return numbers


def with_rows(values: pd.Series[str]) -> str:
    """Return 'a.jpg (row 2), b.jpg (row 3), c.jpg (row 7) and 9 more' for values indexed by their row."""
    return listed([f"{value} (row {row})" for row, value in values.items()])


def row_list(rows: Iterable[object]) -> str:
    """Return 'row 2', or 'rows 2, 3, 7 and 9 more'."""
    numbers = [str(row) for row in rows]
    return f"row{'s' if len(numbers) > 1 else ''} {listed(numbers)}"


def listed(items: Sequence[object], separator: str = ", ") -> str:
    """Return the first three items on one line, and how many more there are."""
    text = separator.join(map(str, items[:3])) + (f" and {len(items) - 3} more" if len(items) > 3 else "")
    return " ".join(text.split())


def _split_off_separator(text: str) -> tuple[str, str]:
    """Return the text without a line `sep=;`, and the separator that this line names or that the header shows."""
    first = next((line for line in io.StringIO(text, newline="") if line.strip()), "")
    if declared := SEPARATOR_LINE.fullmatch(first):
        return text[text.index(first) + len(first) :], declared[1]
    outside_quotes = re.sub(r'"[^"]*"', "", first)
    return text, max(SEPARATORS, key=outside_quotes.count)


def _read_cells(text: str, separator: str, path: Path) -> list[tuple[int, list[str]]]:
    """Return the cells of every row that is not blank, each with the number of its row."""
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    try:
        rows = [(row, [cell.strip() for cell in cells]) for row, cells in enumerate(lines, start=1)]
    except csv.Error as error:
        raise InputError(f"Line {lines.line_num} of {path} is not CSV ({error}); check the quotation marks") from error
    rows = [(row, cells) for row, cells in rows if any(cells)]
    if not rows:
        raise InputError(f"{path} is empty; it needs a header and one row an image")
    return rows


def _check_header(header: list[str], path: Path) -> None:
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise InputError(f"{path} names the column {', '.join(twice)} more than once; rename or remove one")


def _fit_to_header(cells: list[str], header: list[str], row: int, path: Path) -> list[str]:
    if len(cells) < len(header) or any(cells[len(header) :]):
        raise InputError(
            f"Row {row} of {path} has {len(cells)} cells where the header names {len(header)} columns; "
            "put a value that holds the separator in quotation marks"
        )
    return cells[: len(header)]


def _with_decimal_point(cell: str) -> str:
    return cell.replace(",", ".") if DECIMAL_COMMA.fullmatch(cell) else cell


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")
