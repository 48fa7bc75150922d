"""The server, over real HTTP: projects, photos, and what it answers of images."""

import csv
import io
import json
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image
from portraits import hopper
from served import add, finished, images_of, line_of, new_project, served
from tiny_models import write_images, write_tiny_model

from piqa import Scorer, measure_factors
from piqa.server.settings import ModelSettings


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"), 6)


@pytest.fixture(scope="module")
def place(tmp_path_factory, images):
    """A folder that clients may name images of, with links that lead out of it."""
    root = tmp_path_factory.mktemp("root")
    (root / "day 1").mkdir()
    (root / "day 1" / "a.jpg").write_bytes(Path(images[0]).read_bytes())
    (root / "out.jpg").symlink_to(images[1])
    (root / "outside").symlink_to(Path(images[1]).parent)
    with suppress(OSError):  # a disk may take UTF-8 alone
        (root / "latin 1 \udce9.jpg").write_bytes(Path(images[0]).read_bytes())
    return root


@pytest.fixture(scope="module")
def server(tmp_path_factory, model, place):
    with served(tmp_path_factory.mktemp("data") / "d", models={"tiny": str(model)}, root=place) as client:
        yield client


@pytest.fixture(scope="module")
def hopper_file(tmp_path_factory):
    """A portrait whose EXIF says where it was taken."""
    file = tmp_path_factory.mktemp("hopper") / "hopper.jpg"
    image = hopper()
    exif = Image.Exif()
    exif[271], exif[272] = "Maker", "Camera 7"
    gps = exif.get_ifd(0x8825)
    gps[1], gps[2] = "N", (52.0, 31.0, 12.0)
    exif.get_ifd(0x8769)[36867] = "2024:05:01 10:00:00"
    image.save(file, quality=90, exif=exif)
    return str(file)


# Projects and photos


def test_photos_are_measured_and_scored_as_by_predict_and_explain(server, model, images, hopper_file):
    project = new_project(server)
    files = [*images[:2], hopper_file]
    added = add(server, project, files, ["a.jpg", "day 1/b.jpg", "hopper.jpg"])
    job = finished(server, added["job"])
    assert (job["state"], job["done"], job["total"], job["result"]) == ("done", 3, 3, {"failed": 0})
    photos = {photo["name"]: photo for photo in server.get(f"/api/projects/{project}/photos").json()}
    assert [*photos] == ["a.jpg", "day 1/b.jpg", "hopper.jpg"]
    expected = Scorer.load(model, device="cpu").score(files)["score"]
    found = [photos[name]["scores"]["tiny"]["score"] for name in ("a.jpg", "day 1/b.jpg", "hopper.jpg")]
    assert found == pytest.approx(expected.tolist(), abs=1e-5)
    factors = measure_factors(hopper_file)
    assert photos["hopper.jpg"]["factors"] == pytest.approx(factors.values)
    assert photos["hopper.jpg"]["face_box"] == pytest.approx(list(factors.face_box), abs=0.06)
    rows = list(csv.DictReader(io.StringIO(server.get(f"/api/projects/{project}/photos?format=csv").text)))
    assert [float(row["score"]) for row in rows] == pytest.approx(found)
    assert float(rows[2]["face_stops"]) == pytest.approx(factors["face_stops"].value)


def test_the_same_photo_is_taken_once_and_another_of_its_name_gets_a_number(server, images):
    project = new_project(server)
    first = add(server, project, images[:1], ["a.jpg"])
    again = add(server, project, images[:2], ["a.jpg", "a.jpg"])
    assert again["photos"][0]["id"] == first["photos"][0]["id"]
    assert [photo["name"] for photo in again["photos"]] == ["a.jpg", "a (2).jpg"]
    assert len(server.get(f"/api/projects/{project}/photos").json()) == 2


def test_a_project_is_deleted_whole(server, images):
    project = new_project(server)
    added = add(server, project, images[:2])
    finished(server, added["job"])
    folder = server.app.state.services.settings.data / "photos" / project
    assert len(list(folder.iterdir())) == 2
    assert server.delete(f"/api/projects/{project}").status_code == 204
    assert not folder.exists()
    photo = added["photos"][0]["id"]
    gone = (f"/api/projects/{project}", f"/api/photos/{photo}", f"/api/jobs/{added['job']}")
    for address in gone:
        answer = server.get(address)
        assert answer.status_code == 404 and line_of(answer).startswith("there is no such ")
    assert project not in [one["id"] for one in server.get("/api/projects").json()]


