"""Learns how well images are composed and by which patterns: the training of `piqa.models.CompositionNet`."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from piqa.data.dataset import Batch
from piqa.data.tables.database import VOTES
from piqa.errors import InputError
from piqa.models.composition import COMPOSITIONS, RATINGS
from piqa.tasks.aesthetic import TwoStages
from piqa.tasks.base import MakeOptimizer, MakeSchedule
from piqa.tasks.emd import emd, vote_fractions
from piqa.tasks.initial_weights import InitialWeights
from piqa.tasks.losses import mean_within_groups
from piqa.tasks.two_groups import TwoGroupTask

CLASS = "class."  # begins the name of a class's column, in tables and batches
GOOD = 2.6  # mean rating from which on CADB's authors call a composition good


def composition_adam(parameters: Iterable[nn.Parameter]) -> Optimizer:
    """Return Adam at 1e-4 with weight decay 5e-5, as published for SAMP-Net."""
    return torch.optim.Adam(parameters, lr=1e-4, weight_decay=5e-5)


def composition_schedule(optimizer: Optimizer) -> LRScheduler:
    """Return a constant rate, of the backbone 0.01 times that of the head, as published for SAMP-Net.

    Published is also that the rate falls where EMD on the test split does not; nothing here looks at that split.
    """
    return TwoStages(optimizer, head_epochs=0, backbone_rate=0.01)


class CompositionTask(TwoGroupTask):
    """EMD (r = 2) to the raters' votes from 1 to 5, and binary cross-entropy of the nine classes.

    An image without votes, or without a class's label, does not count in that part of the loss.

    Args:
        network: `piqa.models.CompositionNet`, or another with its outputs `score`, `distribution` and `logits`.
        init: What training starts from; ignored when a run is resumed.
        class_weight: Weight of the classes' loss, against 1 of the EMD.
        optimizer: Makes the optimiser, of two groups of parameters named `head` (all but the backbone) and `backbone`.
        schedule: Makes its learning-rate schedule, stepped once per epoch.

    Raises:
        InputError: If `class_weight` is negative.
    """

    collected = ("score", "distribution", "probabilities")

    def __init__(
        self,
        network: nn.Module,
        init: InitialWeights = InitialWeights(whole="imagenet"),  # noqa: B008 (never changed)
        class_weight: float = 0.1,
        optimizer: MakeOptimizer = composition_adam,
        schedule: MakeSchedule = composition_schedule,
    ) -> None:
        super().__init__(network, optimizer, schedule, init=init)
        if class_weight < 0:
            raise InputError(f"`model.class_weight` must be at least 0, not {class_weight}")
        self._class_weight = class_weight

    def setup(self, stage: str) -> None:
        """Check that the table has votes to learn from; tell which classes it has not."""
        if stage != "fit":
            return
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        known = data.splits["train"]
        if not set(VOTES) <= set(known) or known[list(VOTES)].isna().any(axis=1).all():
            raise InputError(
                f"{data.table.name} has no votes, which the score is learnt from; take a table with the columns "
                f"votes_1 .. votes_{RATINGS}, such as piqa.data.CADB"
            )
        absent = [name for name in COMPOSITIONS if CLASS + name not in known or known[CLASS + name].isna().all()]
        if absent:
            rank_zero_warn(
                f"{data.table.name} has no labels of the classes {', '.join(absent)}: their columns will mean nothing"
            )

    def loss(self, predicted: Tensor, batch: Batch) -> Tensor:
        """Refused: scores alone are not learnt here."""
        raise InputError("CompositionTask learns from votes and classes; `loss_of` is its loss")

    def loss_of(self, outputs: dict[str, Tensor], batch: Batch) -> Tensor:
        """Return EMD plus the weighted cross-entropy, each the mean over the images that have such labels."""
        # Every weight has a gradient, if of 0: DistributedDataParallel waits for all of them.
        losses = 0 * outputs["distribution"].sum(dim=1)
        if "votes" in batch:
            voted = batch["votes"].isfinite().all(dim=1)
            if voted.any():
                losses[voted] = emd(outputs["distribution"][voted], five_ratings(batch["votes"][voted]))
        labels = class_labels(batch, outputs["logits"])
        known = labels.isfinite()
        every = binary_cross_entropy_with_logits(outputs["logits"], labels.nan_to_num(), reduction="none")
        of_classes = (every * known).sum(dim=1) / known.sum(dim=1).clamp(min=1)
        return mean_within_groups(losses + self._class_weight * of_classes, batch["group"], batch["groups"])

    def measures(self, table: pd.DataFrame) -> dict[str, float]:
        """Return SROCC and PLCC; accuracy and EMD (r = 1) where there are votes; and `map` where there are classes.

        `accuracy` is the fraction of images on which table and network agree whether the rating is above 2.6, as in
        CADB's paper. `map` is the mean over the classes that occur of `map/<class>`, the average precision.
        """
        found = super().measures(table)
        if set(VOTES) <= set(table) and "distribution" in table:
            votes = torch.tensor(table[list(VOTES)].to_numpy(np.float32))
            voted = votes.isfinite().all(dim=1)
            predicted = torch.from_numpy(np.stack(table["distribution"].tolist()))
            if voted.any():
                target = five_ratings(votes[voted])
                agree = (_mean_rating(target) > GOOD) == (_mean_rating(predicted[voted]) > GOOD)
                found |= {"accuracy": float(agree.float().mean())}
                found |= {"emd": float(emd(predicted[voted], target, r=1).mean())}
        if "probabilities" in table and any(CLASS + name in table for name in COMPOSITIONS):
            found |= average_precisions(table)
        return found


def five_ratings(votes: Tensor) -> Tensor:
    """Return counts of the ratings 1 to 10, of which those above 5 are 0, as probabilities of 1 to 5.

    Raises:
        InputError: If an image has no vote, a negative one, or one above 5.
    """
    if (votes[:, RATINGS:] != 0).any():
        raise InputError(f"an image has ratings above {RATINGS}; composition is rated from 1 to {RATINGS}")
    return vote_fractions(votes)[:, :RATINGS]


def class_labels(batch: Batch, like: Tensor) -> Tensor:
    """Return the labels of the nine classes, (images, 9), NaN where unknown, on the device of `like`."""
    unknown = torch.full_like(like[:, 0], float("nan"))
    return torch.stack([batch.get(CLASS + name, unknown).to(like) for name in COMPOSITIONS], dim=1)


def average_precisions(table: pd.DataFrame) -> dict[str, float]:
    """Return the average precision of each class that occurs, `map/<class>`, and their mean, `map`."""
    from torchmetrics.functional.classification import binary_average_precision

    predicted = torch.from_numpy(np.stack(table["probabilities"].tolist()))
    found = {}
    for place, name in enumerate(COMPOSITIONS):
        if CLASS + name not in table:
            continue
        labels = torch.tensor(table[CLASS + name].to_numpy(np.float32))
        known = labels.isfinite()
        if (labels[known] == 1).any():
            found[f"map/{name}"] = float(binary_average_precision(predicted[known, place], labels[known].long()))
    return {"map": float(np.mean(list(found.values()))) if found else float("nan")} | found


def _mean_rating(distribution: Tensor) -> Tensor:
    return distribution @ torch.arange(1, RATINGS + 1, dtype=distribution.dtype)
