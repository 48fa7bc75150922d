"""Whether processes are running, as /proc tells."""

import time
from pathlib import Path


def is_running(process):
    """Whether a process is there and is no zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def ends(process):
    """Whether a process is gone in two minutes: one that is killed, or whose parent has ended, takes a moment."""
    for _ in range(1200):
        if not is_running(process):
            return True
        time.sleep(0.1)
    return False
