"""Score hostile image files by the real `piqa.predict`: `python scripts/fuzz_images.py 10000 --out runs/fuzz.csv`.

Each file must cost its own row and no more: no crash, no hang, no memory above a bound, one row each, in order. A
process scores many files with a tiny model, under limits on its memory and its time. If it dies or stops, the file that
it was scoring is kept and named, and a new process continues after it. The exit status is then 1.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import pandas as pd
from bench_rows.measure import RowsSoFar, resident_mb
from hostile_images import SIDE, hostile, sound, written
from rich.console import Console
from rich.progress import track
from rich.table import Table

from piqa.models import DualBranch
from piqa.preparation.portrait import Preparation
from piqa.system.files import replacing
from piqa.weights import model_file

TOGETHER = 500  # files that a process scores
STARTING = 300  # seconds that a process may take before its first row
HOPELESS = 20  # so many more faults than rows: the files are not the cause
REASONS = {
    "no image": "is not an image that",
    "no regular file": "not an image file",
    "too large a file": "MB that are read",
    "too many scans": "scans, made to take long",
    "holds too little": "too few for a picture",
    "a TIFF that is not read": "is not read; convert it",
    "a camera raw file": "a camera raw",
    "a thumbnail": "a reduced copy",
    "HDR": "an HDR image",
    "damaged": "is a damaged or truncated image",
    "too many pixels": "claims more than",
    "a strip": "are a strip",
    "unknown grey scale": "fit no known scale",
    "too little memory": "needs more memory than there is",
    "too much memory": "need more memory than is given",
}


def main(args: list[str] | None = None) -> None:
    """Make the files, score them, and report the outcomes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=at_least_one, metavar="N", help="number of files")
    parser.add_argument("--seed", type=int, default=0, help="seed of the damage")
    parser.add_argument("--memory", type=int, default=4000, help="limit in MB, above what the loaded program uses")
    parser.add_argument("--seconds", type=float, default=60, help="seconds after which a file counts as a hang")
    parser.add_argument("--out", type=Path, default=Path("runs/fuzz.csv"), help="CSV with one row per file")
    options = parser.parse_args(args)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # cleanly, so that no child process stays behind
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_model(folder)
        parts = [range(start, min(start + TOGETHER, options.files)) for start in range(0, options.files, TOGETHER)]
        rows: list[dict[str, object]] = []
        peaks = []
        for part in track(parts, description="fuzzing", console=Console(stderr=True)):
            found, peak = fuzz(part, folder, model, options)
            rows += found
            peaks.append(peak)
            table = pd.DataFrame(rows)
            with replacing(options.out) as temporary:  # after each part, as all of them may take long
                table.to_csv(temporary, index=False)
    report(table, max(peaks), options)
    sys.exit(bool(table["outcome"].isin(["crash", "hang"]).any()))


def at_least_one(text: str) -> int:
    """Parse a number of files."""
    if (number := int(text)) < 1:
        raise ValueError
    return number


def fuzz(
    numbers: range, folder: Path, model: Path, options: argparse.Namespace
) -> tuple[list[dict[str, object]], float]:
    """Score some files; return a row for each, and the peak memory in MB of the processes."""
    made = {number: hostile(options.seed, number) for number in numbers}
    files = [folder / f"{number:06}.{one.encoding.split(',')[0].lower()}" for number, one in made.items()]
    for file, one in zip(files, made.values(), strict=True):
        written(one, file)
    outcomes, peak = {}, 0.0
    for file, outcome, detail, memory in scored(files, folder, model, options):
        outcomes[file], peak = (outcome, detail), max(peak, memory)
        if outcome in ("crash", "hang") and file.is_file():
            options.out.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, options.out.parent / f"{outcome}-{file.name}")
    for file in files:
        file.unlink()
    return [
        {"number": number, "encoding": one.encoding, "damage": one.damage, "outcome": outcome, "detail": detail}
        for (number, one), (outcome, detail) in zip(made.items(), outcomes.values(), strict=True)
    ], peak


