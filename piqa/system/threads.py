"""How many threads this process computes with, whoever computes: told to torch where it is there, and known without."""

from __future__ import annotations

import os
import sys

from piqa.system.device import core_count

VARIABLE = "OMP_NUM_THREADS"  # which torch, too, reads when it is imported


def thread_count() -> int:
    """Return torch's number of threads where torch is imported; else the environment's, else that of the cores."""
    if (torch := sys.modules.get("torch")) is not None:
        return int(torch.get_num_threads())
    given = os.environ.get(VARIABLE, "")
    return int(given) if given.isdigit() and int(given) > 0 else core_count()


def use_threads(count: int) -> None:
    """Make this process compute with so many threads from now on, without importing torch."""
    os.environ[VARIABLE] = str(count)
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(count)
