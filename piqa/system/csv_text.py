"""The one reader and writer of CSV and text files: whatever a spreadsheet or another program wrote, as text cells."""

from __future__ import annotations

import codecs
import csv
import io
import re
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from piqa.errors import InputError
from piqa.system.csv_cells import MARKED, NUMBER, QUOTE, csv_line
from piqa.system.files import replacing

SEPARATORS = ",;\t"
SEPARATOR_LINE = re.compile(rf'(?i)\s*"?sep=([{SEPARATORS}])"?[\s{SEPARATORS}]*')  # what Excel may begin with
DECIMAL_COMMA = re.compile(r"[+-]?([0-9]+,[0-9]*|,[0-9]+)([eE][+-]?[0-9]+)?")
THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}([.,' \u00a0\u202f][0-9]{3})+([.,][0-9]*)?")
DATE = re.compile(r"(?i)\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}.*|.*\d.*[^\W\d_]{3}.*|[^\W\d_]{3,}[-. ]+\d+")
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # .xlsx and .ods, and .xls, whatever their name says
UTF16_SAMPLE = 2048  # bytes


def read_text(path: str | Path, errors: str = "strict") -> str:
    """Read a text file in UTF-8, or in UTF-16, which Windows writes, with byte order mark or without.

    Args:
        path: The file.
        errors: As in `bytes.decode`.

    Raises:
        InputError: If the file cannot be read, is no text, or holds a NUL character, which no text has.
    """
    try:
        if stat.S_ISCHR(Path(path).stat().st_mode):
            raise InputError(f"{path} is a device; name a file")  # some have no end
        content = Path(path).read_bytes()
        if content.startswith(WORKBOOKS):
            raise InputError(f"{path} is a workbook of a spreadsheet or an archive, no text; save its table as CSV")
        text = content.decode(_encoding(content), errors)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text in UTF-8; save it in UTF-8") from error
    if "\0" in text:
        row = len(text[: text.index("\0")].splitlines()) or 1
        raise InputError(f"row {row} of {path} holds a NUL byte, which no text has; save it anew as text in UTF-8")
    return text


def _encoding(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    sample = content[:UTF16_SAMPLE]
    even, odd = sample[0::2], sample[1::2]
    for zeros, others, encoding in ((odd, even, "utf-16-le"), (even, odd, "utf-16-be")):
        if len(zeros) > 1 and 2 * zeros.count(0) > len(zeros) and not others.count(0):
            return encoding
    return "utf-8-sig"


def read_csv(path: str | Path, *, numbers: Iterable[str] = (), names: Iterable[str] = ()) -> pd.DataFrame:
    """Read a CSV file as text, keeping count of its rows.

    pandas would turn scene `007` into 7, skip blank lines without counting them, and shift the columns of rows that
    are too long; here all cells stay text, stripped of spaces, and the index is the row as a spreadsheet shows it.
    What spreadsheets do to a text is undone: `="007"`, quotation marks within a cell, and an apostrophe in front.

    Args:
        path: The file, encoded as for `read_text`; the header tells whether commas, semicolons or tabs separate, or
            else a line `sep=;` before it, which spreadsheets do not show and which is not counted.
        numbers: Columns of numbers. Their decimal commas become points where the separator is not a comma.
        names: Columns that are known by these names in whatever case the header writes them.

    Returns:
        All columns that have a name, as text; the index is the row in the file (the header is row 1).

    Raises:
        InputError: If the file is absent, empty or not CSV, if a row does not fit the header, or if the numbers of a
            table have decimal commas and points.
    """
    text, separator = _split_off_separator(read_text(path))
    rows = _read_cells(text, separator, path)
    header = rows.pop(min(rows))
    while header and not header[-1]:  # a spreadsheet's empty columns
        header.pop()
    wanted = {name.casefold(): name for name in names}
    header = [wanted.get(name.casefold(), name) for name in header]
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
    for name in frame.columns[[_is_marked_as_text(frame[name]) for name in frame]]:
        frame[name] = frame[name].str.removeprefix("'")
    if separator != ",":
        _read_decimal_commas(frame, [name for name in numbers if name in frame], separator, path)
    return frame


def read_header(path: str | Path) -> list[str]:
    """Return the names of the columns of a CSV file as they stand there; of none where `read_csv` refuses the file."""
    text, separator = _split_off_separator(read_text(path))
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True)
    try:
        cells = ([_unwrapped(cell.strip()) for cell in line] for line in lines)
        return [name for name in next(filter(any, cells), []) if name]
    except csv.Error:
        return []


def _is_marked_as_text(column: pd.Series[str]) -> bool:
    """Whether every cell of a column begins with an apostrophe, as a spreadsheet marks text."""
    return len(column) > 0 and all(cell[:1] == "'" and cell[-1:] != "'" for cell in column)


def _read_decimal_commas(frame: pd.DataFrame, names: Sequence[str], separator: str, path: str | Path) -> None:
    """Turn the decimal commas of columns of numbers into points, in place.

    A table that has both signs is refused: 1.234 may then be a thousand. So are, in a table of tabs, numbers that
    may all have commas between thousands. A semicolon separates where the comma is the decimal sign.
    """
    cells = [cell for name in names for cell in frame[name] if "," in cell]
    decimal = [cell for cell in cells if DECIMAL_COMMA.fullmatch(cell)]
    if not decimal or (separator == "\t" and all(map(THOUSANDS.fullmatch, decimal))):
        return
    for name in names:
        if len(
            points := frame.loc[
                frame[name].map(NUMBER.fullmatch).notna() & frame[name].str.contains(".", regex=False), name
            ]
        ):
            raise InputError(
                f"{path} has numbers with decimal commas, such as {decimal[0]!r}, and with points, such as "
                f"{name} {points.iloc[0]!r} ({row_list(points.index)}); write all with one decimal sign and without "
                "thousands separators"
            )
        replaced = [cell.replace(",", ".") if DECIMAL_COMMA.fullmatch(cell) else cell for cell in frame[name]]
        frame[name] = pd.Series(replaced, frame.index, dtype=object)


def write_csv(frame: pd.DataFrame, path: str | Path, *, spreadsheet_safe: bool = False) -> None:
    """Write a table as CSV without its index, whole or not at all; every number reads back as the same float64.

    Args:
        frame: What is not known (None, NaN) becomes an empty cell.
        path: The file.
        spreadsheet_safe: Whether texts that a spreadsheet might run are marked, as `safe_cell` does. `read_csv`
            takes the marks off again; other programs see them.

    Raises:
        InputError: If the file cannot be written.
    """
    narrow = frame.select_dtypes(["float16", "float32"]).columns  # their shortest text is another number as float64
    columns = [column.tolist() for _, column in frame.astype(dict.fromkeys(narrow, "float64")).items()]
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(csv_line(frame.columns, spreadsheet_safe=spreadsheet_safe))
        file.writelines(csv_line(cells, spreadsheet_safe=spreadsheet_safe) for cells in zip(*columns, strict=True))


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
        found = with_rows(bad.map(repr)) + _habit(str(bad.iloc[0]))
        raise InputError(f"the {column.name} in {source} must be {wanted}, found {found}; correct or remove them")
    return numbers


def as_numbers_or_nothing(column: pd.Series[str], source: str | Path) -> pd.Series[float]:
    """Return a column of text as finite numbers, NaN where a cell is empty, `score_std...` as 0 or more.

    Raises:
        InputError: If a cell is neither; it names the bad rows.
    """
    numbers = column.map(_number).astype(np.float64)
    is_std = str(column.name).startswith("score_std")
    empty = column.isna() | (column.astype(str).str.strip() == "")
    bad = column[~empty & (~np.isfinite(numbers) | ((numbers < 0) & is_std))]
    if len(bad):
        wanted = "a finite number" + (" >= 0" if is_std else "") + " or empty in every row"
        found = with_rows(bad.map(repr)) + _habit(str(bad.iloc[0]))
        raise InputError(f"the {column.name} in {source} must be {wanted}, found {found}; correct or remove them")
    return numbers.mask(empty)


def _habit(cell: str) -> str:
    """Return what a spreadsheet may have done to a number."""
    if THOUSANDS.fullmatch(cell):
        return " (write numbers without thousands separators)"
    if DATE.fullmatch(cell):
        return " (a spreadsheet may have made a date of a number)"
    return ""


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
        rows = {row: [_unwrapped(cell.strip()) for cell in cells] for row, cells in enumerate(lines, start=1)}
    except csv.Error as error:
        raise InputError(f"Line {lines.line_num} of {path} is not CSV ({error}); check the quotation marks") from error
    if rows := {row: cells for row, cells in rows.items() if any(cells)}:
        return rows
    raise InputError(f"{path} is empty; it needs a header and one row an image")


def _unwrapped(cell: str) -> str:
    """Return the text that a spreadsheet shows for a cell: of `="007"` or `"007"` what stands in the quotes."""
    inner = cell.removeprefix("=")
    if len(inner) > 1 and inner[0] == QUOTE == inner[-1] and QUOTE not in inner[1:-1].replace(QUOTE * 2, ""):
        return inner[1:-1].replace(QUOTE * 2, QUOTE)
    return cell[1:] if MARKED.match(cell) else cell


def _number(value: object) -> float:
    if isinstance(value, str):
        text = value.strip().removeprefix("'")
        return float(text) if NUMBER.fullmatch(text) else float("nan")
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return float("nan")
