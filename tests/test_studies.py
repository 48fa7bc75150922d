"""Studies over HTTP: how they are made, what raters see and may do, and what is counted."""

import io
import threading

import numpy as np
import pandas as pd
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from judging import (
    NAMES,
    answer_all,
    begin,
    form,
    give,
    new_project,
    new_rater,
    new_study,
    picture,
    quiet_server,
    rows_of,
)
from PIL import Image
from sqlalchemy import select

from piqa.data import CSVTable
from piqa.judgement.answers import read_answers
from piqa.server.database import Base, Database
from piqa.server.study_records import Answer, Rater, Study, StudyImage

TOKEN = "a token of many characters"


@pytest.fixture
def client(tmp_path):
    with quiet_server(tmp_path / "data") as client:
        yield client


@pytest.fixture
def project(client):
    return new_project(client)


def database(client):
    return client.app.state.services.database


def records(client, table):
    with database(client).session() as session:
        return list(session.scalars(select(table)))


def name_of(client, address):
    """The photo behind an address that a rater sees."""
    return next(one.name for one in records(client, StudyImage) if one.id == address.rpartition("/")[2])


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
        ({"a/1.jpg": 1, "a/2.jpg": 2}, {"scenes": "csv"}, "choose a CSV"),
    ],
)
def test_a_study_that_cannot_be_is_refused_in_one_line(client, files, more, words):
    project = new_project(client, {name: picture(number) for name, number in files.items()})
    made = client.post("/judge/studies", data=form(project, **more))
    assert made.status_code == 400 and words in made.text and 'role="alert"' in made.text
    assert records(client, Study) == []


def test_ratings_need_one_image(client):
    project = new_project(client, {"a.jpg": picture(1)})
    rater = new_rater(client, new_study(client, project, mode="ratings"))
    assert answer_all(client, rater, lambda _: "4")["progress"] == {"done": 1, "of": 1}


def test_a_server_that_forgets_photos_has_no_studies(tmp_path):
    with quiet_server(tmp_path / "data", keep="none") as client:
        made = client.post("/judge/studies", data=form(new_project(client)))
        assert made.status_code == 400 and "--keep none" in made.text


# Raters


def test_the_image_that_is_chosen_wins_on_whichever_side(client, project):
    study = new_study(client, project)
    rater = new_rater(client, study)
    best = {name: place for place, name in enumerate(NAMES)}
    seen = []

    def choose(addresses):
        names = [name_of(client, address) for address in addresses]
        seen.append(names)
        return "left" if best[names[0]] > best[names[1]] else "right"

    assert answer_all(client, rater, choose)["progress"] == {"done": 7, "of": 7}  # 4 and 2 images: 6 pairs and 1
    rows = rows_of(client, study)
    winner = rows["image_a"].where(rows["winner"] == "a", rows["image_b"])
    assert winner.tolist() == [max(names, key=best.get) for names in seen]
    left = rows["image_a"].where(rows["left"] == "a", rows["image_b"])
    assert left.tolist() == [names[0] for names in seen]
    assert len({frozenset(names) for names in seen}) == 7
    assert set(rows["scene"] + "/" == rows["image_a"].str[:5]) == {True}
    one = records(client, Answer)[0]
    assert (one.seconds, one.window_width, one.window_height, one.pixel_ratio, one.zoom) == (1.5, 1280, 900, 2.0, 0.5)
    assert records(client, Rater)[0].conditions == {"light": "dim", "distance": 60, "screen": [2560, 1440]}


def test_sides_are_drawn_at_random(client):
    project = new_project(client, {f"a/{number}.png": picture(number, kind="PNG") for number in range(12)})
    study = new_study(client, project, answers=30)
    answer_all(client, new_rater(client, study), lambda _: "left")
    rows = rows_of(client, study)
    sorted_left = rows["image_a"].where(rows["left"] == "a", rows["image_b"]) < rows["image_b"].where(
        rows["left"] == "a", rows["image_a"]
    )
    assert 4 < sorted_left.sum() < 26  # 30 flips of a coin: four standard deviations


def test_same_is_an_answer_where_it_is_allowed_only(client, project):
    for same, status in (("yes", 200), ("", 422)):
        rater = new_rater(client, new_study(client, project, name=f"Study {same}", same=same))
        assert give(client, rater, begin(client, rater), "same").status_code == status


def test_training_examples_come_first_with_feedback_and_do_not_count(client, project):
    study = new_study(client, project, training=2, answers=3)
    rater = new_rater(client, study)
    state = begin(client, rater)
    told = []
    for number in (1, 2):
        assert state["question"]["training"] == {"number": number, "of": 2}
        images = [image["address"].rpartition("/")[2] for image in state["question"]["images"]]
        spoilt = next(one.id for one in records(client, StudyImage) if one.id in images and one.spoiling)
        wanted = "right" if images[0] == spoilt else "left"
        wrong = {"left": "right", "right": "left"}[wanted]
        reply = give(client, rater, state, wanted if number == 1 else wrong).json()
        told.append(reply["feedback"])
        state = reply["state"]
    assert [one["right"] for one in told] == [True, False]
    assert all("on purpose" in one["text"] for one in told)
    assert state["question"]["training"] is None and state["progress"] == {"done": 0, "of": 3}
    answer_all(client, rater, lambda _: "left")
    assert rows_of(client, study)["kind"].tolist() == ["training"] * 2 + ["new"] * 3


