"""Studies over HTTP: how they are made, and what comes out of them."""

import html
import re

import pandas as pd
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from judging import (
    NAMES,
    answer_all,
    begin,
    database,
    form,
    give,
    name_of,
    new_project,
    new_rater,
    new_study,
    picture,
    quiet_server,
    records,
    rows_of,
)
from PIL import Image
from sqlalchemy import update

from piqa.data import CSVTable
from piqa.judgement.answers import read_answers
from piqa.server import study_creation
from piqa.server.database import Base, Database
from piqa.server.records import Photo
from piqa.server.study_records import Answer, Rater, Study, StudyImage


@pytest.fixture
def client(tmp_path):
    with quiet_server(tmp_path / "data") as client:
        yield client


@pytest.fixture
def project(client):
    return new_project(client)


def test_the_tables_are_those_of_the_migrations(tmp_path):
    made = Database(f"sqlite:///{tmp_path / 'new.sqlite'}")
    with made.engine.connect() as connection:
        changes = compare_metadata(MigrationContext.configure(connection), Base.metadata)
    made.close()
    kinds = {one[0][0] if isinstance(one, list) else one[0] for one in changes}
    assert kinds <= {"modify_type"}  # Float and Double are one type in SQLite


# New studies


def scenes(client):
    found = {}
    for one in records(client, StudyImage):
        if one.spoiling is None:
            found.setdefault(one.scene, set()).add(one.name)
    return found


def test_folders_are_scenes(client, project):
    new_study(client, project)
    assert scenes(client) == {"hall": set(NAMES[:4]), "park": set(NAMES[4:])}


def test_scenes_come_from_a_csv_by_name_or_by_file(client, project):
    table = "image;scene\nhall/a.jpg;one\nb.jpg;one\nelsewhere/e.jpg;two\nunknown.jpg;two\nf.jpg;two\n"
    made = client.post("/judge/studies", data=form(project, scenes="csv"), files={"csv": ("s.csv", table.encode())})
    assert made.status_code == 200, made.text
    assert scenes(client) == {"one": {"hall/a.jpg", "hall/b.jpg"}, "two": {"park/e.jpg", "park/f.jpg"}}


def test_moments_are_scenes(client):
    times = ["2024:05:01 10:00:00", "2024:05:01 10:00:01", "2024:05:01 12:00:00"]
    files = {}
    for number, time in enumerate(times):
        exif = Image.Exif()
        exif[271], exif.get_ifd(0x8769)[36867] = "Maker", time
        files[f"{number}.jpg"] = picture(0, (200, 250), quality=90 - number, exif=exif)
    project = new_project(client, files)
    new_study(client, project, scenes="moments")
    assert scenes(client) == {"0": {"0.jpg", "1.jpg"}}


@pytest.mark.parametrize(
    ("files", "more", "words"),
    [
        ({"a/1.jpg": 1}, {}, "no scene of two different images"),
        ({"a/1.jpg": 1, "b/2.jpg": 2}, {}, "no scene of two different images"),
        ({"a/1.jpg": 1, "a/2.jpg": 1}, {}, "no scene of two different images"),
        ({"a/1.jpg": 1, "a/2.jpg": 2}, {"question": "own", "words": " "}, "needs a question"),
        ({"a/1.jpg": 1, "a/2.jpg": 2}, {"name": "  "}, "needs a name"),
        ({"a/1.jpg": 1, "a/2.jpg": 2}, {"scenes": "csv"}, "Choose a CSV"),
    ],
)
def test_a_study_that_cannot_be_is_refused_in_one_line(client, files, more, words):
    project = new_project(client, {name: picture(number) for name, number in files.items()})
    made = client.post("/judge/studies", data=form(project, **more))
    assert made.status_code == 400 and words.lower() in made.text.lower() and 'role="alert"' in made.text
    assert records(client, Study) == []
    for name, value in form(project, **more).items():  # what was filled in stays
        assert re.search(f'name="{name}"[^>]* value="{value}"|value="{value}"[^>]* (checked|selected)', made.text), name
    chinese = html.unescape(re.search(r'href="(/language/zh[^"]*)"', made.text)[1])
    assert client.get(chinese).status_code == 200  # a page, not the address of the answer


