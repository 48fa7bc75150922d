"""Trains LIQE as published: quality, scene and distortion together, on several databases."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from piqa.data.dataset import Batch
from piqa.evaluation.metrics import srocc
from piqa.models.liqe import LIQE, distortion_labels, scene_labels
from piqa.tasks.base import MakeOptimizer, MakeSchedule, ScoringTask
from piqa.tasks.initial_weights import InitialWeights
from piqa.tasks.liqe_losses import DynamicWeightAverage, distortion_loss, quality_loss, scene_loss
from piqa.training.checkpoints import State

HALF_PERIOD = 5  # epochs from the highest learning rate to 0
LOSS_WEIGHTS = "loss_weights"  # where a training checkpoint keeps their state


def liqe_adamw(parameters: Iterable[nn.Parameter]) -> Optimizer:
    """Return AdamW as published for LIQE: learning rate 5e-6, weight decay 1e-3."""
    return torch.optim.AdamW(parameters, lr=5e-6, weight_decay=1e-3)


def liqe_schedule(optimizer: Optimizer) -> LRScheduler:
    """Return a cosine from the full learning rate to 0 and back, ten epochs long, stepped once per epoch.

    As published, an epoch that would run at 0 is skipped: the fifth step leads to the first epoch of the way back.
    """

    def factor(epoch: int) -> float:
        periods, place = divmod(epoch, 2 * HALF_PERIOD - 1)
        position = 2 * HALF_PERIOD * periods + place + (place >= HALF_PERIOD)
        return 0.5 * (1 + math.cos(math.pi * position / HALF_PERIOD))

    return LambdaLR(optimizer, factor)


class LIQETask(ScoringTask):
    """Fidelity of quality within each database, and of scene and distortion where they are known.

    The three losses are weighted by a dynamic weight average. Images of databases without tags train the quality only.
    CLIP computes the same in training and in evaluation.

    Args:
        network: LIQE; each aspect that it lacks is a loss less.
        init: As `clip` of `InitialWeights`: `openai`, the path of a file, or `scratch`.
        monitor: What chooses the checkpoint. `mean_of_three`, as published: the mean of SROCC, scene accuracy and
            distortion accuracy, as far as scenes and distortions are known. `srocc`: SROCC only.
        optimizer: Makes the optimiser of the parameters.
        schedule: Makes its learning-rate schedule, stepped once per epoch.
    """

    collected = ("score", "scene_probabilities", "distortion_probabilities")

    def __init__(
        self,
        network: LIQE,
        init: str = "openai",
        monitor: Literal["mean_of_three", "srocc"] = "mean_of_three",
        optimizer: MakeOptimizer = liqe_adamw,
        schedule: MakeSchedule = liqe_schedule,
    ) -> None:
        super().__init__(network, optimizer, schedule, init=InitialWeights(clip=init))
        self.monitor = monitor
        self._loss_weights = DynamicWeightAverage(("quality", "scene", "distortion"))

    def on_train_epoch_start(self) -> None:
        """Update the weights of the losses. Not at the end of an epoch: checkpoints are written before it."""
        super().on_train_epoch_start()
        self._loss_weights.begin(self.current_epoch, self._sum_over_processes)

    def on_train_epoch_end(self) -> None:
        """Log the weights of the losses and their means over the epoch, steps before an interruption included."""
        values = {"weight": self._loss_weights.weights(), "loss": self._loss_weights.means(self._sum_over_processes)}
        for what, by_name in values.items():
            # Each process has the same, so that averaging over them changes nothing; Lightning cannot know.
            self.log_dict({f"train/{what}/{name}": value for name, value in by_name.items()}, sync_dist=True)

    def _sum_over_processes(self, values: Tensor) -> Tensor:
        # A copy, as processes reduce in place.
        total: Tensor = self.trainer.strategy.reduce(values.to(self.device, copy=True), reduce_op="sum")
        return total

    def loss_of(self, outputs: dict[str, Tensor], batch: Batch) -> Tensor:
        """Return the weighted sum of the losses."""
        losses, weights = self.losses(outputs, batch), self._loss_weights.weights()
        self._loss_weights.add(losses)
        return torch.stack([weights[name] * loss for name, loss in losses.items()]).sum()

    def losses(self, outputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Return the losses that a batch has labels for, by name.

        Args:
            outputs: Outputs of the network.
            batch: `score`, `group` (database), `groups`, and where known `scene_labels`, 0 or 1, (images, 9), all 0
                for unknown, and `distortion_label`, (images,), -1 for unknown.
        """
        found: dict[str, Tensor | None] = {"quality": self.loss(outputs["score"], batch)}
        if "scene" in self.network.classes and "scene_labels" in batch:
            found["scene"] = scene_loss(outputs["scene_probabilities"], batch["scene_labels"])
        if "distortion" in self.network.classes and "distortion_label" in batch:
            found["distortion"] = distortion_loss(outputs["distortion_probabilities"], batch["distortion_label"])
        return {name: value for name, value in found.items() if value is not None}

    def loss(self, predicted: Tensor, batch: Batch) -> Tensor:
        """Return the loss of quality, the only one that scores give."""
        return quality_loss(predicted, batch["score"], batch["group"], batch["groups"])

    def measures(self, table: pd.DataFrame) -> dict[str, float]:
        """Return SROCC (mean over scenes), scene and distortion accuracy: of each database, and the mean over all."""
        database = table["database"] if "database" in table else table["scene"]
        parts = {str(name): rows for name, rows in table.groupby(database, sort=False)}
        by_database = pd.DataFrame(
            {
                "srocc": {name: _srocc(rows) for name, rows in parts.items()},
                "scene_accuracy": {name: scene_accuracy(rows) for name, rows in parts.items()},
                "distortion_accuracy": {name: distortion_accuracy(rows) for name, rows in parts.items()},
            }
        )
        means = {str(measure): float(values.mean()) for measure, values in by_database.items()}
        known = [value for value in means.values() if not math.isnan(value)]
        means["mean_of_three"] = math.nan if math.isnan(means["srocc"]) else sum(known) / len(known)
        for measure, values in by_database.items():
            means |= {f"{measure}/{name}": float(value) for name, value in values.dropna().items()}
        return means

    def on_save_checkpoint(self, checkpoint: State) -> None:
        """Add the state of the loss weights, summed over all processes, each of which calls this."""
        super().on_save_checkpoint(checkpoint)
        checkpoint[LOSS_WEIGHTS] = self._loss_weights.state_dict(self._sum_over_processes)

    def on_load_checkpoint(self, checkpoint: State) -> None:
        """Restore the state of the loss weights."""
        super().on_load_checkpoint(checkpoint)
        if LOSS_WEIGHTS in checkpoint:
            self._loss_weights.load_state_dict(checkpoint[LOSS_WEIGHTS], first=self.trainer.is_global_zero)


