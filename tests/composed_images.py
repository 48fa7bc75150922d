"""Images of a disk in the centre or at the thirds, with votes and classes; the training of a tiny CompositionNet."""

import numpy as np
import pandas as pd
import torch
from lightning import seed_everything
from PIL import Image

from piqa.data.tables.table import Table, validate

SIDE = 64
KINDS = ("center", "rule_of_thirds")


def blob(kind, noise, rng):
    """A bright disk in the centre or on a crossing of the thirds, on grey with noise (standard deviation, of 255)."""
    place = (SIDE / 2, SIDE / 2) if kind == "center" else tuple(rng.choice([SIDE / 3, 2 * SIDE / 3], 2))
    down, across = np.mgrid[:SIDE, :SIDE]
    disk = np.hypot(down - place[0], across - place[1]) < rng.uniform(5, 8)
    pixels = 100 + 120 * disk[..., None] + rng.normal(0, noise, (SIDE, SIDE, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


class Composed(Table):
    """Images whose five raters' mean falls with the noise, from 4.8 to 1.2, and whose class is the place of the disk.

    Of every fifth image nobody has named the class.
    """

    name = "composed images"

    def __init__(self, folder, count=96, seed=0):
        self.folder, self.count, self.seed = folder, count, seed

    def load(self):
        rng, rows = np.random.default_rng(self.seed), []
        self.folder.mkdir(parents=True, exist_ok=True)
        for number in range(self.count):
            kind, noise = KINDS[number % 2], rng.uniform(2, 40)
            blob(kind, noise, np.random.default_rng([self.seed, number])).save(self.folder / f"{number}.png")
            mean = 4.8 - 3.6 * (noise - 2) / 38
            ratings = np.clip(np.rint(mean + np.array([-0.6, -0.3, 0, 0.3, 0.6])), 1, 5).astype(int)
            votes = np.bincount(ratings, minlength=11)
            known = {f"class.{one}": float(one == kind) if number % 5 else np.nan for one in KINDS}
            score = votes @ np.arange(11) / 5
            votes_of = {f"votes_{mark}": votes[mark] for mark in range(1, 11)}
            split = ("train", "train", "val")[number // 3 % 3]
            name = f"{number}.png"
            row = {"image": name, "path": str(self.folder / name), "score": score, "scene": "all", "split": split}
            rows.append(row | votes_of | known)
        frame = pd.DataFrame(rows)
        checked = validate(frame, self.folder, required_splits=("train", "val"))
        more = [name for name in frame if name.startswith(("votes_", "class."))]
        return checked.assign(**{name: frame[name] for name in more})


def data_of(folder, **settings):
    from data_options import portrait_data

    from piqa.preparation.portrait import Preparation

    preparation = Preparation(short_side=SIDE, resize="stretch", face_rule="none")
    defaults = {"view": "whole", "groups_per_step": 1, "images_per_group": 12, "eval_batch_size": 24}
    return portrait_data(Composed(folder), preparation, folder.parent / "store", **defaults | settings)


def tiny_task(kind=None, seed=0, **settings):
    from piqa.models import CompositionNet
    from piqa.tasks import CompositionTask, TwoStages

    seed_everything(seed, verbose=False)
    network = CompositionNet("test_byobnet", image_size=SIDE, dropout=0.1, hidden=64)
    make = lambda groups: torch.optim.Adam(groups, lr=5e-3)  # noqa: E731
    schedule = lambda optimizer: TwoStages(optimizer, head_epochs=0)  # noqa: E731
    return (kind or CompositionTask)(network, optimizer=make, schedule=schedule, class_weight=1.0, **settings)
