"""The server at the wrong moment: killed between two steps, something deleted meanwhile, too much at once."""

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
from judging import NAMES, answer_all, begin, form, new_project, new_rater, new_study, picture, quiet_server
from postgresql import new_database, postgresql  # noqa: F401 -- a fixture
from sqlalchemy import delete, select
from sqlalchemy.exc import OperationalError

from piqa.errors import InputError
from piqa.judgement.answers import answers_table
from piqa.preparation.image_bounds import read_file
from piqa.server import pages, study_images
from piqa.server.database import Database
from piqa.server.devices import DevicesJob
from piqa.server.disk import is_full
from piqa.server.jobs import Running
from piqa.server.measured import Measuring, Task, measured_with
from piqa.server.once import Given, _all
from piqa.server.pages import shown_time
from piqa.server.photo_job import SCORE, PhotoJob, _Work
from piqa.server.records import Job, Photo, Project
from piqa.server.refusals import RequestError
from piqa.server.study_results import _computed, scores_csv


@pytest.fixture
def client(tmp_path):
    with quiet_server(tmp_path / "data") as found:
        yield found


def services(client):
    return client.app.state.services


def photos_of(client, project):
    with services(client).database.session() as session:
        return list(session.scalars(select(Photo).where(Photo.project_id == project).order_by(Photo.name)))


def set_photos(client, **values):
    with services(client).database.session() as session:
        for photo in session.scalars(select(Photo)):
            for name, value in values.items():
                setattr(photo, name, value)


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
            with services(client).database.session() as session:  # SQLite lets one write at a time
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


# Killed between two steps


def test_photos_and_their_job_are_kept_together_or_not_at_all(client, monkeypatch):
    project = new_project(client, {})
    seen = []
    commit = services(client).database.session

    def looked_at():
        session = commit()

        class Both:
            def __enter__(self):
                return session.__enter__()

            def __exit__(self, *error):
                left = session.__exit__(*error)
                with commit() as other:
                    seen.append((other.query(Photo).count(), other.query(Job).count()))
                return left

        return Both()

    monkeypatch.setattr(services(client).database, "session", looked_at)
    files = [("images", ("a.jpg", picture(0), "image/jpeg"))]
    assert client.post(f"/api/projects/{project}/photos", files=files).json()["job"] is not None
    assert (1, 0) not in seen and (1, 1) in seen  # after no commit is there a photo that no job will measure


def test_files_that_a_killed_server_had_not_settled_follow_the_database(tmp_path):
    with quiet_server(tmp_path / "data") as client:
        project = new_project(client, {"a.jpg": picture(0)})
        gone = new_project(client, {"b.jpg": picture(1)})
        kept = photos_of(client, project)[0].id
        storage = services(client).storage
        (storage.folder(project, "f" * 32)).mkdir()
        (storage.folder(project, "f" * 32) / "original").write_bytes(b"")  # moved there, and then killed
        with services(client).database.session() as session:  # deleted there, and then killed
            session.execute(delete(Project).where(Project.id == gone))
        from piqa.system.files import HERE

        note = tmp_path / "data" / "unsettled" / f"{HERE}.{2**22 + 1}.note"  # of no process
        note.write_text(f"{project}/{kept}\n{project}/{'f' * 32}\n{gone}/\n../../{'e' * 32}\n{project}/..\n")
    with quiet_server(tmp_path / "data"):
        found = {path.name for path in (tmp_path / "data" / "photos").glob("*/*")}
        assert found == {kept} and not note.exists()
        assert [path.name for path in (tmp_path / "data" / "photos").iterdir()] == [project]


def test_nothing_stays_noted_after_adding_and_deleting(client, tmp_path):
    project = new_project(client, {"a.jpg": picture(0), "b.jpg": picture(1)})
    client.delete(f"/api/photos/{photos_of(client, project)[0].id}")
    assert client.delete(f"/api/photos/{'0' * 32}").status_code == 404
    client.delete(f"/api/projects/{project}")
    assert [*(tmp_path / "data" / "unsettled").iterdir()] == []
    assert [*(tmp_path / "data" / "photos").iterdir()] == []


class Quiet:
    """Of the jobs, what a job asks: it goes on."""

    def update_own(self, job, values):
        return True

    def is_to_end(self, job):
        return False


def run_job(client, photos):
    return PhotoJob(services(client))(Running("job", SCORE, None, {"photos": photos}, Quiet()))


def test_an_original_is_forgotten_though_the_server_was_killed_before_it_could(tmp_path):
    with quiet_server(tmp_path / "data", keep="none") as client:
        project = new_project(client, {"a.jpg": picture(0)})
        set_photos(client, state="measured", measured_with=measured_with())  # kept, and then killed
        assert [*tmp_path.glob("data/photos/*/*/original")]
        run_job(client, [photo.id for photo in photos_of(client, project)])
        assert not [*tmp_path.glob("data/photos/*/*/original")]


