"""The row on how long a command takes from its start to its exit, most of which is imports."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_rows.measure import Figures, Row, Settings, portrait, spread
from bench_rows.scoring import write_model
from piqa.models import DualBranch
from piqa.weights import model_file
from piqa.weights.model_card import ClassSpec, ModelCard

BACKBONE, SIDE = "test_byobnet", 160  # those of the demo's model


def start_up(settings: Settings) -> Row:
    """Time fresh processes in turn: `piqa --help`, and one image scored by a model of the demo's size."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        network = DualBranch(BACKBONE, ["whole", "face"], SIDE)
        card = ModelCard(ClassSpec.of(network), {"short_side": 192}, crop_size=SIDE)
        model_file.save(network, folder / "model.safetensors", card)
        portrait(0.128).save(folder / "image.png")
        score = one_image("model.safetensors")
        libraries = "pandas" if settings.smoke else "timm, wandb, pandas, albumentations, piqa.preparation.video"
        in_full = f"import runpy, sys, {libraries}; sys.argv = sys.argv[1:]"
        in_full += "; runpy.run_module('piqa.predict', run_name='__main__')"
        ways = {
            "help": ["-m", "piqa", "--help"],
            "one image": score,
            "one image, everything imported": ["-c", in_full, *score[1:]],
        }
        if not settings.smoke:  # which differs from the small one in its size alone
            (folder / "full").mkdir()
            ways["one image, full model"] = one_image(write_model(folder / "full", settings))
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        cpu: dict[str, list[float]] = {way: [] for way in ways}
        warm_up = 0 if settings.smoke else 1  # the first one reads the files of the libraries from the disk
        for repeat in range(warm_up + settings.times(5)):
            for way, arguments in ways.items():
                out = [f"{len(seconds[way])}-{list(ways).index(way)}-{repeat}.csv"] if "--out" in arguments else []
                wall, own = timed([*arguments, *out], folder)
                if repeat >= warm_up:
                    seconds[way].append(wall)
                    cpu[way].append(own)
    figures: dict[str, Figures] = {way: spread(seconds[way], cpu[way]) for way in ways}
    return Row(
        row="start-up",
        what="`piqa --help`, and `piqa.predict` of one small image by a model of the demo's size and by the published "
        "network with LIQE, random weights, on the CPU, from the start of the process to its exit",
        ratio=figures["one image, everything imported"]["cpu_s"] / figures["one image"]["cpu_s"],
        compared="CPU seconds of one image with all that the libraries import : as it is",
        expected="help < 0.5 s, one image < 3 s on a machine that does nothing else",
        clock="wall",
        ways=figures,
    )


def one_image(model: str | Path) -> list[str]:
    """Return the arguments of Python that score one image; the file to write is missing at their end."""
    return ["-m", "piqa.predict", "image.png", "--ckpt_path", str(model), "--device", "cpu", "--out"]


def timed(arguments: list[str], folder: Path) -> tuple[float, float]:
    """Return wall-clock and CPU seconds of a Python process in a folder.

    Raises:
        RuntimeError: If the process fails.
    """
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    project = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": project},
        capture_output=True,
        text=True,
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
