"""Made-up predictions of devices, and folders of shots, for the tests of comparisons."""

from pathlib import Path

import numpy as np
from PIL import ImageFilter
from portraits import collins, hopper

from piqa import compare
from piqa.system.csv_cells import csv_line

COLUMNS = ("image", "scene", "device", "condition", "prediction")


def rows_of(effects, scenes=12, repeats=1, noise=0.5, seed=0):
    """Rows of predictions: devices of known effects in scenes of their own levels; `repeats` by scene and device."""
    rng, rows = np.random.default_rng(seed), []
    for scene in range(scenes):
        level = rng.normal()
        for device, effect in effects.items():
            count = repeats(scene, device) if callable(repeats) else repeats
            for shot in range(count):
                value = level + effect + rng.normal(0, noise)
                condition = "Night" if scene % 2 else "Day"
                rows.append([f"{device}/{scene}-{shot}.jpg", f"scene {scene}", device, condition, float(value)])
    return rows


def write_rows(path: Path, rows, columns=COLUMNS) -> Path:
    path.write_text("".join(map(csv_line, [columns, *rows])), encoding="utf-8")
    return path


def write_shots(folder: Path, scenes=6, shots=lambda device, scene: 1, side=64) -> Path:
    """Write folders `a` and `b` with a folder for each scene; those of `b` are blurred. All files differ."""
    for scene in range(scenes):
        image = (collins() if scene % 2 else hopper()).resize((side, side)).rotate(2 * scene)
        for device, radius in (("a", 0.0), ("b", 1.5)):
            for shot in range(shots(device, scene)):
                file = folder / device / f"scene {scene}" / f"{shot}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                image.rotate(shot).filter(ImageFilter.GaussianBlur(radius)).save(file)
    return folder


def run(*arguments, out) -> int:
    """Run the command; return its exit status."""
    try:
        compare.main([*map(str, arguments), "--out", str(out)])
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def write_documented(folder: Path) -> None:
    """Write what the documentation's commands compare: shots of two phones, lists, predictions and labels."""
    shots = write_shots(folder / "shots", scenes=7, side=48)
    for device in "ab":
        (shots / device).rename(shots / f"phone_{device}")
    files = [(f"shots/phone_{d}/scene {s}/0.png", f"scene {s}", f"Phone {d}") for s in range(7) for d in "ab"]
    write_rows(folder / "shots.csv", files, ("file", "scene", "device"))
    light = [(f"scene {s}", "Night" if s % 2 else "Day") for s in range(7)]
    write_rows(folder / "light.csv", light, ("scene", "condition"))
    rows = rows_of({"A": 0.5, "B": 0.0}, scenes=8)
    write_rows(folder / "preds.csv", rows)
    write_rows(folder / "labels.csv", rows, ("image", "scene", "device", "condition", "score"))
