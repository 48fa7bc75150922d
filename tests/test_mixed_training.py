"""LIQE's training on several databases, in one process and in two: interrupted, shared out, started as a user does."""

import json

import pytest
import torch
from look_alike_databases import write_bid, write_csiq
from processes import checkpoint, fit_command, metrics_of, run, same
from small_clip import VIT

from piqa import fit

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
TWO = ["--trainer.strategy", "ddp", "--trainer.devices", 2]
MIDDLE = 5  # of 8 steps, two an epoch: in the third epoch, the first whose losses are weighted

CONFIG = """
task: piqa.tasks.LIQETask
model:
  network: {{class_path: piqa.models.LIQE, init_args: {{architecture: {architecture}}}}}
  init: scratch
  optimizer: {{class_path: torch.optim.AdamW, init_args: {{lr: 0.001}}}}
data:
  table:
    class_path: piqa.data.Mix
    init_args:
      tables:
      - {{class_path: piqa.data.BID, init_args: {{root: {folder}/bid}}}}
      - {{class_path: piqa.data.CSIQ, init_args: {{root: {folder}/csiq}}}}
  preparation: {{short_side: 240, resize: shrink, face_rule: none}}
  store: {{folder: {folder}/store, workers: 0}}
  inputs: {{view: windows, flip: true}}
  sampling: {{pairs: databases, images_per_database: {{BID: 4, CSIQ: 6}}, steps_per_epoch: 2}}
  loading: {{workers: 0}}
trainer:
  max_epochs: 4
  accelerator: cpu
  precision: 32-true
  enable_progress_bar: false
  num_sanity_val_steps: 0
  log_every_n_steps: 1
checkpoint_every: 1
checkpoint_keep: 100
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    for name, write in {"bid": write_bid, "csiq": write_csiq}.items():
        (folder / name).mkdir()
        write(folder / name)
    config = folder / "config.yaml"
    config.write_text(CONFIG.format(architecture=json.dumps(VIT), folder=folder))
    return config


def assert_the_same_end(out, whole):
    ours, theirs = checkpoint(out), checkpoint(whole)
    for part in ("state_dict", "optimizer_states", "lr_schedulers", "loops", "global_step", "piqa_loss"):
        assert same(ours[part], theirs[part]), part
    assert ours["loss_weights"] == theirs["loss_weights"]
    assert metrics_of(out) == {key: value for key, value in metrics_of(whole).items() if key[0] >= MIDDLE}


def middle(whole):
    return whole / "checkpoints" / f"step-{MIDDLE:07d}.ckpt"


def test_a_run_that_is_resumed_in_the_middle_of_an_epoch_ends_with_the_same_bits(config, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "resumed"
    fit.main(["--config", str(config), "--out", str(whole)])
    logged = metrics_of(whole)
    assert {value for (_, name), value in logged.items() if name.startswith("train/weight")} - {1.0}
    assert any(name.startswith("train/loss/distortion") for _, name in logged)
    fit.main(["--config", str(config), "--out", str(out), "--ckpt_path", str(middle(whole))])
    assert_the_same_end(out, whole)


def test_two_processes_stay_alike_and_are_resumed_to_the_same_bits(config, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "resumed"
    each = ["--trainer.callbacks+=processes.WeightsOfEachProcess", f"--trainer.callbacks.folder={whole}"]
    run(fit_command(config, "--out", whole, *TWO, *each))
    first, second = (torch.load(whole / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    # What weighs the losses of the next epochs is counted over both: two steps, each of two shares.
    assert [count for _, count in checkpoint(whole)["loss_weights"]["sums"]] == [4, 4, 4]
    run(fit_command(config, "--out", out, *TWO, "--ckpt_path", middle(whole)))
    assert_the_same_end(out, whole)