def scored(
    files: list[Path], folder: Path, model: Path, options: argparse.Namespace
) -> Iterator[tuple[Path, str, str, float]]:
    """Return each file with its outcome, a detail, and the peak memory of all.

    Where a process dies or hangs, it was at the first file without a row. That is left out, and a new process goes on
    by predict's own way of going on.
    """
    out, messages = folder / "scores.csv", folder / "messages.txt"
    for old in folder.glob("*scores.csv*"):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    left, faults, peak = list(files), {}, 0.0
    while left and not out.is_file():
        process = multiprocessing.get_context("spawn").Process(
            target=score, args=(left, model, out, options.memory, messages)
        )
        process.start()
        try:
            hung, own_peak = watched(process, out, options.seconds)
        finally:
            process.kill()
        peak = max(peak, own_peak)
        if not out.is_file():
            said = messages.read_text().strip().splitlines() if messages.is_file() else []
            detail = f"exit status {process.exitcode}: {said[-1] if said else 'no message'}"
            done = RowsSoFar(out).count()
            if done == len(left) or len(faults) - done >= HOPELESS:
                raise RuntimeError(f"scoring fails whatever the file: {detail}")
            faults[left.pop(done)] = ("hang" if hung else "crash", detail)
    rows = pd.read_csv(out, dtype={"file": str, "error": str}) if left else pd.DataFrame({"file": []})
    if rows["file"].tolist() != list(map(str, left)):
        raise RuntimeError("rows are missing, repeated, or out of order")
    outcomes = faults | {file: outcome_of(row) for file, row in zip(left, rows.itertuples(), strict=True)}
    for file in files:
        yield (file, *outcomes[file], peak)


def score(files: list[Path], model: Path, out: Path, memory: int, messages: Path) -> None:
    """Run `piqa.predict` in a child process, with a limit on memory once everything is loaded."""
    with messages.open("w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    from piqa.predict import predict

    warm = out.with_name("warm.png")
    warm.write_bytes(sound("PNG", 0))
    arguments = {"ckpt_path": str(model), "device": "cpu", "test_crops": "one", "batch_size": 1, "workers": 0}
    predict([str(warm)], out=str(out.with_name("warm.csv")), **arguments)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + memory * 1_000_000, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    predict([str(file) for file in files], out=str(out), **arguments)


def watched(process: multiprocessing.process.BaseProcess, out: Path, seconds: float) -> tuple[bool, float]:
    """Wait for a process, and end it if no row comes for too long; return whether it hung, and its peak in MB."""
    written = RowsSoFar(out)
    before = rows = written.count()
    since, peak = time.monotonic(), 0.0
    while process.is_alive():
        process.join(0.1)
        peak = max(peak, resident_mb("VmHWM", process.pid or 0))
        if (now := written.count()) != rows:
            rows, since = now, time.monotonic()
        if time.monotonic() - since > (STARTING if rows == before else seconds):
            process.kill()
            process.join()
            return True, peak
    return False, peak


def outcome_of(row: object) -> tuple[str, str]:
    """Return `read`, or why a file was refused."""
    error = getattr(row, "error", None)
    if not isinstance(error, str):
        return "read", ""
    reason = next((name for name, words in REASONS.items() if words in error), "other")
    return f"refused: {reason}", re.sub(r"\S*/\d{6}\.\w+:? ?", "", error)


def write_model(folder: Path) -> Path:
    """Write a tiny model file with random weights."""
    network = DualBranch("resnet10t", ("whole", "face"), image_size=64)
    card = {
        "network": {"class_path": "piqa.models.DualBranch", "init_args": network.init_args},
        "preparation": asdict(Preparation(short_side=72, detection_side=SIDE)),
        "crop": 64,
    }
    return model_file.save(network, folder / "model.safetensors", card)


def report(table: pd.DataFrame, peak: float, options: argparse.Namespace) -> None:
    """Print one line for each outcome, by file format."""
    formats = table["encoding"].str.split(",").str[0]
    counts = pd.crosstab(table["outcome"], formats)
    shown = Table("outcome", *counts.columns, "all")
    for outcome, row in counts.iterrows():
        shown.add_row(str(outcome), *map(str, row), str(row.sum()))
    console = Console()
    console.print(shown)
    console.print(
        f"{len(table)} files of seed {options.seed}: one row each, in order; "
        f"{(table['outcome'] == 'crash').sum()} crashes, {(table['outcome'] == 'hang').sum()} hangs of more than "
        f"{options.seconds:g} s; peak memory {peak:.0f} MB in all, with a limit of {options.memory} MB above the "
        f"loaded program; {options.out}",
        soft_wrap=True,
        highlight=False,
    )


if __name__ == "__main__":
    main()
