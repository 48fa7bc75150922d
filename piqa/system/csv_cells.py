"""Lines of CSV files that are written: cells are quoted where needed, and marked where a spreadsheet might run them."""

from __future__ import annotations

import re
from collections.abc import Iterable

NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")  # float() would take 1_000 and other digits
MARKED = re.compile(r"'+[=+\-@\t\r]")  # what `safe_cell` wrote, or a spreadsheet's mark of text
RUNS = tuple("=+-@\t\r")  # a cell that begins so may be run by a spreadsheet
QUOTE = '"'
PANDAS_NOTHING = ("NAType", "NaTType")  # types whose values do not compare; pandas itself is slow to import


def csv_line(cells: Iterable[object], *, spreadsheet_safe: bool = False) -> str:
    r"""Return a row of a CSV file with its line end.

    Unlike `csv.writer` before Python 3.13, it puts a cell with a carriage return in quotation marks.

    Examples:
        >>> csv_line(["a, b.jpg", 1.5, None])
        '"a, b.jpg",1.5,\n'
        >>> csv_line(["=1+1", "-0.5", -0.5], spreadsheet_safe=True)
        "'=1+1,-0.5,-0.5\n"
    """
    texts = [_cell_text(cell, spreadsheet_safe) for cell in cells]
    line = ",".join(f'"{text.replace(QUOTE, QUOTE * 2)}"' if re.search('[,"\r\n]', text) else text for text in texts)
    return (line or '""') + "\n"


def safe_cell(text: str) -> str:
    """Return a text with an apostrophe in front if a spreadsheet might run it; a number stays a number.

    Texts that begin with = + - @, a tab or a carriage return are formulas to Excel and others, and a formula can run a
    program or send data away.

    Examples:
        >>> safe_cell("=HYPERLINK(A1)"), safe_cell("-1.5"), safe_cell("a=b")
        ("'=HYPERLINK(A1)", '-1.5', 'a=b')
    """
    runs = text.startswith(RUNS) or MARKED.match(text) is not None
    return f"'{text}" if runs and not NUMBER.fullmatch(text) else text


def _cell_text(cell: object, spreadsheet_safe: bool) -> str:
    if isinstance(cell, str):
        return safe_cell(cell) if spreadsheet_safe else cell
    if cell is None or type(cell).__name__ in PANDAS_NOTHING or cell != cell:
        return ""
    return repr(cell) if isinstance(cell, float) else str(cell)
