"""What all rows share: settings, the ways of a row measured in turn, memory, images."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from PIL import Image

Clock = Literal["wall", "cpu"]
Result = TypeVar("Result")
Figures = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """How rows are measured.

    Attributes:
        device: Where networks run.
        smoke: Sizes that take seconds and prove nothing but that the row works.
        repeats: Measurements of each way; None takes the row's own number.
        images: Images of the long run and of the other models' memory; None takes the row's own number.
        pyiqa: The site-packages folder of an environment that has pyiqa; None looks for it in this one.
    """

    device: torch.device
    smoke: bool = False
    repeats: int | None = None
    images: int | None = None
    pyiqa: Path | None = None

    def times(self, usual: int) -> int:
        """Return how often a way is measured, if the row's own number is `usual`."""
        return self.repeats or (1 if self.smoke else usual)


@dataclass
class Row:
    """One line of the table: several ways of doing the same, and the ratio of two of them.

    Attributes:
        row: Its name on the command line.
        what: What was measured, and with what sizes.
        ratio: How many times better the first way named in `compared` is.
        compared: What the ratio is of.
        expected: What issue or design promise of it, in words.
        clock: Whether the ways' seconds are `wall` time, or `cpu` time of this process, which a busy machine does not
            disturb but which only suits what runs in one thread; `counted` where no time is measured.
        ways: Figures of each way: `median_s`, `min_s`, `max_s`, and whatever else the row tells, by name.
        facts: Figures of the row as a whole.
    """

    row: str
    what: str
    ratio: float
    compared: str
    expected: str
    clock: str
    ways: dict[str, Figures]
    facts: Figures = field(default_factory=dict)


def in_turn(
    ways: dict[str, Callable[[], object]], repeats: int, clock: Clock, device: torch.device, warm_up: int = 1
) -> dict[str, Figures]:
    """Time each way in turn, so that a busy moment affects all; the first `warm_up` calls do not count.

    Returns:
        By way: the median and range by the `clock`, and the median of its CPU seconds as `cpu_s`.
    """
    read = time.perf_counter if clock == "wall" else time.process_time
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(warm_up + repeats):
        for name, way in ways.items():
            synchronize(device)
            start, cpu_start = read(), cpu_seconds()
            way()
            synchronize(device)
            if repeat >= warm_up:
                seconds[name].append(read() - start)
                cpu[name].append(cpu_seconds() - cpu_start)
    return {name: spread(values, cpu[name]) for name, values in seconds.items()}


def cpu_seconds() -> float:
    """Return the CPU seconds of this process, all of its threads, and of the processes that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def spread(seconds: list[float], cpu: list[float]) -> Figures:
    """Return the median and range of one way's seconds, and the median of its CPU seconds."""
    return {
        "cpu_s": statistics.median(cpu),
        "median_s": statistics.median(seconds),
        "min_s": min(seconds),
        "max_s": max(seconds),
        "repeats": len(seconds),
    }


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Run a block with this many threads of torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_child(function: Callable[..., Result], *arguments: Any, fresh: bool = True) -> Result:
    """Call a function in a fresh process with as many threads, whose memory holds nothing of this process.

    Without `fresh` the process is the same for all such calls: one start instead of many, for the smoke test.
    """
    pool = new_child() if fresh else shared_child()
    try:
        pool.submit(torch.set_num_threads, torch.get_num_threads()).result()
        return pool.submit(function, *arguments).result()
    finally:
        if fresh:
            pool.shutdown()


def new_child() -> ProcessPoolExecutor:
    """Start a process that is no copy of this one."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


shared_child = cache(new_child)


class PeakMemory:
    """Measure the growth of memory to its peak inside a block, in MB: of a GPU, or of this process (Linux).

    Memory that the process holds already and uses again is not seen: measure in a fresh process, or large things.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.mb = 0.0

    def __enter__(self) -> PeakMemory:
        gc.collect()
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before = torch.cuda.memory_allocated(self._device) / 1e6
        else:
            if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
                libc.malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")  # makes the peak start again from here
            self._before = resident_mb("VmRSS")
        return self

    def __exit__(self, *_: object) -> None:
        cuda = self._device.type == "cuda"
        peak = torch.cuda.max_memory_allocated(self._device) / 1e6 if cuda else resident_mb("VmHWM")
        self.mb = max(peak - self._before, 0.0)


def resident_mb(which: Literal["VmRSS", "VmHWM"], process: int | str = "self") -> float:
    """Return the resident memory of a process now (VmRSS) or at its peak (VmHWM), in MB; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(which)), 0.0)


def processes_below(process: int) -> list[int]:
    """Return a process and all that it started, from /proc."""
    found = [process]
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:  # ended meanwhile
            continue
        for child in children:
            found += processes_below(int(child))
    return found


class RowsSoFar:
    """Count the rows that a running `piqa.predict` has written: the lines of its growing files but the first of each.

    Args:
        out: The CSV that it will write.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._read: dict[Path, int] = {}
        self._lines: dict[Path, int] = {}

    def count(self) -> int:
        """Return the number of rows so far; what was read before is not read again."""
        single, folder = (self._out.with_name(f".{self._out.name}.{name}") for name in ("part", "parts"))
        for path in (single, *folder.glob("*.jsonl")):
            try:
                with path.open("rb") as file:
                    file.seek(self._read.get(path, 0))
                    new = file.read()
            except OSError:  # it has been given its final name
                continue
            self._read[path] = self._read.get(path, 0) + len(new)
            self._lines[path] = self._lines.get(path, 0) + new.count(b"\n")
        return sum(max(lines - 1, 0) for lines in self._lines.values())


def portrait(megapixels: float) -> Image.Image:
    """Return the demo's astronaut, enlarged and stretched to 3:4 with this many million pixels."""
    import skimage.data

    side = (megapixels * 1e6 / 12) ** 0.5
    return Image.fromarray(skimage.data.astronaut()).resize(
        (round(3 * side), round(4 * side)), Image.Resampling.BICUBIC
    )


def write_jpegs(folder: Path, number: int, megapixels: float) -> list[Path]:
    """Write portraits as a camera does: JPEG of quality 92 with sensor noise, for realistic decoding times."""
    image = np.asarray(portrait(megapixels), dtype=np.int16)
    files = []
    for index in range(number):
        noise = np.random.default_rng(index).integers(-6, 7, image.shape, dtype=np.int16)
        files.append(folder / f"{index:04}.jpg")
        Image.fromarray((image + noise).clip(0, 255).astype(np.uint8)).save(files[-1], quality=92)
    return files


def forget() -> None:
    """Free what is no longer used, on the GPU too."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
