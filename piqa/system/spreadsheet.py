"""Tables in spreadsheets: .xlsx, or the same exported as CSV, as text cells."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from piqa.errors import InputError
from piqa.system.csv_text import read_csv


def read_sheet(path: Path, sheet: str | None = None) -> pd.DataFrame:
    """Read a sheet as text; where there is a CSV of the same name beside it, that is read instead.

    Args:
        path: The .xlsx file.
        sheet: Name of the sheet; the first where there is none of that name.

    Returns:
        The named columns as text, "" where a cell is empty; the index is the row in the sheet (the header is row 1).

    Raises:
        InputError: If there is no such file, it cannot be read, or openpyxl is needed and not installed.
    """
    exported = path.with_suffix(".csv")
    if exported.is_file():
        return read_csv(exported)
    if not path.is_file():
        raise InputError(f"there is no {path}, and no {exported.name} beside it; restore the database's own file")
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise InputError(
            f"reading {path} needs openpyxl: `pip install openpyxl`, or export the sheet as {exported.name} beside it"
        ) from error
    try:
        book = load_workbook(path, read_only=True, data_only=True)
        opened = book[sheet] if sheet in book.sheetnames else book[book.sheetnames[0]]
        rows = [[_text(cell) for cell in row] for row in opened.iter_rows(values_only=True)]
        book.close()
    except Exception as error:  # openpyxl raises whatever the bytes lead it to
        raise InputError(f"{path} is no spreadsheet that can be read; restore the database's own file") from error
    if not rows or not any(rows[0]):
        raise InputError(f"{path} is empty; restore the database's own file")
    header, body = rows[0], {number: row for number, row in enumerate(rows[1:], start=2) if any(row)}
    named = [place for place, name in enumerate(header) if name and header.index(name) == place]
    cells = [[row[place] if place < len(row) else "" for place in named] for row in body.values()]
    return pd.DataFrame(cells, columns=[header[place] for place in named], index=list(body), dtype=object)


def _text(cell: object) -> str:
    """Return a cell as text; a whole number without a point, as a spreadsheet shows it."""
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell).strip()
