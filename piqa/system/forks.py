"""Processes that were forked: in them neither CUDA nor the threads of torch work, and a computation waits for ever."""

from __future__ import annotations

import os

from piqa.errors import InputError
from piqa.system.threads import thread_count

_forks = 0


def _count() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count)


def forks() -> int:
    """Return how many times this process, or one that it comes from, was forked since this module was imported."""
    return _forks


def check_process(loaded_at: int, device: str, threads: int | None = None) -> None:
    """Check that networks can compute in this process.

    Args:
        loaded_at: What `forks` returned when they were loaded.
        device: `cpu` or `cuda`; one thread of a CPU computes in a forked process, too.
        threads: How many compute on a CPU; by default as many as torch's.

    Raises:
        InputError: If this process was forked since, so that they would wait for ever.
    """
    if _forks > loaded_at and (device != "cpu" or (thread_count() if threads is None else threads) > 1):
        raise InputError(
            "this process was forked from one that had loaded the model, and torch does not compute in it; start it by "
            "multiprocessing.get_context('spawn'), or call torch.set_num_threads(1) in it first"
        )
