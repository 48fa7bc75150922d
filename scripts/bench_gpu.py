"""Measure a GPU in nine minutes at most: training, scoring, memory, a launcher with one process, and a profile.

    python scripts/bench_gpu.py                     # results go to runs/gpu
    python scripts/bench_gpu.py --show              # only tell the commands

Each step has its own limit of time, writes its own log, and is done whether or not an earlier one failed. Then
`python scripts/bench.py --show --out runs/gpu/bench.json --markdown BENCHMARKS.md` fills the page.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
LIMIT = 540  # seconds, of all steps together
ROWS = ["training-step", "scoring", "memory", "other-models"]


@dataclass(frozen=True)
class Step:
    """One command, and how long it may take in seconds."""

    name: str
    limit: int
    command: list[str]


def steps(out: Path) -> list[Step]:
    """Return what is done, in order; the first is what matters most."""
    python, demo = sys.executable, out / "demo"
    fit = ["piqa.fit", "--config", "demo.yaml", "--out", str(out / "one_process"), "--overwrite", "true"]
    fit += ["--data.table.csv", str(demo / "demo.csv"), "--data.store.folder", str(out / "store")]
    fit += ["--trainer.accelerator", "gpu", "--trainer.devices", "1", "--trainer.strategy", "ddp"]
    fit += ["--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false"]
    measured = ["--device", "cuda", "--repeats", "3", "--images", "400", "--out", str(out / "bench.json")]
    profile = ["--device", "cuda", "--out", str(out / "profile.txt")]
    return [
        Step("bench", 300, [python, "scripts/bench.py", *ROWS, *measured]),
        Step("profile", 70, [python, "scripts/profile_step.py", *profile]),
        Step("demo", 50, [python, "-m", "piqa.data.demo", str(demo)]),
        Step(
            "torchrun",
            120,
            [python, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1", "-m", *fit],
        ),
    ]


def main(args: list[str] | None = None) -> None:
    """Run the steps, or tell them; exit with status 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"), help="folder of the results and the logs")
    parser.add_argument("--show", action="store_true", help="tell the commands and run none")
    options = parser.parse_args(args)
    planned = steps(options.out if options.show else options.out.absolute())  # they run in the project's folder
    if options.show:
        for step in planned:
            print(f"{step.limit:4} s  {shlex.join(step.command)}")
        return
    options.out.mkdir(parents=True, exist_ok=True)
    outcomes = [run(step, options.out / f"{step.name}.log") for step in planned]
    sys.exit(not all(outcomes))


def run(step: Step, log: Path) -> bool:
    """Run a step within its limit, tell how it ended, and return whether it succeeded; its words go to the log."""
    start = time.monotonic()
    with log.open("w", encoding="utf-8") as words:
        try:
            done = subprocess.run(step.command, cwd=PROJECT, stdout=words, stderr=words, timeout=step.limit)
            ended = "done" if done.returncode == 0 else f"failed with status {done.returncode}"
        except subprocess.TimeoutExpired:
            ended = f"stopped after {step.limit} s"
    print(f"{step.name}: {ended}, {time.monotonic() - start:.0f} s; see {log}", flush=True)
    return ended == "done"


if __name__ == "__main__":
    main()
