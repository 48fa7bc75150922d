"""A server of piqa as users run it: real HTTP, in a thread of this process or as a process that can be killed."""

import os
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import uvicorn
from processes import environment

from piqa.server.app import create_app
from piqa.server.run import Protocol
from piqa.server.settings import ModelSettings, ServerSettings

TOKEN = "a token of many characters"
PATIENCE = 120  # seconds; a machine under load is slow
ENDED = ("done", "failed", "stopped")


@contextmanager
def served(data, **settings):
    """Serve in a thread; yield a client whose `app` is the application."""
    settings = {"scoring": ModelSettings(workers=0)} | settings  # processes that import torch cost more than they spare
    app = create_app(ServerSettings(data, port=0, **settings))
    config = uvicorn.Config(app, host="127.0.0.1", port=0, http=Protocol, log_level="warning", server_header=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    late = time.monotonic() + PATIENCE
    while not server.started:
        assert thread.is_alive() and time.monotonic() < late
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client:
            client.app = app
            yield client
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive()


@contextmanager
def served_apart(data, *options, env=None, before=None):
    """Serve in a process; yield it and its address. It is killed at the end, if it is still there."""
    command = [sys.executable, "-m", "piqa.serve", "--data", str(data), "--port", "0", "--workers", "0"]
    command += map(str, options)
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment() | {"PIQA_HOME": os.environ["PIQA_HOME"]} | (env or {}),
        preexec_fn=before,
    )
    try:
        lines = []
        while not (address := re.match(r"http://\S+?:\d+", line := process.stdout.readline())):
            lines.append(line)
            assert line, "".join(lines)  # it has ended
        yield process, address[0]
    finally:
        process.kill()
        process.wait(PATIENCE)
        process.stdout.close()


def new_project(client, name="a project"):
    answer = client.post("/api/projects", json={"name": name})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def images_of(files, names=None):
    """Files as httpx sends them."""
    shown = names or [Path(file).name for file in files]
    return [("images", (name, Path(file).read_bytes())) for file, name in zip(files, shown, strict=True)]


def add(client, project, files, names=None):
    answer = client.post(f"/api/projects/{project}/photos", files=images_of(files, names))
    assert answer.status_code == 202, answer.text
    return answer.json()


def finished(client, job):
    """Wait for a job; return it."""
    late = time.monotonic() + PATIENCE
    while (found := client.get(f"/api/jobs/{job}").json())["state"] not in ENDED:
        assert time.monotonic() < late, found
        time.sleep(0.05)
    return found


def line_of(answer):
    """The one line of an answer that refuses a request."""
    line = answer.json()["error"]
    assert "\n" not in line and "Traceback" not in line and not line.endswith(".")
    return line
