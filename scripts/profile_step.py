"""Profile the training step of the published network: which operations take its time.

    python scripts/profile_step.py --device cuda --out runs/gpu/profile.txt

The step is that of the row `training-step` of scripts/bench.py with the defaults: random weights, data in memory.
"""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import torch
from bench_rows.measure import Settings
from bench_rows.training import batch_of, defaults, network_of, trained

from piqa.errors import one_line_errors
from piqa.system.device import pick_device
from piqa.system.files import replacing

ROWS = 30  # of the table


def main(args: list[str] | None = None) -> None:
    """Profile, print the table and write it."""
    options = parse(args)
    with one_line_errors():
        table = profiled(Settings(pick_device(options.device), options.smoke), options.steps)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(options.out) as temporary:
            temporary.write_text(table, encoding="utf-8")
    print(table)


def parse(args: list[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", help="where the network runs: cpu, cuda, cuda:1, ...")
    parser.add_argument("--steps", type=int, default=5, help="steps besides those that warm up")
    parser.add_argument("--smoke", action="store_true", help="a tiny network, to check that the profile works")
    parser.add_argument("--out", type=Path, default=Path("runs/profile.txt"))
    return parser.parse_args(args)


def profiled(settings: Settings, steps: int) -> str:
    """Return the table of operations, those first that take most time on the device."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_float32_matmul_precision("high")  # what `piqa.fit` does
    cuda = settings.device.type == "cuda"
    groups, size = (1, 2) if settings.smoke else (2, 6) if cuda else (1, 4)
    batch = batch_of(groups, size, network_of(settings).image_size)
    activities = [torch.profiler.ProfilerActivity.CPU] + ([torch.profiler.ProfilerActivity.CUDA] if cuda else [])
    with torch.profiler.profile(activities=activities) as profile:
        trained(settings, defaults(settings.device), batch, steps)
    order = "self_cuda_time_total" if cuda else "self_cpu_time_total"
    return profile.key_averages().table(sort_by=order, row_limit=ROWS, max_name_column_width=60)


if __name__ == "__main__":
    main()
