"""What a request reads does not grow with the project: statements, and what was measured of photos, are counted."""

from contextlib import contextmanager
from dataclasses import asdict

import pytest
from judging import database, new_rater, new_study, picture, quiet_server
from sqlalchemy import event, select, update

from piqa.factors.families import FACTORS
from piqa.report.facts import Facts
from piqa.server import photo_routes, photos
from piqa.server.records import Job, Photo, Project
from piqa.server.study_records import StudyImage

PAGE = {"accept": "text/html"}
ROWS = 5  # of a table at once


@pytest.fixture
def client(tmp_path, monkeypatch):
    monkeypatch.setattr(photo_routes, "ROWS", ROWS)
    with quiet_server(tmp_path / "data") as client:
        yield client


def filled(client, count, folders=1):
    """A project of so many photos that are measured, and one that failed."""
    with database(client).session() as session:
        session.add(project := Project(name="Many"))
        session.flush()
        for number in range(count + 1):
            readings = {name: [1 + number / 100, ""] for name in FACTORS}
            name = f"day {number % folders}/{number:04}.jpg"
            error = "{file} is bad" if number == count else None
            kept = {"facts": asdict(Facts([0, 0], width=30, height=40, readings=readings)), "size": 1, "error": error}
            state = "measured" if error is None else "failed"
            session.add(Photo(project_id=project.id, name=name, digest=str(number), state=state, **kept))
    return project.id


@contextmanager
def statements(client):
    """Collects the statements that the database gets."""
    found, engine = [], database(client).engine

    def note(connection, cursor, statement, *more):
        found.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(engine, "before_cursor_execute", note)


@pytest.fixture
def read(monkeypatch):
    """Collects what is read of what was measured of photos."""
    found, real = [], photos.report_facts
    monkeypatch.setattr(photos, "report_facts", lambda kept: found.append(1) or real(kept))
    return found


def test_a_page_reads_the_photos_that_it_shows(client, read):
    asked = []
    for count in (2 * ROWS, 4 * ROWS):
        project = filled(client, count)
        first = client.get(f"/photos/{project}", headers=PAGE)  # the place of each photo among all is found once
        assert first.status_code == 200 and first.text.count('class="choose"') == ROWS
        assert f"{count + 1} photos" in first.text and "0000.jpg" in first.text and "1 could not be" in first.text
        read.clear()
        with statements(client) as found:
            second = client.get(f"/photos/{project}?part=2", headers=PAGE).text
        assert second.count('class="choose"') == ROWS and f"{ROWS:04}.jpg" in second and "0000.jpg" not in second
        asked.append((len(found), len(read)))
    assert asked[0] == asked[1] and asked[0][1] == ROWS


def test_two_photos_are_chosen_without_reading_what_was_measured(client, read):
    text = client.get("/two", params={"project": filled(client, 3)}, headers=PAGE).text
    assert text.count("0000.jpg") == 2 and "0003.jpg" not in text and not read  # in both lists; the last one failed


def test_tables_are_written_from_some_photos_at_once(client, monkeypatch):
    project, held = filled(client, 7), []
    real = photos.Photos.these
    monkeypatch.setattr(photos, "AT_ONCE", 3)
    monkeypatch.setattr(photos.Photos, "these", lambda self, some: held.append(len(some)) or real(self, some))
    lines = client.get(f"/api/projects/{project}/photos?format=csv").text.splitlines()
    assert [line.partition(",")[0] for line in lines[1:]] == [f"day 0/{number:04}.jpg" for number in range(8)]
    assert held == [3, 3, 2]


def test_a_photo_that_is_deleted_while_a_page_is_made_is_left_out(client, monkeypatch):
    project = filled(client, 3)
    real = photos.Photos.portraits

    def portraits(self, *asked):
        found = real(self, *asked)
        with database(client).session() as session:
            session.delete(session.scalars(select(Photo).where(Photo.name == "day 0/0001.jpg")).one())
        return found

    monkeypatch.setattr(photos.Photos, "portraits", portraits)
    shown = client.get(f"/photos/{project}", headers=PAGE).text
    assert "0000.jpg" in shown and "0001.jpg" not in shown and "0002.jpg" in shown


def test_photos_are_added_without_reading_the_names_of_others(client):
    project = filled(client, 3)
    given = ["a.jpg"] * 12 + ["b", "b"]
    sent = [("images", (name, picture(number), "image/jpeg")) for number, name in enumerate(given)]
    with statements(client) as found:
        added = client.post(f"/api/projects/{project}/photos", files=sent).json()["photos"]
    names = [one["name"] for one in added]
    assert names == ["a.jpg", *(f"a ({number}).jpg" for number in range(2, 13)), "b", "b (2)"]
    assert sum("count(" in one for one in found) == 1 and not any("LIKE" in one for one in found)
    assert client.delete(f"/api/photos/{added[4]['id']}").status_code == 204
    again = client.post(f"/api/projects/{project}/photos", files=[("images", ("a.jpg", picture(99), "image/jpeg"))])
    assert again.json()["photos"][0]["name"] == names[4]  # the first number that is free
    same = client.post(f"/api/projects/{project}/photos", files=sent[:1])
    assert same.json()["photos"][0]["id"] == added[0]["id"]


def test_jobs_are_listed_without_the_photos_that_they_name(client):
    project = filled(client, 1)
    with database(client).session() as session:
        session.add(Job(project_id=project, kind="score", arguments={"photos": ["x"]}))
    with statements(client) as found:
        (job,) = client.get(f"/api/projects/{project}/jobs").json()
        assert job["id"] in client.get(f"/photos/{project}", headers=PAGE).text
    assert any("FROM jobs" in one for one in found)
    assert not any("arguments" in one for one in found if "jobs.kind =" not in one)


def test_a_study_of_many_photos_is_made_and_judged_without_reading_their_facts_and_records(client):
    project = filled(client, 6)
    with database(client).session() as session:  # what a rater sees has no face box, so that none is looked up
        session.execute(update(Photo).values(facts={}))
    with statements(client) as found:
        rater = new_rater(client, new_study(client, project))
    assert not any("photos.facts" in one for one in found)
    loaded = []

    def note(*_):
        loaded.append(1)

    event.listen(StudyImage, "load", note)
    try:
        state = client.post(f"{rater}/begin", json={}).json()["state"]
    finally:
        event.remove(StudyImage, "load", note)
    assert len(state["question"]["images"]) == 2 and not loaded
