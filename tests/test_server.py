"""The server, over real HTTP: projects, photos, scores, and what it does with bad input."""

import csv
import io
import socket
import threading
import time
from pathlib import Path

import pytest
from PIL import Image
from portraits import hopper
from served import TOKEN, add, finished, images_of, line_of, new_project, served
from tiny_models import write_images, write_tiny_model

from piqa import Scorer, measure_factors
from piqa.server.settings import Limits, ModelSettings


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
    ]
    answer = server.post(f"/api/projects/{project}/photos", json={"names": names})
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


# Bad input


def test_what_is_no_image_has_an_error_of_its_own(server, images, tmp_path):
    bomb = tmp_path / "bomb.png"
    Image.new("1", (17_000, 17_000)).save(bomb, optimize=True)  # 289 million pixels in 36 kB
    large = tmp_path / "large.png"
    Image.new("1", (18_000, 18_000)).save(large)  # 324 million pixels
    zipped = tmp_path / "zip.jpg"
    zipped.write_bytes(b"PK\x03\x04" + bytes(100))
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(Path(images[0]).read_bytes()[:400])
    project = new_project(server)
    added = add(server, project, [bomb, large, zipped, cut, images[0]])
    assert finished(server, added["job"])["result"] == {"failed": 4}
    errors = {photo["name"]: photo["error"] for photo in server.get(f"/api/projects/{project}/photos").json()}
    assert "too few for a picture" in errors["bomb.png"]
    assert "300 million pixels" in errors["large.png"]
    assert errors["zip.jpg"].endswith("it is a zip archive; convert it to JPEG or PNG")
    assert "truncated" in errors["cut.jpg"]
    assert errors["00000.jpg"] is None
    assert not any("\n" in (line or "") or "/" in (line or "") for line in errors.values())


def test_two_thousand_files_at_once_are_refused_in_one_line(server):
    project = new_project(server)
    many = [("images", (f"{at}.jpg", b"x")) for at in range(2000)]
    answer = server.post(f"/api/projects/{project}/photos", files=many)
    assert answer.status_code == 413
    assert line_of(answer) == "the request has more than 500 images; send 500 at a time"
    assert server.get(f"/api/projects/{project}/photos").json() == []
    assert list((server.app.state.services.settings.data / "incoming").iterdir()) == []


def test_bytes_of_an_image_and_of_a_request_are_bounded(tmp_path, images):
    limits = Limits(image_bytes=100_000, request_bytes=400_000)
    with served(tmp_path / "d", limits=limits) as client:
        project = new_project(client)
        files = [("images", ("large.jpg", bytes(150_000))), ("images", ("a.jpg", Path(images[0]).read_bytes()))]
        answer = client.post(f"/api/projects/{project}/photos", files=files).json()
        assert [photo["name"] for photo in answer["photos"]] == ["a.jpg"]
        assert answer["refused"][0]["error"].startswith("large.jpg has more than the 0.0953674 MiB")
        answer = client.post(f"/api/projects/{project}/photos", files=[("images", ("l.jpg", bytes(500_000)))])
        assert answer.status_code == 413 and line_of(answer).startswith("the request has more than the 0.38147 MiB")

        def chunks():  # whose length is not declared
            yield b"--x\r\nContent-Disposition: form-data; name=images; filename=a.jpg\r\n\r\n"
            for _ in range(100):
                yield bytes(10_000)

        kind = {"content-type": "multipart/form-data; boundary=x"}
        answer = client.post(f"/api/projects/{project}/photos", content=chunks(), headers=kind)
        assert answer.status_code == 413
        # without a model photos are measured alone
        assert finished(client, client.get(f"/api/projects/{project}/jobs").json()[0]["id"])["state"] == "done"
        assert client.post("/api/score", files=images_of(images[:1])).json()[0]["factors"]["megapixels"] == 0.003


DISPOSITION = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("multipart/form-data; boundary=x", b"--y\r\n", 400),
        (
            "multipart/form-data; boundary=x",
            b'--x\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\nab',
            400,
        ),
        ("multipart/form-data; boundary=x", b"--x\r\n" + b"A" * 20_000 + b": b\r\n\r\n", 400),
        ("multipart/form-data", b"", 415),
        ("text/plain", b"hello", 415),
        ("application/json", b"{", 400),
        ("application/json", b"[]", 422),
        ("application/json", b'{"names": [1]}', 422),
        ("application/json", b'{"names": []}', 400),
        ("application/json", b"[" * 200_000, 400),
    ],
)
def test_a_request_that_cannot_be_read_is_refused_in_one_line(server, kind, body, status):
    answer = server.post("/api/score", content=body, headers={"content-type": kind})
    assert (answer.status_code, bool(line_of(answer))) == (status, True)
    assert list((server.app.state.services.settings.data / "incoming").iterdir()) == []


def test_a_browser_that_is_closed_while_it_uploads_leaves_nothing(server):
    project = new_project(server)
    incoming = server.app.state.services.settings.data / "incoming"
    with socket.create_connection((server.base_url.host, server.base_url.port)) as connection:
        head = f"POST /api/projects/{project}/photos HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n"
        head += "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        part = "--x\r\nContent-Disposition: form-data; name=images; filename=a.jpg\r\n\r\n"
        connection.sendall((head + part).encode() + bytes(100_000))
        late = time.monotonic() + 60
        while not any(incoming.glob("*/1")):
            assert time.monotonic() < late
            time.sleep(0.01)
    while any(incoming.iterdir()):
        assert time.monotonic() < late
        time.sleep(0.01)
    assert server.get(f"/api/projects/{project}/photos").json() == []