def test_no_copy_of_all_pixels_outlives_the_original(tmp_path):
    with quiet_server(tmp_path / "data", keep="none") as client:
        project = new_project(client, {"a.jpg": picture(0)})
        photo = photos_of(client, project)[0]
        answer = client.get(f"/api/photos/{photo.id}/full")  # before it is measured
        assert answer.status_code == 404 and "not kept" in answer.json()["error"]
        folder = services(client).storage.folder(project, photo.id)
        for name in ("full.jpg", "judged.jpg", "judged_blurred.png", "preview.jpg"):
            (folder / name).write_bytes(b"")  # of a time when the server kept originals
        services(client).storage.forget(project, photo.id)
        assert [path.name for path in folder.iterdir()] == ["preview.jpg"]


# Measured by another version

ANEW = "Measure 1 photos anew"
BEFORE = {"stamp": [0, 0], "width": 30, "height": 40, "readings": {"megapixels": [7.0, ""], "of_before": [1.0, ""]}}


def measure_at_once(task):
    done = Future()
    done.set_result(Measuring()(task))
    return done


@pytest.mark.parametrize("made", [None, "in another way"])
def test_photos_that_another_version_measured_are_measured_anew_when_asked(client, monkeypatch, made):
    project = new_project(client, {"a.jpg": picture(0)})
    set_photos(client, state="measured", facts=BEFORE, measured_with=made)
    assert ANEW in client.get(f"/photos/{project}").text
    (photo,) = photos_of(client, project)
    assert "did not measure it" in client.get(f"/photos/{project}/{photo.id}").text
    monkeypatch.setattr(services(client).measuring, "submit", measure_at_once)
    run_job(client, [photo.id for photo in photos_of(client, project)])
    (photo,) = photos_of(client, project)
    assert photo.facts["readings"]["megapixels"][0] == pytest.approx(30 * 40 / 1e6)
    assert photo.measured_with == measured_with()
    assert ANEW not in client.get(f"/photos/{project}").text
    (shown,) = client.get(f"/api/projects/{project}/photos").json()
    assert shown["factors"]["megapixels"] == pytest.approx(30 * 40 / 1e6)


def test_old_values_are_kept_where_the_original_is_not(tmp_path):
    with quiet_server(tmp_path / "data", keep="none") as client:
        project = new_project(client, {"a.jpg": picture(0)})
        (photo,) = photos_of(client, project)
        services(client).storage.forget(project, photo.id)
        set_photos(client, state="measured", facts=BEFORE)
        assert ANEW not in client.get(f"/photos/{project}").text
        assert run_job(client, [photo.id]) == {"failed": 0}
        (photo,) = photos_of(client, project)
        assert (photo.state, photo.facts) == ("measured", BEFORE)


# Deleted meanwhile


def test_what_is_measured_of_a_deleted_photo_is_not_written(tmp_path):
    (tmp_path / "a.jpg").write_bytes(picture(0, (80, 100)))
    found = Measuring()(Task(str(tmp_path / "a.jpg"), "a.jpg", str(tmp_path / "photos" / "deleted")))
    assert "deleted" in found["error"] and not (tmp_path / "photos").exists()


def test_a_job_leaves_nothing_of_a_project_that_was_deleted_meanwhile(client, tmp_path):
    project, storage = new_project(client, {}), services(client).storage

    def work(job):
        services(client).projects.delete(job.project)
        (storage.results(job.project) / "report.pdf").write_bytes(b"")
        return {}

    services(client)._tidied(work)(Running("job", "pdf", project, {}, Quiet()))
    assert not [*(tmp_path / "data").glob(f"*/{project}")]


def test_a_photo_that_is_deleted_while_its_result_is_written_costs_itself(client, monkeypatch):
    project = new_project(client, {"a.jpg": picture(0), "b.jpg": picture(1)})
    a, b = photos_of(client, project)
    job, results = PhotoJob(services(client)), []
    for _ in (a, b):
        results.append(Future())
        results[-1].set_result({"error": None, "width": 1})
    looked_up = []

    def score(future, nothing):  # the first photo was looked up, and now it is deleted
        looked_up.append(future)
        if len(looked_up) == 1:
            with services(client).database.engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA foreign_keys=ON")
                connection.execute(delete(Photo).where(Photo.id == a.id))
                connection.commit()
        return future.result(), None

    monkeypatch.setattr("piqa.server.photo_job._result", score)
    job._keep([_Work(a, {"": results[0]}), _Work(b, {"": results[1]})])
    assert [(photo.name, photo.state) for photo in photos_of(client, project)] == [("b.jpg", "measured")]


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
