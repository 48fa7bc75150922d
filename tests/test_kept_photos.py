"""What is kept of photos: by a server that was killed, of another version, and of what is deleted meanwhile."""

from concurrent.futures import Future

import pytest
from judging import database, new_project, picture, quiet_server, services, set_photos
from sqlalchemy import delete, select

from piqa.server.jobs import Running
from piqa.server.measured import Measuring, Task, measured_with
from piqa.server.photo_job import SCORE, PhotoJob, _Work
from piqa.server.records import Job, Photo, Project


@pytest.fixture
def client(tmp_path):
    with quiet_server(tmp_path / "data") as found:
        yield found


def photos_of(client, project):
    with database(client).session() as session:
        return list(session.scalars(select(Photo).where(Photo.project_id == project).order_by(Photo.name)))


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
        with database(client).session() as session:  # deleted there, and then killed
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
