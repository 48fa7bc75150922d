"""The row on scoring many images: as fast and as small at the end as at the start."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from bench_rows.measure import Row, RowsSoFar, Settings, processes_below, resident_mb, write_jpegs
from bench_rows.scoring import write_model

IMAGES, PART = 30_000, 1000  # all, and the first and last part that are compared


@dataclass(frozen=True)
class Glance:
    """The state of a running `piqa.predict`.

    Attributes:
        at: Seconds since the first glance.
        rows: Rows that it had written.
        memory_mb: Resident memory of all of its processes.
    """

    at: float
    rows: int
    memory_mb: float


def long_run(settings: Settings) -> Row:
    """Score a folder of images as a user does, in a process of its own that is watched from outside."""
    images = settings.images or (40 if settings.smoke else IMAGES)
    part = min(PART, images // 4)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_model(folder, replace(settings, smoke=True))  # the small backbone whatever the size
        glances = watch(folder, model, many_files(folder, images), settings.device)
    first, last = (part, 2 * part), (glances[-1].rows - part, glances[-1].rows)  # the first part warms up
    ways = {"last": window(glances, *last), "first": window(glances, *first)}
    growth = ways["last"]["memory_mb"] - ways["first"]["memory_mb"]
    return Row(
        row="long-run",
        what=f"`piqa.predict` on a folder of {images} JPEGs of 160 x 213 px, ResNet-10t at 64 px, five crops; the "
        f"{part} images after the first {part} are compared with the last {part}",
        ratio=ways["last"]["images_per_s"] / ways["first"]["images_per_s"],
        compared=f"images/s of the last {part} : of the first",
        expected=">= 0.98, memory growth < 50 MB",
        clock="wall",
        ways=ways,
        facts={"memory_growth_mb": growth, "peak_memory_mb": max(glance.memory_mb for glance in glances)},
    )


def many_files(folder: Path, number: int) -> Path:
    """Make a folder of this many images: a few real ones under many names."""
    (folder / "made").mkdir()
    (folder / "images").mkdir()
    made = write_jpegs(folder / "made", min(number, 50), 0.034)
    for index in range(number):
        os.link(made[index % len(made)], folder / "images" / f"{index:06}.jpg")
    return folder / "images"


def watch(folder: Path, model: Path, images: Path, device: torch.device) -> list[Glance]:
    """Run `piqa.predict`, and look at its rows and its memory twenty times a second."""
    written, log = RowsSoFar(folder / "scores.csv"), folder / "log.txt"
    command = [sys.executable, "-m", "piqa.predict", images, "--ckpt_path", model, "--device", device]
    glances: list[Glance] = []
    with log.open("w") as messages:
        process = subprocess.Popen(
            [*map(str, command), "--out", str(folder / "scores.csv")], stdout=messages, stderr=messages
        )
        start = time.perf_counter()
        try:
            while process.poll() is None:
                time.sleep(0.05)
                if rows := written.count():
                    memory = sum(resident_mb("VmRSS", one) for one in processes_below(process.pid))
                    glances.append(Glance(time.perf_counter() - start, rows, memory))
        finally:
            process.kill()
            process.wait()
    if process.returncode or not glances:
        raise RuntimeError(f"piqa.predict ended with {process.returncode}: {log.read_text()[-500:]}")
    return [glance for glance in glances if glance.memory_mb]


def window(glances: list[Glance], start: int, end: int) -> dict[str, float]:
    """Return the rate between two numbers of rows, and the memory in use meanwhile."""
    begun = next(glance for glance in glances if glance.rows >= start)
    done = next(glance for glance in glances if glance.rows >= end)
    if done.rows == begun.rows:
        raise RuntimeError(f"images {start} to {end} were scored between two looks; set more by --images")
    inside = [glance.memory_mb for glance in glances if begun.at <= glance.at <= done.at]
    return {
        "images_per_s": (done.rows - begun.rows) / (done.at - begun.at),
        "memory_mb": statistics.median(inside),
        "from": begun.rows,
        "to": done.rows,
    }
