"""Learns scores that are comparable over a whole dataset: the pretraining stages."""

from __future__ import annotations

from typing import Literal

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.nn.functional import mse_loss
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, StepLR

from piqa.data.dataset import Batch
from piqa.errors import InputError
from piqa.models.regressor import Regressor
from piqa.tasks.base import MakeOptimizer, MakeSchedule, ScoringTask, published_adam
from piqa.tasks.losses import fidelity_loss, plcc_loss
from piqa.training.compute_options import ComputeOptions
from piqa.weights import state_dicts
from piqa.weights.hosts.hugging_face import asked_if_reachable


def slow_schedule(optimizer: Optimizer) -> LRScheduler:
    """Return the schedule published for LSVQ: learning rate x 0.9 every 10 epochs, so constant over 10 epochs."""
    return StepLR(optimizer, step_size=10, gamma=0.9)


class RegressionTask(ScoringTask):
    """Pretraining: scores of videos or faces, compared within each group; SROCC and PLCC over the whole split.

    Args:
        network: Backbone and head.
        init: What the backbone starts from: `imagenet` for timm's own weights, a file (LSVQ, GFIQA, TOPIQ, timm or
            piqa backbone) or a name that `piqa models` lists, or `scratch`.
        loss: `plcc`, as published for LSVQ; `mse`, as published for GFIQA; or `ranking`, the fidelity loss over all
            pairs of a group.
        unit: For `ranking`, the difference of subjective scores that counts as one JOD.
        optimizer: Makes the optimiser of the parameters.
        schedule: Makes its learning-rate schedule, stepped once per epoch.
        compute: How a training step is computed.
    """

    def __init__(
        self,
        network: Regressor,
        init: str = "imagenet",
        loss: Literal["plcc", "mse", "ranking"] = "plcc",
        unit: float = 1.0,
        optimizer: MakeOptimizer = published_adam,
        schedule: MakeSchedule = slow_schedule,
        compute: ComputeOptions | None = None,
    ) -> None:
        super().__init__(network, optimizer, schedule, compute)
        if unit <= 0:
            raise InputError(f"`model.unit` must be above 0, not {unit}")
        self.network: Regressor = network
        self._source, self._loss, self._unit = init, loss, unit

    def load_initial_weights(self) -> None:
        """Load the weights that `init` names into the backbone."""
        if self._source == "scratch":
            rank_zero_warn("the backbone starts from scratch, without ImageNet's pretraining")
        elif self._source == "imagenet":
            with asked_if_reachable():
                self.network.backbone.load_timm_weights()
        else:
            state_dicts.load_backbone(self.network.backbone, self._source)

    def loss(self, predicted: Tensor, batch: Batch) -> Tensor:
        """Return the mean loss over the groups of the step; a group is a batch of the published recipes."""
        _, sizes = torch.unique(batch["group"], return_counts=True)
        members = torch.split(batch["group"].argsort(stable=True), sizes.tolist())
        losses = [self._loss_in(predicted[own], batch["score"][own]) for own in members]
        mean: Tensor = torch.stack(losses).sum() / batch["groups"]
        return mean

    def _loss_in(self, predicted: Tensor, score: Tensor) -> Tensor:
        if self._loss == "mse":
            return mse_loss(predicted, score)
        if self._loss == "plcc":
            return plcc_loss(predicted, score)
        a, b = torch.combinations(torch.arange(len(score), device=score.device)).unbind(1)
        return fidelity_loss(predicted[a] - predicted[b], (score[a] - score[b]) / self._unit).mean()
