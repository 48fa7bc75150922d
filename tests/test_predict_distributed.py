"""Two real processes, started by the command line, score what one would."""

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from lightning import Trainer
from lightning.fabric.plugins.environments import LightningEnvironment
from lightning.fabric.strategies.launchers.subprocess_script import _ChildProcessObserver
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from test_predict_faults import command, is_complete, rows_kept, slowly, wait_for_rows
from tiny_models import write_images, write_tiny_model

from piqa import predict
from piqa.cli import PiqaCLI
from piqa.errors import InputError
from piqa.scoring import distributed
from piqa.scoring.distributed import accelerator_of, score_on_devices
from piqa.scoring.resumable_csv import ScoreParts

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"), 41)


@pytest.fixture(scope="module")
def undisturbed(model, images, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "scores.csv"
    predict.predict(images, str(model), str(out))
    return pd.read_csv(out)


TWO = ("--device=cpu", "--devices=2", "--batch_size=1")


def test_two_processes_give_the_table_of_one(model, images, undisturbed, tmp_path):
    out = tmp_path / "scores.csv"
    done = subprocess.run(command(model, images, out, *TWO), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert is_complete(out, undisturbed)
    assert done.stdout.count("41 images") == 1  # the first process alone speaks
    assert json.loads((tmp_path / "scores.json").read_text())["devices"] == 2


def test_two_processes_measure_the_factors_that_one_does_and_sort_them(model, images, tmp_path):
    out, one = tmp_path / "scores.csv", tmp_path / "one.csv"
    options = ("--factors=true", "--sort=noise")
    done = subprocess.run(command(model, images, out, *TWO, *options), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    predict.main(command(model, images, one, *options)[3:])
    assert is_complete(out, pd.read_csv(one))
    assert pd.read_csv(out)["noise"].is_monotonic_increasing


def test_a_killed_run_of_two_goes_on_in_one(model, images, undisturbed, tmp_path):
    out = tmp_path / "scores.csv"
    run = command(model, images, out, *TWO)
    process = subprocess.Popen(slowly(run), stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    wait_for_rows(out, 4, process)
    os.killpg(process.pid, 9)
    process.communicate()
    kept = rows_kept(out)
    assert 4 <= kept < 41
    predict.main(command(model, images, out)[3:])
    assert is_complete(out, undisturbed)
    assert json.loads((tmp_path / "scores.json").read_text())["scored_now"] == 41 - kept


def test_a_killed_process_of_two_is_told_and_costs_no_row(model, images, undisturbed, tmp_path):
    out = tmp_path / "scores.csv"
    run = command(model, images, out, *TWO)
    process = subprocess.Popen(slowly(run), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for_rows(out, 4, process)
    (second,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(second), 9)
    told = process.communicate(timeout=300)[1]
    assert "Traceback" not in told and not out.exists()
    # By the first process, when it looks for the other in the end, or, if that takes longer, by Lightning.
    assert (process.returncode, "another of the scoring processes has ended early" in told) in [(2, True), (-9, False)]
    predict.main(command(model, images, out)[3:])
    assert is_complete(out, undisturbed)


@pytest.fixture
def watched(monkeypatch):
    """Lightning's launcher with a process that has failed, and how often its watch has killed this process."""
    killed = []
    monkeypatch.setattr(_ChildProcessObserver, "_terminate_all", lambda self: killed.append(self))
    launcher = _SubprocessScriptLauncher(LightningEnvironment(), num_processes=2, num_nodes=1)
    launcher.procs = [subprocess.Popen([sys.executable, "-S", "-c", "raise SystemExit(3)"])]
    launcher.procs[0].wait()
    watch = _ChildProcessObserver(os.getpid(), launcher.procs)
    yield launcher, lambda: (watch._run(), len(killed))
    watch._run()


def test_who_tells_of_a_dead_process_is_not_killed_by_lightning_meanwhile(watched, monkeypatch):
    launcher, look = watched
    assert look() == (True, 1)  # as long as nothing is told

    class Ends(Trainer):
        def predict(self, *_, **__):
            raise InputError("another process has ended early")

    monkeypatch.setattr(distributed, "Trainer", Ends)
    monkeypatch.setattr(DDPStrategy, "launcher", launcher, raising=False)
    with pytest.raises(InputError, match="another process has ended early"):
        score_on_devices(SimpleNamespace(open=ExitStack()), "cpu", 2, 1)
    assert look() == (True, 1)


def test_who_ends_the_other_processes_of_a_training_is_not_killed_by_lightning_meanwhile(watched):
    launcher, look = watched
    sleeps = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
    launcher.procs.append(sleeps)
    PiqaCLI._end_other_processes(SimpleNamespace(trainer=SimpleNamespace(strategy=SimpleNamespace(launcher=launcher))))
    assert sleeps.wait() == -signal.SIGKILL and look() == (True, 0)


def test_processes_of_a_launcher_meet_even_where_nothing_is_left_to_score(
    model, images, undisturbed, tmp_path, monkeypatch
):
    out = tmp_path / "scores.csv"
    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(ScoreParts, "finish", lambda *_: (_ for _ in ()).throw(InputError("killed at the end")))
        predict.main(command(model, images, out)[3:])
    assert rows_kept(out) == 41
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    run = [sys.executable, *torchrun, *command(model, images, out, *TWO)[1:]]
    done = subprocess.run(run, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert is_complete(out, undisturbed)
    assert json.loads((tmp_path / "scores.json").read_text())["scored_now"] == 0


@pytest.mark.parametrize(
    ("device", "fault"), [("cuda:1", "`device` cuda:1 names one device"), ("cuda", r"there are \d+ GPUs but")]
)
def test_devices_that_are_not_there_are_told(device, fault):
    with pytest.raises(InputError, match=fault):
        accelerator_of(device, 1000)
