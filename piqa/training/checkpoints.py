"""Checkpoints of a training run: when and how they are written, and how a run is resumed from one."""

from __future__ import annotations

import math
import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint, WeightAveraging
from lightning.pytorch.utilities import rank_zero_warn

from piqa.errors import InputError
from piqa.system.files import replacing
from piqa.training.failures import death_of_loader
from piqa.training.signals import StopOnSignal, leave_together

State = dict[str, Any]  # content of a checkpoint
CHECKPOINTS = "checkpoints"
BEST, LAST = "best", "last"
AVERAGING = "averaging_state"  # where Lightning keeps in a checkpoint how many steps were averaged
STEP_FILE = re.compile(r"step-(\d{7,})\.ckpt")


def step_files(folder: Path) -> list[Path]:
    """Return the checkpoints of single steps in a folder, in the order of the steps."""
    numbers = {path: STEP_FILE.fullmatch(path.name) for path in folder.glob("step-*.ckpt")}
    return [path for _, path in sorted((int(found[1]), path) for path, found in numbers.items() if found)]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint atomically, on any disk, and reads nothing but plain data."""

    def save_checkpoint(self, checkpoint: State, path: str | Path, storage_options: Path | None = None) -> None:
        """Write a checkpoint, called in one process; `storage_options` is a second name for the same file, or None.

        Raises:
            InputError: If it cannot be written; a former checkpoint of that name is kept.
            RuntimeError: If a loading process dies meanwhile; it is kept then, too.
        """
        with replacing(path) as temporary, temporary.open("wb") as file:
            try:
                torch.save(checkpoint, file)
            except RuntimeError as error:  # how torch's writer reports a full disk
                if death_of_loader(error) is not None:  # nothing is wrong with the disk
                    raise
                raise OSError("not all of it could be written") from error
            file.flush()
            os.fsync(file.fileno())  # after a power cut the name must not point to bytes that were never written
        if storage_options is not None:
            with replacing(storage_options) as temporary:
                temporary.unlink()
                try:
                    os.link(path, temporary)
                except OSError:  # a file system without hard links
                    shutil.copyfile(path, temporary)

    def load_checkpoint(self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True) -> State:
        """Read a checkpoint; content that would run code is refused, whatever `weights_only` says."""
        content: State = torch.load(path, map_location=map_location, weights_only=True)
        return content


def save_together(trainer: Trainer, path: str | Path, also: Path | None = None) -> None:
    """Write a checkpoint, called by all processes; if the writing process fails, all of them end.

    Raises:
        InputError: If it cannot be written, or the weights are not finite, as such a checkpoint is useless.
    """
    failure = None
    parameters = trainer.lightning_module.parameters()
    if not all(bool(values.isfinite().all()) for values in parameters):  # the same in all processes
        failure = f"the weights are not finite after step {trainer.global_step}; start again with a lower learning rate"
    else:
        try:
            trainer.save_checkpoint(path, weights_only=False, storage_options=also)
        except InputError as error:  # in the writing process only, before the barrier at which the others wait
            failure = str(error)
            trainer.strategy.barrier()
        failure = trainer.strategy.broadcast(failure)
    if failure is not None:
        last = Path(path).with_name(f"{LAST}.ckpt")
        failure += f"; the last good checkpoint is {last}" if last.is_file() else ""
        leave_together(trainer, InputError(failure))


class BestCheckpoint(ModelCheckpoint):
    """Keeps the checkpoint with the highest measure, also when the run is resumed or its folder has been moved.

    A measure that is not defined, or not finite, never chooses a checkpoint.

    Args:
        folder: Folder of the checkpoint.
        measure: One of the measures that the task logs of the validation split.
    """

    def __init__(self, folder: Path, measure: str = "srocc") -> None:
        super().__init__(folder, BEST, monitor=f"val/{measure}", mode="max", enable_version_counter=False)

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        save_together(trainer, filepath)
        self._last_global_step_saved = trainer.global_step
        self._last_checkpoint_saved = filepath

    def check_monitor_top_k(self, trainer: Trainer, current: torch.Tensor | None = None) -> bool:
        """Whether this value, the same in all processes, is the best so far; Lightning takes NaN for one."""
        return current is not None and bool(current.isfinite()) and super().check_monitor_top_k(trainer, current)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: State) -> None:
        """Find the best checkpoint beside the resumed one, or else where it was when the resumed one was written."""
        state = checkpoint["callbacks"].get(self.state_key)
        if not state or not state["best_model_path"]:
            return
        if state["best_model_score"] is None or not math.isfinite(state["best_model_score"]):
            del checkpoint["callbacks"][
                self.state_key
            ]  # of version 0.1.0, which took an undefined measure for the best
            return
        beside = Path(str(trainer.ckpt_path)).resolve().with_name(f"{BEST}.ckpt")
        best = str(beside if beside.is_file() else state["best_model_path"])
        if not Path(best).is_file():
            rank_zero_warn(f"the best checkpoint so far, {best}, is missing; the best of later epochs will be kept")
            del checkpoint["callbacks"][self.state_key]
            return
        state |= {"dirpath": self.dirpath, "best_model_path": best, "kth_best_model_path": best}
        state["best_k_models"] = {best: state["best_model_score"]}


class LastCheckpoints(Checkpoint):
    """Writes a checkpoint every N optimiser steps, at the end of every epoch, and before a run stops on a signal.

    Each checkpoint is `step-<number>.ckpt`; the newest is also `last.ckpt`. If a validation follows the step, it is
    saved after the validation, so that no checkpoint lies between the two. Lightning's ModelCheckpoint takes either an
    interval of steps or one of epochs, saves before the validation, and without a measure keeps one checkpoint or all.

    Args:
        folder: Folder of the checkpoints.
        every: Optimiser steps between two checkpoints; 0 for the ends of epochs only.
        keep: Number of newest checkpoints to keep.
        stop: Knows when the run is to stop.

    Raises:
        InputError: If a number is out of range.
    """

    def __init__(self, folder: Path, every: int, keep: int, stop: StopOnSignal) -> None:
        if every < 0 or keep < 1:
            raise InputError(f"`checkpoint_every` must be at least 0 and `checkpoint_keep` 1, not {every} and {keep}")
        self.folder, self.last = folder, folder / f"{LAST}.ckpt"
        self._every, self._keep, self._stop = every, keep, stop
        self._due = False

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        """Save after a step that is due."""
        loop = trainer.fit_loop.epoch_loop
        if loop._should_accumulate() or loop.batch_progress.is_last_batch:  # the end of the epoch saves anyway
            return
        self._due = self._stop.agreed or (self._every > 0 and trainer.global_step % self._every == 0)
        if self._due and not loop._should_check_val_fx(trainer.fit_loop._data_fetcher):  # type: ignore[arg-type]
            self._save(trainer)

    def on_validation_end(self, trainer: Trainer, *_: object) -> None:
        """Save what waited for a validation in the middle of an epoch."""
        if self._due:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, *_: object) -> None:
        """Save after the validation of the epoch."""
        self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        self._due = False
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        save_together(trainer, self.folder / f"step-{trainer.global_step:07d}.ckpt", also=self.last)
        if trainer.is_global_zero:
            self._remove_old(trainer.global_step)

    def _remove_old(self, step: int) -> None:
        """Remove all but the newest checkpoints up to a step.

        Those of later steps, which there are where a run is resumed from an earlier one, stay until it has passed them.
        """
        passed = [file for file in step_files(self.folder) if int(file.stem.removeprefix("step-")) <= step]
        for file in passed[: -self._keep]:
            file.unlink(missing_ok=True)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: State) -> None:
        """Check that weights that were averaged are averaged further, and recount the finished batches."""
        averages = any(isinstance(callback, WeightAveraging) for callback in trainer.callbacks)  # type: ignore[attr-defined]
        if AVERAGING in checkpoint and not averages:
            raise InputError("the checkpoint is of a run whose weights were averaged; resume it with its `--ema_decay`")
        self._recount(trainer, checkpoint)

    def _recount(self, trainer: Trainer, checkpoint: State) -> None:
        """Recount the finished batches if steps are now accumulated from another number of batches."""
        loops = checkpoint["loops"]["fit_loop"]
        loaders = loops["state_dict"].get("combined_loader")
        accumulation_steps = trainer.accumulate_grad_batches
        if not loaders or loaders[0]["parts"] == accumulation_steps:
            return
        progress = loops["epoch_loop.batch_progress"]
        for count, steps in (("total", checkpoint["global_step"]), ("current", loaders[0]["steps"])):
            open_ = progress[count]["ready"] - progress[count]["completed"]  # 1 for a batch that is not completed
            progress[count] |= dict.fromkeys(("ready", "started", "processed"), steps * accumulation_steps)
            progress[count]["completed"] = steps * accumulation_steps - open_
