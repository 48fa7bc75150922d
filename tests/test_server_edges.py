"""The server at its edges: too much at once, what others learn, odd tables, databases that cannot be."""

import asyncio
import csv
import io
import shutil
import stat
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from datetime import datetime
from types import SimpleNamespace

import pytest
from judging import (
    NAMES,
    answer_all,
    begin,
    database,
    form,
    new_project,
    new_rater,
    new_study,
    picture,
    quiet_server,
    services,
    set_photos,
)
from postgresql import new_database, postgresql  # noqa: F401 -- a fixture
from sqlalchemy.exc import OperationalError

from piqa.errors import InputError
from piqa.judgement.answers import answers_table
from piqa.preparation.image_bounds import read_file
from piqa.server import pages, study_images
from piqa.server.database import Database
from piqa.server.devices import DevicesJob
from piqa.server.disk import is_full
from piqa.server.once import Given, _all
from piqa.server.pages import shown_time
from piqa.server.records import Project
from piqa.server.refusals import RequestError
from piqa.server.study_results import _computed, scores_csv


@pytest.fixture
def client(tmp_path):
    with quiet_server(tmp_path / "data") as found:
        yield found


@pytest.mark.parametrize("address", ["/api/photos/a%00b", "/api/projects?x=%00", "/photos/%00"])
def test_an_address_holds_no_nul(client, address):
    answer = client.get(address)
    assert (answer.status_code, answer.json()) == (400, {"error": "an address holds no NUL"})


def test_no_request_waits_while_the_disk_is_slow_for_another_one(tmp_path, monkeypatch):
    waited, did = [], []

    def noted(module, name):
        work = getattr(module, name)

        def do(*arguments, **settings):
            did.append(name)
            with suppress(RuntimeError):  # of a thread that no other request waits for
                waited.append((name, asyncio.get_running_loop()))
            return work(*arguments, **settings)

        monkeypatch.setattr(module, name, do)

    with quiet_server(tmp_path / "data", token="a token of many characters") as client:
        client.headers["Authorization"] = "Bearer a token of many characters"
        project = new_project(client, {})
        for module, name in ((shutil, "disk_usage"), (shutil, "rmtree"), (pages, "render_page")):
            noted(module, name)
        sent = [("images", ("a.jpg", picture(1), "image/jpeg"))]
        assert client.post(f"/api/projects/{project}/photos", files=sent).status_code == 202
        assert client.post("/login", data={"token": "none"}).status_code == 401
        assert client.get("/photos/none", headers={"Accept": "text/html"}).status_code == 404
    assert did == ["disk_usage", "rmtree", "render_page", "render_page"] and waited == []


# Too much at once


@pytest.mark.parametrize(
    ("address", "kind", "size"),
    [
        ("/rate/unknown/answers", "application/json", 300_000),
        ("/api/projects", "application/json", 1_100_000),
        ("/devices", "multipart/form-data; boundary=x", 34_000_000),
        ("/judge/studies", "multipart/form-data; boundary=x", 34_000_000),
    ],
)
@pytest.mark.parametrize("told", [True, False])
def test_no_body_is_taken_whole_whatever_its_length(client, address, kind, size, told):
    head = b'--x\r\nContent-Disposition: form-data; name="csv"; filename="a.csv"\r\n\r\n' if "form" in kind else b""

    def body():
        yield head
        for _ in range(0, size, 100_000):
            yield b" " * 100_000

    content = head + b" " * size if told else body()
    answer = client.post(address, content=content, headers={"content-type": kind})
    assert answer.status_code == 413 and "MiB" in answer.json()["error"]


def test_what_was_begun_for_a_request_that_is_refused_is_given_up():
    first = Future()

    def submitted():
        yield [first]
        raise RequestError(503, "full")

    with pytest.raises(RequestError):
        _all(submitted())
    assert first.cancelled()


