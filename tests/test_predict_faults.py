"""Scoring is killed, starved and disturbed; what was scored is kept, and the same command goes on."""

import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from tiny_models import write_images, write_tiny_model

from piqa import predict
from piqa.scoring.resumable_csv import ScoreParts


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"), 60)


@pytest.fixture(scope="module")
def undisturbed(model, images, tmp_path_factory):
    """The scores of a run that nothing disturbed."""
    out = tmp_path_factory.mktemp("undisturbed") / "scores.csv"
    predict.predict(images, str(model), str(out))
    return pd.read_csv(out)


def command(model, images, out, *options):
    files = [str(Path(images[0]).parent)]
    return [sys.executable, "-m", "piqa.predict", *files, "--ckpt_path", str(model), "--out", str(out), *options]


def rows_kept(out):
    lines = [path.read_bytes().count(b"\n") - 1 for path in out.parent.glob(".scores.csv.parts/*.jsonl")]
    return sum(count for count in lines if count > 0)


def wait_for_rows(out, rows, process):
    while rows_kept(out) < rows:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def is_complete(out, undisturbed):
    table = pd.read_csv(out)
    pd.testing.assert_frame_equal(table, undisturbed, atol=1e-5)
    return not list(out.parent.glob(".scores*"))


def test_a_killed_run_goes_on_without_losing_or_doubling_a_row(model, images, undisturbed, tmp_path):
    out = tmp_path / "scores.csv"
    run = command(model, images, out, "--batch_size=1", "--workers=1")
    process = subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for_rows(out, 5, process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    process.communicate()
    while any(map(is_running, children)):  # they go of themselves
        time.sleep(0.05)
    kept = rows_kept(out)
    assert 5 <= kept < 60 and not out.exists()
    predict.main(run[3:])
    assert is_complete(out, undisturbed)
    assert json.loads((tmp_path / "scores.json").read_text())["scored_now"] == 60 - kept


def test_a_killed_worker_is_told_in_one_line_and_costs_no_row(
    model, images, undisturbed, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "scores.csv"
    run = command(model, images, out, "--batch_size=2", "--workers=1")[3:]
    append = ScoreParts.append

    def kill_after(self, rows, stamps):
        append(self, rows, stamps)
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)

    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(ScoreParts, "append", kill_after)
        predict.main(run)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "a process that prepares images was killed" in line and "what was scored is kept" in line
    assert not out.exists() and 0 < rows_kept(out) < 60
    predict.main(run)
    assert is_complete(out, undisturbed)


def test_a_full_disk_is_told_in_one_line_and_costs_no_row(model, images, undisturbed, tmp_path):
    out = tmp_path / "scores.csv"
    run = command(model, images, out, "--batch_size=1")

    def little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))  # the write that reaches it is cut short

    full = subprocess.run(run, preexec_fn=little_room, capture_output=True, text=True)
    assert full.returncode == 2 and "Traceback" not in full.stderr
    (line,) = [line for line in full.stderr.splitlines() if "error" in line]
    assert f"cannot write {out}" in line and "what was scored is kept" in line
    assert not out.exists() and 0 < rows_kept(out) < 60
    predict.main(run[3:])
    assert is_complete(out, undisturbed)


def test_no_room_for_the_table_costs_no_row(model, images, undisturbed, tmp_path, monkeypatch, capsys):
    out = tmp_path / "scores.csv"
    run = command(model, images, out)[3:]
    append = ScoreParts.append

    def put_something_in_the_way(self, rows, stamps):
        out.mkdir(exist_ok=True)
        append(self, rows, stamps)

    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(ScoreParts, "append", put_something_in_the_way)
        predict.main(run)
    assert f"cannot write {out}" in capsys.readouterr().err and rows_kept(out) == 60
    out.rmdir()
    predict.main(run)
    assert is_complete(out, undisturbed)
    assert json.loads((tmp_path / "scores.json").read_text())["scored_now"] == 0


def test_an_image_that_vanishes_or_is_none_has_a_row_that_says_so(model, images, tmp_path):
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    names = tmp_path / "names.txt"
    names.write_text("\n".join([images[0], str(tmp_path / "gone.jpg"), str(text), images[1]]))
    predict.main(["--list", str(names), "--ckpt_path", str(model), "--out", str(tmp_path / "scores.csv")])
    table = pd.read_csv(tmp_path / "scores.csv")
    assert table["score"].notna().tolist() == [True, False, False, True]
    assert "gone.jpg" in table["error"][1] and "not an image" in table["error"][2]
    assert json.loads((tmp_path / "scores.json").read_text())["failed"] == 2


def test_an_image_named_twice_has_one_row(model, images, tmp_path):
    predict.predict([images[0], images[1], images[0]], str(model), str(tmp_path / "scores.csv"))
    assert pd.read_csv(tmp_path / "scores.csv")["file"].tolist() == images[:2]
