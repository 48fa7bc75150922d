import io
import json
import os
import pickle
import re
import resource
import signal
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from processes import (
    EVEN,
    STATEFUL,
    checkpoint,
    end,
    fit_command,
    metrics_of,
    same,
    start,
    wait_for_step,
    weights,
    write_config,
)
from refusals import one_line

from piqa import fit
from piqa.errors import InputError
from piqa.tasks.ranking import RankingTask
from piqa.training.checkpoints import AtomicCheckpointIO, BestCheckpoint
from piqa.training.failures import failed_in_one_line
from piqa.training.metrics_log import MetricsFile

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return write_config(tmp_path_factory.mktemp("resume"), STATEFUL)


def train(config, out, *arguments):
    fit.main(["--config", str(config), "--out", str(out), *map(str, arguments)])
    return out


def step_file(out, step):
    return out / "checkpoints" / f"step-{step:07d}.ckpt"


@pytest.fixture(scope="module")
def through(config):
    """A run of 3 epochs of 2 steps that nothing interrupts."""
    return train(config, config.parent / "through")


def assert_as_if_never_stopped(out, through):
    ours, theirs = checkpoint(out), checkpoint(through)
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "loops", "global_step", "piqa_loss"):
        assert same(ours[part], theirs[part]), part


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_resumed_run_ends_with_the_same_bits_from_anywhere_in_an_epoch(config, through, tmp_path, step):
    out = train(config, tmp_path / "run", "--ckpt_path", step_file(through, step))
    assert_as_if_never_stopped(out, through)
    logged, expected = metrics_of(out), metrics_of(through)
    assert logged == {key: value for key, value in expected.items() if key[0] >= step}


