"""Training in two and three processes, started as a user starts them.

Gradients and weights are compared to a relative difference of 1e-5 of their norm: sums of float32 in another order.
"""

import signal
import time
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
import torch
from processes import (
    EVEN,
    checkpoint,
    end,
    fit_command,
    gradient,
    metrics_of,
    run,
    start,
    wait_for_step,
    weights,
    write_config,
)
from refusals import one_line

from piqa import fit

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
TOLERANCE = 1e-5
TWO, THREE = (["--trainer.strategy", "ddp", "--trainer.devices", count] for count in (2, 3))
GROUPS = "--data.sampling.groups_per_step"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return write_config(tmp_path_factory.mktemp("distributed"), EVEN)


def each_process(out):
    return ["--trainer.callbacks+=processes.WeightsOfEachProcess", f"--trainer.callbacks.folder={out}"]


@pytest.fixture(scope="module")
def one(config):
    out = config.parent / "one"
    fit.main(["--config", str(config), "--out", str(out), "--trainer.max_epochs", "2"])
    return out


@pytest.fixture(scope="module")
def two(config, one):
    """Lightning starts the second process."""
    out = config.parent / "two"
    run(fit_command(config, "--out", out, *TWO, "--trainer.max_epochs", 2, *each_process(out)))
    return out


@pytest.fixture(scope="module")
def three(config, one):
    """torchrun starts all three."""
    out = config.parent / "three"
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "3", "-m"]
    run(fit_command(config, "--out", out, *THREE, "--trainer.max_epochs", 2, *each_process(out), launcher=torchrun))
    return out


@pytest.fixture(params=["two", "three"])
def several(request):
    return request.getfixturevalue(request.param)


def relative(ours, theirs):
    return ((ours - theirs).norm() / theirs.norm()).item()


def flat(content):
    return torch.cat([value.flatten().float() for value in weights(content).values()])


def test_all_processes_end_with_the_same_weights(several):
    first, *others = [torch.load(file, weights_only=True) for file in sorted(several.glob("?.pt"))]
    assert len(others) == {"two": 1, "three": 2}[several.name]
    for other in others:
        assert all(torch.equal(first[name], other[name]) for name in first)


def test_the_gradient_of_a_step_is_that_of_one_process(one, several):
    assert gradient(checkpoint(one, 1)).norm() > 1e-3
    assert relative(gradient(checkpoint(several, 1)), gradient(checkpoint(one, 1))) < TOLERANCE


def test_accumulated_batches_give_the_gradient_of_the_undivided_step(config, one, tmp_path):
    accumulated = ["--trainer.accumulate_grad_batches", "3", "--trainer.max_epochs", "1"]
    fit.main(["--config", str(config), "--out", str(tmp_path), *accumulated])
    assert relative(gradient(checkpoint(tmp_path, 1)), gradient(checkpoint(one, 1))) < TOLERANCE
    assert checkpoint(tmp_path)["global_step"] == checkpoint(one, 2)["global_step"]


def test_training_ends_as_in_one_process(one, several):
    ours, theirs = flat(checkpoint(several)), flat(checkpoint(one))
    moved = (theirs - flat(checkpoint(one, 1))).norm()
    assert (ours - theirs).norm() < 1e-3 * moved
    assert metrics_of(several) == pytest.approx(metrics_of(one), abs=1e-4)


def test_every_test_image_is_scored_once(one, several):
    ours, theirs = (pd.read_csv(out / "test" / "predictions.csv") for out in (several, one))
    assert len(ours) == 7 and ours["image"].is_unique  # seven images on two and on three processes
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-4)


def test_one_scene_is_enough_for_two_processes_and_sigterm_to_one_stops_both(tmp_path, request):
    config = write_config(tmp_path, EVEN, {"test": [2], "val": [3], "train": [9]})
    out, two = tmp_path / "run", ["--trainer.devices", 2, "--trainer.strategy", "ddp", GROUPS, 2]
    process = start(fit_command(config, "--out", out, *two, "--trainer.max_epochs", 10000, "--checkpoint_keep", 2))
    request.addfinalizer(lambda: end(process))
    wait_for_step(out, 2, process)
    process.send_signal(signal.SIGTERM)  # to the process that the user has started, not to its child
    error = process.communicate(timeout=120)[1]
    assert process.returncode == 143 and "Traceback" not in error
    done = checkpoint(out)["global_step"]
    assert [line for line in error.splitlines() if line.startswith("piqa:")] == [
        f"piqa: stopped by SIGTERM after step {done}; resume with `--ckpt_path {out / 'checkpoints' / 'last.ckpt'}`"
    ]
    assert not _processes_of(out)


def _processes_of(out):
    """Command lines of processes that still train into this folder; a short while is theirs to end."""
    deadline = time.monotonic() + 120
    while left := [line for line in _command_lines() if str(out) in line]:
        if time.monotonic() > deadline:
            return left
        time.sleep(0.1)
    return []


def _command_lines():
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            yield file.read_text()


def test_a_run_goes_on_with_another_number_of_processes(config, one, two, tmp_path):
    middle = two / "checkpoints" / "step-0000003.ckpt"  # of two processes, in the middle of the second epoch
    fit.main(["--config", str(config), "--out", str(tmp_path), "--ckpt_path", str(middle), "--trainer.max_epochs", "2"])
    assert relative(flat(checkpoint(tmp_path)), flat(checkpoint(one))) < TOLERANCE
    logged = metrics_of(tmp_path)
    assert logged == pytest.approx({key: value for key, value in metrics_of(one).items() if key[0] >= 3}, abs=1e-4)


def test_what_is_no_number_stops_all_processes_with_one_line(config, tmp_path):
    overflow = ["--model.optimizer.lr", "1e30", "--checkpoint_every", "0"]
    error = run(fit_command(config, "--out", tmp_path / "run", *TWO, *overflow), status=2)
    (line,) = [line for line in error.splitlines() if line.startswith("piqa:")]
    assert "before step 2 (epoch 0)" in line and "images/scene_" in line and "Traceback" not in error


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([GROUPS, "2"], "2 groups a step do not give each of 3 processes one"),
        (
            ["--data.sampling.images_per_group", "40", "--data.table.csv", "{few}", GROUPS, "3"],
            "2 groups, fewer than the 3",
        ),
    ],
)
def test_too_many_processes_are_refused_before_anything_starts(config, tmp_path, capsys, settings, message):
    few = write_config(tmp_path / "few", EVEN, {"test": [2], "val": [3], "train": [3, 2]}).parent / "portraits.csv"
    arguments = ["--config", config, "--out", tmp_path / "run", "--data.store.folder", tmp_path / "store", *THREE]
    arguments += [argument.format(few=few) for argument in settings]
    assert message in one_line(capsys, lambda: fit.main(list(map(str, arguments))))
    assert not (tmp_path / "store").exists() and not (tmp_path / "run" / "checkpoints").exists()
