"""Teach a light network by the demo's model, and compare the two on scenes that neither has seen.

    python scripts/light_proof.py                 needs `runs/demo` of `make demo`; some minutes of two cores

The teacher scores the demo's training images and the pictures of further generated scenes; the student learns its
preferences alone, without any true score. Both are then measured by the true scores of held-out scenes: the demo's six
test scenes, and scenes of another seed. The bar, fixed beforehand: the student's mean SROCC is at least the teacher's
minus 0.02, with at most a tenth of the arithmetic of a score. All figures are of generated data with two sitters.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
from kept_runs import keep_runs

from piqa import Scorer, srocc
from piqa.data.cuts import Crops
from piqa.data.demo import write_demo
from piqa.distil import main as distil
from piqa.scoring.arithmetic import Arithmetic, score_arithmetic
from piqa.system.json_text import write_json

MOST_LOST = 0.02  # of SROCC
MOST_ARITHMETIC = 0.1  # of the teacher's
SEEDS = {"pictures": 1, "held out": 2}  # of generated scenes; the demo itself has 0


def main() -> None:
    """Train the student, measure both, print and write the comparison."""
    options = parse()
    folder, demo = Path(options.folder), Path("data/demo")
    keep_runs(folder, teacher=options.teacher, pictures=options.pictures, held_out=options.held_out, more=options.more)
    csvs = [write_demo(demo)]
    pictures = write_demo(folder / "pictures", SEEDS["pictures"], options.pictures, 1).parent / "images"
    csvs.append(write_demo(folder / "held_out", SEEDS["held out"], options.held_out + 2, options.held_out))
    student, start = folder / "student", time.process_time()
    if not (student / "model.safetensors").is_file():
        given = ["--config", "light_demo.yaml", "--teacher", options.teacher, "--pictures", str(pictures)]
        distil([*given, "--out", str(student), "--ckpt_path", "last", *options.more])
    truth = pd.concat([held_out(csv) for csv in csvs], ignore_index=True)
    ways: dict[str, tuple[str, Crops]] = {
        "teacher": (options.teacher, "five"),
        "teacher, one crop": (options.teacher, "one"),
        "student": (str(student), "five"),
    }
    scenes, found = {}, {}
    for name, (model, crops) in ways.items():
        scorer = Scorer.load(model, device="cpu")
        scenes[name] = by_scene(truth, scorer, crops)
        found[name] = score_arithmetic(scorer.network, scorer.preparation, scorer.crop_size, scorer.view, crops)
    report = compared(pd.DataFrame(scenes), found) | {"cpu_s": round(time.process_time() - start)}
    write_json(report, folder / "proof.json")
    print(json.dumps(report, indent=2))


def parse() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="runs/demo", help="the demo's model")
    parser.add_argument("--folder", default="runs/light_proof", help="where generated data, student and report go")
    parser.add_argument("--pictures", type=int, default=40, help="generated scenes without scores, of 16 pictures")
    parser.add_argument("--held-out", type=int, default=24, help="generated scenes to measure on")
    parser.add_argument("more", nargs="*", help="further arguments of piqa.distil, behind --")
    return parser.parse_args()


def held_out(csv: Path) -> pd.DataFrame:
    """Return the test images of a demo dataset, with their paths; scenes of several datasets stay apart."""
    table = pd.read_csv(csv)
    table = table[table["split"] == "test"]
    paths = [str(csv.parent / image) for image in table["image"]]
    return table.assign(path=paths, scene=f"{csv.parent}/" + table["scene"])


def by_scene(truth: pd.DataFrame, scorer: Scorer, crops: Crops) -> pd.Series[float]:
    """Return the SROCC of each held-out scene."""
    scored = truth.assign(prediction=scorer.score(truth["path"].tolist(), test_crops=crops, batch_size=16)["score"])
    return pd.Series({str(scene): srocc(one["score"], one["prediction"]) for scene, one in scored.groupby("scene")})


def compared(scenes: pd.DataFrame, found: dict[str, Arithmetic]) -> dict[str, object]:
    """Return mean SROCC and arithmetic of each way, and the student against the teacher with 95 % intervals."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(scenes), size=(5000, len(scenes)))

    def interval(values: pd.Series[float]) -> list[float]:
        return [round(float(end), 4) for end in np.quantile(values.to_numpy()[drawn].mean(axis=1), [0.025, 0.975])]

    report: dict[str, object] = {"scenes": len(scenes)}
    for name in scenes:
        own = {"srocc": round(float(scenes[name].mean()), 4), "interval": interval(scenes[name])}
        report[name] = own | {"mflop": round(found[name].flop / 1e6, 1), "parameters": found[name].parameters}
    for other in ("teacher", "teacher, one crop"):
        difference = scenes["student"] - scenes[other]
        share = found["student"].flop / found[other].flop
        report[f"student - {other}"] = {
            "srocc": round(float(difference.mean()), 4),
            "interval": interval(difference),
            "arithmetic": round(share, 4),
            "bar met": bool(difference.mean() >= -MOST_LOST and share <= MOST_ARITHMETIC),
        }
    return report


if __name__ == "__main__":
    main()
