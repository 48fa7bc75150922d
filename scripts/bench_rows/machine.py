"""The machine that is measured: its processor, its instructions, and how fast it multiplies matrices."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path

import torch

from bench_rows.measure import Figures, cores, synchronize

# Those that products of matrices are made of, by the names of /proc/cpuinfo: x86, then Arm.
INSTRUCTIONS = ("avx2", "fma", "avx512f", "avx512_fp16", "avx_vnni", "avx512_vnni", "avx512_bf16")
INSTRUCTIONS += ("amx_tile", "amx_bf16", "amx_int8", "asimddp", "i8mm", "bf16", "sve")
CPUINFO = Path("/proc/cpuinfo")
RATES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "int8": torch.int8}


def machine() -> Figures:
    """Return what the values depend on besides the program."""
    gpu = torch.cuda.is_available()
    return {
        **processor(CPUINFO.read_text() if CPUINFO.is_file() else ""),
        "cores": cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "gpu": torch.cuda.get_device_name() if gpu else None,
        "gpu_memory_gb": round(torch.cuda.get_device_properties(0).total_memory / 1e9, 1) if gpu else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.release()}",
    }


def processor(cpuinfo: str) -> Figures:
    """Return the name, family, model and instruction sets of the first processor in the text of /proc/cpuinfo."""
    first = cpuinfo.split("\n\n")[0].splitlines()
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first)}
    flags = facts.get("flags", facts.get("Features", "")).split()
    return {
        "cpu": facts.get("model name", "unknown"),
        "vendor": facts.get("vendor_id", facts.get("CPU implementer")),
        "family": facts.get("cpu family", facts.get("CPU architecture")),
        "model": facts.get("model", facts.get("CPU part")),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
    }


def matrix_rates(device: torch.device, smoke: bool) -> Figures:
    """Return the TFLOP/s of a large square matrix product by precision; int8's are of integers."""
    return {name: matrix_rate(device, dtype, smoke) for name, dtype in RATES.items()}


def matrix_rate(device: torch.device, dtype: torch.dtype, smoke: bool) -> float:
    """Return the TFLOP/s of a large square matrix product: the device's best rate.

    On a CPU it is that of all threads together, by their CPU seconds, so that a busy machine does not disturb it.
    """
    read, threads = (time.perf_counter, 1) if device.type == "cuda" else (time.process_time, torch.get_num_threads())
    side = 256 if smoke else 8192 if device.type == "cuda" else 2048
    if dtype == torch.int8:
        a, b = (torch.randint(-127, 128, (side, side), dtype=dtype, device=device) for _ in range(2))
        product = torch._int_mm
    else:
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        product = torch.mm
    best = float("inf")
    for _ in range(10):
        synchronize(device)
        start = read()
        product(a, b)
        synchronize(device)
        best = min(best, (read() - start) / threads)
    return 2 * side**3 / best / 1e12


def predicted(share: float, rate_ratio: float) -> float:
    """Return how many times faster a program becomes whose matrix products alone become faster (Amdahl's law).

    Args:
        share: Of the time before, that of the products.
        rate_ratio: How many times faster they are.

    Examples:
        >>> predicted(1.0, 4.0), predicted(0.0, 4.0)
        (4.0, 1.0)
        >>> round(predicted(0.9, 4.2), 2)
        3.18
    """
    return 1 / (1 - share + share / rate_ratio)
