"""What the server does with bad input, over real HTTP, and whom it lets ask."""

import socket
import threading
import time
from pathlib import Path

import pytest
from PIL import Image
from served import PATIENCE, TOKEN, add, finished, images_of, line_of, new_project, served
from tiny_models import write_images, write_tiny_model

from piqa.server.settings import Limits


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"), 6)


@pytest.fixture(scope="module")
def server(tmp_path_factory, model):
    with served(tmp_path_factory.mktemp("data") / "d", models={"tiny": str(model)}) as client:
        yield client


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
    photos = f"/api/projects/{new_project(server)}/photos"
    assert server.post(photos, content=body, headers={"content-type": kind}).status_code == status
    assert list((server.app.state.services.settings.data / "incoming").iterdir()) == []


def test_a_browser_that_is_closed_while_it_uploads_leaves_nothing(server):
    project = new_project(server)
    incoming = server.app.state.services.settings.data / "incoming"
    with socket.create_connection((server.base_url.host, server.base_url.port)) as connection:
        head = f"POST /api/projects/{project}/photos HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n"
        head += "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        part = "--x\r\nContent-Disposition: form-data; name=images; filename=a.jpg\r\n\r\n"
        connection.sendall((head + part).encode() + bytes(100_000))
        late = time.monotonic() + PATIENCE
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
        queue.call(lambda scorer: free.wait(PATIENCE))  # the network is busy
        answers = []
        threads = [
            threading.Thread(target=lambda: answers.append(client.post("/api/score", files=images_of(images[:1]))))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        late = time.monotonic() + PATIENCE
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


# Who may ask


def test_a_token_is_needed_where_there_is_one(tmp_path):
    with served(tmp_path / "d", token=TOKEN) as client:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
            answer = client.get("/api/projects", headers=headers)
            assert answer.status_code == 401 and "token" in line_of(answer)
        assert client.get("/api/projects", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
        page = client.get("/photos?x=1", headers={"accept": "text/html"})
        assert (page.status_code, page.headers["location"]) == (303, "/login?next=/photos%3Fx%3D1")
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
        # and which a button of every page ends
        button = '<form method="post" action="/logout"><button>Log out</button></form>'
        pages = [client.get(address, headers={"accept": "text/html"}).text for address in ("/photos", "/judge", "/x")]
        assert all(button in text for text in pages)
        with_token = {"Authorization": f"Bearer {TOKEN}", "Cookie": ""}
        assert button not in client.get("/photos", headers=with_token).text  # there is no cookie to be ended
        assert button not in client.get("/rate/x", headers={"accept": "text/html"}).text  # nor a rater who has one
        assert client.post("/logout").status_code == 403
        ended = client.post("/logout", headers=own)
        assert (ended.status_code, ended.headers["location"]) == (303, "/login")
        assert client.get("/api/projects").status_code == 401


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
