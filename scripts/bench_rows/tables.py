"""A bench report as a table: on the screen, and in a page between two marks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from piqa.errors import InputError
from piqa.system.files import replacing

TIMES = ("median_s", "min_s", "max_s", "repeats")


def print_table(report: dict[str, Any], console: Console) -> None:
    """Print the report."""
    table = Table("row", "ratio", "expected", "way", "median s", "range", "more", show_lines=False)
    for row in report["rows"]:
        for number, cells in enumerate(lines(row)):
            first = (row["row"], ratio(row), row.get("expected", "")) if number == 0 else ("", "", "")
            table.add_row(*first, *cells)
        table.add_section()
    console.print(table)


def lines(row: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Return for each way of a row: its name, median, range, and its other facts."""
    if "error" in row:
        yield "failed", "", "", row["error"]
        return
    for name, way in row["ways"].items():
        median, span = "", ""
        if "median_s" in way:
            median = f"{number(way['median_s'])} ({way['repeats']}x)"
            span = f"{number(way['min_s'])} to {number(way['max_s'])}"
        yield name, median, span, told({key: value for key, value in way.items() if key not in TIMES})
    if row["facts"]:
        yield "all", "", "", told(row["facts"])


def told(figures: dict[str, Any]) -> str:
    """Format values in one line."""
    return ", ".join(f"{key} {number(value)}" for key, value in figures.items())


def number(value: Any) -> str:
    """Format a value with at most four digits, and a count in full."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def ratio(row: dict[str, Any]) -> str:
    """Return the row's ratio, if it has one."""
    return number(row["ratio"]) if "ratio" in row else "-"


def fill_page(report: dict[str, Any], page: Path) -> None:
    """Replace the text between `<!-- bench DEVICE -->` and `<!-- end -->` in a Markdown page.

    Raises:
        InputError: If the page has no such marks, or the report is a smoke test's.
    """
    if report["smoke"]:
        raise InputError("the figures of --smoke mean nothing; no page takes them")
    start, end = f"<!-- bench {report['device']} -->", "<!-- end -->"
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    before, found, rest = text.partition(start)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise InputError(f"{page} has no marks {start} and {end}; add them where the table shall be")
    with replacing(page) as temporary:
        temporary.write_text(f"{before}{start}\n{markdown(report)}\n{end}{after}", encoding="utf-8")


def markdown(report: dict[str, Any]) -> str:
    """Return the report as Markdown: the machine, a table of ratios, a table of all ways."""
    machine = ", ".join(f"{key} {value}" for key, value in report["machine"].items() if value not in (None, []))
    parts = [f"Machine: {machine}.", ""]
    if rates := report.get("matrix_rates"):
        parts += [f"Products of large matrices, TFLOP/s: {told(rates)}.", ""]
    parts += ["| row | ratio of | measured | expected |", "|---|---|---|---|"]
    for row in report["rows"]:
        if "error" in row:
            parts.append(f"| `{row['row']}` | failed: {row['error']} | | |")
        else:
            parts.append(f"| `{row['row']}` | {row['compared']} | **{ratio(row)}** | {row['expected']} |")
    parts += ["", "| row | way | median s | range | more |", "|---|---|---|---|---|"]
    for row in report["rows"]:
        parts += [f"| `{row['row']}` | {' | '.join(cells)} |" for cells in lines(row)]
    parts.append("")
    parts += [
        f"* `{row['row']}` ({row['clock']}): {row['what']}; {row['threads']} threads unless told."
        for row in report["rows"]
        if "error" not in row
    ]
    return "\n".join(parts)
