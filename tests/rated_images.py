"""Writers of images with marks out of ten, and the training of a tiny network on them."""

import numpy as np
import pandas as pd
from PIL import Image


def image(noise, redness, seed):
    """A gradient of 72 x 72 px with noise (standard deviation, of 255) and a tint from blue (0) to red (1)."""
    rng = np.random.default_rng(seed)
    gradient = np.linspace(60, 180, 72)[:, None, None] + np.linspace(-20, 20, 72)[None, :, None]
    tint = np.array([redness - 0.5, 0.0, 0.5 - redness]) * 90
    pixels = gradient + tint + rng.normal(0, noise, (72, 72, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def write_rated(folder, count=72, seed=0):
    """Images whose mark falls with the noise, from 9 to 2, whatever their tint; returns the CSV, with its splits."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(count):
        noise, redness = rng.uniform(2, 40), rng.uniform()
        image(noise, redness, [seed, number]).save(folder / f"{number}.png")
        split = ("train", "train", "val")[number % 3]
        rows.append((f"{number}.png", 9 - 7 * (noise - 2) / 38, "all", split, redness))
    pd.DataFrame(rows, columns=["image", "score", "scene", "split", "redness"]).to_csv(
        folder / "marks.csv", index=False
    )
    return folder / "marks.csv"


def data_of(csv, crop=64, **settings):
    from data_options import portrait_data

    from piqa.data import CSVTable
    from piqa.preparation.portrait import Preparation

    preparation = Preparation(short_side=72, face_rule="none")
    defaults = {"test_crops": "one", "groups_per_step": 1, "images_per_group": 12, "eval_batch_size": 24}
    table = CSVTable(csv, required_splits=("train", "val"))
    return portrait_data(table, preparation, csv.parent / "store", crop_size=crop, **defaults | settings)


def trainer_of(epochs, **settings):
    from lightning import Trainer

    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    quiet |= {"enable_model_summary": False, "num_sanity_val_steps": 0, "use_distributed_sampler": False}
    return Trainer(max_epochs=epochs, accelerator="cpu", **quiet | settings)