def test_a_scene_of_pairs_is_not_larger_than_the_choice_can_look_at(client, project, monkeypatch):
    monkeypatch.setattr(study_creation, "MOST_IN_SCENE", 3)
    made = client.post("/judge/studies", data=form(project))
    assert made.status_code == 400 and "cene hall has 4 images, and 3 at most are compared" in made.text
    new_study(client, project, mode="ratings")


def test_ratings_need_one_image(client):
    project = new_project(client, {"a.jpg": picture(1)})
    rater = new_rater(client, new_study(client, project, mode="ratings"))
    assert answer_all(client, rater, lambda _: "4")["progress"] == {"done": 1, "of": 1}


def test_a_server_that_forgets_photos_has_no_studies(tmp_path):
    with quiet_server(tmp_path / "data", keep="none") as client:
        made = client.post("/judge/studies", data=form(new_project(client)))
        assert made.status_code == 400 and "--keep none" in made.text


# What comes out


def test_the_files_are_read_by_scale_and_by_fit(client, project, tmp_path):
    study = new_study(client, project, training=1)
    best = {name: place for place, name in enumerate(NAMES)}

    def choose(addresses):
        names = [name_of(client, address) for address in addresses]
        return "left" if best[names[0]] > best[names[1]] else "right"

    for name in ("Ann", "Bob", "=Eve"):
        answer_all(client, new_rater(client, study, name), choose)
    (tmp_path / "answers.csv").write_text(client.get(f"{study}/answers.csv").text)
    seen = ["window_width", "window_height", "pixel_ratio", "zoom", "light", "distance", "screen"]
    told = {tuple(row) for row in rows_of(client, study)[seen].astype(str).to_numpy()}
    assert told == {("1280", "900", "2.0", "0.5", "dim", "60.0", "2560x1440")}
    assert len(read_answers(tmp_path / "answers.csv")) == 3 * 8
    scores = client.get(f"{study}/scores.csv")
    assert scores.headers["content-type"].startswith("text/csv")
    (tmp_path / "scores.csv").write_text(scores.text)
    table = CSVTable(tmp_path / "scores.csv", check_files=False, test_fraction=1).load()
    assert {"image", "score", "scene", "score_std"} <= {*table.columns}
    for _, rows in table.groupby("scene"):
        assert rows.sort_values("score")["image"].tolist() == sorted(rows["image"])
    page = client.get(study).text
    assert 'role="img"' in page and page.count("<circle") == len(NAMES) and "SROCC" in page


def test_a_rater_who_always_chooses_one_side_is_pointed_out(client):
    project = new_project(client, {f"a/{number}.jpg": picture(number) for number in range(10)})
    study = new_study(client, project, answers=24)

    def choose(addresses):
        names = [name_of(client, address) for address in addresses]
        return "left" if names[0] > names[1] else "right"

    answer_all(client, new_rater(client, study, "Ann"), choose)
    answer_all(client, new_rater(client, study, "Bob"), choose)
    answer_all(client, new_rater(client, study, "Eve"), lambda _: "left")
    page = client.get(study).text
    rows = {name: page.split(f'data-value="{name}"')[1].split("</tr>")[0] for name in ("Ann", "Bob", "Eve")}
    assert {name: "look into" in row for name, row in rows.items()} == {"Ann": False, "Bob": False, "Eve": True}


def test_without_answers_there_is_a_reason_in_place_of_scores(client, project):
    study = new_study(client, project, training=1)
    rater = new_rater(client, study)
    assert "There are no answers yet" in client.get(study).text
    assert client.get(f"{study}/scores.csv").status_code == 409
    give(client, rater, begin(client, rater), "left")  # training alone
    assert "There are no answers yet" in client.get(study).text


def test_two_raters_have_two_names(client, project):
    study = new_study(client, project)
    new_rater(client, study)
    assert client.post(f"{study}/raters", data={"name": " Ann "}).status_code == 409
    assert client.post(f"{study}/raters", data={"name": " "}).status_code in (400, 422)
    assert len(records(client, Rater)) == 1


