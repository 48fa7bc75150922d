"""The leaderboard as JSON, CSV, Markdown and LaTeX files.

JSON holds everything but the predictions, with every digit. CSV has one value a row, each with its protocol, split,
attribute and what the checkpoint was chosen on. Markdown and LaTeX are for reading and publishing.
"""
# ruff: noqa: RUF001 - a minus and an en dash are meant

from __future__ import annotations

from pathlib import Path

import pandas as pd

from piqa.evaluation.leaderboard.leaderboard import LOWER_IS_BETTER, Leaderboard
from piqa.evaluation.output import text
from piqa.evaluation.output.text import DAGGER, DASH, MEASURE_NAMES, Block, Cell, number, one_line
from piqa.system.csv_text import write_csv
from piqa.system.files import replacing
from piqa.system.json_text import json_text

FRAMES = ("entries", "measures", "scenes", "groups", "comparisons", "pairs", "reliability", "failures")
LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    **{character: f"{{{character}}}" for character in "[]*"},  # after a line's end they would be its options
    "−": "$-$",  # the minus of `number`
    "–": "--",
    "†": r"$^{\dagger}$",
    **{character: "\\" + character for character in "#$%&_{}"},
}

LATEX_HEAD = r"% \usepackage{booktabs,graphicx} in the preamble"
LATEX_FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"  # a wide table is scaled to the page


def write_tables(board: Leaderboard, folder: str | Path, *, spreadsheet_safe: bool = True) -> dict[str, Path]:
    """Write `leaderboard.json`, `.csv`, `.md` and `.tex`; return the files by extension, or raise an InputError.

    In the CSV, texts that a spreadsheet might run are marked if `spreadsheet_safe`; see `csv_cells.safe_cell`.
    """
    paths = {end: Path(folder) / f"leaderboard.{end}" for end in ("json", "csv", "md", "tex")}
    write_csv(measures_frame(board), paths["csv"], spreadsheet_safe=spreadsheet_safe)
    for end, content in (("json", as_json(board)), ("md", as_markdown(board)), ("tex", as_latex(board))):
        with replacing(paths[end]) as temporary:
            temporary.write_text(content, encoding="utf-8")
    return paths


def as_json(board: Leaderboard) -> str:
    """Return the facts and all frames but the predictions, without paths; a number that is not defined is null."""
    frames = {name: getattr(board, name).drop(columns=["path_a", "path_b"], errors="ignore") for name in FRAMES}
    return json_text({"facts": board.facts.to_dict(), **frames})


def measures_frame(board: Leaderboard) -> pd.DataFrame:
    """Return one row a value, with its interval, its protocol, its subject and what the checkpoint was chosen on."""
    facts = {name: getattr(board.facts, name) for name in ("table", "split", "attribute", "official_split")}
    entries = board.entries[["model", "kind", "images", "missing", "selected_on", "protocol_note", "source"]]
    frame = board.measures.merge(entries, on="model", how="left", validate="many_to_one").assign(**facts)
    first = [*facts, "model", "kind", "protocol", "measure", "value", "low", "high", "best", "significant"]
    frame = frame.astype(dict.fromkeys(("images", "missing"), "Int64"))  # whole numbers also where some are unknown
    return frame[[*first, *(name for name in frame if name not in first)]]


