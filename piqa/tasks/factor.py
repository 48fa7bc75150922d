"""Learns single factors of quality: one output of the network for each, on one scale over a whole table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, cast

import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from piqa.data.dataset import Batch
from piqa.data.tables.more_labels import can_be_compared
from piqa.errors import InputError
from piqa.evaluation.metrics import plcc, srocc
from piqa.models.backbone import Backbone
from piqa.tasks.base import MakeOptimizer, MakeSchedule, ScoringTask
from piqa.tasks.initial_weights import InitialWeights
from piqa.tasks.losses import fidelity_loss, plcc_loss
from piqa.training.compute_options import ComputeOptions
from piqa.training.grad_norm import summed

SCORE = "score"


def factor_adam(parameters: Iterable[nn.Parameter]) -> Optimizer:
    """Return Adam at 1e-4, which small networks of convolutions take from their ImageNet weights."""
    return torch.optim.Adam(parameters, lr=1e-4)


def factor_schedule(optimizer: Optimizer) -> LRScheduler:
    """Return learning rate x 0.9 after every epoch."""
    return torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.9)


class FactorTask(ScoringTask):
    """Scores of one or more factors, each compared within the groups of a step; SROCC and PLCC over the whole split.

    An image without a label of a factor counts for the others. The losses of several factors are summed, or balanced by
    `piqa.tasks.GradNorm`, named in `trainer.callbacks`.

    Args:
        network: Returns `score`, and an output for every other factor.
        init: What training starts from; ignored when a run is resumed.
        labels: The table's column of labels for each output that is learnt. By default `score` alone.
        loss: `plcc`, which leaves the scale of the scores to the network; `mse`; or `ranking`, the fidelity loss over
            all pairs of a group.
        unit: For `mse` the error that counts as 1; for `ranking` the difference of labels that counts as one JOD.
        optimizer: Makes the optimiser of the parameters.
        schedule: Makes its learning-rate schedule, stepped once per epoch.
        compute: How a training step is computed.

    Raises:
        InputError: If `labels` leaves out `score`, or `unit` is not above 0.
    """

    combine_losses: Callable[[Mapping[str, Tensor]], Tensor]

    def __init__(
        self,
        network: nn.Module,
        init: InitialWeights = InitialWeights(whole="imagenet"),  # noqa: B008 (never changed)
        labels: dict[str, str] | None = None,
        loss: Literal["plcc", "mse", "ranking"] = "plcc",
        unit: float = 1.0,
        optimizer: MakeOptimizer = factor_adam,
        schedule: MakeSchedule = factor_schedule,
        compute: ComputeOptions | None = None,
    ) -> None:
        labels = {SCORE: SCORE} if labels is None else dict(labels)
        if SCORE not in labels:
            raise InputError("`model.labels` must name the labels of `score`, such as {score: score}")
        if unit <= 0:
            raise InputError(f"`model.unit` must be above 0, not {unit}")
        self.collected = tuple(labels)
        super().__init__(network, optimizer, schedule, compute, init)
        self._labels, self._loss, self._unit = labels, loss, unit
        self.combine_losses = summed

    def setup(self, stage: str) -> None:
        """Check that the table has the labels of every output, and that every output is learnt."""
        if stage == "fit":
            self.refuse_unlearnt(self._labels)
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        for split in ("train", "val") if stage == "fit" else ():
            frame = data.splits[split]
            lacking = [name for name in self._labels.values() if name not in frame]
            if lacking:
                raise InputError(
                    f"{data.table.name} has no column {', '.join(lacking)}, which `model.labels` names; name columns "
                    "of the table, or leave the output out"
                )
            empty = [name for name in self._labels.values() if frame[name].isna().all()]
            if empty:
                raise InputError(
                    f"no image of the {split} split of {data.table.name} has a {empty[0]}, which `model.labels` names; "
                    "leave the output out, or draw the splits otherwise"
                )
            # An output that no group has two labels of keeps the weights that were drawn at first.
            alike = [name for name in self._labels.values() if split == "train" and not can_be_compared(frame, name)]
            if alike:
                raise InputError(
                    f"no training scene of {data.table.name} has two images with different {alike[0]}, which "
                    "`model.labels` names, so that nothing of it can be learnt; leave the output out, or add labels"
                )

    def shared_weights(self) -> Sequence[nn.Parameter]:
        """Return what the network names as its last shared layer, else the last layers of its backbones."""
        named = getattr(self.network, "shared_weights", None)
        if callable(named):
            return cast("Sequence[nn.Parameter]", named())
        backbones = [module for module in self.network.modules() if isinstance(module, Backbone)]
        return [[one for one in backbone.parameters() if one.ndim > 1][-1] for backbone in backbones]

    def task_losses(self, outputs: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Return the loss of each output on one batch of a step, as `ScoringTask.loss` describes it.

        Raises:
            InputError: If the network lacks an output.
        """
        lacking = [name for name in self._labels if name not in outputs]
        if lacking:
            raise InputError(
                f"`model.labels` names the output {', '.join(lacking)}, which {type(self.network).__name__} does not "
                f"have; it has {', '.join(outputs)}"
            )
        return {name: self._loss_of_output(outputs[name], batch[label], batch) for name, label in self._labels.items()}

    def loss_of(self, outputs: dict[str, Tensor], batch: Batch) -> Tensor:
        """Return the losses of all outputs, combined."""
        return self.combine_losses(self.task_losses(outputs, batch))

    def loss(self, predicted: Tensor, batch: Batch) -> Tensor:
        """Return the loss of `score` alone."""
        return self._loss_of_output(predicted, batch[self._labels[SCORE]], batch)

    def _loss_of_output(self, predicted: Tensor, label: Tensor, batch: Batch) -> Tensor:
        known = label.isfinite()
        groups = [known & (batch["group"] == group) for group in batch["group"].unique()]
        losses = [self._loss_in(predicted[own], label[own]) for own in groups if own.sum() > 1]
        return torch.stack(losses).sum() / batch["groups"] if losses else 0 * predicted.sum()

    def _loss_in(self, predicted: Tensor, label: Tensor) -> Tensor:
        if self._loss == "mse":
            return mse_loss(predicted / self._unit, label / self._unit)
        if self._loss == "plcc":
            return plcc_loss(predicted, label)
        a, b = torch.combinations(torch.arange(len(label), device=label.device)).unbind(1)
        return fidelity_loss(predicted[a] - predicted[b], (label[a] - label[b]) / self._unit).mean()

    def measures(self, table: pd.DataFrame) -> dict[str, float]:
        """Return SROCC and PLCC of `score`, and of every other output as `srocc_<output>` and `plcc_<output>`."""
        found: dict[str, float] = {}
        for name, label in self._labels.items():
            own = table[table[label].notna()]
            given = own[label].to_numpy(dtype=float)
            predicted = own["prediction" if name == SCORE else name].to_numpy(dtype=float)
            ending = "" if name == SCORE else f"_{name}"
            found |= {f"srocc{ending}": srocc(given, predicted), f"plcc{ending}": plcc(given, predicted)}
        return found