def test_names_are_one_line_which_files_can_hold_and_fingers_type(client, project):
    study = new_study(client, project, name="Day  1\n\0of\u202e 2", question="own", words="Which\0?")
    rater = new_rater(client, study, "An\0n\u202e")
    answer_all(client, rater, lambda _: "left", most=1)
    assert [one.name for one in (*records(client, Study), *records(client, Rater))] == ["Day 1 of 2", "Ann"]
    assert "\0" not in client.get(rater).text + client.get(f"{study}/answers.csv").text
    assert client.post(f"{study}/delete", data={"confirm": "Day 1  of 2"}).status_code == 200
    assert records(client, Study) == []


def test_links_of_raters_are_those_of_the_proxy_in_front(client, project):
    study = new_study(client, project)
    new_rater(client, study)
    assert 'value="http://localhost/rate/' in client.get(study).text
    assert 'value="https://localhost/rate/' in client.get(study, headers={"X-Forwarded-Proto": "https"}).text


@pytest.mark.parametrize("begun", [False, True])
def test_a_photo_that_proves_unreadable_is_asked_about_no_more(client, begun):
    files = {f"s/{name}.jpg": picture(number) for number, name in enumerate("abc")}
    study = new_study(client, new_project(client, files), training=3)
    rater = new_rater(client, study)
    if begun:
        answer_all(client, rater, lambda _: "left", most=5)
    with database(client).session() as session:
        session.execute(update(Photo).where(Photo.name == "s/b.jpg").values(state="failed", error="no image"))
    seen = set()

    def choose(addresses):
        seen.update(name_of(client, address) for address in addresses)
        return "left"

    assert answer_all(client, rater, choose)["phase"] == "done"
    assert seen <= {"s/a.jpg", "s/c.jpg"} and (seen or begun)
    assert client.get(study).status_code == 200 and client.get(f"{study}/answers.csv").status_code == 200


def test_a_study_goes_with_its_answers_when_its_name_is_typed_and_with_its_project(client, project):
    study, other = new_study(client, project), new_study(client, project, name="Other")
    rater = new_rater(client, study)
    answer_all(client, rater, lambda _: "left")
    assert client.post(f"{study}/delete", data={"confirm": "Stud"}).status_code == 400
    assert client.post(f"{study}/delete", data={"confirm": "Study"}).status_code == 200
    assert records(client, Answer) == [] and client.get(rater).status_code == 404
    assert client.get(study).status_code == 404 and client.get(other).status_code == 200
    client.delete(f"/api/projects/{project}")
    assert client.get(other).status_code == 404 and records(client, StudyImage) == []


def test_a_photo_that_is_deleted_takes_its_answers_and_questions_along(client, project):
    study = new_study(client, project, training=2)
    rater = new_rater(client, study)
    answer_all(client, rater, lambda _: "left", most=4)
    shown = client.get(f"{rater}/state").json()["state"]["question"]["images"]
    image = next(one for one in records(client, StudyImage) if one.id == shown[0]["address"].rpartition("/")[2])
    assert client.delete(f"/api/photos/{image.photo_id}").status_code == 204
    left = len(records(client, Answer))
    state = answer_all(client, rater, lambda _: "right")
    assert state["phase"] == "done" and len(records(client, Answer)) > left
    assert image.name not in {*rows_of(client, study)["image_a"], *rows_of(client, study)["image_b"]}
    assert client.post(f"{rater}/undo", json={"answers": state["answers"]}).status_code == 200


def test_active_choice_asks_about_all_images_before_it_repeats_itself(client):
    project = new_project(client, {f"a/{number:02d}.jpg": picture(number) for number in range(12)})
    study = new_study(client, project, choice="active", answers=22)
    for name in ("Ann", "Bob"):
        answer_all(client, new_rater(client, study, name), lambda _: "left", most=11)
    rows = rows_of(client, study)
    counts = pd.concat([rows["image_a"], rows["image_b"]]).value_counts()
    assert len(counts) == 12 and len(rows) == 22
