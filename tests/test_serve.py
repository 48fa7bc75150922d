"""The command `piqa serve`: one line where it cannot serve or is stopped, a full disk, and the documented examples."""

import re
import resource
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from functools import partial

import httpx
import pytest
from documentation import ROOT, blocks
from refusals import one_line, refusal
from served import PATIENCE, TOKEN, add, finished, images_of, line_of, new_project, served_apart
from tiny_models import write_images, write_tiny_model

from piqa import serve
from piqa.server.models import models_by_name
from piqa.server.settings import Limits, ServerSettings


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_with_one_line_and_it_goes_on_later(tmp_path, number, status):
    project = None
    for _ in range(2):
        with served_apart(tmp_path / "lab", before=partial(signal.signal, signal.SIGINT, signal.SIG_DFL)) as (
            process,
            address,
        ):
            with httpx.Client(base_url=address, timeout=PATIENCE) as client:
                project = project or new_project(client)
                assert [one["id"] for one in client.get("/api/projects").json()] == [project]
                process.send_signal(number)
                assert process.wait(PATIENCE) == status
                told = [line for line in process.stdout.read().splitlines() if not line.endswith("...")]
                words = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
                assert told == [
                    f"piqa: stopped by {words}; all that was answered is kept: give the command again to go on"
                ]


def test_what_cannot_be_served_is_told_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        line = one_line(capsys, lambda: serve.main(["--data", "lab", "--port", str(taken.getsockname()[1])]))
        assert "Address already in use; name another `--port`" in line
    assert "no such" not in one_line(capsys, lambda: serve.main(["--host", "nowhere.invalid", "--token", TOKEN]))
    assert "`--token`" in one_line(capsys, lambda: serve.main(["--host", "0.0.0.0"]))
    assert "at least 16" in one_line(capsys, lambda: serve.main(["--token", "short"]))
    assert "is no folder" in one_line(capsys, lambda: serve.main(["--root", "nowhere"]))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    assert "not piqa's" in one_line(capsys, lambda: serve.main(["--data", "mine", "--port", "0"]))
    assert "nowhere" in one_line(capsys, lambda: serve.main(["--ckpt_path", "nowhere.safetensors", "--port", "0"]))


def test_without_its_extra_it_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    for name in [name for name in sys.modules if name.startswith("piqa.server.")]:
        if name != "piqa.server.settings":
            monkeypatch.delitem(sys.modules, name)
    line = one_line(capsys, lambda: serve.main([]))
    assert line.endswith("`piqa serve` needs fastapi; `pip install 'dn-piqa[web]'`")


def test_models_have_names():
    assert models_by_name(["a=runs/x", "runs/demo"]) == {"a": "runs/x", "demo": "runs/demo"}
    assert models_by_name(["runs/demo/model.safetensors"]) == {"demo": "runs/demo/model.safetensors"}
    assert "two models are called demo" in refusal(models_by_name, ["runs/demo", "other/demo"])
    assert "write name=PATH" in refusal(models_by_name, ["<b>=runs/demo"])
    assert "write name=PATH" in refusal(models_by_name, ["a="])


def test_limits_and_addresses_are_checked(tmp_path):
    assert "more than 0" in refusal(Limits, image_bytes=0)
    for host in ("192.0.2.1", "lab.example", "::"):
        assert "can be reached by other machines" in refusal(ServerSettings, tmp_path, host=host)
    for host in ("127.0.0.1", "localhost", "::1", "127.8.0.1"):
        assert ServerSettings(tmp_path, host=host).local
    assert TOKEN not in repr(ServerSettings(tmp_path, token=TOKEN))


def test_a_full_disk_has_one_clear_answer_and_leaves_nothing(tmp_path):
    data, images = tmp_path / "lab", write_images(tmp_path, 1)
    with served_apart(data) as (process, address), httpx.Client(base_url=address, timeout=PATIENCE) as client:
        project = new_project(client)
        # the disk takes 300 kB of a file from now on, those of the database included
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
        body = [("images", ("large.jpg", bytes(400_000)))]
        for path in (f"/api/projects/{project}/photos", "/api/score"):
            answer = client.post(path, files=body)
            assert answer.status_code == 507, answer.text
            assert line_of(answer) == "the server's disk is full; nothing of this request was kept"
        assert client.get(f"/api/projects/{project}/photos").json() == []
        assert not list((data / "incoming").iterdir()) and not list((data / "photos").rglob("original"))
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        added = add(client, project, images)  # there is room again
        assert finished(client, added["job"])["state"] == "done"


def test_the_documented_examples_run(tmp_path, monkeypatch, capsys):
    model = write_tiny_model(tmp_path / "runs" / "demo")
    for file, name in zip(write_images(tmp_path, 2), "ab", strict=True):
        shutil.copy(file, tmp_path / f"{name}.jpg")
    monkeypatch.chdir(tmp_path)
    written = blocks(ROOT / "docs" / "serve.md")
    example = next(text for language, text in written if language == "python")
    curl = next(text for language, text in written if text.startswith("curl"))
    with served_apart(tmp_path / "lab", "--ckpt_path", f"overall={model}", "--root", tmp_path) as (_, address):
        exec(re.sub(r"http://127\.0\.0\.1:8000", address, example), {})
        assert re.fullmatch(r"a\.jpg \{'overall': \{'score': -?[\d.]+, 'error': None.*\n", capsys.readouterr().out)
        command = shlex.split(curl.replace("http://127.0.0.1:8000", address))
        if shutil.which(command[0]):
            done = subprocess.run([*command, "--silent"], capture_output=True, text=True, timeout=PATIENCE)
            header, first, second = done.stdout.splitlines()
            assert header == "file,score,error" and first.startswith("a.jpg,") and second.startswith("b.jpg,")
        named = httpx.post(f"{address}/api/score", json={"names": ["a.jpg"]}, timeout=PATIENCE).json()
        uploaded = httpx.post(f"{address}/api/score", files=images_of(["a.jpg"]), timeout=PATIENCE).json()
        assert named == uploaded
