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
SEPARATOR_LINE = re.compile(rf'(?i)\s*"?sep=([{SEPARATORS}])"?[\s{SEPARATORS}]*')  # what Excel may begin with
DECIMAL_COMMA = re.compile(r"[+-]?(\d+,\d*|,\d+)([eE][+-]?\d+)?")


def read_text(path: str | Path, errors: str = "strict") -> str:
    """Read a text file in UTF-8, or UTF-16 with byte order mark, or raise InputError; `errors` as in `bytes.decode`."""
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
    text, separator = _split_off_separator(read_text(path))
    rows = _read_cells(text, separator, path)
    header = [name.lower() if lower_case_header else name for name in rows.pop(min(rows))]
    if twice := sorted({name for name in header if name and header.count(name) > 1}):
        raise InputError(f"{path} names the column {', '.join(twice)} more than once; rename or remove one")
    for row, cells in rows.items():
        if len(cells) < len(header) or any(cells[len(header) :]):
            raise InputError(
                f"Row {row} of {path} has {len(cells)} cells where the header names {len(header)} columns; "
                "put a value that holds the separator in quotation marks"
            )
    body = [cells[: len(header)] for cells in rows.values()]
    frame = pd.DataFrame(body, columns=header, index=list(rows), dtype=object)
    frame = frame.loc[:, list(map(bool, header))]  # an index that pandas wrote has no name
    for name in numbers:
        if separator != "," and name in frame:
            decimal = [cell.replace(",", ".") if DECIMAL_COMMA.fullmatch(cell) else cell for cell in frame[name]]
            frame[name] = pd.Series(decimal, frame.index, dtype=object)
    return frame


def require_columns(frame: pd.DataFrame, names: Iterable[str], source: str | Path, mend: str) -> None:
    """Raise InputError if a table lacks named columns, with what there is and how to mend it (`mend`)."""
    if missing := [name for name in names if name not in frame.columns]:
        found = ", ".join(str(column) for column in frame.columns) or "none"
        raise InputError(f"{source} lacks the column {', '.join(missing)} (found: {found}); {mend}")


def as_numbers(column: pd.Series[str], source: str | Path) -> pd.Series[float]:
    """Return a column of text as finite numbers, `score_std` as 0 or more; raise InputError that names the bad rows."""
    numbers = column.map(_number).astype(np.float64)
    is_std = column.name == "score_std"
    bad = column[~np.isfinite(numbers) | ((numbers < 0) & is_std)]
    if len(bad):
        wanted = "finite numbers" + (" >= 0 in every row or in none" if is_std else "")
        found = with_rows(bad.map(repr))
        raise InputError(f"the {column.name} in {source} must be {wanted}, found {found}; correct or remove them")
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


def _read_cells(text: str, separator: str, path: str | Path) -> dict[int, list[str]]:
    """Return the cells of every row that is not blank, by the number of the row."""
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    try:
        rows = {row: [cell.strip() for cell in cells] for row, cells in enumerate(lines, start=1)}
    except csv.Error as error:
        raise InputError(f"Line {lines.line_num} of {path} is not CSV ({error}); check the quotation marks") from error
    if rows := {row: cells for row, cells in rows.items() if any(cells)}:
        return rows
    raise InputError(f"{path} is empty; it needs a header and one row an image")


def _number(value: object) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")