def as_markdown(board: Leaderboard) -> str:
    """Return a section for every protocol with its table, the table of pairs, notes and warnings."""
    parts = [f"# Leaderboard\n\n{_markdown(text.heading(board))}"]
    for block in text.blocks(board):
        parts.append(f"## {block.protocol}: {_markdown(block.sentence)}")
        rows = []
        for row in block.rows:
            model = _markdown(row.model) + (f" <sup>{row.mark}</sup>" if row.mark else "")
            cells = (_markdown_cell(row.cells.get(name)) for name in block.measures)
            rows.append((model, text.KIND_NAMES[row.kind], *cells))
        names = [MEASURE_NAMES[name] + (" ↓" if name in LOWER_IS_BETTER else "") for name in block.measures]
        parts += [_markdown_table(["model", "kind", *names], rows)] if rows else []
        parts += [f"Not available for {_markdown(reason)}" for reason in block.absent]
    if not board.pairs.empty:
        columns, pairs = text.pair_rows(board)
        parts.append(f"## Pairs\n\n{_markdown(text.pairs_title(board))}")
        parts.append(_markdown_table(["model", *columns], [(_markdown(model), *cells) for model, cells in pairs]))
    notes = [f"<sup>{mark}</sup> {_markdown(text)}" for mark, text in text.footnotes(board).items()]
    notes += [text.legend(board), *(f"**{_markdown(text)}**" for text in text.warnings(board))]
    return "\n\n".join([*parts, "## Notes", *notes]) + "\n"


def as_latex(board: Leaderboard) -> str:
    r"""Return a booktabs table for every protocol, the best in bold, the significantly best with a dagger.

    Intervals stand in a row of their own, and a table that is still wider than the text is scaled down to it.
    """
    tables = [_latex_table(board, block) for block in text.blocks(board) if block.rows]
    return "\n\n".join([LATEX_HEAD, *tables]) + "\n"


def _markdown_table(header: list[str], rows: list[tuple[str, ...]]) -> str:
    alignment = ["---", *("---:" if name != "kind" else "---" for name in header[1:])]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, alignment, *rows])


def _markdown_cell(cell: Cell | None) -> str:
    if cell is None:
        return DASH
    text = f"**{number(cell.value)}**" if cell.best else number(cell.value)
    interval = f" [{number(cell.low)}, {number(cell.high)}]" if cell.has_interval else ""
    return text + (DAGGER if cell.significant else "") + interval


def _markdown(text: str) -> str:
    """Return the text on one line, with everything escaped that Markdown would read as markup."""
    escaped = "".join("\\" + character if character in r"\`*_[]|#~$" else character for character in one_line(text))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _latex_table(board: Leaderboard, block: Block) -> str:
    rows, kind = [], ""
    for row in block.rows:
        rows += [r"\midrule"] if row.kind != kind else []
        kind = row.kind
        mark = rf"\textsuperscript{{{row.mark}}}" if row.mark else ""
        cells = [row.cells.get(name) for name in block.measures]
        rows.append(" & ".join([_latex(row.model) + mark, *map(_latex_cell, cells)]) + r" \\")
        if any(cell is not None and cell.has_interval for cell in cells):
            rows.append(" & ".join(["", *map(_latex_interval, cells)]) + r" \\")
    names = [MEASURE_NAMES[name] + (r" $\downarrow$" if name in LOWER_IS_BETTER else "") for name in block.measures]
    marks = {row.mark for row in block.rows}
    notes = [rf"\textsuperscript{{{mark}}}{_latex(t)}." for mark, t in text.footnotes(board).items() if mark in marks]
    caption = f"{text.heading(board)}. Protocol {block.protocol}: {block.sentence}."
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_latex(caption)}}}",
            r"\small\setlength{\tabcolsep}{4pt}",
            LATEX_FIT,
            rf"\begin{{tabular}}{{l{'r' * len(names)}}}",
            r"\toprule",
            " & ".join(["", *names]) + r" \\",
            *rows,
            r"\bottomrule",
            r"\end{tabular}}",
            rf"\par\smallskip\footnotesize {' '.join([*notes, _latex(text.legend(board))])}",
            r"\end{table}",
        ]
    )


def _latex_cell(cell: Cell | None) -> str:
    if cell is None:
        return "--"
    value = _latex(number(cell.value))
    text = (rf"\textbf{{{value}}}" if cell.best else value) + (LATEX[DAGGER] if cell.significant else "")
    return text


def _latex_interval(cell: Cell | None) -> str:
    if cell is None or not cell.has_interval:
        return ""
    return rf"{{\scriptsize[{number(cell.low, 2)}, {number(cell.high, 2)}]}}".replace("−", "$-$")


def _latex(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in one_line(text))
