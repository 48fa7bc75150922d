"""What a study has found so far: scores with intervals, how reliable each rater is, and both as CSV."""

from __future__ import annotations

import hashlib
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from sqlalchemy.orm import Session

from piqa.errors import InputError
from piqa.judgement.agreement import split_half_of_pairs, split_half_of_ratings
from piqa.judgement.raters import judge_raters
from piqa.judgement.ratings import RatingScaling, scale_ratings, votes_matrix
from piqa.judgement.results import parts_as_scenes
from piqa.judgement.scaling import Scaling, ScalingOptions, scale_pairs
from piqa.server.refusals import line_of
from piqa.server.studies import StudyContent, raters_of, read_answers, with_names
from piqa.server.study_records import Rater
from piqa.system.csv_cells import csv_line
from piqa.system.phrases import Phrase, as_phrase
from piqa.system.progress import without_progress
from piqa.web import charts

SPLITS = 10
ROOM = ("light", "distance", "screen")  # what raters tell when they begin
KEPT = 32  # results of studies that are kept in memory
Row = dict[str, Any]
Translator = Callable[..., str]
MARK = ScalingOptions(disconnected="mark")
_lock = threading.Lock()


@dataclass(frozen=True)
class Results:
    """What a study has found.

    Attributes:
        answers: All answers, with names, in the columns of `piqa.judgement.answers` or `piqa.judgement.ratings`, and
            how they were seen: `VIEWING` and `ROOM`.
        scores: What `piqa fit` reads: `image`, `score`, `scene`, `score_std`, and more; empty where there are none.
        why: Why there are no scores.
        notes: What a reader of the scores must know.
        raters: A row of reliability by rater's name; {} for those without answers.
        agreement: SROCC of the scores of two random halves of the raters; None where it is not defined.
    """

    answers: pd.DataFrame
    scores: pd.DataFrame
    why: str = ""
    notes: tuple[str, ...] = ()
    raters: Mapping[str, Row] = field(default_factory=dict)
    agreement: float | None = None


_found: OrderedDict[tuple[str, str], Results] = OrderedDict()


def study_results(session: Session, content: StudyContent) -> Results:
    """Return what a study has found so far. It is computed once for the same answers."""
    raters = raters_of(session, content.study.id)
    table = read_answers(session, content, times=True)
    room = {name: table["rater"].map({one.id: _room(one, name) for one in raters}) for name in ROOM}
    answers = with_names(table.assign(**room), content, {one.id: one.name for one in raters})
    key = (content.study.id, hashlib.blake2b(answers.to_csv().encode(), digest_size=16).hexdigest())
    with _lock:
        known = _found.get(key)
    if known is None:
        known = _computed(answers, content.settings.mode == "pairs")
        with _lock:
            _found[key] = known
            while len(_found) > KEPT:
                _found.popitem(last=False)
    return known


def _computed(answers: pd.DataFrame, pairs: bool) -> Results:
    used = answers[(answers["kind"] != "training").to_numpy(bool)]
    if used.empty:
        return Results(answers, pd.DataFrame())
    try:
        with without_progress():
            if pairs:
                scaling: Scaling | RatingScaling = scale_pairs(used, MARK)
                raters = judge_raters(used, MARK)
            else:
                scaling = scale_ratings(used)
                raters = scaling.raters
            agreed = _agreement(used, pairs) if used["rater"].nunique() > 1 else None
    except InputError as error:
        return Results(answers, pd.DataFrame(), line_of(error))
    rows = {str(row["rater"]): row for row in _records(raters)}
    return Results(answers, parts_as_scenes(scaling.scores), "", scaling.notes, rows, agreed)


def _agreement(used: pd.DataFrame, pairs: bool) -> float | None:
    if pairs:
        found = split_half_of_pairs(used, MARK, splits=SPLITS).srocc
    else:
        new = used[(used["kind"] == "new").to_numpy(bool)]
        scenes = new.drop_duplicates(["scene", "image"])["scene"]  # in the order of the votes' rows
        found = split_half_of_ratings(votes_matrix(used), scenes, splits=SPLITS).srocc
    return found if math.isfinite(found) else None


def _room(rater: Rater, name: str) -> str:
    """Return what a rater told of the room or the screen, "" where that is not known."""
    told = rater.conditions.get(name)
    return "x".join(map(str, told)) if isinstance(told, list) else "" if told is None else str(told)


def answers_csv(results: Results) -> str:
    """Return all answers as CSV, which `piqa scale` reads."""
    return _csv(results.answers)


def scores_csv(results: Results) -> str:
    """Return the scores as CSV, which `piqa fit` and `piqa evaluate` read.

    Raises:
        InputError: If there are none.
    """
    if results.scores.empty:
        if results.why:
            raise InputError(Phrase("there are no scores yet: {reason}", reason=as_phrase(results.why)))
        raise InputError(Phrase("there are no scores yet"))
    return _csv(results.scores)


def score_sections(results: Results, t: Translator, unit: str) -> list[Row]:
    """Return for each scene its name, its rows, and its chart."""
    if results.scores.empty:
        return []
    sections = []
    for scene, rows in results.scores.groupby("scene", sort=True):
        values = [
            (str(row["image"]), float(row["score"]), float(row["low"]), float(row["high"])) for row in _records(rows)
        ]
        chart = charts.intervals(values, t("study.chart", scene=scene), unit=unit)
        sections.append({"scene": scene, "rows": _records(rows), "chart": chart})
    return sections


def rater_rows(session: Session, content: StudyContent, results: Results, t: Translator, address: str) -> list[Row]:
    """Return a row of the table of raters for each one; NaN where nothing is known."""
    table = read_answers(session, content)
    given = table[(table["kind"] != "training").to_numpy(bool)].groupby("rater").size().to_dict()
    rows = []
    for one in raters_of(session, content.study.id):
        found = results.raters.get(one.name, {})
        queue = one.state.get("queue", [])
        rows.append(
            {
                "id": one.id,
                "name": one.name,
                "link": f"{address}/rate/{one.link}",
                "answers": given.get(one.id, 0),
                "of": queue[0]["of"] if queue else _given_when_done(one, given.get(one.id, 0), content),
                "seconds": _number(found, "seconds"),
                "fast": _number(found, "fast"),
                "alike": _number(found, "repeat_rate"),
                "left": _number(found, "left"),
                "outlier": _number(found, "rater_score"),
                "bias": _number(found, "bias"),
                "inconsistency": _number(found, "inconsistency"),
                "remark": f"{t('study.look_into')}: {found['why']}" if found.get("outlier") else "",
            }
        )
    return rows


def _given_when_done(rater: Rater, given: int, content: StudyContent) -> int | None:
    return given if rater.state else content.settings.answers_per_rater


def _csv(frame: pd.DataFrame) -> str:
    columns = [column.tolist() for _, column in frame.items()]
    rows = zip(*columns, strict=True)
    return csv_line(frame.columns) + "".join(csv_line(cells, spreadsheet_safe=True) for cells in rows)


def _records(frame: pd.DataFrame) -> list[Row]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _number(row: Mapping[str, Any], name: str) -> float:
    return float(row.get(name, math.nan))
