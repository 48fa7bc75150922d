"""How far a long run is: a bar with rate and time left, or a line now and then where no terminal shows a bar."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

_silent = ContextVar("silent", default=False)


class Advance(Protocol):
    """Reports the number of items that were just done, and what else to show."""

    def __call__(self, items: int, note: str = "") -> None:
        """Count the items as done; show the note in place of the last one."""


@contextmanager
def progress(
    total: int,
    done: int = 0,
    console: Console | None = None,
    every: float = 30.0,
    first: float = 5.0,
    quiet: bool = False,
    *,
    task: str = "scoring",
    unit: str = "images",
) -> Iterator[Advance]:
    """Show progress; yield a function that takes the number of items that were just done.

    Args:
        total: Number of items in all.
        done: Number of items that were done before.
        console: Where to show it; by default stderr.
        every: Seconds between lines, where that is not a terminal.
        first: Seconds from the first items to the first line, so that it is soon known how long all takes.
        quiet: Whether to show nothing, as all but the first of several processes should.
        task: What is being done.
        unit: What the items are.
    """
    console = console or Console(stderr=True)
    if quiet or _silent.get():
        yield lambda items, note="": None
    elif console.is_terminal:
        note_column = TextColumn("{task.fields[note]}")
        columns = [TextColumn(task), BarColumn(), MofNCompleteColumn(), _Rate(unit), TimeRemainingColumn(), note_column]
        with Progress(*columns, console=console, speed_estimate_period=120) as bar:
            shown = bar.add_task("", total=total, completed=done, note="")
            yield lambda items, note="": bar.update(shown, advance=items, note=note)
    else:
        last, done_then = time.monotonic(), done
        pause, started = min(first, every), False

        def advance(items: int, note: str = "") -> None:
            """Print a line when the last one is long enough ago; the rate is that since then."""
            nonlocal done, last, done_then, pause, started
            done += items
            passed = time.monotonic() - last
            if not started and passed < every:  # what it takes to start says nothing of the rate
                last, done_then, started = time.monotonic(), done, True
                return
            if passed < pause or not passed:
                return
            rate = (done - done_then) / passed
            left = timedelta(seconds=round((total - done) / rate)) if rate else "unknown time"
            line = f"{task}: {done} of {total}, {_per_second(rate, unit)}, {left} left"
            console.print(line + (f"; {note}" if note else ""), highlight=False, soft_wrap=True)
            last, done_then, pause, started = time.monotonic(), done, every, True

        yield advance


@contextmanager
def without_progress() -> Iterator[None]:
    """Show no progress of what this thread does in the block, as for a client of a server."""
    before = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(before)


@contextmanager
def told_if_slow(text: str, after: float = 5.0) -> Iterator[None]:
    """Say on stderr what is being done, once the block has taken some seconds."""
    timer = threading.Timer(after, lambda: print(f"{text} ...", file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class _Rate(TextColumn):
    """Items per second over the last two minutes; made with the unit of the items."""

    def render(self, task: Task) -> Text:
        """Return the rate, or nothing where it is not known yet."""
        rate = "" if task.speed is None else _per_second(task.speed, self.text_format)
        return Text(rate, style="progress.data.speed")


def _per_second(rate: float, unit: str) -> str:
    return f"{rate:.2f} {unit}/s" if rate < 10 else f"{rate:.0f} {unit}/s"
