"""What a training run shows of itself: one bar, a line an epoch, or lines now and then where there is no terminal."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from datetime import timedelta

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from piqa.system.progress import Advance, progress

SHOWN = {"srocc": "SROCC", "plcc": "PLCC", "pair_accuracy": "pair accuracy", "accuracy": "accuracy"}
REFRESH = 0.5  # seconds between two looks at the loss, for which the host waits for the device


def measure_name(measure: str) -> str:
    """Return a measure as people write it.

    Examples:
        >>> measure_name("srocc"), measure_name("mean_of_three")
        ('SROCC', 'mean of three')
    """
    return SHOWN.get(measure, measure.replace("_", " "))


class TrainingProgress(ProgressBar):
    """Shows steps, rate, time left, loss and measures of training in one line, and leaves a line of every epoch.

    Args:
        console: Where to; by default stderr.
        every: Seconds between lines, where that is not a terminal.
    """

    def __init__(self, console: Console | None = None, every: float = 30.0) -> None:
        super().__init__()
        self._console, self._every = console or Console(stderr=True), every
        self._shown = ExitStack()
        self._bar: Progress | None = None
        self._advance: Advance | None = None  # of the phase that is shown
        self._task: TaskID | None = None
        self._enabled = True
        self._begun = self._looked = 0.0
        self._steps = 0
        self._loss = ""

    def enable(self) -> None:
        """Show."""
        self._enabled = True

    def disable(self) -> None:
        """Show nothing, as all but the first of several processes should."""
        self._enabled = False

    def _begin(self, what: str, total: float, done: int, unit: str) -> None:
        """Show a phase, in place of the one before."""
        self._end()
        if not self._enabled:
            return
        known = int(total) if math.isfinite(total) and total > 0 else 0
        if self._console.is_terminal:
            columns = [TextColumn(what), BarColumn(12), MofNCompleteColumn(), TimeRemainingColumn(compact=True)]
            note = TextColumn("{task.fields[note]}", table_column=None)
            self._bar = Progress(*columns, note, console=self._console, transient=True, speed_estimate_period=120)
            self._shown.enter_context(self._bar)
            self._task = self._bar.add_task("", total=known or None, completed=done, note="")
        else:
            shown = progress(known, done, self._console, self._every, task=what, unit=unit)
            self._advance = self._shown.enter_context(shown)

    def _move(self, items: int, note: str = "") -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=items, note=note)
        elif self._advance is not None:
            self._advance(items, note)

    def _end(self) -> None:
        self._shown.close()
        self._shown, self._bar, self._advance, self._task = ExitStack(), None, None, None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with the steps that a resumed run has done."""
        self._steps, self._begun = trainer.global_step, time.monotonic()
        self._begin("training", trainer.estimated_stepping_batches, self._steps, "steps")

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the time of the epoch."""
        self._begun = time.monotonic()

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        """Count a step; look at the loss now and then."""
        new = trainer.global_step - self._steps
        if not new or not self._enabled:
            return
        self._steps = trainer.global_step
        if time.monotonic() - self._looked >= REFRESH:
            self._looked = time.monotonic()
            self._loss = _value(trainer, "train/loss_step", "loss")
        self._move(new, _joined(_epoch(trainer), self._loss, *_measures(trainer, pl_module)))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave a line of the epoch, which follows its validation."""
        loss = _value(trainer, "train/loss_epoch", "loss") or self._loss
        taken = f"{timedelta(seconds=round(time.monotonic() - self._begun))}"
        if self._enabled:
            line = _joined(_epoch(trainer), loss, *_measures(trainer, pl_module), taken)
            self._console.print(line, highlight=False, soft_wrap=True)
            self._move(0, _joined(_epoch(trainer), self._loss, *_measures(trainer, pl_module)))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the bar."""
        self._end()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """End the bar, so that the terminal is as it was."""
        self._end()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the validation of a network that is not trained; in training the bar of the steps stays."""
        if trainer.state.fn == "validate":
            self._begin("validating", sum(trainer.num_val_batches), 0, "batches")

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *batch: object) -> None:
        """Count a batch; in training, say how far the validation is."""
        if trainer.sanity_checking:
            return
        if trainer.state.fn == "validate":
            self._move(1)
        else:
            done = f"validating {int(str(batch[2])) + 1}/{sum(trainer.num_val_batches):g}" if len(batch) > 2 else ""
            self._move(0, _joined(_epoch(trainer), self._loss, done))

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the bar of a network that is not trained."""
        if trainer.state.fn == "validate":
            self._end()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the test."""
        self._begin("testing", sum(trainer.num_test_batches), 0, "batches")

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        """Count a batch."""
        self._move(1)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the bar."""
        self._end()


def _epoch(trainer: Trainer) -> str:
    last = trainer.max_epochs
    return f"epoch {trainer.current_epoch + 1}" + (f"/{last}" if last is not None and last > 0 else "")


def _measures(trainer: Trainer, task: LightningModule) -> list[str]:
    """Return the measures of the last validation: what chooses the checkpoint, SROCC, pair accuracy."""
    names = dict.fromkeys([str(getattr(task, "monitor", "srocc")), "srocc", "pair_accuracy"])
    return [_value(trainer, f"val/{name}", measure_name(name)) for name in names]


def _value(trainer: Trainer, name: str, shown: str) -> str:
    """Return `loss 0.123`, or nothing where it is not known yet."""
    value = trainer.callback_metrics.get(name)
    return "" if value is None else f"{shown} {float(torch.as_tensor(value)):.3f}"


def _joined(*parts: str) -> str:
    return ", ".join(filter(None, parts))
