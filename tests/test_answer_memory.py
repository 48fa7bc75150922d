"""Answers of studies that a server keeps in memory: they are those of the database, whoever changed it."""

import random
from functools import partial

import pytest
from judging import begin, database, give, new_project, new_rater, new_study, quiet_server, records
from sqlalchemy import event, select

from piqa.judgement.answered import AnswerTable
from piqa.server import answer_memory, rating_session
from piqa.server.answer_memory import known_answers
from piqa.server.database import Database
from piqa.server.rating_session import GivenAnswer, change
from piqa.server.studies import read_answers, read_study
from piqa.server.study_records import Answer, Rater, Study, StudyImage


@pytest.fixture
def client(tmp_path):
    with quiet_server(tmp_path / "data") as client:
        yield client


@pytest.fixture
def raters(client):
    study = new_study(client, new_project(client))
    found = [new_rater(client, study, name) for name in ("Ann", "Bob")]
    for rater in found:
        begin(client, rater)
    return [rater.rpartition("/")[2] for rater in found]


def check(database):
    """Compare what a server knows of its only study with its database; return the number of answers."""
    with database.session() as session:
        content = read_study(session, session.scalar(select(Study.id)))
        known, table = known_answers(session, content), read_answers(session, content)
        for scene, images in content.scenes.items():
            assert known.wins(scene, images).tolist() == AnswerTable(table).wins(scene, images).tolist()
        for rater in session.scalars(select(Rater.id)):
            columns = ["scene", "image_a", "image_b", "left", "kind"]
            there = AnswerTable(table).own(rater)[columns].to_numpy().tolist()
            assert known.own(rater)[columns].to_numpy().tolist() == there
    assert len(known) == len(table)
    return len(known)


def answered(session, rater, content, choice="left"):
    question = rating_session.state(session, rater, content)["question"]
    given = GivenAnswer(question=question["id"], choice=choice, seconds=1)
    return rating_session.answer(session, rater, content, given)


def undone(session, rater, content):
    answers = rating_session.state(session, rater, content)["answers"]
    return rating_session.undo(session, rater, content, answers)


def test_an_answer_costs_a_look_at_new_ones_and_not_all_are_read_again(client, raters):
    state = client.get(f"/rate/{raters[0]}/state").json()["state"]
    read = []

    def note(connection, cursor, statement, *_):
        if "FROM answers" in statement and "answers.image_a" in statement:
            read.append(statement)

    event.listen(database(client).engine, "before_cursor_execute", note)
    for _ in range(3):
        state = give(client, f"/rate/{raters[0]}", state, "left").json()["state"]
    assert read and all("answers.number >= " in statement for statement in read)


def test_what_another_server_saved_or_undid_and_what_went_with_a_photo_is_known(client, raters, tmp_path):
    databases = [database(client), Database(f"sqlite:///{tmp_path / 'data' / 'piqa.sqlite'}")]
    draw = random.Random(0)
    for turn in range(16):
        done = draw.choice([answered, answered, undone])
        choice = {"choice": draw.choice(["left", "right"])} if done is answered else {}
        try:
            change(draw.choice(databases), draw.choice(raters), partial(done, **choice))
        except TypeError:  # all is answered: there is no question
            pass
        if turn == 11:
            image = records(client, Answer)[-1].image_a
            photo = next(one.photo_id for one in records(client, StudyImage) if one.id == image)
            assert client.delete(f"/api/photos/{photo}").status_code == 204
        if turn % 2:
            assert check(databases[0]) == check(databases[1])
    assert check(databases[0]) > 1
    databases[1].close()


def test_an_answer_that_was_not_committed_is_not_known(client, raters):
    question = change(database(client), raters[0], rating_session.state)["question"]["id"]

    def answered_so(choice, session, rater, content):
        rating_session.answer(session, rater, content, GivenAnswer(question=question, choice=choice, seconds=1))
        if choice == "left":
            raise OSError("the server breaks down")

    with pytest.raises(OSError, match="breaks down"):
        change(database(client), raters[0], partial(answered_so, "left"))
    change(database(client), raters[0], partial(answered_so, "right"))
    assert check(database(client)) == 1


def test_what_is_kept_of_all_studies_has_a_bound(client, raters, monkeypatch):
    monkeypatch.setattr(answer_memory, "MOST", 10)
    change(database(client), raters[0], answered)
    other = new_rater(client, new_study(client, new_project(client)))
    begin(client, other)
    kept = answer_memory._memories[database(client).engine]._studies
    assert [*kept] == [next(one.study_id for one in records(client, Rater) if other.endswith(one.link))]
    change(database(client), raters[0], answered)
    assert len(kept) == 1 and len(records(client, Answer)) == 2
