"""The leaderboard on the terminal, within 80 columns."""
# ruff: noqa: RUF001 - a minus and an en dash are meant

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from piqa.evaluation.leaderboard.leaderboard import LOWER_IS_BETTER, Leaderboard
from piqa.evaluation.output import text
from piqa.evaluation.output.text import DAGGER, DASH, MEASURE_NAMES, Block, Cell, number, one_line

WORST = 3  # scenes of a model that are named


def print_board(board: Leaderboard, console: Console) -> None:
    """Print a block for every protocol, the pairs, comparisons, worst scenes, footnotes and warnings."""
    console.print(text.heading(board), style="bold", markup=False, highlight=False)
    for block in text.blocks(board):
        console.print()
        console.print(f"{block.protocol}: {block.sentence}", style="bold", markup=False, highlight=False)
        if block.rows:
            console.print(_block_table(block))
        for reason in block.absent:
            console.print(f"not available for {reason}", style="dim", markup=False, highlight=False)
    if not board.pairs.empty:
        console.print()
        console.print(text.pairs_title(board), style="bold", markup=False, highlight=False)
        console.print(_pairs_table(board))
    console.print()
    for line in [*_compared(board), *_worst_scenes(board)]:
        console.print(line, markup=False, highlight=False)
    for mark, note in text.footnotes(board).items():
        console.print(f"({mark}) {note}", style="dim", markup=False, highlight=False)
    console.print(text.legend(board), style="dim", markup=False, highlight=False)
    for warning in text.warnings(board):
        console.print(warning, style="bold red", markup=False, highlight=False)


def _block_table(block: Block) -> Table:
    table = _table([MEASURE_NAMES[name] + (" ↓" if name in LOWER_IS_BETTER else " ↑") for name in block.measures])
    for row in block.rows:
        mark = f" ({row.mark})" if row.mark else ""
        kind = f"\n[dim]{row.kind}[/]" if row.kind in ("naive", "published") else ""
        cells = (_cell(row.cells.get(name)) for name in block.measures)
        table.add_row(escape(one_line(row.model)) + mark + kind, *cells)
    return table


def _cell(cell: Cell | None) -> str:
    """Return the value with its interval below, as six measures with intervals beside them exceed 80 columns."""
    if cell is None:
        return DASH
    text = number(cell.value) + (DAGGER if cell.significant else "")
    text = f"[bold]{text}[/]" if cell.best else text
    return f"{text}\n[dim]{number(cell.low, 2)}–{number(cell.high, 2)}[/]" if cell.has_interval else text


def _pairs_table(board: Leaderboard) -> Table:
    columns, rows = text.pair_rows(board)
    table = _table(columns)
    for model, cells in rows:
        table.add_row(escape(one_line(model)), *cells)
    return table


def _table(columns: list[str]) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("", overflow="fold")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _compared(board: Leaderboard) -> list[str]:
    """Return the differences between models in official SROCC, one line each."""
    models = set(board.entries.loc[board.entries["kind"] == "model", "model"])
    frame = board.comparisons
    shown = frame[(frame["measure"] == "srocc") & (frame["protocol"] == "official")]
    return [
        f"SROCC, official: {row.model_a} − {row.model_b} = {number(row.difference)} "
        f"[{number(row.low)}, {number(row.high)}], p {'' if row.p < 0.001 else '= '}{text.p_value(row.p)} "
        f"(Holm {text.p_value(row.p_adjusted)})"
        for row in text.tuples(shown)
        if {row.model_a, row.model_b} <= models
    ]


def _worst_scenes(board: Leaderboard) -> list[str]:
    lines = []
    for model in board.entries.loc[board.entries["kind"] == "model", "model"]:
        worst = board.scenes[board.scenes["model"] == model].sort_values("srocc").head(WORST).dropna(subset="srocc")
        if len(worst):
            named = ", ".join(f"{row.scene} {number(row.srocc)}" for row in text.tuples(worst))
            lines.append(f"{model}: lowest SROCC in {named}")
    return lines