VARIANTS = {
    "validation in the middle of epochs": ["--trainer.val_check_interval", "0.5"],
    "validation across epochs": ["--trainer.val_check_interval", "3", "--trainer.check_val_every_n_epoch", "null"],
    "accumulated batches": ["--trainer.accumulate_grad_batches", "3"],
    "reference pairs": ["--data.sampling.pairs", "reference", "--data.sampling.groups_per_step", "16"],
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_resume_is_exact_with(config, tmp_path, variant):
    settings = [*VARIANTS[variant], "--trainer.max_epochs", "2"]
    whole = train(config, tmp_path / "whole", *settings)
    for step in (1, 3):
        out = train(config, tmp_path / f"from {step}", *settings, "--ckpt_path", step_file(whole, step))
        assert_as_if_never_stopped(out, whole)
        expected = {key: value for key, value in metrics_of(whole).items() if key[0] >= step}
        assert metrics_of(out) == expected


def start_endless(config, out, request):
    """A run in a process of its own that is stopped at step 3 or a little later, in the middle of an epoch or not."""
    process = start(fit_command(config, "--out", out, "--data.loading.workers", 1, "--trainer.max_epochs", 10000))
    request.addfinalizer(lambda: end(process))
    wait_for_step(out, 3, process)
    return process


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_bits(config, tmp_path, request):
    out = tmp_path / "run"
    process = start_endless(config, out, request)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = checkpoint(out)["global_step"]
    longer = ["--data.loading.workers", 1, "--trainer.max_epochs", done // 2 + 2]
    through = train(config, tmp_path / "through", *longer)
    train(config, out, *longer, "--ckpt_path", "last")
    assert_as_if_never_stopped(out, through)
    logged, expected = metrics_of(out), metrics_of(through)
    assert logged.items() <= expected.items()
    assert {step for step, _ in expected.keys() - logged.keys()} <= {done - 1}  # killed before it was logged


@pytest.mark.slow
def test_a_loading_process_that_dies_is_told_in_one_line(config, tmp_path, request):
    process = start_endless(config, tmp_path / "run", request)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        pytest.skip("the system does not tell a process's children")
    workers = [child for child in children.read_text().split() if "piqa.fit" in _command_line(child)]
    assert workers
    os.kill(int(workers[0]), signal.SIGKILL)
    error = process.communicate(timeout=120)[1]
    assert process.returncode == 2 and "Traceback" not in error
    (line,) = [line for line in error.splitlines() if line.startswith("piqa:")]
    assert "process that loads images" in line and "--ckpt_path" in line


@pytest.mark.parametrize("step", ["training_step", "test_step"])
@pytest.mark.parametrize(
    "fault",
    [RuntimeError("DataLoader worker (pid 7) is killed"), ConnectionResetError(104, "reset by peer"), EOFError("end")],
)
def test_a_dead_loading_process_is_told_wherever_it_shows(config, tmp_path, capsys, monkeypatch, step, fault):
    """PyTorch notices a dead process, or reading from it fails first, in training as in the test at the end."""

    def dies(*_):
        raise fault

    monkeypatch.setattr(RankingTask, step, dies)
    line = one_line(capsys, lambda: train(config, tmp_path / "run 1", "--trainer.max_epochs", 1))
    assert "a process that loads images has died" in line and str(fault) in line
    last = tmp_path / "run 1" / "checkpoints" / "last.ckpt"
    kept = "start again" if step == "training_step" else f"resume with `--ckpt_path '{last}'`"
    assert kept in line and "--data.loading.workers" in line


@pytest.mark.parametrize("write", [1, 2, 4])
def test_a_loading_process_that_dies_while_a_checkpoint_is_written_is_no_fault_of_the_disk(tmp_path, write):
    """PyTorch tells it by a signal's handler, after which the writer of the file fails in its own way."""

    def tell(*_):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed")

    class Interrupted(io.FileIO):
        writes = 0

        def write(self, content):
            self.writes += 1
            if self.writes == write:
                signal.raise_signal(signal.SIGUSR1)
            return super().write(content)

    path, saver = tmp_path / "last.ckpt", AtomicCheckpointIO()
    saver.save_checkpoint({"step": 1}, path)
    before = signal.signal(signal.SIGUSR1, tell)
    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Path, "open", lambda self, mode: Interrupted(self, mode))
            with pytest.raises(InputError) as caught, failed_in_one_line(lambda: "all is kept", lambda: None):
                saver.save_checkpoint({"step": torch.arange(2)}, path)
    finally:
        signal.signal(signal.SIGUSR1, before)
    told = "(DataLoader worker (pid 7) is killed by signal: Killed); all is kept"
    assert f"a process that loads images has died, perhaps for lack of memory {told}" in str(caught.value)
    assert torch.load(path, weights_only=True) == {"step": 1} and [*tmp_path.iterdir()] == [path]


def _command_line(process):
    return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")


@pytest.mark.slow
def test_sigterm_to_all_processes_leaves_a_checkpoint_and_one_line(config, tmp_path, request):
    out = tmp_path / "run"
    process = start_endless(config, out, request)
    os.killpg(process.pid, signal.SIGTERM)  # as Slurm does it: the loader's workers get it too
    error = process.communicate(timeout=120)[1]
    assert process.returncode == 143 and "Traceback" not in error
    done = checkpoint(out)["global_step"]
    assert [line for line in error.splitlines() if line.startswith("piqa:")] == [
        f"piqa: stopped by SIGTERM after step {done}; resume with `--ckpt_path {out / 'checkpoints' / 'last.ckpt'}`"
    ]
    longer = ["--trainer.max_epochs", done // 2 + 1]
    through = train(config, tmp_path / "through", *longer)
    train(config, out, *longer, "--ckpt_path", "last")
    assert_as_if_never_stopped(out, through)
    assert metrics_of(out) == metrics_of(through)


def test_the_newest_checkpoints_are_kept_and_the_last_is_the_newest(config, tmp_path):
    out = train(config, tmp_path / "run", "--trainer.max_epochs", 2, "--checkpoint_keep", 2)
    names = sorted(file.name for file in (out / "checkpoints").iterdir())
    assert names == ["best.ckpt", "last.ckpt", "step-0000003.ckpt", "step-0000004.ckpt"]
    assert (out / "checkpoints" / "last.ckpt").samefile(step_file(out, 4))


def test_without_steps_between_there_is_a_checkpoint_an_epoch(config, tmp_path):
    out = train(config, tmp_path / "run", "--trainer.max_epochs", 2, "--checkpoint_every", 0)
    assert sorted(file.name for file in (out / "checkpoints").glob("step*")) == [
        "step-0000002.ckpt",
        "step-0000004.ckpt",
    ]


def test_replacing_a_run_removes_its_checkpoints(config, tmp_path):
    out = train(config, tmp_path / "run", "--trainer.max_epochs", 2)
    (out / "checkpoints" / "mine.ckpt").write_text("precious")
    train(config, out, "--trainer.max_epochs", 1, "--overwrite", "true")
    assert not step_file(out, 4).exists() and step_file(out, 2).exists()
    assert (out / "checkpoints" / "mine.ckpt").read_text() == "precious"


def test_last_starts_a_run_that_has_none_and_goes_on_with_one_that_has(config, tmp_path):
    out = train(config, tmp_path / "run", "--trainer.max_epochs", 1, "--ckpt_path", "last")
    assert checkpoint(out)["global_step"] == 2
    train(config, out, "--trainer.max_epochs", 2, "--ckpt_path", "last")
    assert checkpoint(out)["global_step"] == 4


def test_resuming_leaves_out_metrics_of_steps_that_are_done_again(config, through, tmp_path):
    out = train(config, tmp_path / "run", "--trainer.max_epochs", 2)
    train(config, out, "--ckpt_path", step_file(out, 3))
    assert metrics_of(out) == metrics_of(through)


@pytest.mark.parametrize(
    "changed",
    [["--data.sampling.groups_per_step", "4"], ["--seed_everything", "1"], ["--data.sampling.images_per_group", "5"]],
)
def test_an_epoch_is_not_gone_on_with_other_batches(config, through, tmp_path, capsys, changed):
    message = one_line(capsys, lambda: train(config, tmp_path / "run", "--ckpt_path", step_file(through, 3), *changed))
    assert changed[0].strip("-") in message and "from the end of" in message


def test_between_epochs_the_batches_may_change(config, through, tmp_path):
    out = train(config, tmp_path / "run", "--ckpt_path", step_file(through, 4), "--data.sampling.groups_per_step", 4)
    assert checkpoint(out)["global_step"] == 4 + 3  # 12 groups in steps of 4


@pytest.mark.parametrize("parts", [(1, 3), (3, 1), (3, 2)])
def test_an_epoch_may_go_on_with_another_number_of_accumulated_batches(tmp_path_factory, tmp_path, parts):
    config = write_config(tmp_path, EVEN)
    before, after = (["--trainer.max_epochs", 2, "--trainer.accumulate_grad_batches", count] for count in parts)
    whole = train(config, tmp_path / "whole", *before)
    out = train(config, tmp_path / "run", *after, "--ckpt_path", step_file(whole, 3))
    ours, theirs = checkpoint(out), checkpoint(whole)
    assert (ours["global_step"], ours["epoch"]) == (theirs["global_step"], theirs["epoch"])
    assert metrics_of(out).keys() == {key for key in metrics_of(whole) if key[0] >= 3}
    for name, value in weights(theirs).items():
        torch.testing.assert_close(weights(ours)[name], value, rtol=1e-4, atol=1e-5)


def test_a_full_disk_costs_one_line_and_no_checkpoint(config, tmp_path, capsys):
    out = train(config, tmp_path / "run", "--trainer.max_epochs", 1)
    before = (out / "checkpoints" / "last.ckpt").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, limits[1]))  # the write that reaches it fails
    try:
        line = one_line(capsys, lambda: train(config, out, "--ckpt_path", "last"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "cannot write" in line and "is there room" in line and "last.ckpt" in line
    assert (out / "checkpoints" / "last.ckpt").read_bytes() == before
    assert not [file for file in (out / "checkpoints").iterdir() if file.name.endswith(".part")]


def test_a_checkpoint_that_would_run_code_is_not_read(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    torch.save({"state_dict": Evil()}, tmp_path / "evil.ckpt")
    with pytest.raises(pickle.UnpicklingError, match="unsupported GLOBAL"):
        AtomicCheckpointIO().load_checkpoint(tmp_path / "evil.ckpt", weights_only=False)
    assert not (tmp_path / "ran").exists()


def test_the_best_checkpoint_is_found_where_the_run_was_moved_to(tmp_path):
    folder = tmp_path / "moved" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "best.ckpt").touch()
    best, score = BestCheckpoint(folder), torch.tensor(0.75)
    state = best.state_dict() | {
        "best_model_score": score,
        "best_model_path": "/gone/checkpoints/best.ckpt",
        "best_k_models": {"/gone/checkpoints/best.ckpt": score},
        "dirpath": "/gone/checkpoints",
    }
    checkpoint = {"callbacks": {best.state_key: state}}
    best.on_load_checkpoint(SimpleNamespace(ckpt_path=folder / "last.ckpt"), None, checkpoint)
    best.load_state_dict(checkpoint["callbacks"][best.state_key])
    assert best.best_model_path == str(folder / "best.ckpt")
    assert best.best_k_models == {str(folder / "best.ckpt"): score} and best.best_model_score == score


def test_scores_beyond_float32_stop_the_run_and_their_images_are_named(tmp_path, capsys):
    config, out = write_config(tmp_path, STATEFUL), tmp_path / "run"
    rows = pd.read_csv(tmp_path / "portraits.csv")
    rows.loc[rows["scene"] == "scene_4", "score"] = 1e39  # finite in the table's float64
    rows.to_csv(tmp_path / "portraits.csv", index=False)
    message = one_line(capsys, lambda: train(config, out))
    named = message.split("not finite: ")[1].split(". Look")[0].split(", ")
    assert named and set(named) <= set(rows.loc[rows["scene"] == "scene_4", "image"])
    step = int(re.search(r"before step (\d+) \(epoch 0\)", message)[1])
    if step > 1:
        assert "--ckpt_path" in message and checkpoint(out)["global_step"] == step - 1
    record = json.loads((out / "record.json").read_text())
    assert record["status"] == "failed" and "not finite" in record["reason"] and record["data"]["train"]["images"]


def test_a_disk_that_fills_at_the_metrics_costs_one_line_and_no_checkpoint(config, tmp_path, monkeypatch, capsys):
    log = MetricsFile.log_metrics

    def full(self, metrics, step=None):
        if step == 1:
            raise OSError(28, "No space left on device", str(tmp_path / "run" / "metrics.csv"))
        log(self, metrics, step)

    monkeypatch.setattr(MetricsFile, "log_metrics", full)
    message = one_line(capsys, lambda: train(config, tmp_path / "run"))
    assert "metrics.csv: No space left on device" in message and "--ckpt_path" in message
    assert checkpoint(tmp_path / "run")["global_step"] == 1


def test_weights_that_overflow_stop_the_run_and_are_not_saved(config, tmp_path, capsys):
    out = tmp_path / "run"
    overflow = ["--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", "1e30"]
    message = one_line(capsys, lambda: train(config, out, *overflow))
    assert "not finite" in message and "start again" in message
    for file in (out / "checkpoints").glob("*.ckpt"):
        content = torch.load(file, weights_only=True)
        assert all(value.isfinite().all() for value in content["state_dict"].values())


def test_unreadable_numbers_of_checkpoints_are_refused(config, tmp_path, capsys):
    assert "checkpoint_keep" in one_line(capsys, lambda: train(config, tmp_path / "run", "--checkpoint_keep", 0))


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)
    with pytest.raises(InputError, match="cannot write"):
        AtomicCheckpointIO().save_checkpoint({"step": torch.zeros(3)}, tmp_path / "last.ckpt" / "below")
    assert torch.load(path, weights_only=True) == {"step": 1}