def test_files_below_the_root_are_read_before_others_have_to_wait(tmp_path, monkeypatch):
    root = tmp_path / "root"
    root.mkdir()
    for number in range(3):
        (root / f"{number}.jpg").write_bytes(picture(number))
    with quiet_server(tmp_path / "data", root=root) as client:
        project = new_project(client, {})

        def other_writes(path, name, most):
            with database(client).session() as session:  # SQLite lets one write at a time
                session.add(Project(name="another"))
            return 1, name

        services(client).database.engine.dispose()
        monkeypatch.setattr("piqa.server.database.BUSY_SECONDS", 1)
        monkeypatch.setattr("piqa.server.projects._looked_at", other_writes)
        try:
            added = services(client).projects.add_named(project, ["0.jpg", "1.jpg", "2.jpg"])
        except OperationalError as error:
            raise AssertionError("the database was locked while files were read") from error
        assert len(added.photos) == 3


# What others learn


def test_an_error_that_names_itself_as_its_cause_is_no_full_disk(tmp_path):
    error = InputError("no file")
    error.__cause__ = error
    assert not is_full(error)
    with pytest.raises(InputError) as told:
        read_file(tmp_path)
    assert told.value.__cause__ is None


def test_raters_learn_no_path_of_the_server(client, tmp_path):
    project = new_project(client)
    rater = new_rater(client, new_study(client, project))
    address = begin(client, rater)["question"]["images"][0]["address"]
    for path in tmp_path.glob("data/photos/*/*/original"):
        path.unlink()
        path.mkdir()
    answer = client.get(address)
    assert answer.status_code == 400 and str(tmp_path) not in answer.text and "the photo" in answer.json()["error"]


def test_what_raters_see_of_a_project_that_is_deleted_meanwhile_does_not_stay(client, tmp_path, monkeypatch):
    project = new_project(client)
    address = begin(client, new_rater(client, new_study(client, project)))["question"]["images"][0]["address"]
    read = study_images.read_file

    def slow(path):
        content = read(path)
        client.delete(f"/api/projects/{project}")
        return content

    monkeypatch.setattr(study_images, "read_file", slow)
    assert client.get(address).status_code == 404
    assert not (tmp_path / "data" / "photos" / project).exists()


