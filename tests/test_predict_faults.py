"""Scoring is killed, starved and disturbed; what was scored is kept, and the same command goes on."""

import errno
import json
import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import torch
from running import ends, is_running
from tiny_models import write_images, write_tiny_model

from piqa import Scorer, predict
from piqa.errors import InputError
from piqa.preparation.portrait import Preparer
from piqa.scoring import image_batches
from piqa.scoring.resumable_csv import ScoreParts
from piqa.system import forks
from piqa.system.ownership import locked
from piqa.weights import model_file


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


def slowly(command):
    """The same command, for a test that interrupts it before its end."""
    return [command[0], str(Path(__file__).with_name("slow_predict.py")), *command[3:]]


def rows_kept(out):
    lines = [path.read_bytes().count(b"\n") - 1 for path in out.parent.glob(".scores.csv.parts/*.jsonl")]
    return sum(count for count in lines if count > 0)


def wait_for_rows(out, rows, process):
    while rows_kept(out) < rows:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def is_complete(out, undisturbed):
    table = pd.read_csv(out)
    pd.testing.assert_frame_equal(table, undisturbed, atol=1e-5)
    return not list(out.parent.glob(".scores*"))


def test_a_killed_run_goes_on_without_losing_or_doubling_a_row(model, images, undisturbed, tmp_path):
    out = tmp_path / "scores.csv"
    run = command(model, images, out, "--batch_size=1", "--workers=1")
    process = subprocess.Popen(slowly(run), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
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
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("piqa:")]
    assert "worker process" in line and "was killed by signal 9" in line and "what was scored is kept" in line
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


def ending(arguments):
    """The exit status of predict."""
    with pytest.raises(SystemExit) as stop:
        predict.main(list(map(str, arguments)))
    return stop.value.code


def test_an_image_that_vanishes_or_is_none_has_a_row_that_says_so_and_the_first_is_tried_again(
    model, images, tmp_path, capsys
):
    text, gone = tmp_path / "text.jpg", tmp_path / "gone.jpg"
    text.write_text("no image")
    names = tmp_path / "names.txt"
    names.write_text("\n".join([images[0], str(gone), str(text), images[1]]))
    run = ["--list", names, "--ckpt_path", model, "--out", tmp_path / "scores.csv"]
    assert ending(run) == 3
    assert "1 of 4 images could not be read because of the machine" in capsys.readouterr().err
    table = pd.read_csv(tmp_path / "scores.csv")
    assert table["score"].notna().tolist() == [True, False, False, True]
    assert "gone.jpg" in table["error"][1] and "not an image" in table["error"][2]
    assert json.loads((tmp_path / "scores.json").read_text())["failed"] == 2
    gone.write_bytes(Path(images[2]).read_bytes())
    predict.main(list(map(str, run)))
    figures = json.loads((tmp_path / "scores.json").read_text())
    assert (figures["scored_now"], figures["failed"], figures["passing"]) == (1, 1, 0)
    assert not list(tmp_path.glob(".scores*"))


def failing(monkeypatch, faults):
    """Let files fail as often as told, by a fault of the machine, when they are opened."""
    opened = Path.open
    times = dict(faults)

    def fails(self, *arguments, **settings):
        if times.get(str(self), 0) > 0:
            times[str(self)] -= 1
            raise OSError(errno.EIO, "Input/output error", str(self))
        return opened(self, *arguments, **settings)

    monkeypatch.setattr(Path, "open", fails)
    monkeypatch.setattr(image_batches, "RETRIES", (0.0, 0.0))


def test_a_fault_of_a_moment_costs_nothing_and_a_longer_one_its_row_alone(model, images, tmp_path, monkeypatch):
    out = tmp_path / "scores.csv"
    run = [*images[:4], "--ckpt_path", model, "--out", out]
    with monkeypatch.context() as patched:
        failing(patched, {images[1]: 2, images[2]: 1000})
        assert ending(run) == 3
    assert pd.read_csv(out)["error"].isna().tolist() == [True, True, False, True]
    assert "Input/output error" in pd.read_csv(out)["error"][2]
    predict.main(list(map(str, run)))
    assert json.loads((tmp_path / "scores.json").read_text())["scored_now"] == 1
    assert pd.read_csv(out)["error"].isna().all()


