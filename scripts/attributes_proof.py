"""Compare one network with three heads with three single networks, on the demo's three attributes.

    python scripts/attributes_proof.py                      two seeds; about three minutes of one core
    python scripts/attributes_proof.py --seeds 5 --epochs 20

Each of the three single networks learns one attribute (overall, detail, exposure) by `piqa.tasks.RankingTask`; the one
network has the same backbone once, a head for each attribute, and learns all by `piqa.tasks.AttributesTask`. Both ways
see the same images in the same order for the same number of epochs, so that the one network costs a third of the passes
through a backbone. No checkpoint is chosen: the weights of the last epoch are tested.

Printed is, for each attribute, the mean SROCC over test scenes and seeds of both ways, and the mean difference with a
95 % bootstrap interval over test scenes. "No worse" means that the whole interval lies above minus the margin. The
demo's labels are generated and its people are two: the numbers say how the two ways compare there, nothing about PIQ23.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from lightning import Trainer, seed_everything

from piqa.data import CSVTable, InputOptions, LoadingOptions, PortraitData, SamplingOptions, StoreOptions
from piqa.data.demo import ATTRIBUTES, write_demo
from piqa.evaluation.attributes import OVERALL, attribute_table
from piqa.evaluation.metrics import per_scene
from piqa.models import DualBranch
from piqa.preparation.portrait import Preparation
from piqa.tasks import AttributesTask, RankingTask, ScoringTask

NAMES = (OVERALL, *ATTRIBUTES)
BACKBONE, SIDE = "test_byobnet", 96  # as the demo's, which sees 160 px and the face as well
RATE = 1e-3
MARGIN = 0.02  # of SROCC: a loss that is not worth three times the cost
BOOTSTRAP_SAMPLES = 5000


def data_of(folder: Path, attribute: str | None, seed: int) -> PortraitData:
    """Return the demo's data; `attribute` becomes the score, None leaves all three."""
    columns = {kind: f"{kind}.{attribute}" for kind in ("score", "score_std")}
    table = CSVTable(folder / "demo.csv", columns=columns if attribute in ATTRIBUTES else None)
    return PortraitData(
        table,
        Preparation(short_side=SIDE + 16, face_rule="none"),
        store=StoreOptions(str(folder / "store"), workers=0, device="cpu"),
        inputs=InputOptions(crop_size=SIDE, flip=True),
        sampling=SamplingOptions(groups_per_step=4, images_per_group=8),
        loading=LoadingOptions(eval_batch_size=32, workers=0),
        validation_fraction=0.01,  # a scene, which is not looked at
        seed=seed,
    )


def trained(task: ScoringTask, data: PortraitData, epochs: int) -> pd.DataFrame:
    """Train a task; return the table of predictions of the test scenes."""
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = Trainer(accelerator="cpu", max_epochs=epochs, limit_val_batches=0, use_distributed_sampler=False, **quiet)
    trainer.fit(task, data)
    trainer.test(task, data, verbose=False)
    assert task.test_table is not None
    return task.test_table


def task_of(kind: type[RankingTask], attributes: Sequence[str], epochs: int) -> RankingTask:
    """Return a task with a network from scratch, whose rate falls to 0 over the epochs."""
    network = DualBranch(BACKBONE, ("whole",), SIDE, attributes=attributes)
    return kind(
        network,
        optimizer=lambda weights: torch.optim.Adam(weights, lr=RATE),
        schedule=lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs),
    )


def compare(folder: Path, seeds: int, epochs: int) -> tuple[pd.DataFrame, dict[str, float]]:
    """Train both ways with several seeds.

    Args:
        folder: The demo's.
        seeds: How many.
        epochs: Of every training.

    Returns:
        SROCCs by `seed`, `scene`, `attribute` and `way` (`one` or `three`), and the CPU seconds of each way.
    """
    rows, seconds = [], {"one": 0.0, "three": 0.0}
    for seed in range(seeds):
        for way, learnt in (("one", (None,)), ("three", NAMES)):
            for attribute in learnt:
                seed_everything(seed, verbose=False)
                kind, heads = (AttributesTask, tuple(ATTRIBUTES)) if attribute is None else (RankingTask, ())
                begun = time.process_time()
                with contextlib.redirect_stdout(io.StringIO()):
                    table = trained(task_of(kind, heads, epochs), data_of(folder, attribute, seed), epochs)
                seconds[way] += time.process_time() - begun
                for name in NAMES if attribute is None else (attribute,):
                    own = attribute_table(table, name) if attribute is None and name != OVERALL else table
                    for scene, srocc in per_scene(own)["srocc"].items():
                        rows.append({"seed": seed, "scene": scene, "attribute": name, "way": way, "srocc": srocc})
    return pd.DataFrame(rows), seconds


def differences(found: pd.DataFrame, attribute: str) -> tuple[float, float, float]:
    """Return the mean of SROCC (one network) - SROCC (single network), and its 95 % bootstrap interval over scenes."""
    own = found[found["attribute"] == attribute]
    wide = own.pivot_table(index="scene", columns="way", values="srocc")  # the mean over seeds
    gain = (wide["one"] - wide["three"]).to_numpy()
    rng = np.random.default_rng(0)
    means = rng.choice(gain, (BOOTSTRAP_SAMPLES, len(gain))).mean(axis=1)
    return float(gain.mean()), *(float(end) for end in np.quantile(means, (0.025, 0.975)))


def told(found: pd.DataFrame, seconds: dict[str, float]) -> list[str]:
    """Return what was found, in words."""
    seeds, scenes = found["seed"].nunique(), found["scene"].nunique()
    lines = [
        f"Demo data, {scenes} test scenes, {seeds} seeds; SROCC: mean over scenes and seeds.",
        "| attribute | three single networks | one network | difference | 95 % interval |",
        "|---|---|---|---|---|",
    ]
    worse, unclear = [], []
    for name in NAMES:
        own = found[found["attribute"] == name].groupby("way")["srocc"].mean()
        mean, low, high = differences(found, name)
        lines.append(f"| {name} | {own['three']:.3f} | {own['one']:.3f} | {mean:+.3f} | {low:+.3f} to {high:+.3f} |")
        if low <= -MARGIN:
            (worse if high < 0 else unclear).append(name)
    lines.append(
        f"Cost: 1 pass through a backbone an image instead of 3; {seconds['one']:.0f} CPU seconds instead of "
        f"{seconds['three']:.0f} for training and testing."
    )
    if not worse and not unclear:
        lines.append(f"One network is no worse in any attribute: every interval lies above -{MARGIN}.")
    if worse:
        lines.append(f"One network is worse in {', '.join(worse)}: the whole interval lies below 0.")
    if unclear:
        lines.append(
            f"Not decided in {', '.join(unclear)}: the interval holds a loss of more than {MARGIN} as well as none; "
            "more scenes or seeds would tell."
        )
    return lines


def main() -> None:
    """Write the demo data, train both ways, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default, text in (
        ("--seeds", 2, "Trainings of each way."),
        ("--epochs", 12, "Of every training."),
        ("--scenes", 48, "Of the demo data, 16 images each."),
        ("--test_scenes", 16, "How many of them are tested."),
    ):
        parser.add_argument(name, type=int, default=default, help=f"{text} Default: {default}.")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write_demo(folder, scenes=given.scenes, test_scenes=given.test_scenes)
        print("\n".join(told(*compare(Path(folder), given.seeds, given.epochs))))


if __name__ == "__main__":
    main()
