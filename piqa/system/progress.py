"""How far a long run is: a bar with rate and time left, or a line now and then where no terminal shows a bar."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


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
        quiet: Whether to show nothing, as all but the first of several processes should.
        task: What is being done.
        unit: What the items are.
    """
    console = console or Console(stderr=True)
    if quiet:
        yield lambda items, note="": None
    elif console.is_terminal:
        columns = [
            TextColumn(task),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(unit),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        ]
        with Progress(*columns, console=console, speed_estimate_period=120) as bar:
            shown = bar.add_task("", total=total, completed=done, note="")
            yield lambda items, note="": bar.update(shown, advance=items, note=note)
    else:
        yield _Lines(total, done, console, every, task, unit)


class _Lines:
    """Prints a line when the last one is long enough ago; the rate is that since then."""

    def __init__(self, total: int, done: int, console: Console, every: float, task: str, unit: str) -> None:
        self._total, self._done, self._console, self._every = total, done, console, every
        self._task, self._unit = task, unit
        self._last, self._done_then = time.monotonic(), done

    def __call__(self, items: int, note: str = "") -> None:
        self._done += items
        passed = time.monotonic() - self._last
        if passed < self._every or not passed:
            return
        rate = (self._done - self._done_then) / passed
        left = timedelta(seconds=round((self._total - self._done) / rate)) if rate else "unknown time"
        line = f"{self._task}: {self._done} of {self._total}, {_per_second(rate, self._unit)}, {left} left"
        self._console.print(line + (f"; {note}" if note else ""), highlight=False, soft_wrap=True)
        self._last, self._done_then = time.monotonic(), self._done


class _Rate(ProgressColumn):
    """Items per second over the last two minutes."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        """Return the rate, or nothing where it is not known yet."""
        return Text("" if task.speed is None else _per_second(task.speed, self._unit), style="progress.data.speed")


def _per_second(rate: float, unit: str) -> str:
    return f"{rate:.2f} {unit}/s" if rate < 10 else f"{rate:.0f} {unit}/s"
