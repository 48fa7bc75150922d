"""What raters see and may do, over HTTP, and what of it is counted."""

import io
import re
import threading

import numpy as np
import pytest
from judging import (
    NAMES,
    answer_all,
    begin,
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

from piqa.server.study_records import Answer, Rater, StudyImage

TOKEN = "a token of many characters"


@pytest.fixture
def client(tmp_path):
    with quiet_server(tmp_path / "data") as client:
        yield client


@pytest.fixture
def project(client):
    return new_project(client)


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


def test_a_new_link_ends_the_former_one_and_goes_on_where_it_was(client, project):
    study = new_study(client, project, name="Hall")
    former = new_rater(client, study)
    give(client, former, begin(client, former), "left")
    at = records(client, Rater)[0].id
    page = client.post(f"{study}/raters/{at}/link")
    (link,) = set(re.findall(r"/rate/[\w-]+", page.text))
    assert link != former
    assert client.get(former).status_code == client.get(f"{former}/state").status_code == 404
    assert client.get(f"{link}/state").json()["state"]["progress"]["done"] == 1
    other = new_study(client, project, name="Other")
    assert client.post(f"{other}/raters/{at}/link").status_code == 404
    assert client.get(link).status_code == 200


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
