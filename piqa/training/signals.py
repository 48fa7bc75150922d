"""How a training run ends early: on a signal, and in all of its processes at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote
from typing import NoReturn

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from piqa.errors import STOPPED, Stopped
from piqa.system.sigterm import sigterm_stops


def leave_together(trainer: Trainer, ending: BaseException) -> NoReturn:
    """End a run in all of its processes, which call this at the same point; the first process reports why.

    The others exit without an error of their own, so that no launcher kills the first before it has reported.
    """
    raise ending if trainer.is_global_zero else SystemExit(0)


@contextmanager
def stopped_in_one_line(kept: Callable[[], str], speaks: bool = True) -> Iterator[None]:
    """Run a training command; where Ctrl-C or SIGTERM ends it, whatever it is at, say in one line what is kept.

    In training, `StopOnSignal` takes the first signal.

    Args:
        kept: Return what is kept and how to go on.
        speaks: Whether this process reports it, as the first of several does.

    Raises:
        Stopped: In place of KeyboardInterrupt, and of the exit status 1 with which Lightning leaves after one.
        SystemExit: Instead, where this process does not speak.
    """
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        with sigterm_stops():
            yield
    except (KeyboardInterrupt, SystemExit) as stop:
        by_user = stop if isinstance(stop, KeyboardInterrupt) else stop.__context__
        if not isinstance(by_user, KeyboardInterrupt):
            raise
        status = by_user.exit_status if isinstance(by_user, Stopped) else STOPPED
        if not speaks:
            raise SystemExit(status) from stop
        raise Stopped(f"{str(by_user) or 'stopped by Ctrl-C'}; {kept()}", status) from stop
    finally:
        if main and handler is not None:
            signal.signal(signal.SIGINT, handler)  # Lightning ignores it from the first Ctrl-C on


def end_loading_processes() -> None:
    """End the loading processes that are left when the program exits, as when an error still holds their loader.

    `atexit` calls it before multiprocessing's own clean-up, which would wait forever: loading processes ignore SIGTERM.
    """
    left = [process for process in multiprocessing.active_children() if process.daemon]
    if left and hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would raise an error for each process
    for process in left:
        process.kill()


class StopOnSignal(Callback):
    """Ends training after a checkpoint on SIGTERM (a preemption) or Ctrl-C.

    The current step or validation is finished. Any of several processes may receive the signal: they agree once per
    step, where Lightning's own handler of SIGTERM, replaced here, communicates at any point of their work.

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

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install the handlers; Lightning restores the former ones when training ends."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._note)
            if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
                signal.signal(signal.SIGINT, self._note)

    on_train_start = on_sanity_check_start  # where there was no sanity check

    def _note(self, number: int, _: object) -> None:
        self._received = number
        if number == signal.SIGINT:  # a second Ctrl-C stops at once; a second SIGTERM may come from a launcher
            os.write(2, b"\npiqa: stopping after this step; Ctrl-C once more stops at once, without a checkpoint\n")
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        """Agree before the step ends, where the processes synchronise anyway."""
        self._signal = self._received
        if trainer.world_size > 1:
            number = torch.tensor(self._received, device=trainer.strategy.root_device)
            self._signal = int(trainer.strategy.reduce(number, reduce_op="max"))

    on_train_epoch_end = on_before_optimizer_step  # a signal may come during validation

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        """Exit after the checkpoint of a step, whose metrics are logged by then."""
        if not self.agreed:
            return
        done = f"piqa: stopped by {signal.Signals(self._signal).name} after step {trainer.global_step}"
        if trainer.is_global_zero:
            print(f"{done}; resume with `--ckpt_path {quote(str(self._last))}`", file=sys.stderr, flush=True)
        leave_together(trainer, SystemExit(128 + self._signal))

    on_train_epoch_start = on_train_end = on_train_batch_start  # after the checkpoint of an epoch, and before the test
