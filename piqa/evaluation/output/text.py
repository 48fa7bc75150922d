"""What every output of a leaderboard says alike: its heading, its blocks of lines, what sets a line apart, warnings.

The terminal, Markdown, LaTeX and the page show the same blocks, so that none of them forgets to say under which
protocol a number was measured and what chose the checkpoint.
"""
# ruff: noqa: RUF001 - a minus and an en dash are meant

from __future__ import annotations

import math
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import pandas as pd

from piqa.evaluation.leaderboard.leaderboard import LOWER_IS_BETTER, PROTOCOLS, Leaderboard

MEASURES = {
    "srocc": "SROCC",
    "plcc": "PLCC",
    "krocc": "KROCC",
    "mae": "MAE",
    "rmse": "RMSE",
    "pair_accuracy": "Pairs",
}
SELECTED = {
    "val": "checkpoint chosen on validation scenes",
    "test": "checkpoint CHOSEN ON THE TEST SET",
    None: "what chose the checkpoint is not known",
}
KIND_NAMES = {"naive": "naive", "model": "model", "published": "published", "ceiling": "noise ceiling"}
PAIR_KINDS = {"all": "all pairs", "clear": "clear", "near": "near ties"}
DAGGER = "†"  # at a value that is surely the best
LEVELS = {"both": "scenes and images within scenes", "scenes": "scenes", "images": "images within scenes"}
LISTED = 5  # names in a warning; all are in the JSON file
DASH = "–"  # stands for a number that is not defined or not known


@dataclass(frozen=True)
class Cell:
    """One number of the board: its value, 95 % interval, and whether it is the best and surely so; NaN if unknown."""

    value: float
    low: float
    high: float
    best: bool
    significant: bool

    @property
    def has_interval(self) -> bool:
        """Whether both ends of the interval are known."""
        return not (math.isnan(self.low) or math.isnan(self.high))


@dataclass(frozen=True)
class Line:
    """A line of a block: the model, its kind, the letter of its footnote ("" without one), and a cell a measure."""

    model: str
    kind: str
    mark: str
    cells: dict[str, Cell]


@dataclass(frozen=True)
class Block:
    """The lines of one protocol, with its measures in order, its sentence, and why lines are absent."""

    protocol: str
    sentence: str
    measures: list[str]
    lines: list[Line]
    absent: list[str]


def heading(board: Leaderboard) -> str:
    """The table, attribute, split and size of what was measured, in one line."""
    facts, parts = board.facts, [str(board.facts.get("table") or "own table")]
    for name, text in (("attribute", "{}"), ("official_split", "{} split")):
        if facts.get(name) is not None and str(facts[name]).lower() not in parts[0].lower():
            parts.append(text.format(facts[name]))
    split = f"{facts['split']} " if facts.get("split") is not None else ""
    for name in ("images", "scenes"):
        parts += [f"{facts[name]} {split}{name}"] if facts.get(name) is not None else []
    return " · ".join(parts)


def blocks(board: Leaderboard) -> list[Block]:
    """One block for every protocol under which anything was measured, lines in the order of the entries."""
    marks, found = _marks(board), []
    for protocol, sentence in PROTOCOLS.items():
        measures = board.measures[board.measures["protocol"] == protocol]
        absent = _unavailable(board, protocol)
        if measures.empty and not absent:
            continue
        cells = {
            (row.model, row.measure): Cell(row.value, row.low, row.high, bool(row.best), bool(row.significant))
            for row in rows(measures)
        }
        names = [name for name in MEASURES if (measures["measure"] == name).any()]
        lines = [
            Line(row.model, row.kind, marks[row.model], own)
            for row in rows(board.entries)
            if (own := {name: cells[row.model, name] for name in names if (row.model, name) in cells})
        ]
        sentence = (board.facts.get("protocols") or {}).get(protocol, sentence)
        found.append(Block(protocol, sentence, names, lines, absent))
    return found


def footnotes(board: Leaderboard) -> dict[str, str]:
    """The letters at the lines and what they say: what chose the checkpoint, the protocol's oddity, the source."""
    notes = _notes(board)
    return {mark: notes[model] for model, mark in _marks(board).items() if mark}


def legend(board: Leaderboard) -> str:
    """What an interval, bold and the dagger at a value mean."""
    samples, levels = board.facts.get("samples"), board.facts.get("levels")
    over = f" over {LEVELS.get(levels, levels)}" if levels else ""
    counted = f", {samples} samples" if samples else ""
    return (
        f"Intervals: 95 % bootstrap{over}{counted}; at the ceiling the spread of its draws. Bold: the "
        f"best of models and published lines. {DAGGER}: better than every other line it was compared with "
        "(Holm-adjusted p < 0.05). "
        f"{MEASURES['pair_accuracy']}: share of the pairs within scenes in the experts' order. "
        f"Lower is better for {' and '.join(MEASURES[name] for name in LOWER_IS_BETTER)}."
    )


