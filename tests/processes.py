"""Training runs on tiny data, some of them in processes of their own, started as a user starts them."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from lightning import Callback
from look_alike import write_csv_dataset

CONFIG = """
model:
  network:
    class_path: piqa.models.DualBranch
    init_args: {{backbone: {backbone}, branches: [whole, face], image_size: 64, dropout: {dropout}}}
  init: {{whole: scratch, face: scratch}}
  optimizer: {{class_path: torch.optim.{optimizer}, init_args: {{lr: 0.01{more}}}}}
data:
  table: {{class_path: piqa.data.CSVTable, init_args: {{csv: {csv}}}}}
  preparation: {{short_side: 72, face_rule: none}}
  store: {{folder: {folder}/store, workers: 0}}
  inputs: {{crop_size: 64, test_crops: one}}
  sampling: {{groups_per_step: 6, images_per_group: 4}}
  loading: {{workers: 0}}
trainer:
  max_epochs: 3
  accelerator: cpu
  precision: 32-true
  enable_progress_bar: false
  num_sanity_val_steps: 0
  log_every_n_steps: 1
checkpoint_every: 1
checkpoint_keep: 100
"""
# Everything that an exact resume must restore: BatchNorm's statistics, dropout, Adam's moments.
STATEFUL = {"backbone": "test_byobnet", "dropout": 0.1, "optimizer": "Adam", "more": ""}
# What is the same however it is shared out: LayerNorm alone, no dropout, and a first momentum that is the gradient.
EVEN = {"backbone": "test_convnext", "dropout": 0.0, "optimizer": "SGD", "more": ", momentum: 0.9"}
SIZES = {"test": [7], "val": [5, 4], "train": [10, 9, 8, 5]}  # images of each scene; 2 steps of 6 groups


def write_config(folder: Path, network, sizes=SIZES, name="config") -> Path:
    """A config and its data: scenes of these numbers of images."""
    scenes = [(split, size) for split, all_ in sizes.items() for size in all_]
    csv = write_csv_dataset(folder, len(scenes), max(size for _, size in scenes))
    rows = pd.read_csv(csv)
    rows["split"] = rows["scene"].map({f"scene_{number}": split for number, (split, _) in enumerate(scenes)})
    most = rows["scene"].map({f"scene_{number}": size for number, (_, size) in enumerate(scenes)})
    rows[rows.groupby("scene").cumcount() < most].to_csv(csv, index=False)
    config = folder / f"{name}.yaml"
    config.write_text(CONFIG.format(csv=csv, folder=folder, **network))
    return config


class WeightsOfEachProcess(Callback):
    """Writes the weights of every process at the end of training."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def on_train_end(self, trainer, task):
        torch.save(dict(task.network.named_parameters()), Path(self.folder) / f"{trainer.global_rank}.pt")


def fit_command(config, *arguments, launcher=()):
    return [sys.executable, *(launcher or ["-m"]), "piqa.fit", "--config", str(config), *map(str, arguments)]


def environment():
    """As a user's, without what other runs of this process have left; this file can be imported."""
    left = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "PL_GLOBAL_SEED")
    own = {name: value for name, value in os.environ.items() if name not in left}
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), str(Path(__file__).parent)]))
    return own | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, [path, own.get("PYTHONPATH")]))}


def run(command, status=0, timeout=600, **settings):
    """Runs a command to its end and gives what it wrote to stderr."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment(), **settings)
    assert done.returncode == status, done.stderr
    return done.stderr


def start(command):
    """Starts a command that the test will interrupt, as the leader of a process group of its own."""
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # background jobs are born deaf to Ctrl-C
    )


def wait_for_step(out: Path, step, process, seconds=300):
    """Waits for a checkpoint of this step or a later one; fails with the process's words if that ends before."""
    deadline = time.monotonic() + seconds
    while not any(int(file.stem[5:]) >= step for file in (out / "checkpoints").glob("step-*.ckpt")):
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, f"no step {step} in {out}"
        time.sleep(0.02)


def end(process):
    """Kills whatever a test has left of a process group."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.communicate()


def checkpoint(out, step=None):
    name = "last" if step is None else f"step-{step:07d}"
    return torch.load(Path(out) / "checkpoints" / f"{name}.ckpt", weights_only=True)


def weights(content):
    return content["state_dict"]


def gradient(content):
    """The gradient of the first step of SGD with momentum, as one vector."""
    return torch.cat([state["momentum_buffer"].flatten() for state in content["optimizer_states"][0]["state"].values()])


def same(first, second):
    """Whether two nested structures of tensors and numbers are equal to the last bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(value, second[name]) for name, value in first.items())
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return first == second


def metrics_of(out):
    """All metrics of a run, its interrupted parts included, as (step, column) -> value."""
    parts = [pd.read_csv(file) for file in [*sorted(Path(out).glob("metrics-*.csv")), Path(out) / "metrics.csv"]]
    values = {}
    for part in parts:
        for _, row in part.iterrows():
            for column, value in row.drop(["step", "epoch"]).dropna().items():
                assert (row["step"], column) not in values, "logged twice"
                values[int(row["step"]), column] = value
    return values
