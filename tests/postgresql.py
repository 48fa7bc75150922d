"""A PostgreSQL server of the system's packages, in a folder of its own, for the tests that two databases must pass."""

import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

USER = "postgres"


def program(name):
    """Where a program of PostgreSQL lies; None where none is installed."""
    found = shutil.which(name)
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return found or (str(places[-1]) if places else None)


@contextmanager
def running():
    """Start a server that listens to a socket alone; yield the folder of that. As root it runs as its own user."""
    folder = Path(tempfile.mkdtemp(prefix="piqa-postgresql-"))
    as_user = {}
    if os.geteuid() == 0:
        user = pwd.getpwnam(USER)
        os.chown(folder, user.pw_uid, user.pw_gid)
        as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    data, log = folder / "data", folder / "log"

    def run(name, *arguments):
        done = subprocess.run(
            [program(name), "-D", data, *arguments], capture_output=True, text=True, cwd=folder, timeout=120, **as_user
        )
        assert done.returncode == 0, done.stdout + done.stderr + (log.read_text() if log.exists() else "")

    try:
        run("initdb", "--username", USER, "--auth", "trust", "--no-sync", "--encoding", "UTF8", "--locale", "C")
        run("pg_ctl", "-l", log, "-w", "-o", f"-k {folder} -c listen_addresses= -c fsync=off", "start")
        try:
            yield folder
        finally:
            run("pg_ctl", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def new_database(folder):
    """Make an empty database; return its address as of SQLAlchemy."""
    import psycopg

    name = f"piqa_{uuid4().hex}"
    with psycopg.connect(host=str(folder), user=USER, dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"postgresql+psycopg://{USER}@/{name}?host={folder}"


@pytest.fixture(scope="module")
def postgresql():
    """The folder of a running server."""
    if program("initdb") is None:
        pytest.skip("PostgreSQL is not installed")
    with running() as folder:
        yield folder