def test_no_place_leaves_the_server(server, hopper_file):
    assert b"GPS" in b"GPS" and Image.open(hopper_file).getexif().get_ifd(0x8825)
    project = new_project(server)
    added = add(server, project, [hopper_file])
    finished(server, added["job"])
    photo = added["photos"][0]["id"]
    text = server.get(f"/api/photos/{photo}").text + server.get(f"/api/projects/{project}/photos?format=csv").text
    assert "gps" not in text.lower() and "latitude" not in text.lower()
    for kind, size in (("preview", (512, 600)), ("full", (512, 600)), ("thumbnail", (123, 144))):
        picture = server.get(f"/api/photos/{photo}/{kind}")
        with Image.open(io.BytesIO(picture.content)) as image:
            assert image.size == size and not image.getexif() and "exif" not in image.info
    with Image.open(io.BytesIO(server.get(f"/api/photos/{photo}/maps/exposure").content)) as image:
        assert image.format == "PNG" and not image.info.get("exif")
    kept = server.app.state.services.photos._row(photo).facts
    assert kept["capture"]["camera"] == "Maker Camera 7" and kept["camera"]["device"] == "Maker Camera 7"
    assert "52" not in str(kept["capture"])
    # the original itself has no address
    assert {server.get(f"/api/photos/{photo}/{kind}").status_code for kind in ("original", "maps/../original")} <= {
        404,
        422,
    }


def test_images_below_the_root_are_named_and_nothing_outside_is_read(server):
    project = new_project(server)
    names = [
        "day 1/a.jpg",
        "out.jpg",
        "outside/00001.jpg",
        "../x.jpg",
        "/etc/passwd",
        "a\0b",
        "nothing.jpg",
        "day 1",
        "",
        "latin 1 \udce9.jpg",  # as Python lists a name that is no UTF-8
    ]
    content = json.dumps({"names": names})  # httpx itself would send the last name as it cannot be
    answer = server.post(
        f"/api/projects/{project}/photos", content=content, headers={"Content-Type": "application/json"}
    )
    assert [photo["name"] for photo in answer.json()["photos"]] == ["day 1/a.jpg"]
    refused = answer.json()["refused"]
    assert len(refused) == len(names) - 1
    for one in refused[:3]:
        assert one["error"].endswith("does not lie below the server's `--root`; name an image that does")
    assert "/" not in refused[3]["error"].partition("day_1")[0].replace("`--root`", "")
    job = finished(server, answer.json()["job"])
    assert job["state"] == "done"
    assert not list((server.app.state.services.settings.data / "photos" / project).glob("*/original"))


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../../etc/passwd", "etc/passwd"),
        ("/absolute/a.jpg", "absolute/a.jpg"),
        ("C:\\Users\\me\\a.jpg", "a.jpg"),
        ("..", "image"),
        ("a\u202egpj.exe", "agpj.exe"),
        ("=1+1.jpg", "=1+1.jpg"),
    ],
)
def test_names_are_shown_and_never_paths(server, images, given, shown):
    project = new_project(server)
    added = add(server, project, images[:1], [given])
    assert [photo["name"] for photo in added["photos"]] == [shown]
    finished(server, added["job"])
    text = server.get(f"/api/projects/{project}/photos?format=csv").text
    assert ("\n'=1+1.jpg," in text) == (given == "=1+1.jpg")  # which a spreadsheet does not run
    data = server.app.state.services.settings.data
    assert {path.name for path in (data / "photos" / project).iterdir()} == {added["photos"][0]["id"]}


def test_a_name_that_is_too_long_costs_its_image(server, images):
    project = new_project(server)
    added = add(server, project, images[:2], ["a" * 400 + ".jpg", "b.jpg"])
    assert [photo["name"] for photo in added["photos"]] == ["b.jpg"]
    assert "404 characters" in added["refused"][0]["error"]


# For one answer