def test_the_folder_of_photos_is_closed_to_other_users(client, tmp_path):
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_no_serial_number_tells_two_devices_apart(client):
    project = new_project(client, {"a.jpg": picture(0), "b.jpg": picture(1)})
    facts = {"camera": {"device": "Maker X"}, "capture": {"camera": "Maker X 0815"}}
    set_photos(client, facts=facts, state="measured")
    assert DevicesJob(services(client))._cameras(project) == {"a.jpg": "Maker X", "b.jpg": "Maker X"}


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("hall/a.jpg,one,s\nhall/a.jpg,two,s\nhall/b.jpg,one,s\n", "hall/a.jpg"),
        ("elsewhere/a.png,one,s\nb.png,two,s\n", "names none of the project"),
    ],
)
def test_a_table_that_says_two_things_of_a_photo_or_nothing_of_any_is_refused(client, rows, told):
    project = new_project(client)
    for address, head, more in (
        ("/devices", "file,device,scene", {"column": "csv", "judge": "factor:noise"}),
        ("/judge/studies", "image,scene,more", form(project, scenes="csv")),
    ):
        sent = {"files": {"csv": ("a.csv", f"{head}\n{rows}".encode())}, "follow_redirects": False}
        answer = client.post(address, data={"project": project, **more}, **sent)
        assert answer.status_code == 400 and told in answer.text, address


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of a process cannot be set")
def test_times_are_those_of_the_clock_beside_the_server(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    assert shown_time(datetime(2026, 11, 27, 16, 23)) == "2026-11-28 00:23"
    monkeypatch.undo()
    time.tzset()


def test_a_table_of_devices_and_of_scenes_may_be_long(client):
    project = new_project(client)
    table = b"image,scene\n" + b"".join(b"%s,s\n" % name.encode() for name in NAMES) + b"x,y\n" * 1_000_000
    sent = {"files": {"csv": ("a.csv", table, "text/csv")}, "follow_redirects": False}
    answer = client.post("/judge/studies", data=form(project, scenes="csv"), **sent)
    assert answer.status_code == 303
    answer = client.post("/devices", data={"project": project, "column": "csv", "judge": "factor:no"}, **sent)
    assert answer.status_code != 413


def test_files_of_a_study_run_nothing_in_a_spreadsheet(client):
    files = {f"=a/{number}.jpg": picture(number) for number in range(3)}
    study = new_study(client, new_project(client, files))
    answer_all(client, new_rater(client, study, "@Ann"), lambda addresses: "left")
    for name in ("answers", "scores"):
        rows = [*csv.reader(io.StringIO(client.get(f"{study}/{name}.csv").text))]
        assert len(rows) > 3 and not [cell for row in rows for cell in row if cell[:1] in ("=", "@", "+")]


def test_images_of_one_name_are_explained_each_for_itself(client):
    class Queue:
        def call(self, work):
            future = Future()
            future.set_result(work(None))
            return future

    once = services(client).once
    explained = []

    def explain(own, others, maps):
        explained.append((own, [*others]))
        return SimpleNamespace(score=own, reference_score=0.0, shares={}, notes=[], maps=None)

    fake = SimpleNamespace(features=lambda file: float(len(file)), explain=explain)
    once._explainer = lambda scorer: fake

    async def results(request, futures):
        return [future.result() for future in futures]

    once._results = results
    images = [Given("a.jpg", "x"), Given("a.jpg", "yy"), Given("b.jpg", "zzz")]
    model = SimpleNamespace(name="m", queue=Queue())
    from piqa.server import once as module

    said, module._said = module._said, lambda found: found
    try:
        asyncio.run(once.explain(None, images, [model], False))
    finally:
        module._said = said
    assert explained == [(1.0, [2.0, 3.0]), (2.0, [1.0, 3.0]), (3.0, [1.0, 2.0])]
    assert [image.scores["m"].score for image in images] == [1.0, 2.0, 3.0]


def test_scores_of_parts_that_no_answer_connects_are_scenes_of_their_own():
    pairs = [("a.jpg", "b.jpg"), ("c.jpg", "d.jpg")]
    rows = [{"image_a": a, "image_b": b, "winner": "a", "scene": "hall", "rater": "Ann"} for a, b in pairs]
    text = scores_csv(_computed(answers_table(rows), True))
    found = {row["image"]: row["scene"] for row in csv.DictReader(io.StringIO(text))}
    one, other = "hall (part 1)", "hall (part 2)"
    assert found == {"a.jpg": one, "b.jpg": one, "c.jpg": other, "d.jpg": other}
    rows.append({"image_a": "e.jpg", "image_b": "f.jpg", "winner": "a", "scene": one, "rater": "Ann"})
    text = scores_csv(_computed(answers_table(rows), True))
    by_scene = {}
    for row in csv.DictReader(io.StringIO(text)):
        by_scene.setdefault(row["scene"], []).append(row["image"])
    assert sorted(map(sorted, by_scene.values())) == [["a.jpg", "b.jpg"], ["c.jpg", "d.jpg"], ["e.jpg", "f.jpg"]]
    assert one in by_scene and other in by_scene


# Databases


@pytest.mark.parametrize("address", ["postgresql://host:port/piqa", "no address", "mysqll://a/b"])
def test_an_address_that_cannot_be_is_refused_in_one_line(address):
    with pytest.raises(InputError, match="--database"):
        Database(address)


def test_postgresql_needs_no_name_of_a_driver(postgresql):  # noqa: F811
    database = Database(new_database(postgresql).replace("+psycopg", ""))
    assert database.engine.dialect.driver == "psycopg"
    database.close()


def test_servers_that_start_at_once_make_the_tables_once(postgresql):  # noqa: F811
    address, faults, ready = new_database(postgresql), [], threading.Barrier(4)

    def start():
        ready.wait()
        try:
            Database(address).close()
        except InputError as error:
            faults.append(str(error))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