def test_a_slow_client_is_told_so(tmp_path):
    with served(tmp_path / "d", limits=Limits(request_seconds=0.5)) as client:

        def slowly():
            yield b"--x\r\n"
            time.sleep(1.5)
            yield b"Content-Disposition: form-data; name=images; filename=a.jpg\r\n\r\n"

        kind = {"content-type": "multipart/form-data; boundary=x"}
        answer = client.post("/api/score", content=slowly(), headers=kind)
        assert answer.status_code == 408 and line_of(answer) == "the request took more than 0.5 s to arrive"


def test_a_full_queue_answers_503_and_when_to_come_again(tmp_path, model, images):
    with served(tmp_path / "d", models={"tiny": str(model)}, limits=Limits(waiting_images=4)) as client:
        queue = client.app.state.services.models["tiny"].queue
        free = threading.Event()
        together, rows = [], queue.scorer.rows
        queue.scorer.rows = lambda batch: together.append(len(batch.files)) or rows(batch)
        queue.call(lambda scorer: free.wait(60))  # the network is busy
        answers = []
        threads = [
            threading.Thread(target=lambda: answers.append(client.post("/api/score", files=images_of(images[:1]))))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        late = time.monotonic() + 60
        while queue.waiting < 4:
            assert time.monotonic() < late
            time.sleep(0.01)
        refused = client.post("/api/score", files=images_of(images[:1]))
        assert refused.status_code == 503 and int(refused.headers["retry-after"]) >= 1
        assert line_of(refused).startswith("4 images wait already")
        too_many = client.post("/api/score", files=images_of(images[:5]))
        assert too_many.status_code == 413
        free.set()
        for thread in threads:
            thread.join()
        assert [answer.status_code for answer in answers] == [200] * 4
        assert together == [4]  # images of four clients in one pass
        assert client.post("/api/score", files=images_of(images[:1])).status_code == 200


def test_originals_are_forgotten_where_they_are_not_kept(tmp_path, model, images):
    data = tmp_path / "d"
    with served(data, models={"tiny": str(model)}, keep="none") as client:
        project = new_project(client)
        added = add(client, project, images[:2])
        finished(client, added["job"])
        assert not list(data.glob("photos/*/*/original"))
        photo = added["photos"][0]["id"]
        assert client.get(f"/api/photos/{photo}/preview").status_code == 200
        answer = client.get(f"/api/photos/{photo}/full")
        assert answer.status_code == 404 and line_of(answer) == "the original of this photo is not kept; its preview is"
    # a model that comes later cannot score them, and says so
    with served(data, models={"other": str(model)}, keep="none") as client:
        job = client.post(f"/api/projects/{project}/score").json()
        finished(client, job["id"])
        scores = client.get(f"/api/projects/{project}/photos").json()[0]["scores"]
        assert scores == {"other": {"score": None, "error": "its original was not kept", "outputs": {}}}


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


# Who may ask


def test_a_token_is_needed_where_there_is_one(tmp_path):
    with served(tmp_path / "d", token=TOKEN) as client:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
            answer = client.get("/api/projects", headers=headers)
            assert answer.status_code == 401 and "token" in line_of(answer)
        assert client.get("/api/projects", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
        page = client.get("/photos?x=1", headers={"accept": "text/html"})
        assert (page.status_code, page.headers["location"]) == (303, "/login?next=/photos")
        wrong = client.post("/login", data={"token": "wrong", "next": "/photos"})
        assert wrong.status_code == 401 and "set-cookie" not in wrong.headers
        done = client.post("/login", data={"token": TOKEN, "next": "//elsewhere.example/"})
        assert (done.status_code, done.headers["location"]) == (303, "/")
        cookie = done.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie and TOKEN not in cookie
        assert client.get("/api/projects").status_code == 200  # by the cookie
        # which alone changes nothing, unless a browser says that the request comes from this site
        assert client.post("/api/projects", json={"name": "a"}).status_code == 403
        own = {"Origin": str(client.base_url).rstrip("/")}
        assert client.post("/api/projects", json={"name": "a"}, headers=own).status_code == 201


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_what_comes_from_another_site_changes_nothing(server, headers):
    answer = server.post("/api/projects", json={"name": "a"}, headers=headers)
    assert answer.status_code == 403 and line_of(answer) == "this request comes from another site"


def test_a_name_of_another_site_does_not_reach_the_server(server):
    answer = server.get("/api/projects", headers={"Host": "elsewhere.example"})
    assert answer.status_code == 421
    assert server.get("/api/projects", headers={"Host": "localhost:1"}).status_code == 200


def test_every_answer_has_the_headers_that_browsers_heed(server):
    for address in ("/api/projects", "/login", "/nothing", "/api/photos/x"):
        headers = server.get(address, headers={"accept": "text/html"}).headers
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "same-origin"
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'") and "frame-ancestors 'none'" in policy
    photos = server.app.state.services.photos
    photos.get = lambda photo: 1 / 0  # a fault of the server itself
    try:
        broken = server.get("/api/photos/x")
    finally:
        del photos.get
    assert broken.status_code == 500 and "ZeroDivision" not in line_of(broken)
    assert (
        broken.headers["x-content-type-options"] == "nosniff" and "sandbox" in broken.headers["content-security-policy"]
    )
    page = server.get("/nothing", headers={"accept": "text/html"})
    assert page.status_code == 404 and "There is nothing here." in page.text
    assert "http://" not in page.text and "https://" not in page.text
