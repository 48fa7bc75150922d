"""What a study has found so far: scores with intervals, how reliable each rater is, and both as CSV."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from sqlalchemy.orm import Session

from piqa.errors import InputError
from piqa.judgement.agreement import split_half
from piqa.judgement.raters import judge_raters
from piqa.judgement.ratings import scale_ratings
from piqa.judgement.scaling import ScalingOptions, scale_pairs
from piqa.server.study_records import Rater
from piqa.server.studies import StudyContent, raters_of, read_answers, with_names
from piqa.system.csv_cells import csv_line
from piqa.web import charts

SHOWN_RATERS = 2  # fewer cannot agree
SPLITS = 20
Row = dict[str, Any]
Translator = Callable[..., str]
MARK = ScalingOptions(disconnected="mark")


@dataclass(frozen=True)
class Results:
    """What a study has found.

    Attributes:
        answers: All answers, with names, in the columns of `piqa.judgement.answers` or `piqa.judgement.ratings`.
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


def study_results(session: Session, content: StudyContent) -> Results:
    """Return what a study has found so far."""
    names = {one.id: one.name for one in raters_of(session, content.study.id)}
    answers = with_names(read_answers(session, content), content, names)
    if answers.empty:
        return Results(answers, pd.DataFrame())
    try:
        if content.settings.mode == "pairs":
            scaling = scale_pairs(answers, MARK)
            raters = judge_raters(answers, MARK)
        else:
            scaling = scale_ratings(answers)
            raters = scaling.raters
    except InputError as error:  # such as training examples alone
        return Results(answers, pd.DataFrame(), str(error))
    rows = {str(row["rater"]): row for row in _records(raters)}
    agreed = split_half(answers, splits=SPLITS) if len(rows) >= SHOWN_RATERS else None
    return Results(answers, scaling.scores, "", scaling.notes, rows, agreed)


def answers_csv(results: Results) -> str:
    """Return all answers as CSV, which `piqa scale` reads."""
    return _csv(results.answers)


def scores_csv(results: Results) -> str:
    """Return the scores as CSV, which `piqa fit` and `piqa evaluate` read.

    Raises:
        InputError: If there are none.
    """
    if results.scores.empty:
        raise InputError(f"there are no scores yet{': ' + results.why if results.why else ''}")
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
                "remark": t("study.look_into") if found.get("outlier") else "",
            }
        )
    return rows


def _given_when_done(rater: Rater, given: int, content: StudyContent) -> int | None:
    return given if rater.state else content.settings.answers_per_rater


def _csv(frame: pd.DataFrame) -> str:
    columns = [column.tolist() for _, column in frame.items()]
    return csv_line(frame.columns) + "".join(csv_line(cells) for cells in zip(*columns, strict=True))


def _records(frame: pd.DataFrame) -> list[dict[Hashable, Any]]:
    return frame.to_dict("records")


def _number(row: Mapping[str, Any], name: str) -> float:
    return float(row.get(name, math.nan))
