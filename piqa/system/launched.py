"""Processes that Lightning has started beside this one."""

from __future__ import annotations

import subprocess


def taken_from_launcher(launcher: object) -> list[subprocess.Popen[bytes]]:
    """Return the processes that Lightning has started, and let it forget them.

    Every few seconds Lightning looks at them, and kills this process without a word once one of them has failed: also
    while this one tells what has happened, or ends. A process that ends with a message of its own calls this first.

    Args:
        launcher: Of Lightning's strategy; None, or one that starts nothing, has no such processes.
    """
    watched: list[subprocess.Popen[bytes]] = getattr(launcher, "procs", [])
    processes = list(watched)
    watched.clear()  # in place: who watches holds this list
    return processes
