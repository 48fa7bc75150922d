"""Well-exposed small pictures, and the training of a tiny ExposureMap on them."""

import torch
from lightning import seed_everything
from PIL import Image

SIDE = 64


def write_pictures(folder, count=48):
    """Framings of the demo's two portraits in several lights; returns the folder."""
    from piqa.data.demo import Scene

    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        view = Scene.number(number).view(number // 16)
        view.resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(folder / f"{number:02d}.png")
    return folder


def data_of(folder, **settings):
    from data_options import portrait_data

    from piqa.data import Pictures
    from piqa.preparation.portrait import Preparation

    preparation = Preparation(short_side=SIDE, resize="stretch", face_rule="none")
    table = Pictures(folder, val_fraction=0.5, test_fraction=0.0)
    defaults = {"view": "whole", "groups_per_step": 1, "images_per_group": 8, "eval_batch_size": 8}
    return portrait_data(table, preparation, folder.parent / "store", **defaults | settings)


def tiny_task(kind=None, seed=0, **settings):
    from piqa.models import ExposureMap
    from piqa.tasks import ExposureTask

    seed_everything(seed, verbose=False)
    make = lambda parameters: torch.optim.Adam(parameters, lr=6e-3)  # noqa: E731
    schedule = lambda optimizer: torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)  # noqa: E731
    return (kind or ExposureTask)(ExposureMap(width=4), optimizer=make, schedule=schedule, **settings)
