"""The row on judgements: how long a rater waits for the next pair, and how long a large scene takes to scale."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sqlalchemy import insert
from sqlalchemy.orm import Session

from bench_rows.measure import Row, Settings, in_turn
from piqa.judgement.answers import answers_table
from piqa.judgement.choice import next_pairs
from piqa.judgement.panel import SimulatedRater, random_answers
from piqa.judgement.scaling import scale_pairs
from piqa.judgement.session import next_step
from piqa.judgement.study import StudySettings
from piqa.judgement.wins import wins_of
from piqa.server import rating_session
from piqa.server.database import Database
from piqa.server.rating_session import Conditions, GivenAnswer, change
from piqa.server.records import Photo, Project, new_id
from piqa.server.studies import StudyContent
from piqa.server.study_records import Answer, Rater, Study, StudyImage

PROMISED = 0.05  # seconds a request


def next_pair(settings: Settings) -> Row:
    """Time the choice of the next pair in a scene of 200 images, and the scaling of 40,000 answers to its pairs."""
    images, answers, raters = (20, 400, 4) if settings.smoke else (200, 40_000, 20)
    rng = np.random.default_rng(0)
    truth = {f"{number}.jpg": float(1.42 * rng.standard_normal()) for number in range(images)}
    panel = [SimulatedRater(f"rater {number}") for number in range(raters)]
    table = random_answers({"hall": truth}, panel, answers // raters)
    scenes = {"hall": list(truth)}
    wins = wins_of(table, "hall", scenes["hall"])
    study = StudySettings(break_every=0, repeat_fraction=0)
    with tempfile.TemporaryDirectory() as folder:
        asked = _Asked(f"sqlite:///{Path(folder) / 'piqa.sqlite'}", study, scenes, table)
        ways = in_turn(
            {
                "active": partial(next_pairs, wins, 8, np.random.default_rng(1)),
                "active, no answers yet": partial(next_pairs, np.zeros_like(wins), 8, np.random.default_rng(1)),
                "random": partial(next_pairs, wins, 8, np.random.default_rng(1), "random"),
                "a whole step": partial(next_step, study, scenes, table, "rater 0"),
                "a step, no answers yet": partial(next_step, study, scenes, answers_table(), "rater 0"),
                "request, next pair": asked.next_pair,
                "request, answer": asked.answer,
                "request, undo and answer": asked.undo_and_answer,
                "scaling": partial(_scale, table),
            },
            settings.times(9),
            "cpu",
            torch.device("cpu"),
        )
        asked.database.close()
    return Row(
        row="next-pair",
        what=f"the next pair of a scene of {images} images after {len(table)} answers of simulated raters: its choice, "
        f"the whole step of a rater with {answers // raters} answers from the table, a server's work for the requests "
        "of one, with SQLite, and the scaling of all answers",
        ratio=PROMISED / ways["request, answer"]["median_s"],
        compared=f"{1000 * PROMISED:g} ms : a request that saves an answer and chooses the pair after the next",
        expected="under 50 ms a request, 40,000 answers scale within seconds",
        clock="cpu",
        ways=ways,
        facts={"images": images, "answers": len(table)},
    )


class _Asked:
    """A study in a database, and one of its raters.

    Args:
        url: Of a new database.
        settings: Of the study.
        scenes: Its images.
        table: All answers so far.
    """

    def __init__(self, url: str, settings: StudySettings, scenes: dict[str, list[str]], table: pd.DataFrame) -> None:
        self.database = Database(url)
        with self.database.session() as session:
            self.link = _filled(session, settings, scenes, table)
        self._state = change(self.database, self.link, partial(rating_session.begin, conditions=Conditions()))["state"]

    def next_pair(self) -> None:
        """Choose the pair after the one that is shown anew."""
        self._state = change(self.database, self.link, _drawn_anew)

    def answer(self) -> None:
        """Answer the pair that is shown."""
        given = GivenAnswer(question=self._state["question"]["id"], choice="left", seconds=1)
        self._state = change(self.database, self.link, partial(rating_session.answer, given=given))["state"]

    def undo_and_answer(self) -> None:
        """Take an answer back, and give it anew."""
        answers = self._state["answers"]
        self._state = change(self.database, self.link, partial(rating_session.undo, answers=answers))["state"]
        self.answer()


def _drawn_anew(session: Session, rater: Rater, content: StudyContent) -> dict[str, Any]:
    rater.state = {**rater.state, "queue": rater.state["queue"][:1]}
    return rating_session.state(session, rater, content)


def _filled(session: Session, settings: StudySettings, scenes: dict[str, list[str]], table: pd.DataFrame) -> str:
    """Fill a database; return the link of a rater."""
    session.add(Project(id="project", name="bench"))
    session.flush()
    study = Study(id="study", project_id="project", name="bench", settings=settings.to_dict())
    study.settings = {**study.settings, "question_kind": "overall"}
    raters = {name: Rater(study_id=study.id, name=name) for name in table["rater"].unique()}
    names = [(scene, name) for scene, images in scenes.items() for name in images]
    photos = {name: Photo(id=new_id(), project_id="project", name=name, digest=name, size=1) for _, name in names}
    session.add_all([study, *photos.values()])
    session.flush()
    images = {
        name: StudyImage(id=new_id(), study_id=study.id, photo_id=photos[name].id, name=name, scene=scene, digest=name)
        for scene, name in names
    }
    session.add_all([*raters.values(), *images.values()])
    session.flush()
    plain = {"study_id": study.id, "seconds": 1.0, "window_width": 1, "window_height": 1, "pixel_ratio": 1.0}
    numbers = table.groupby("rater").cumcount().tolist()
    rows = [
        {name: row[name] for name in ("kind", "winner", "left")}
        | {name: images[row[name]].id for name in ("image_a", "image_b")}
        | {"rater_id": raters[row["rater"]].id, "number": number, "question": new_id(), **plain}
        for row, number in zip(table.to_dict("records"), numbers, strict=True)
    ]
    session.execute(insert(Answer), rows)
    return raters["rater 0"].link


def _scale(table: pd.DataFrame) -> None:
    scale_pairs(table)
