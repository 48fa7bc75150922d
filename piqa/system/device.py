"""Find out which devices and how many cores there are."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from piqa.errors import InputError

if TYPE_CHECKING:  # exported models run without it
    import torch

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def pick_device(name: str) -> torch.device:
    """Return the device of this name, such as `cuda:1`, or raise InputError; `auto` is the GPU where there is one."""
    import torch

    if name == "auto":
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        return accelerator or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"cannot use the device '{name}': {reason}; name another, or `auto`") from error
    return device


def computes_bfloat16(device: str) -> bool:
    """Return whether a device, `cpu` or `cuda`, multiplies bfloat16 matrices in hardware; False for any other."""
    import torch

    if device == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    # torch has no public question for a CPU; in a version without the private one the answer is no
    checks = [getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")]
    return device == "cpu" and any(check() for check in checks if check is not None)


def core_count() -> int:
    """Return the number of cores that this process may use: affinity and a container's CPU quota count, 1 at least."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min([cores, *map(_cgroup_quota, _cgroup_folders())])))


def _cgroup_folders() -> Iterator[Path]:
    """Yield the folders of the control groups (version 2 or 1) that this process belongs to, and of those above."""
    try:
        lines = OWN_CGROUPS.read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, group = line.split(":", maxsplit=2)
        if not controllers or "cpu" in controllers.split(","):
            top = CGROUPS / "cpu" if controllers else CGROUPS
            own = top / group.lstrip("/")  # in a container it may be the host's name, and not be there
            yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(top))


def _cgroup_quota(folder: Path) -> float:
    """Return the CPU quota of a control group, in cores; infinity where it has none."""
    for files in (["cpu.max"], ["cpu.cfs_quota_us", "cpu.cfs_period_us"]):
        with suppress(OSError, ValueError, ZeroDivisionError):  # absent, or "max": no quota
            quota, period = map(float, " ".join((folder / file).read_text() for file in files).split())
            return quota / period if quota > 0 else math.inf  # -1 is no quota in version 1
    return math.inf
