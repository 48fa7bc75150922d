"""How a training run ends early: on a signal, and in all of its processes at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from pathlib import Path
from typing import NoReturn

import torch
from lightning.pytorch import Callback, Trainer


def leave_together(trainer: Trainer, ending: BaseException) -> NoReturn:
    """End a run in all of its processes, which call this at the same point; the first process reports why.

    The others exit without an error of their own, so that no launcher kills the first before it has reported.
    """
    raise ending if trainer.is_global_zero else SystemExit(0)


def end_loading_processes() -> None:
    """End the loading processes that are left when the program exits, as when an error still holds their loader.

    To be registered with `atexit`, which calls it before multiprocessing's own clean-up: that sends SIGTERM, which the
    loading processes ignore (`piqa.data.loader.ignore_signals`), and would wait for them forever.
    """
    left = [process for process in multiprocessing.active_children() if process.daemon]
    if left and hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would raise an error for each process
    for process in left:
        process.kill()


class StopOnSignal(Callback):
    """Ends training after a checkpoint on SIGTERM (a preemption) or Ctrl-C.

    The current step or validation is finished. With several processes any of them may receive the signal: they agree
    once per step. Lightning's handler of SIGTERM, which this one replaces while training runs, communicates with the
    other processes at any point of their work. Signals for Slurm's requeueing are left to Lightning.

    Args:
        last: The checkpoint to resume from, for the message.
    """

    def __init__(self, last: Path) -> None:
        self._last = last
        self._received = self._signal = 0

    @property
    def agreed(self) -> bool:
        """Whether all processes know that the run is to stop after this step."""
        return self._signal > 0

    def on_sanity_check_start(self, trainer: Trainer, *_: object) -> None:
        """Install the handlers; Lightning restores the former ones when training ends."""
        self._listen()

    def on_train_start(self, trainer: Trainer, *_: object) -> None:
        """Install the handlers where there was no sanity check."""
        self._listen()

    def _listen(self) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._note)
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                signal.signal(signal.SIGINT, self._note)

    def _note(self, number: int, _: object) -> None:
        self._received = number
        if number == signal.SIGINT:  # a second Ctrl-C stops at once; a second SIGTERM may come from a launcher
            os.write(2, b"\npiqa: stopping after this step; Ctrl-C once more stops at once, without a checkpoint\n")
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def on_before_optimizer_step(self, trainer: Trainer, *_: object) -> None:
        """Agree before the step ends, where the processes synchronise anyway."""
        self._agree(trainer)

    def on_train_epoch_end(self, trainer: Trainer, *_: object) -> None:
        """Agree on a signal that came during validation."""
        self._agree(trainer)

    def _agree(self, trainer: Trainer) -> None:
        self._signal = self._received
        if trainer.world_size > 1:
            number = torch.tensor(self._received, device=trainer.strategy.root_device)
            self._signal = int(trainer.strategy.reduce(number, reduce_op="max"))

    def on_train_epoch_start(self, trainer: Trainer, *_: object) -> None:
        """Exit after the checkpoint at the end of an epoch."""
        self._leave(trainer)

    def on_train_batch_start(self, trainer: Trainer, *_: object) -> None:
        """Exit after the checkpoint of a step; its metrics are logged by then."""
        self._leave(trainer)

    def on_train_end(self, trainer: Trainer, *_: object) -> None:
        """Exit after the last epoch, before the test."""
        self._leave(trainer)

    def _leave(self, trainer: Trainer) -> None:
        if not self.agreed:
            return
        name = signal.Signals(self._signal).name
        if trainer.is_global_zero:
            print(
                f"piqa: stopped by {name} after step {trainer.global_step}; resume with `--ckpt_path {self._last}`",
                file=sys.stderr,
                flush=True,
            )
        leave_together(trainer, SystemExit(128 + self._signal))
