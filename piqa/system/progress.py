"""How far a long run is: a bar with rate and time left, or a line now and then where nobody can watch a bar."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

Advance = Callable[[int], None]


@contextmanager
def progress(
    total: int, done: int = 0, console: Console | None = None, every: float = 30.0, quiet: bool = False
) -> Iterator[Advance]:
    """Shows progress on stderr; gives a function that takes the number of images that were just done.

    Args:
        total: Images in all.
        done: Those that were done before.
        console: Where to show it; by default stderr.
        every: Seconds between lines, where that is no terminal.
        quiet: Whether to show nothing, as all but the first of several processes should.
    """
    console = console or Console(stderr=True, quiet=quiet)
    if console.is_terminal:
        columns = [TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn()]
        with Progress(*columns, console=console, speed_estimate_period=120) as bar:
            task = bar.add_task("", total=total, completed=done)
            yield lambda images: bar.advance(task, images)
    else:
        yield _Lines(total, done, console, every)


class _Lines:
    """Prints a line when the last one is long enough ago; the rate is that since then."""

    def __init__(self, total: int, done: int, console: Console, every: float) -> None:
        self._total, self._done, self._console, self._every = total, done, console, every
        self._last, self._done_then = time.monotonic(), done

    def __call__(self, images: int) -> None:
        self._done += images
        passed = time.monotonic() - self._last
        if passed < self._every or not passed:
            return
        rate = (self._done - self._done_then) / passed
        left = timedelta(seconds=round((self._total - self._done) / rate)) if rate else "unknown time"
        line = f"scoring: {self._done} of {self._total}, {_per_second(rate)}, {left} left"
        self._console.print(line, highlight=False, soft_wrap=True)
        self._last, self._done_then = time.monotonic(), self._done


class _Rate(ProgressColumn):
    """Images per second over the last two minutes."""

    def render(self, task: Task) -> Text:
        """The rate, or nothing where it is not known yet."""
        return Text("" if task.speed is None else _per_second(task.speed), style="progress.data.speed")


def _per_second(rate: float) -> str:
    return f"{rate:.2f} images/s" if rate < 10 else f"{rate:.0f} images/s"
