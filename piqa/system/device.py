"""Which devices and how many cores there are."""

from __future__ import annotations

import math
import os
from pathlib import Path

import torch

from piqa.errors import InputError


def pick_device(name: str) -> torch.device:
    """The device that `cpu`, `cuda`, `cuda:1`, ... names; `auto` is the GPU where there is one.

    Raises:
        InputError: If there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"cannot use the device '{name}': {reason}; name another, or `auto`") from error
    return device


def computes_bfloat16(device: str) -> bool:
    """Whether a device, `cpu` or `cuda`, multiplies matrices of bfloat16 in hardware; of any other it is not known."""
    if device == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    # torch has no public question for a CPU; in a version without the private one the answer is no
    checks = [getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")]
    return device == "cpu" and any(check() for check in checks if check is not None)


def core_count() -> int:
    """Return the number of cores that this process may use: affinity and a container's CPU quota count, 1 at least."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_cores()
    return max(1, cores if quota is None else min(cores, math.ceil(quota)))


def _cgroup_cores() -> float | None:
    """The CPU quota of this process's control group, in cores; None without one (version 2, then version 1)."""
    root = Path("/sys/fs/cgroup")
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = ((root / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        except OSError:
            return None
    try:
        cores = float(quota) / float(period)
    except (ValueError, ZeroDivisionError):  # "max": no quota
        return None
    return cores if cores > 0 else None