def test_ratings_have_training_examples_and_repeats_too(client):
    project = new_project(client, {f"{number}.jpg": picture(number) for number in range(25)})
    study = new_study(client, project, mode="ratings", training=1, repeats=10)
    rater = new_rater(client, study)
    state = begin(client, rater)
    assert len(state["question"]["images"]) == 1
    assert give(client, rater, state, "left").status_code == 422
    reply = give(client, rater, state, "5").json()
    assert reply["feedback"]["right"] is False and "1 to 3" in reply["feedback"]["text"]
    answer_all(client, rater, lambda addresses: str(1 + len(name_of(client, addresses[0])) % 2 * 3))
    kinds = rows_of(client, study)["kind"].value_counts().to_dict()
    assert kinds["training"] == 1 and kinds["repeat"] >= 1 and kinds["new"] + kinds["repeat"] == 25


def test_breaks_come_after_their_number_of_answers_and_once(client, project):
    rater = new_rater(client, new_study(client, project, break_every=3))
    state = begin(client, rater)
    for _ in range(3):
        assert state["phase"] == "question"
        state = give(client, rater, state, "left").json()["state"]
    assert state["phase"] == "break" and state["question"] is None
    assert client.get(f"{rater}/state").json()["state"]["phase"] == "break"
    assert client.post(f"{rater}/continue").json()["state"]["phase"] == "question"


def test_a_page_that_is_opened_again_shows_the_same_question(client, project):
    rater = new_rater(client, new_study(client, project))
    state = give(client, rater, begin(client, rater), "left").json()["state"]
    assert client.get(f"{rater}/state").json()["state"] == state
    page = client.get(rater).text
    assert state["question"]["id"] in page and all(image["address"] in page for image in state["question"]["images"])


def test_the_images_that_are_loaded_ahead_are_those_of_the_next_question(client, project):
    rater = new_rater(client, new_study(client, project, choice="active"))
    state = begin(client, rater)
    ahead = state["next"]
    state = give(client, rater, state, "left").json()["state"]
    assert [image["address"] for image in state["question"]["images"]] == ahead


def test_an_answer_that_comes_twice_counts_once(client, project):
    study = new_study(client, project)
    rater = new_rater(client, study)
    state = begin(client, rater)
    first = give(client, rater, state, "left")
    again = give(client, rater, state, "left")  # the page got no reply, and asks again
    assert (first.status_code, again.status_code) == (200, 200) and again.json()["counted"]
    other = give(client, rater, state, "right", seconds=3.0)  # another window of the link
    assert other.status_code == 409 and not other.json()["counted"]
    assert other.json()["state"] == first.json()["state"]
    assert rows_of(client, study)["seconds"].tolist() == [1.5]


