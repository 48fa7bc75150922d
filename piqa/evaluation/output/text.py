"""What every output of a leaderboard shows alike: its heading, its blocks of rows, footnotes and warnings.

So each output names the protocol of every value and what the checkpoint was chosen on.
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

from piqa.evaluation.leaderboard.leaderboard import LOWER_IS_BETTER, Leaderboard

MEASURE_NAMES = {name: name.upper() for name in ("srocc", "plcc", "krocc", "mae", "rmse")} | {"pair_accuracy": "Pairs"}
SELECTED = {
    "val": "checkpoint chosen on validation scenes",
    "test": "checkpoint CHOSEN ON THE TEST SET",
    None: "what the checkpoint was chosen on is not known",
}
KIND_NAMES = {"naive": "naive", "model": "model", "published": "published", "ceiling": "noise ceiling"}
PAIR_KINDS = {"all": "all pairs", "clear": "clear", "near": "near ties"}
DAGGER = "†"  # at a value that is significantly the best
LEVELS = {"both": "scenes and images within scenes", "scenes": "scenes", "images": "images within scenes"}
LISTED = 5  # names in a warning; all are in the JSON file
DASH = "–"  # stands for a number that is not defined or not known


@dataclass(frozen=True)
class Cell:
    """One value of the board, its 95 % interval, and whether it is the best and significantly so; NaN if unknown."""

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
class Row:
    """A row of a block: the model, its kind, the letter of its footnote ("" without one), and its cell by measure."""

    model: str
    kind: str
    mark: str
    cells: dict[str, Cell]


@dataclass(frozen=True)
class Block:
    """The rows of one protocol, with its sentence, its measures in order, and why models have no values in it."""

    protocol: str
    sentence: str
    measures: list[str]
    rows: list[Row]
    absent: list[str]


def heading(board: Leaderboard) -> str:
    """Return table, attribute, split and size of what was evaluated, in one line."""
    facts = board.facts
    parts = [facts.table or "own table"]
    for name, text in ((facts.attribute, "{}"), (facts.official_split, "{} split")):
        if name is not None and name.lower() not in parts[0].lower():
            parts.append(text.format(name))
    split = f"{facts.split} " if facts.split is not None else ""
    return " · ".join([*parts, f"{facts.images} {split}images", f"{facts.scenes} {split}scenes"])


def blocks(board: Leaderboard) -> list[Block]:
    """Return one block for every protocol with values, rows in the order of the entries."""
    marks, found = _marks(board), []
    for protocol, sentence in board.facts.protocols.items():
        measures = board.measures[board.measures["protocol"] == protocol]
        absent = _unavailable(board, protocol)
        if measures.empty and not absent:
            continue
        cells = {
            (row.model, row.measure): Cell(row.value, row.low, row.high, bool(row.best), bool(row.significant))
            for row in tuples(measures)
        }
        names = [name for name in MEASURE_NAMES if (measures["measure"] == name).any()]
        rows = [
            Row(row.model, row.kind, marks[row.model], own)
            for row in tuples(board.entries)
            if (own := {name: cells[row.model, name] for name in names if (row.model, name) in cells})
        ]
        found.append(Block(protocol, sentence, names, rows, absent))
    return found


def footnotes(board: Leaderboard) -> dict[str, str]:
    """Return the footnotes by letter: what the checkpoint was chosen on, how the protocol deviates, the source."""
    notes = _notes(board)
    return {mark: notes[model] for model, mark in _marks(board).items() if mark}


def legend(board: Leaderboard) -> str:
    """Return what an interval, bold type and the dagger mean."""
    facts = board.facts
    return (
        f"Intervals: 95 % bootstrap over {LEVELS[facts.levels]}, {facts.bootstrap_samples} resamples; for the ceiling, "
        f"95 % of its draws. Bold: the best of models and published entries. {DAGGER}: significantly better than every "
        "other entry that it was compared with (Holm-adjusted p < 0.05). "
        f"{MEASURE_NAMES['pair_accuracy']}: fraction of the pairs within scenes in the experts' order. "
        f"Lower is better for {' and '.join(MEASURE_NAMES[name] for name in LOWER_IS_BETTER)}."
    )


def warnings(board: Leaderboard) -> list[str]:
    """Return what limits the values, one sentence each: entries measured on less, undefined, or flattered."""
    found = []
    for row in tuples(board.entries[board.entries["kind"] != "naive"]):  # a constant is undefined everywhere
        scenes = f"of {board.facts.scenes} scenes"
        missing, unmatched, failed = (
            names.get(row.model, ()) for names in (board.facts.missing, board.facts.unmatched, board.facts.failed)
        )
        others = [name for name in missing if name not in set(failed)]
        without = row.missing if _unknown(row.missing) else row.missing - len(failed)
        for count, before, after in (
            (len(failed), "broken images, left out: ", _named(failed)),
            (without, "images of the table without a prediction: ", _named(others)),
            (row.unmatched, "predictions for images that are not in the table, left out: ", _named(unmatched)),
            (row.undefined_scenes, "no correlation is defined in ", f" {scenes}, which are left out of it"),
            (row.failed_fits, "no logistic could be fitted in ", f" {scenes}, left out of the authors' values"),
        ):
            if not _unknown(count) and count > 0:
                found.append(f"{row.model}: {before}{int(count)}{after}")
    on_test = board.entries.loc[board.entries["selected_on"] == "test", "model"]
    if len(on_test):
        found.append(f"Checkpoint chosen on the test set, which flatters an entry: {some(list(on_test), len(on_test))}")
    return found


def pairs_title(board: Leaderboard) -> str:
    """Return what pair accuracy is, and when a pair is clear or a near tie."""
    facts = board.facts
    kinds = f"clear: scores differ by more than {facts.clear:g}, near ties: by less than {facts.near:g}"
    return f"Fraction of pairs within scenes in the experts' order ({kinds})"


def pair_rows(board: Leaderboard) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Return the columns of the table of pairs, and each entry's name and cells; the Brier score is of all pairs."""
    kinds = [kind for kind in PAIR_KINDS if (board.pairs["kind"] == kind).any()]
    by_entry = {(row.model, row.kind): row for row in tuples(board.pairs)}
    rows = []
    for model in board.entries["model"]:
        found = [by_entry.get((model, kind)) for kind in kinds]
        if any(found):
            cells = [DASH if row is None else number(row.accuracy) for row in found]
            every = by_entry.get((model, "all"))
            rows.append((model, [*cells, DASH if every is None else number(every.brier)]))
    return [*(PAIR_KINDS[kind] for kind in kinds), "Brier ↓"], rows


