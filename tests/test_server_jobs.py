"""Jobs and their database, SQLite and PostgreSQL: claimed once, taken over from who is gone, migrated."""

import os
import signal
import threading
import time
from functools import partial
from types import SimpleNamespace

import httpx
import pytest
from alembic import command
from alembic.config import Config
from postgresql import new_database
from refusals import refusal
from served import PATIENCE, add, finished, new_project, served_apart
from sqlalchemy import inspect, text, update
from tiny_models import write_images, write_tiny_model

from piqa import Scorer
from piqa.server import jobs as jobs_module
from piqa.server import records
from piqa.server.database import MIGRATIONS, Base, Database
from piqa.server.jobs import Jobs
from piqa.server.records import Job


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request, tmp_path):
    """The address of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'test.sqlite'}"
    return new_database(request.getfixturevalue("postgresql"))


@pytest.fixture
def database(address):
    opened = Database(address)
    yield opened
    opened.close()


def jobs_of(database, handler=lambda job: {}, **settings):
    jobs = Jobs(database, **settings)
    jobs.register("work", handler)
    return jobs


def wait_for(condition):
    late = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < late
        time.sleep(0.02)


def test_a_job_is_claimed_once_whoever_asks(database):
    servers = [jobs_of(database) for _ in range(3)]
    made = [servers[0].add("work", {"number": number}) for number in range(30)]
    claimed = []

    def claim(jobs):
        misses = 0
        while misses < 20:
            found = jobs.claim()
            misses = misses + 1 if found is None else 0
            if found is not None:
                claimed.append(found.id)

    threads = [threading.Thread(target=claim, args=(jobs,)) for jobs in servers for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(made)


def test_a_job_runs_with_progress_and_ends_with_its_result(database):
    def work(job):
        job.tell(1, 2)
        return {"twice": 2 * job.arguments["number"]}

    jobs = jobs_of(database, work, heartbeat=0.05)
    jobs.start()
    done, failing = jobs.add("work", {"number": 4}), jobs.add("work", {})
    wait_for(lambda: jobs.get(done).state == "done" and jobs.get(failing).state == "failed")
    found = jobs.get(done)
    assert (found.result, found.done, found.total) == ({"twice": 8}, 1, 2) and found.finished is not None
    assert jobs.get(failing).error == "KeyError: 'number'"
    jobs.close()


def test_the_job_of_a_server_elsewhere_is_taken_over_when_it_is_silent(database):
    jobs = jobs_of(database, patience=0.3)
    job = jobs.add("work", {})
    with database.session() as session:
        values = {"state": "running", "owner": "00000000.1.elsewhere", "seen": records.now()}
        session.execute(update(Job).where(Job.id == job).values(values))
    assert jobs.claim() is None  # seen for the first time; how old the sign is does not count, as clocks differ
    time.sleep(0.4)
    with database.session() as session:
        session.execute(update(Job).where(Job.id == job).values(seen=records.now()))
    assert jobs.claim() is None  # there was another sign of life
    time.sleep(0.4)
    assert jobs.claim().id == job


def test_the_job_of_a_server_that_lives_is_left_to_it(database, monkeypatch):
    free, clock = threading.Event(), [0.0]
    monkeypatch.setattr(jobs_module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    first, second = (
        jobs_of(database, lambda job: {"waited": free.wait(PATIENCE)}, heartbeat=0.1, patience=0.5) for _ in "12"
    )
    job = first.add("work", {})
    first.start()
    wait_for(lambda: first.get(job).state == "running")
    for _ in range(5):  # which takes longer than the patience; between any two looks there is a sign of life
        assert second.claim() is None
        seen = first.get(job).seen
        wait_for(lambda seen=seen: first.get(job).seen != seen)
        clock[0] += 0.4
    free.set()
    wait_for(lambda: first.get(job).state == "done")
    first.close()


def test_a_job_is_stopped_and_one_whose_server_ends_waits(database):
    begun = threading.Event()

    def work(job):
        begun.set()
        while True:
            job.check()
            time.sleep(0.02)

    jobs = jobs_of(database, work, heartbeat=0.05)
    jobs.start()
    stopped = jobs.add("work", {})
    assert begun.wait(PATIENCE)
    assert jobs.stop(stopped).state == "stopped"
    begun.clear()
    later = jobs.add("work", {})
    assert begun.wait(PATIENCE)
    jobs.close()
    assert (jobs.get(stopped).state, jobs.get(later).state) == ("stopped", "waiting")


def test_a_job_that_the_database_refuses_each_time_fails_in_one_line_and_one_that_it_refuses_once_does_not(database):
    begun = []

    def work(job):
        begun.append(time.monotonic())
        if job.arguments["always"] or len(begun) == 1:
            with database.session() as session:
                session.execute(text("INSERT INTO projects (id) VALUES (NULL)"))
        return {"tries": len(begun)}

    jobs = jobs_of(database, work, heartbeat=0.02)
    jobs.start()
    for always in (False, True):
        begun.clear()
        job = jobs.add("work", {"always": always})
        wait_for(lambda job=job: jobs.get(job).state in ("done", "failed"))
        assert len(begun) == (6 if always else 2)
    assert begun[-1] - begun[-2] > 0.02 * 2**4
    assert "refused this 6 times: " in jobs.get(job).error and "\n" not in jobs.get(job).error
    jobs.close()


# Migrations


def test_an_empty_database_gets_the_tables_of_this_version(database):
    found = inspect(database.engine)
    assert set(Base.metadata.tables) <= set(found.get_table_names())
    for name, table in Base.metadata.tables.items():
        columns = {column["name"]: column["nullable"] for column in found.get_columns(name)}
        assert columns == {column.name: column.nullable for column in table.columns}
        indexed = {tuple(index["column_names"]) for index in found.get_indexes(name)}
        assert {(column.name,) for column in table.columns if column.index} <= indexed


def test_the_database_of_a_later_version_is_refused_and_left_alone(address, database):
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    line = refusal(Database, address)
    assert "is of a later version" in line and "9999" in line
    assert "projects" in inspect(database.engine).get_table_names()


def test_migrations_go_back_as_well(database):
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert inspect(database.engine).get_table_names() == ["alembic_version"]


def test_an_address_that_is_none_is_refused_in_one_line(tmp_path):
    assert "no address of a database" in refusal(Database, "nothing at all")
    assert "cannot be used" in refusal(Database, f"postgresql+psycopg://nobody@/none?host={tmp_path}")
    assert "cannot be used" in refusal(Database, f"sqlite:///{tmp_path}/no/folder.sqlite")


# Servers that are killed


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"), 30)


def scored(client, project):
    """The photos that have a score and facts, by name: what must never be lost."""
    photos = client.get(f"/api/projects/{project}/photos").json()
    return {photo["name"]: photo for photo in photos if photo["scores"] and photo["state"] == "measured"}


def scores_of(photos):
    return [photos[name]["scores"]["tiny"]["score"] for name in sorted(photos)]


@pytest.mark.slow
def test_a_server_that_is_killed_loses_no_score_and_goes_on(tmp_path, model, images):
    data = tmp_path / "data"
    behind = partial(os.nice, 10)  # where the processor is short, the server is what waits, and is interrupted in time
    with served_apart(data, "--ckpt_path", f"tiny={model}", before=behind) as (process, address):
        with httpx.Client(base_url=address, timeout=PATIENCE) as client:
            project = new_project(client)
            job = add(client, project, images)["job"]
            wait_for(lambda: len(scored(client, project)) >= 5)
            before = scored(client, project)
            os.kill(process.pid, signal.SIGKILL)
            process.wait(PATIENCE)
    assert len(before) < 30, "it was too fast to be interrupted"
    kept = {photo["id"]: (data / "photos" / project / photo["id"] / "preview.jpg").stat() for photo in before.values()}
    with served_apart(data, "--ckpt_path", f"tiny={model}") as (process, address):
        with httpx.Client(base_url=address, timeout=PATIENCE) as client:
            now = scored(client, project)
            assert {name: now[name] for name in before} == before
            assert finished(client, job)["done"] == 30
            expected = Scorer.load(model, device="cpu").score(images)["score"].tolist()
            after = scored(client, project)
            assert scores_of(after) == pytest.approx(expected, abs=1e-5)
    for photo, status in kept.items():  # what was done is not done again
        assert (data / "photos" / project / photo / "preview.jpg").stat().st_mtime_ns == status.st_mtime_ns


@pytest.mark.slow
def test_two_servers_share_jobs_and_one_goes_on_where_the_other_is_killed(tmp_path, model, images, postgresql):
    database, data = new_database(postgresql), tmp_path / "data"
    options = ("--ckpt_path", f"tiny={model}", "--database", database)
    shared = Database(database)

    def done_by(process):
        with shared.session() as session:
            return session.query(Job).where(Job.state == "done", Job.owner.contains(f".{process.pid}.")).count()

    with served_apart(data, *options) as (first, here), served_apart(data, *options) as (second, there):
        with httpx.Client(base_url=here, timeout=PATIENCE) as a, httpx.Client(base_url=there, timeout=PATIENCE) as b:
            project = new_project(a)
            jobs = [add(a, project, images[at : at + 5])["job"] for at in range(0, 30, 5)]
            wait_for(lambda: done_by(first))
            assert len(scored(b, project)) >= 5  # each sees what the other does
            before = scored(b, project)
            os.kill(first.pid, signal.SIGKILL)
            first.wait(PATIENCE)  # one that has ended but is not waited for counts as alive for 20 s
            assert [finished(b, job)["done"] for job in jobs] == [5] * 6
            after = scored(b, project)
            assert {name: after[name] for name in before} == before and len(after) == 30
            expected = Scorer.load(model, device="cpu").score(images)["score"].tolist()
            assert scores_of(after) == pytest.approx(expected, abs=1e-5)
    assert done_by(second), "only one server has worked"
    shared.close()
