"""A training run shows one line of steps, loss and measures, and leaves a line of every epoch."""

import io

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from rich.console import Console

from piqa.training.progress_bar import TrainingProgress


class Task(BoringModel):
    """Lightning's own example, with the measures that piqa's tasks log."""

    monitor = "mean_of_three"

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)["loss"]
        self.log("train/loss", loss, on_step=True, on_epoch=True)
        return loss

    def on_validation_epoch_end(self):
        self.log_dict({"val/mean_of_three": 0.75, "val/srocc": 0.5, "val/pair_accuracy": 0.625})


def lines_of(folder, what, terminal=False):
    """Train or validate; return what was shown."""
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=terminal, width=200)
    trainer = Trainer(
        max_epochs=2,
        limit_train_batches=3,
        limit_val_batches=2,
        num_sanity_val_steps=1,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        accelerator="cpu",
        default_root_dir=folder,
        callbacks=[TrainingProgress(console, every=1e-9)],
    )
    getattr(trainer, what)(Task())
    return shown.getvalue().splitlines()


@pytest.mark.parametrize("terminal", [False, True])
def test_an_epoch_leaves_one_line_with_loss_and_measures(tmp_path, terminal):
    lines = lines_of(tmp_path, "fit", terminal)
    epochs = [line[line.index("epoch ") :] for line in lines if ", 0:00:0" in line and "left" not in line]
    assert len(epochs) == 2
    for number, line in enumerate(epochs, start=1):
        start, *parts = line.split(", ")
        assert start == f"epoch {number}/2"
        assert parts[0].startswith("loss ") and float(parts[0].removeprefix("loss ")) > 0
        assert parts[1:4] == ["mean of three 0.750", "SROCC 0.500", "pair accuracy 0.625"]


def test_without_a_terminal_the_steps_of_the_whole_training_are_counted(tmp_path):
    lines = [line for line in lines_of(tmp_path, "fit") if " left" in line]
    assert {line.split(":")[0] for line in lines} == {"training"}  # validation does not begin a count of its own
    counts = [line.split(",")[0] for line in lines]
    assert list(dict.fromkeys(counts)) == [f"training: {step} of 6" for step in range(1, 7)]


def test_a_validation_alone_counts_its_batches(tmp_path):
    lines = [line for line in lines_of(tmp_path, "validate") if " left" in line]
    assert [line.split(",")[0] for line in lines] == ["validating: 1 of 2", "validating: 2 of 2"]
