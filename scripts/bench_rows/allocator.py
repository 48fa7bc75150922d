"""The row on memory that is freed between the layers of a network: kept for the next layers, or returned."""

from __future__ import annotations

import time

import torch

from bench_rows.measure import Figures, Row, Settings, cpu_seconds, in_child, resident_mb, spread
from piqa.models.backbone import SWIN_B_384, Backbone
from piqa.system.memory import keep_freed_memory

IMAGES, CROPS = 4, 5  # what `piqa.predict` takes at once on a CPU


def freed_memory(settings: Settings) -> Row:
    """Time a pass of one backbone over the crops of a default batch, in fresh processes in turn."""
    ways = {"kept": True, "given back": False}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    peaks: dict[str, float] = {}
    for _ in range(settings.times(2)):
        for name, keep in ways.items():
            new, own, peaks[name] = in_child(passes, keep, settings.smoke, fresh=not settings.smoke)
            seconds[name] += new
            cpu[name] += own
    figures: dict[str, Figures] = {
        name: spread(seconds[name], cpu[name]) | {"peak_memory_mb": peaks[name]} for name in ways
    }
    return Row(
        row="freed-memory",
        what=f"one backbone over {IMAGES * CROPS} crops with bf16 weights on the CPU, in fresh processes; peak "
        "memory is the whole process's",
        ratio=figures["given back"]["median_s"] / figures["kept"]["median_s"],
        compared="crops/s with freed memory kept, the default : given back to the system at once",
        expected="no promise",
        clock="wall",
        ways=figures,
    )


def passes(keep: bool, smoke: bool) -> tuple[list[float], list[float], float]:
    """Return the seconds of each pass but the first, its CPU seconds, and the process's peak memory in MB."""
    if keep:
        keep_freed_memory()
    name, side = ("test_resnet", 64) if smoke else (SWIN_B_384, 384)
    backbone = Backbone(name, side).eval()
    backbone.net.to(torch.bfloat16)
    crops = torch.randint(0, 256, (IMAGES * CROPS, 3, side, side), dtype=torch.uint8)
    seconds, cpu = [], []
    with torch.inference_mode():
        for _ in range(4):
            start, cpu_start = time.perf_counter(), cpu_seconds()
            backbone(crops)
            seconds.append(time.perf_counter() - start)
            cpu.append(cpu_seconds() - cpu_start)
    return seconds[1:], cpu[1:], resident_mb("VmHWM")