def test_of_requests_at_once_on_one_link_one_counts(client, project):
    study = new_study(client, project)
    rater = new_rater(client, study)
    state = begin(client, rater)
    for round_ in range(3):
        statuses, barrier = [], threading.Barrier(4)

        def answer(choice, state=state, statuses=statuses, barrier=barrier):
            barrier.wait()
            seconds = {"left": 1.0, "right": 2.0}[choice]
            statuses.append(give(client, rater, state, choice, seconds).status_code)

        threads = [threading.Thread(target=answer, args=(choice,)) for choice in ("left", "right") * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [200, 200, 409, 409]  # the winner and its repetition, and the other's two
        assert len(records(client, Answer)) == round_ + 1
        state = client.get(f"{rater}/state").json()["state"]


def test_undo_takes_the_last_answer_back_and_shows_its_question_again(client, project):
    study = new_study(client, project)
    rater = new_rater(client, study)
    state = begin(client, rater)
    first = give(client, rater, state, "left").json()["state"]
    second = give(client, rater, first, "left").json()["state"]
    back = client.post(f"{rater}/undo", json={"answers": 2})
    assert back.status_code == 200 and back.json()["state"]["question"]["images"] == first["question"]["images"]
    assert back.json()["state"]["question"]["id"] != first["question"]["id"]  # a late repetition does not answer it
    assert give(client, rater, first, "left").status_code == 409
    assert client.post(f"{rater}/undo", json={"answers": 2}).status_code == 409  # the request came twice
    assert len(records(client, Answer)) == 1
    again = give(client, rater, back.json()["state"], "right").json()["state"]
    assert again["question"]["images"] == second["question"]["images"]
    assert rows_of(client, study)["winner"].nunique() + rows_of(client, study)["left"].nunique() >= 2


def test_nothing_is_undone_before_the_first_answer_and_the_end_can_be_undone(client, project):
    rater = new_rater(client, new_study(client, project, answers=1))
    begin(client, rater)
    assert client.post(f"{rater}/undo", json={"answers": 0}).status_code == 409
    state = answer_all(client, rater, lambda _: "left")
    assert state["phase"] == "done"
    assert client.post(f"{rater}/undo", json={"answers": 1}).json()["state"]["phase"] == "question"


@pytest.mark.parametrize(
    "wrong",
    [
        {"choice": "both"},
        {"seconds": -1},
        {"seconds": "NaN"},
        {"pixel_ratio": 0},
        {"more": 1},
        {"question": "x" * 100},
        {"window": [1, 2, 3]},
    ],
)
def test_an_answer_that_is_none_is_refused(client, project, wrong):
    rater = new_rater(client, new_study(client, project))
    state = begin(client, rater)
    answer = {"question": state["question"]["id"], "choice": "left", "seconds": 1.0} | wrong
    assert client.post(f"{rater}/answers", json=answer).status_code == 422
    assert records(client, Answer) == []


def test_a_link_reaches_its_own_study_and_nothing_else(tmp_path):
    with quiet_server(tmp_path / "data", token=TOKEN) as owner:
        owner.headers["Authorization"] = f"Bearer {TOKEN}"
        project = new_project(owner)
        rater = new_rater(owner, new_study(owner, project))
        study = new_study(owner, project, name="Other")
        other = new_rater(owner, study, "Bob")
        del owner.headers["Authorization"]
        mine = begin(owner, rater)["question"]["images"][0]["address"].rpartition("/")[2]
        theirs = begin(owner, other)["question"]["images"][0]["address"].rpartition("/")[2]
        assert owner.get(f"{rater}/images/{mine}").status_code == 200
        assert owner.get(f"{rater}/images/{theirs}").status_code == 404
        assert owner.get(f"/rate/unknown/images/{mine}").status_code == 404
        assert owner.get("/rate/unknown").status_code == 404
        assert owner.post("/rate/unknown/answers", json={}).status_code in (404, 422)
        for address in ("/judge", study, f"{study}/answers.csv", f"{study}/scores.csv", "/board"):
            assert owner.get(address, headers={"accept": "*/*"}).status_code == 401
        page = owner.get(rater).text
        assert "Bob" not in page and "/judge" not in page and not any(name in page for name in NAMES)


# Images


def exif_with_place():
    exif = Image.Exif()
    exif[0x0112], exif[271], exif[272] = 6, "Maker", "Camera 7"  # turned by a quarter
    exif.get_ifd(0x8825)[1] = "N"
    return exif


@pytest.mark.parametrize(
    ("kind", "how", "served"),
    [
        ("JPEG", {"quality": 80}, "image/jpeg"),
        ("JPEG", {"quality": 80, "progressive": True, "comment": b"of Camera 7"}, "image/jpeg"),
        ("JPEG", {"quality": 80, "exif": exif_with_place()}, "image/png"),
        ("PNG", {}, "image/png"),
        ("WEBP", {"lossless": True}, "image/png"),
    ],
)
def test_raters_see_the_photos_own_pixels_without_what_the_file_tells(client, kind, how, served):
    files = {f"a/Camera_{number}.{kind.lower()}": picture(number, kind=kind, **how) for number in range(2)}
    rater = new_rater(client, new_study(client, new_project(client, files)))
    for image in begin(client, rater)["question"]["images"]:
        answer = client.get(image["address"])
        assert answer.headers["content-type"] == served and "private" in answer.headers["cache-control"]
        assert "content-disposition" not in answer.headers
        shown = Image.open(io.BytesIO(answer.content))
        source = Image.open(io.BytesIO(files[name_of(client, image["address"])]))
        turned = source.transpose(Image.Transpose.ROTATE_270) if "exif" in how else source
        assert np.array_equal(np.asarray(shown.convert("RGB")), np.asarray(turned.convert("RGB")))
        assert not shown.getexif() and b"Camera" not in answer.content and "Camera" not in image["address"]


def test_spoilt_copies_differ_as_their_name_says(client):
    files = {f"a/{number}.png": picture(number, (200, 250), kind="PNG") for number in range(2)}
    rater = new_rater(client, new_study(client, new_project(client, files), training=2))
    seen = {}
    state = begin(client, rater)
    for _ in range(2):
        for image in state["question"]["images"]:
            content = client.get(image["address"]).content
            found = np.asarray(Image.open(io.BytesIO(content)).convert("L"), float)
            seen[image["address"].rpartition("/")[2]] = (found.mean(), np.abs(np.diff(found)).mean())
        state = give(client, rater, state, "left").json()["state"]
    for one in records(client, StudyImage):
        if one.spoiling:
            (light, edges), (light_before, edges_before) = seen[one.id], seen[one.original_id]
            assert light < 0.7 * light_before if one.spoiling == "darker" else edges < 0.8 * edges_before


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
