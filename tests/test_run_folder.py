"""What a run writes around its training: the folder, the record, the metrics, the checkpoints, the progress."""

import json
import math
import os
import signal
import subprocess
import time
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from refusals import refusal
from rich.console import Console

from piqa.errors import InputError, Stopped
from piqa.training import metrics_log
from piqa.training.checkpoints import BestCheckpoint, LastCheckpoints, step_files
from piqa.training.metrics_log import MetricsFile, keep_metrics
from piqa.training.progress_bar import TrainingProgress
from piqa.training.run_folder import claim_run, holds_run, newest_checkpoint, remove_former_run
from piqa.training.run_record import RunRecord, git_state
from piqa.training.signals import stopped_in_one_line


def write(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")


def names_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# The folder


def test_a_run_that_is_replaced_loses_only_what_piqa_wrote(tmp_path):
    claim_run(tmp_path, lambda path: False, overwrite=False)
    ours = ["checkpoints/best.ckpt", "checkpoints/step-0000012.ckpt", "metrics.csv", "metrics-2.csv", "model.json"]
    theirs = ["checkpoints/mine.ckpt", "checkpoints/step-12.ckpt", "metrics-mine.csv", "notes.txt", "test/notes.txt"]
    write(tmp_path, *ours, *theirs, "test/predictions.csv")
    assert holds_run(tmp_path)
    remove_former_run(tmp_path)
    assert names_in(tmp_path) == sorted([".piqa.json", *theirs])


RECORD = {"command": "x", "started": "x", "data": {}, "packages": {}, "git": None, "machine": {}}


@pytest.mark.parametrize("left", ["record.json", "checkpoint"])
def test_a_run_of_version_0_1_0_is_adopted(tmp_path, left):
    write(tmp_path, "metrics.csv", "checkpoints/last.ckpt")
    if left == "record.json":
        (tmp_path / "record.json").write_text(json.dumps(RECORD))
    claim_run(tmp_path, lambda path: left == "checkpoint", overwrite=False)
    assert (tmp_path / ".piqa.json").is_file()


def test_the_record_of_another_program_makes_no_run(tmp_path):
    (tmp_path / "record.json").write_text('{"command": "make", "started": "today"}')
    assert "are left alone" in refusal(lambda: claim_run(tmp_path, lambda path: False, overwrite=False))


def test_the_newest_checkpoint_is_that_of_the_highest_step_whatever_the_clock_says(tmp_path):
    write(tmp_path, *(f"checkpoints/step-{step:07d}.ckpt" for step in (9, 100, 12345678)))
    write(tmp_path, "checkpoints/step-final.ckpt")
    os.utime(tmp_path / "checkpoints" / "step-12345678.ckpt", (0, 0))
    assert newest_checkpoint(tmp_path).name == "step-12345678.ckpt"
    write(tmp_path, "checkpoints/last.ckpt")
    assert newest_checkpoint(tmp_path).name == "last.ckpt"


def test_old_checkpoints_go_by_their_step_and_those_of_others_stay(tmp_path):
    write(tmp_path, *(f"step-{step:07d}.ckpt" for step in (3, 4, 5, 8)), "step-final.ckpt")
    os.utime(tmp_path / "step-0000005.ckpt", (0, 0))
    LastCheckpoints(tmp_path, 0, 2, stop=None)._remove_old(5)  # resumed from step 3, of a run that had come to step 8
    assert names_in(tmp_path) == [f"step-{step:07d}.ckpt" for step in (4, 5, 8)] + ["step-final.ckpt"]
    assert len(step_files(tmp_path)) == 3


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_measure_that_is_not_finite_is_never_the_best(tmp_path, value):
    best = BestCheckpoint(tmp_path)
    assert not best.check_monitor_top_k(SimpleNamespace(), torch.tensor(value))
    assert best.check_monitor_top_k(SimpleNamespace(), torch.tensor(-0.5))


def test_a_best_checkpoint_that_version_0_1_0_chose_by_an_undefined_measure_is_forgotten(tmp_path):
    write(tmp_path, "best.ckpt")
    best = BestCheckpoint(tmp_path)
    state = best.state_dict() | {"best_model_path": "best.ckpt", "best_model_score": torch.tensor(-math.inf)}
    checkpoint = {"callbacks": {best.state_key: state}}
    best.on_load_checkpoint(SimpleNamespace(ckpt_path=tmp_path / "last.ckpt"), None, checkpoint)
    assert checkpoint["callbacks"] == {}


# The record


def content(folder):
    return json.loads((folder / "record.json").read_text())


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (InputError("no room"), "failed", "no room"),
        (RuntimeError("a bug\nin two lines"), "failed", "RuntimeError: a bug in two lines"),
        (Stopped("stopped by Ctrl-C"), "stopped", "stopped by Ctrl-C"),
        (SystemExit(143), "stopped", "SIGTERM"),
    ],
)
def test_the_record_is_there_from_the_start_and_says_what_ended_the_run(tmp_path, error, status, reason):
    record = RunRecord(tmp_path, "piqa fit")
    assert content(tmp_path)["status"] == "running" and content(tmp_path)["started"]
    with pytest.raises(type(error)), record.completed():
        record.add(data={"train": {"images": 3}})
        raise error
    found = content(tmp_path)
    assert (found["status"], found["reason"], found["data"]) == (status, reason, {"train": {"images": 3}})
    assert found["ended"] >= found["started"]


