"""Fine-tuning a trained model to one person's taste, on the few images that the person has rated.

The PLCC loss asks for the person's order and spacing, and ignores on what scale the ratings are. The network stays in
evaluation mode: a few images would spoil the statistics of batch normalisation, and no score may depend on what else
is in the batch.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from piqa.data.dataset import Batch
from piqa.errors import InputError
from piqa.models.contract import ScoringModule, score_crops
from piqa.tasks.losses import plcc_loss


@dataclass(frozen=True)
class TuningRecipe:
    """How a model is fine-tuned on a person's images; not tuned on any database.

    Args:
        train: `all` parameters that the model trains, or those of its `head` alone, for models that have one.
        epochs: Passes over the person's images.
        lr: Adam's learning rate.
        batch_size: Most images in a step.

    Raises:
        InputError: If a number makes no sense.
    """

    train: Literal["all", "head"] = "all"
    epochs: int = 20
    lr: float = 1e-4
    batch_size: int = 20

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.lr <= 0 or self.batch_size < 4:
            batches = f"batch_size ({self.batch_size}) at least 4, so that a step has images to compare"
            raise InputError(f"recipe: epochs ({self.epochs}) must be at least 1, lr ({self.lr}) above 0, {batches}")


def fine_tune(
    network: ScoringModule, images: Batch, score: np.ndarray, recipe: TuningRecipe, chance: random.Random
) -> None:
    """Fine-tune a network in place.

    Args:
        network: In evaluation mode, in which it stays.
        images: What it takes, as for `score_crops`; on any device.
        score: The person's ratings, shape (images,), at least two.
        recipe: Settings.
        chance: Random generator of the batches.

    Raises:
        InputError: If the recipe asks for a `head` that the network has not, or the network trains nothing.
    """
    part = network if recipe.train == "all" else getattr(network, "head", None)
    parameters = [p for p in part.parameters() if p.requires_grad] if isinstance(part, nn.Module) else []
    if not parameters:
        raise InputError(f"{type(network).__name__} has nothing to train with `--recipe.train {recipe.train}`")
    device = parameters[0].device
    optimizer = torch.optim.Adam(parameters, lr=recipe.lr)
    target = torch.from_numpy(score).float().to(device)
    steps = -(-len(score) // recipe.batch_size)
    for _ in range(recipe.epochs):
        order = chance.sample(range(len(score)), len(score))
        for step in range(steps):
            rows = order[step::steps]  # parts of equal size, so that no image is left alone
            loss = plcc_loss(score_crops(network, rows_of(images, rows, device)), target[rows])
            optimizer.zero_grad()
            loss.backward(inputs=parameters)  # type: ignore[no-untyped-call]
            optimizer.step()
    optimizer.zero_grad()


def rows_of(images: Batch, rows: Sequence[int], device: torch.device) -> Batch:
    """Return some images of a batch, on a device."""
    return {
        name: [values[row].to(device, non_blocking=True) for row in rows]
        if isinstance(values, list)  # images of different sizes
        else values[torch.tensor(rows)].to(device, non_blocking=True)
        for name, values in images.items()
    }