def _srocc(rows: pd.DataFrame) -> float:
    scenes = [srocc(scene["score"], scene["prediction"]) for _, scene in rows.groupby("scene")]
    return float(pd.Series(scenes).mean())


def scene_accuracy(rows: pd.DataFrame) -> float:
    """Return the fraction of images' n scene tags that are among their n most likely scenes; NaN if none is known.

    Args:
        rows: `scene_tags` ("human;indoor", "" for unknown) and `scene_probabilities`, arrays of nine.
    """
    if "scene_tags" not in rows or "scene_probabilities" not in rows:
        return float("nan")
    tags = scene_labels(rows["scene_tags"]).numpy().astype(bool)
    order = np.argsort(-np.stack(rows["scene_probabilities"].tolist()), axis=1, kind="stable")
    place = np.argsort(order, axis=1)  # of each scene, 0 for the most likely
    hits = tags & (place < tags.sum(axis=1, keepdims=True))
    return float(hits.sum() / tags.sum()) if tags.any() else float("nan")


def distortion_accuracy(rows: pd.DataFrame) -> float:
    """Return the fraction of the images whose most likely distortion is the true one; NaN if none is known.

    Args:
        rows: `distortion` ("" for unknown) and `distortion_probabilities`, arrays of eleven.
    """
    if "distortion" not in rows or "distortion_probabilities" not in rows:
        return float("nan")
    labels = distortion_labels(rows["distortion"]).numpy()
    guesses = np.stack(rows["distortion_probabilities"].tolist()).argmax(axis=1)
    known = labels >= 0
    return float((guesses == labels)[known].mean()) if known.any() else float("nan")
