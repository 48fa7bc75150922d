"""SIGTERM as an exception, so that what is open is closed and worker processes end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from piqa.errors import Stopped


@contextmanager
def sigterm_stops() -> Iterator[None]:
    """While the block runs, SIGTERM raises Stopped in it, with the exit status that a shell gives to this signal.

    Where the main thread does not run the block, or somebody else handles the signal, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def stop(number: int, _: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # launchers send it again and again
        raise Stopped("stopped by SIGTERM", 128 + number)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