def test_a_resumed_run_keeps_its_former_sessions_and_a_new_one_does_not(tmp_path):
    for number in range(3):
        with RunRecord(tmp_path, f"piqa fit {number}").completed():
            pass
    assert [session["command"] for session in content(tmp_path)["earlier"]] == ["piqa fit 0", "piqa fit 1"]
    RunRecord(tmp_path, "piqa fit 3")
    RunRecord(tmp_path, "piqa fit 4")  # the one before was killed
    assert [session["status"] for session in content(tmp_path)["earlier"]] == ["finished"] * 3 + ["killed"]
    RunRecord(tmp_path, "piqa fit", new=True)
    assert content(tmp_path)["earlier"] == []


def test_the_git_state_is_that_of_the_package_alone(tmp_path):
    package = tmp_path / "site-packages" / "piqa"
    write(package, "__init__.py")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "another project"], check=True)
    assert git_state(package) is None
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "this project"], check=True)
    assert git_state(package)["changed"] is False
    write(package, "new.py")
    assert git_state(package)["changed"] is True


# The metrics


def test_metrics_are_rows_with_an_empty_cell_for_what_is_not_defined(tmp_path):
    log = MetricsFile(tmp_path)
    log.log_metrics({"epoch": 0, "loss": 0.5}, 0)
    log.log_metrics({"epoch": 0, "srocc": math.nan, "loss": 0.25}, 1)
    log.log_metrics({"epoch": 1, "loss": math.inf}, 2)
    lines = ["epoch,loss,srocc,step", "0,0.5,,0", "0,0.25,,1", "1,,,2"]
    assert (tmp_path / "metrics.csv").read_text().splitlines() == lines


def test_a_disk_that_fills_leaves_whole_rows_and_gets_one_line(tmp_path, monkeypatch):
    log = MetricsFile(tmp_path)
    for step in range(2):
        log.log_metrics({"loss": 0.5}, step)
    before = (tmp_path / "metrics.csv").read_text()
    opened = Path.open

    def full(path, mode="r", *arguments, **settings):
        if mode != "ab":
            return opened(path, mode, *arguments, **settings)
        opened(path, "ab").write(b"0.")  # what still found room
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    line = refusal(lambda: log.log_metrics({"loss": 0.5}, 2))
    assert str(tmp_path / "metrics.csv") in line and "No space left on device" in line
    assert (tmp_path / "metrics.csv").read_text() == before


def test_metrics_of_former_parts_are_never_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(metrics_log.torch, "load", lambda *arguments, **settings: {"global_step": 5})
    (tmp_path / "metrics-3.csv").write_text("step\n0\n")
    for text in ("step,loss\n4,1\n", "step,loss\n4,1\nhalf a r"):
        (tmp_path / "metrics.csv").write_text(text)
        keep_metrics(tmp_path, "last.ckpt")
    assert names_in(tmp_path) == ["metrics-3.csv", "metrics-4.csv", "metrics-5.csv"]


# Ctrl-C and progress


def test_the_exit_of_lightning_after_ctrl_c_becomes_one_line():
    with pytest.raises(Stopped, match=r"stopped by Ctrl-C; resume"), stopped_in_one_line(lambda: "resume"):
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise SystemExit(1)  # noqa: B904 (as Lightning does)
    with pytest.raises(Stopped, match=r"stopped by SIGTERM; resume") as end, stopped_in_one_line(lambda: "resume"):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert end.value.exit_status == 143
    with pytest.raises(SystemExit) as stop, stopped_in_one_line(lambda: "resume", speaks=False):
        raise KeyboardInterrupt
    assert stop.value.code == 130
    with pytest.raises(SystemExit) as stop, stopped_in_one_line(lambda: "resume"):
        raise SystemExit(143)
    assert stop.value.code == 143


@pytest.mark.parametrize("terminal", [True, False])
def test_training_shows_loss_srocc_and_pair_accuracy_in_one_line_and_leaves_it(terminal):
    out = StringIO()
    shown = TrainingProgress(Console(file=out, force_terminal=terminal, width=120), every=0)
    metrics = {"train/loss_step": 0.25, "train/loss_epoch": 0.125, "val/srocc": 0.75, "val/pair_accuracy": 0.875}
    trainer = SimpleNamespace(
        global_step=0, max_epochs=3, current_epoch=0, estimated_stepping_batches=12, callback_metrics=metrics
    )
    task = SimpleNamespace(monitor="srocc")
    shown.on_train_start(trainer, task)
    shown.on_train_epoch_start(trainer, task)
    for trainer.global_step in range(1, 5):
        shown.on_train_batch_end(trainer, task)
    shown.on_train_epoch_end(trainer, task)
    shown.on_train_end(trainer, task)
    text = out.getvalue()
    assert "epoch 1/3, loss 0.125, SROCC 0.750, pair accuracy 0.875, 0:00:00\n" in text
    assert "epoch 1/3, loss 0.250, SROCC 0.750, pair accuracy 0.875" in text
    assert ("4/12" if terminal else "training: 4 of 12, ") in text
    assert terminal or (" steps/s, " in text and " left; " in text)


def test_the_table_of_metrics_is_read_as_before(tmp_path):
    log = MetricsFile(tmp_path)
    log.log_metrics({"epoch": 3, "loss": 1}, 7)
    assert pd.read_csv(tmp_path / "metrics.csv").to_dict("records") == [{"epoch": 3, "loss": 1.0, "step": 7}]
