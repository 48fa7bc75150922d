"""The table of all attributes: how well each model predicts each of them, as CSV, as JSON and on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from piqa.evaluation.leaderboard.leaderboard import Leaderboard
from piqa.evaluation.output.text import number, one_line
from piqa.system.csv_text import write_csv
from piqa.system.json_text import write_json

FILES = ("attributes.csv", "attributes.json")
NOTE = (
    "SROCC, PLCC and KROCC: median over scenes, with a 95 % bootstrap interval of SROCC. mean: mean SROCC over scenes. "
    "pairs: pairs in the right order. partial: SROCC given the overall score, which is what a prediction knows of the "
    "attribute beyond it"
)


def attributes_frame(boards: Mapping[str, Leaderboard], partial: Mapping[tuple[str, str], float]) -> pd.DataFrame:
    """Return a row for each attribute and model.

    Args:
        boards: The leaderboard of each attribute, the overall score among them.
        partial: By attribute and model, as of `piqa.evaluation.attributes.partial_srocc`.

    Returns:
        `attribute`, `model`, `images`, `scenes`, `srocc` with `low` and `high`, `plcc`, `krocc`, `pair_accuracy` and
        `mean_srocc` (authors' protocol), and `partial_srocc`, NaN for the overall score.
    """
    rows = []
    for attribute, board in boards.items():
        models = board.entries[board.entries["kind"] == "model"]
        for model, images in zip(models["model"], models["images"], strict=True):
            own = board.measures[board.measures["model"] == model].set_index(["protocol", "measure"])
            official, authors = own.loc["official"], own.loc["authors"]
            measures = {name: official["value"].get(name) for name in ("srocc", "plcc", "krocc", "pair_accuracy")}
            row = {"attribute": attribute, "model": model, "images": int(images), "scenes": board.facts.scenes}
            row |= {"srocc": measures.pop("srocc"), "low": official["low"]["srocc"], "high": official["high"]["srocc"]}
            row |= {**measures, "mean_srocc": authors["value"]["srocc"]}
            rows.append(row | {"partial_srocc": partial.get((attribute, model))})
    return pd.DataFrame(rows).astype({"partial_srocc": "float64", "pair_accuracy": "float64"})


def write_attributes(frame: pd.DataFrame, folder: Path, *, spreadsheet_safe: bool = True) -> list[Path]:
    """Write `attributes.csv` and `attributes.json`; return the files, or raise an InputError."""
    csv, json = (folder / name for name in FILES)
    write_csv(frame, csv, spreadsheet_safe=spreadsheet_safe)
    write_json({"note": NOTE, "attributes": frame.to_dict("records")}, json)
    return [csv, json]


def print_attributes(frame: pd.DataFrame, console: Console) -> None:
    """Print a row for each attribute and model."""
    table = Table(title="By attribute", box=None, header_style="bold", padding=(0, 1, 0, 0), pad_edge=False)
    several = frame["model"].nunique() > 1
    for name in ("attribute", *(["model"] if several else [])):
        table.add_column(name, overflow="fold")
    for name in ("images", "SROCC", "95 %", "mean", "PLCC", "KROCC", "pairs", "partial"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in frame.to_dict("records"):
        names = [row["attribute"], *([row["model"]] if several else [])]
        interval = f"{number(row['low'], 2)} to {number(row['high'], 2)}"
        values = [row[name] for name in ("mean_srocc", "plcc", "krocc", "pair_accuracy", "partial_srocc")]
        cells = [str(row["images"]), number(row["srocc"]), interval, *map(number, values)]
        table.add_row(*(escape(one_line(str(name))) for name in names), *cells)
    console.print()
    console.print(table)
    console.print(NOTE, style="dim", markup=False, highlight=False)
