"""The files of a comparison, all written before anything is printed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from piqa.comparison.compare_all import Comparison
from piqa.comparison.document import Content
from piqa.comparison.factor_table import FactorResult
from piqa.comparison.shots import Account, Shot
from piqa.system.csv_cells import csv_line
from piqa.system.json_text import json_text
from piqa.system.written_files import WrittenFiles

PAGE, JSON, BY_SCENE, SHOTS, BY_FACTOR = (
    "comparison.html",
    "comparison.json",
    "comparison.csv",
    "scenes.csv",
    "by_factor.csv",
)
FILES = (PAGE, JSON, BY_SCENE, SHOTS, BY_FACTOR)
SCENE_COLUMNS = (
    "a",
    "b",
    "scene",
    "condition",
    "shots_a",
    "shots_b",
    "score_a",
    "score_b",
    "difference",
    "preference",
    "outcome",
    "answer",
)
SHOT_COLUMNS = ("image", "scene", "device", "condition", "prediction", "error")
FACTOR_COLUMNS = ("a", "b", "factor", "scenes", "steps", "low", "high", "win_rate", "p", "p_holm")


def write_results(
    folder: Path,
    found: Comparison,
    account: Account,
    every: Sequence[Shot],
    factors: Sequence[FactorResult],
    content: Content,
    page: str,
) -> None:
    """Write the tables, the JSON and the page; InputError where a file is not as piqa wrote it."""
    files = WrittenFiles(folder)
    files.check(FILES)
    names = account.devices
    _write(files, SHOTS, SHOT_COLUMNS, (_shot(shot, account) for shot in every))
    by_scene = (
        [names.title(pair.a), names.title(pair.b), one.scene, one.condition, one.shots_a, one.shots_b, one.score_a,
         one.score_b, one.difference, one.preference, one.outcome, one.answer]
        for pair in found.pairs
        for one in pair.scenes
    )  # fmt: skip
    _write(files, BY_SCENE, SCENE_COLUMNS, by_scene)
    if factors:
        _write(files, BY_FACTOR, FACTOR_COLUMNS, (_factor(one, account) for one in factors))
    files.write_text(JSON, json_text(content))
    files.write_text(PAGE, page)
    files.remove_others([name for name in FILES if name != BY_FACTOR or factors])


def _shot(shot: Shot, account: Account) -> list[object]:
    title = account.devices.title(shot.device)
    return [shot.image, shot.scene, title, shot.condition, shot.score, account.unreadable.get(shot.image)]


def _factor(one: FactorResult, account: Account) -> list[object]:
    pair, interval = one.pair, one.pair.interval()
    named = [account.devices.title(pair.a), account.devices.title(pair.b), one.factor.name, len(pair.scenes)]
    return [*named, pair.estimate, interval.low, interval.high, pair.outcomes.rate, pair.p, pair.p_adjusted]


def _write(files: WrittenFiles, name: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with files.replacing(name) as temporary:
        with temporary.open("w", encoding="utf-8", errors="replace", newline="") as file:
            file.write(csv_line(columns))
            file.writelines(csv_line(row, spreadsheet_safe=True) for row in rows)
