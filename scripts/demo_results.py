"""Train the demo's model on shuffled scores, as a control, and print the README's table of results.

    make demo && python scripts/demo_results.py

The scores are shuffled among all images that are not in the test split. The evaluation is on the true scores of the
test split, as the demo's own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from piqa import fit

DATA, RUNS = Path("data/demo"), Path("runs")
ROWS = [
    "the demo's scores",
    "the same, shuffled among the training images: a control",
    "shuffled a second time",
    "a third time",
    "a fourth time",
]


def main() -> None:
    """Train each control that has not been trained, and print a row for the demo and for each of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--controls", type=int, default=len(ROWS) - 1, choices=range(len(ROWS)))
    controls = parser.parse_args().controls
    for seed in range(1, controls + 1):
        out = RUNS / f"demo_control_{seed}"
        if not (out / "test/per_scene.csv").is_file():
            fit.main(["--config", "demo.yaml", "--data.table.csv", str(shuffled(seed)), "--out", str(out)])
    print("| trained on | SROCC over 6 held-out scenes, mean | median | worst | best |\n|---|---|---|---|---|")
    runs = [RUNS / "demo", *(RUNS / f"demo_control_{seed}" for seed in range(1, controls + 1))]
    for name, out in zip(ROWS, runs, strict=False):
        srocc = pd.read_csv(out / "test/per_scene.csv").set_index("scene")["srocc"]
        values = (srocc.mean(), srocc.median(), srocc.min(), srocc.max())
        print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in values) + " |")


def shuffled(seed: int) -> Path:
    """Write a CSV beside the demo's whose scores are shuffled outside the test split; return its path."""
    table = pd.read_csv(DATA / "demo.csv")
    free = table.index[table["split"] != "test"]
    order = np.random.default_rng(seed).permutation(free)
    table.loc[free, ["score", "score_std"]] = table.loc[order, ["score", "score_std"]].to_numpy()
    table.to_csv(path := DATA / f"shuffled_{seed}.csv", index=False)
    return path


if __name__ == "__main__":
    main()