def warnings(board: Leaderboard) -> list[str]:
    """What makes figures less than they seem, one sentence each: lines measured on less, undefined, or flattered."""
    found = []
    scenes = board.facts.get("scenes")
    for row in rows(board.entries[board.entries["kind"] != "naive"]):  # a constant is undefined everywhere
        of = f" of {scenes}" if scenes else ""
        for count, text in (
            (row.missing, "images of the table without a prediction: {}{missing}"),
            (row.unmatched, "predictions for images that are not in the table, left out: {}{unmatched}"),
            (row.undefined_scenes, "no correlation is defined in {}{of} scenes, which are left out of it"),
            (row.failed_fits, "no logistic could be fitted in {}{of} scenes, left out of the authors' figures"),
        ):
            if not _absent(count) and count > 0:
                named = {kind: _named(board, kind, row.model) for kind in ("missing", "unmatched")}
                found.append(f"{row.model}: {text.format(int(count), of=of, **named)}")
    on_test = board.entries.loc[board.entries["selected_on"] == "test", "model"]
    if len(on_test):
        found.append(f"Chosen on the test set, which flatters a line: {some(list(on_test), len(on_test))}")
    return found


def pairs_title(board: Leaderboard) -> str:
    """What a pair is, and when it is clear or near."""
    facts = board.facts
    kinds = [f"clear: apart by more than {facts['clear']:g}"] if facts.get("clear") is not None else []
    kinds += [f"near: by less than {facts['near']:g}"] if facts.get("near") is not None else []
    return "Share of pairs within scenes in the experts' order" + (f" ({', '.join(kinds)})" if kinds else "")


def pair_rows(board: Leaderboard) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """The columns of the pairwise view, and for every line its name and cells; the Brier score is of all pairs."""
    kinds = [kind for kind in PAIR_KINDS if (board.pairs["kind"] == kind).any()]
    by_line = {(row.model, row.kind): row for row in rows(board.pairs)}
    lines = []
    for model in board.entries["model"]:
        found = [by_line.get((model, kind)) for kind in kinds]
        if any(found):
            cells = [DASH if row is None else number(row.accuracy) for row in found]
            every = by_line.get((model, "all"))
            lines.append((model, [*cells, DASH if every is None else number(every.brier)]))
    return [*(PAIR_KINDS[kind] for kind in kinds), "Brier ↓"], lines


def number(value: float, digits: int = 3) -> str:
    """The number with a true minus; a dash where there is none."""
    if _absent(value):
        return DASH
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def p_value(value: float) -> str:
    """The p-value with three decimals, or that it is smaller than these can say."""
    return DASH if _absent(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def some(names: Sequence[Any], shown: int = LISTED) -> str:
    """The first names and how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(map(str, names[:shown])) + more


def rows(frame: pd.DataFrame) -> Iterator[Any]:
    """The rows as named tuples, without types, as every frame has columns of its own."""
    return iter(frame.itertuples())


def one_line(text: object) -> str:
    """The text with every run of spaces and line ends as one space."""
    return " ".join(str(text).split())


def _unavailable(board: Leaderboard, protocol: str) -> list[str]:
    """Why models have no figures in a protocol, each reason once; of naive lines nobody expects them."""
    models = set(board.entries.loc[board.entries["kind"] == "model", "model"])
    by_reason: dict[str, list[str]] = {}
    for model, reason in ((board.facts.get("unavailable") or {}).get(protocol) or {}).items():
        if model in models:
            by_reason.setdefault(reason, []).append(model)
    return [f"{', '.join(names)}: {reason}" for reason, names in by_reason.items()]


def _notes(board: Leaderboard) -> dict[str, str]:
    """What there is to say of every line."""
    notes = {}
    for row in rows(board.entries):
        selected = None if _absent(row.selected_on) else row.selected_on
        chosen = SELECTED.get(selected, f"checkpoint chosen on: {selected}")
        parts = [chosen] if row.kind in ("model", "published") else []
        if row.kind == "published":
            parts.insert(0, "published figures, not measured here")
        parts += [str(text) for text in (row.protocol_note, row.source) if not _absent(text) and text]
        notes[row.model] = "; ".join(parts)
    return notes


def _marks(board: Leaderboard) -> dict[str, str]:
    """A letter for every line that has a note; lines of one note share it."""
    notes = _notes(board)
    letters = ("".join(pair).strip() for pair in product(" " + string.ascii_lowercase, string.ascii_lowercase))
    by_note = {note: next(letters) for note in dict.fromkeys(notes.values()) if note}
    return {model: by_note.get(note, "") for model, note in notes.items()}


def _named(board: Leaderboard, kind: str, model: str) -> str:
    names = (board.facts.get(kind) or {}).get(model) or []
    return f" ({some(list(names))})" if len(names) else ""


def _absent(value: object) -> bool:
    """Whether it is None, NaN or pandas' NA."""
    return bool(pd.isna(value))  # type: ignore[call-overload]