def number(value: float | None, digits: int = 3) -> str:
    """Return the number with a true minus sign; a dash where there is none."""
    if value is None or _unknown(value):
        return DASH
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "−")


def p_value(value: float) -> str:
    """Return the p-value with three decimals, or `< 0.001`."""
    return DASH if _unknown(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


def some(names: Sequence[str], shown: int = LISTED) -> str:
    """Return the first names and how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(map(str, names[:shown])) + more


def tuples(frame: pd.DataFrame) -> Iterator[Any]:
    """Yield the rows as named tuples, untyped, as every frame has columns of its own."""
    return iter(frame.itertuples())


def one_line(text: object) -> str:
    """Return the text with every run of white space as one space."""
    return " ".join(str(text).split())


def _unavailable(board: Leaderboard, protocol: str) -> list[str]:
    """Return why models have no values in a protocol, each reason once; naive entries are expected to have none."""
    models = set(board.entries.loc[board.entries["kind"] == "model", "model"])
    by_reason: dict[str, list[str]] = {}
    for model, reason in board.facts.unavailable.get(protocol, {}).items():
        if model in models:
            by_reason.setdefault(reason, []).append(model)
    return [f"{', '.join(names)}: {reason}" for reason, names in by_reason.items()]


def _notes(board: Leaderboard) -> dict[str, str]:
    """Return the note of every entry, "" if it has none."""
    notes = {}
    for row in tuples(board.entries):
        selected = None if _unknown(row.selected_on) else row.selected_on
        parts = ["published values, not measured here"] if row.kind == "published" else []
        if row.kind in ("model", "published"):
            parts.append(SELECTED.get(selected, f"checkpoint chosen on: {selected}"))
        parts += [str(text) for text in (row.protocol_note, row.source) if not _unknown(text) and text]
        notes[row.model] = "; ".join(parts)
    return notes


def _marks(board: Leaderboard) -> dict[str, str]:
    """Return a letter for every entry that has a note; entries with the same note share it."""
    notes = _notes(board)
    letters = ("".join(pair).strip() for pair in product(" " + string.ascii_lowercase, string.ascii_lowercase))
    by_note = {note: next(letters) for note in dict.fromkeys(notes.values()) if note}
    return {model: by_note.get(note, "") for model, note in notes.items()}


def _named(names: Sequence[str]) -> str:
    return f" ({some(names)})" if len(names) else ""


def _unknown(value: object) -> bool:
    """Return whether it is None, NaN or pandas' NA."""
    return bool(pd.isna(value))  # type: ignore[call-overload]