def test_where_the_disk_is_gone_the_run_stops_and_goes_on_when_it_is_back(
    model, images, undisturbed, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "scores.csv"
    disk = tmp_path / "disk"
    folder = Path(images[0]).parent
    shutil.copytree(folder, disk)
    run = [disk, "--ckpt_path", model, "--out", out, "--batch_size", "2"]
    append, kept = ScoreParts.append, []

    def unplug(self, rows, stamps):
        append(self, rows, stamps)
        kept.extend(rows)
        if len(kept) == 20:
            disk.rename(tmp_path / "unplugged")

    with monkeypatch.context() as patched:
        patched.setattr(ScoreParts, "append", unplug)
        assert ending(run) == 3
    error = capsys.readouterr().err
    assert "images can no longer be read" in error and "of 60 are not scored yet" in error and len(kept) < 50
    assert not out.exists()
    (tmp_path / "unplugged").rename(disk)
    predict.main(list(map(str, run)))
    assert json.loads((tmp_path / "scores.json").read_text())["scored_now"] == 40
    undisturbed = undisturbed.assign(file=undisturbed["file"].str.replace(str(folder), str(disk)))
    assert is_complete(out, undisturbed)


def test_where_all_images_fail_the_command_fails(model, tmp_path, capsys):
    (tmp_path / "a.jpg").write_text("no image")
    assert ending([tmp_path, "--ckpt_path", model, "--out", tmp_path / "scores.csv"]) == 1
    assert "no image could be scored" in capsys.readouterr().err
    assert len(pd.read_csv(tmp_path / "scores.csv")) == 1


def test_a_score_that_is_no_number_is_a_failed_row(images, tmp_path):
    broken = write_tiny_model(tmp_path)
    network, card = model_file.load_model(broken)
    for weights in network.parameters():
        weights.data.fill_(torch.nan)
    model_file.save(network, broken / "model.safetensors", card)
    out = tmp_path / "scores.csv"
    assert ending([*images[:3], "--ckpt_path", broken, "--out", out]) == 1
    table = pd.read_csv(out)
    assert table["score"].isna().all() and table["error"].str.contains("the network's score is nan").all()
    assert json.loads((tmp_path / "scores.json").read_text())["failed"] == 3
    with pytest.raises(InputError, match="score of portrait 0 is nan"):
        scorer = Scorer.load(broken, device="cpu")
        scorer.score_portraits([Preparer(scorer.preparation)(images[0])])


def test_a_forked_process_is_told_why_it_cannot_score(model, images, monkeypatch):
    scorer = Scorer.load(model, device="cpu")
    monkeypatch.setattr(forks, "_forks", forks.forks() + 1)  # as in a child
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    for score in (lambda: scorer.score(images[:1]), lambda: scorer.score_portraits([])):
        with pytest.raises(InputError, match="this process was forked from one that had loaded the model"):
            score()


# What is replaced, and by whom


def test_photographs_are_never_replaced(model, tmp_path, capsys):
    files = write_images(tmp_path, 3)
    (tmp_path / "metadata.json").write_text('{"title": "album"}')
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for arguments in (["--out", *files], [tmp_path, "--out", files[1]], [files[0], "--out", tmp_path / "metadata.csv"]):
        assert ending(["--ckpt_path", model, *arguments]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("piqa: error: ")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_list_is_not_replaced_by_the_scores(model, images, tmp_path, capsys):
    predict.main([images[0], "--ckpt_path", str(model), "--out", str(tmp_path / "scores.csv")])
    assert ending(["--list", tmp_path / "scores.csv", "--ckpt_path", model, "--out", tmp_path / "scores.csv"]) == 2
    assert "is an input and would be replaced" in capsys.readouterr().err


def test_a_second_run_at_once_is_refused(model, images, tmp_path, capsys):
    out = tmp_path / "scores.csv"
    with locked(out):
        assert ending([*images[:2], "--ckpt_path", model, "--out", out]) == 2
    assert f"{out} is being written by process {os.getpid()}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# Signals


def started(*arguments, **settings):
    return subprocess.Popen(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings)


def children_of(process):
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()


@pytest.mark.slow
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_all_processes_in_one_line_and_costs_no_row(model, images, tmp_path, number, status):
    out = tmp_path / "scores.csv"
    default = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # background jobs are born deaf to Ctrl-C
    run = command(model, images, out, "--batch_size=1", "--workers=2")
    process = started(slowly(run), start_new_session=True, preexec_fn=default)
    wait_for_rows(out, 4, process)
    children = children_of(process)
    # Ctrl-C goes to all processes, and comes twice; SIGTERM goes to the first, and may come again.
    for _ in range(2):
        os.killpg(process.pid, number) if number == signal.SIGINT else process.send_signal(number)
        time.sleep(0.3)
    told = process.communicate(timeout=120)[1]
    assert process.returncode == status
    lines = [line for line in told.splitlines() if not line.endswith((" left", " ..."))]  # progress
    assert len(lines) == 1 and "what was scored is kept: give the command again to go on" in lines[0]
    assert len(children) >= 2 and all(map(ends, children))
    assert 4 <= rows_kept(out) < 60 and not list(tmp_path.glob(".*.lock"))


def test_an_image_named_twice_has_one_row(model, images, tmp_path):
    predict.predict([images[0], images[1], images[0]], str(model), str(tmp_path / "scores.csv"))
    assert pd.read_csv(tmp_path / "scores.csv")["file"].tolist() == images[:2]