def test_images_are_scored_for_one_answer(server, model, images, tmp_path):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    answer = server.post("/api/score", files=images_of([*images, bad]))
    rows = answer.json()
    expected = Scorer.load(model, device="cpu").score(images)["score"].tolist()
    assert [row["scores"]["tiny"]["score"] for row in rows[:6]] == pytest.approx(expected, abs=1e-5)
    assert rows[6]["scores"]["tiny"]["score"] is None
    assert rows[6]["scores"]["tiny"]["error"].startswith("bad.jpg is not an image")
    text = server.post("/api/score?format=csv&factors=true", files=images_of([*images[:1], bad])).text
    first, second = csv.DictReader(io.StringIO(text))
    nothing = [("images", ("empty.jpg", b"")), ("images", ("n" * 300, b"x"))]
    mixed = server.post("/api/score", files=[nothing[0], *images_of(images[:1]), nothing[1], *images_of([bad])]).json()
    assert [row["name"][:5] for row in mixed] == ["empty", "00000", "...nn", "bad.j"]  # as they were sent
    pair = server.post("/api/compare", files=[nothing[0], *images_of(images[:1])]).json()
    assert (pair["a"], pair["b"]) == ("empty.jpg", "00000.jpg")
    assert float(first["score"]) == pytest.approx(expected[0], abs=1e-5) and float(first["megapixels"]) == 0.003
    assert second["score"] == "" and second["error"].startswith("bad.jpg is not an image")
    assert server.post("/api/score", json={"names": ["day 1/a.jpg"]}).json()[0]["scores"]["tiny"]["error"] is None
    assert list((server.app.state.services.settings.data / "incoming").iterdir()) == []


def test_images_are_explained_and_compared_for_one_answer(server, images, hopper_file):
    answer = server.post("/api/explain?maps=true", files=images_of([hopper_file, images[0]])).json()
    factors = measure_factors(hopper_file)
    assert answer[0]["readings"]["face_stops"]["sentence"] == factors["face_stops"].sentence
    assert {shown["name"] for shown in answer[0]["maps"]} == set(factors.maps)
    said = answer[0]["explanations"]["tiny"]
    assert said["score"] is not None and said["reference"] == pytest.approx(answer[1]["explanations"]["tiny"]["score"])
    assert said["maps"][0]["picture"].startswith("data:image/png;base64,")
    found = server.post("/api/compare", files=images_of([hopper_file, images[0]])).json()
    assert (found["a"], found["b"], found["errors"]) == ("hopper.jpg", "00000.jpg", {})
    assert found["scores"]["tiny"]["a"] == pytest.approx(said["score"], abs=1e-5)
    steps = {one["factor"]: one["a"] for one in found["factors"]}
    assert steps["megapixels"] == pytest.approx(factors["megapixels"].value)
    assert server.post("/api/compare", files=images_of(images[:1])).status_code == 400


def test_a_job_is_begun_for_who_does_not_wait(server, images):
    answer = server.post("/api/score?wait=false", files=images_of(images))
    assert answer.status_code == 202
    started = answer.json()
    assert finished(server, started["job"])["done"] == 6
    assert len(server.get(f"/api/projects/{started['project']}/photos").json()) == 6
    before = len(server.get("/api/projects").json())
    assert server.post("/api/score?wait=false", files=[("images", ("a.jpg", b""))]).status_code == 400
    assert len(server.get("/api/projects").json()) == before


def test_the_description_of_the_interface_names_every_route(server):
    described = server.get("/api/openapi.json").json()
    assert {"/api/score", "/api/explain", "/api/compare", "/api/projects/{project}/photos"} <= set(described["paths"])
    body = described["paths"]["/api/score"]["post"]["requestBody"]["content"]
    assert set(body) == {"multipart/form-data", "application/json"}
    errors = described["paths"]["/api/score"]["post"]["responses"]
    assert errors["503"]["content"]["application/json"]["schema"]["$ref"].endswith("/ErrorOut")
    assert errors["200"]["content"]["application/json"]["schema"]["items"]["$ref"].endswith("/ScoredOut")


def test_images_that_processes_prepare_have_the_same_scores(tmp_path, model, images, hopper_file):
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    files = [*images, hopper_file]
    settings = {"models": {"tiny": str(model)}, "scoring": ModelSettings(workers=2, batch_size=3)}
    with served(tmp_path / "d", **settings) as client:
        rows = client.post("/api/score", files=images_of([bad, *files])).json()
        said = client.post("/api/explain", files=images_of(images[:1])).json()[0]["explanations"]["tiny"]
    found = [row["scores"]["tiny"]["score"] for row in rows]
    expected = Scorer.load(model, device="cpu").score(files)["score"].tolist()
    assert found[0] is None and found[1:] == pytest.approx(expected, abs=1e-5)
    assert said["score"] == pytest.approx(expected[0], abs=1e-5)
