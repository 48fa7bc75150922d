"""Learns several attributes at once: one network with an output for each, every pair judged by each that it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import pandas as pd
import torch
from torch import Tensor, nn

from piqa.data.dataset import Batch
from piqa.data.tables.more_labels import SCORE, SCORE_STD, can_be_compared
from piqa.errors import InputError
from piqa.evaluation.attributes import OVERALL, PREDICTION, attribute_table
from piqa.evaluation.metrics import pair_accuracy, per_scene
from piqa.models.backbone import Backbone
from piqa.tasks.base import MakeOptimizer, MakeSchedule, published_adam, published_schedule
from piqa.tasks.initial_weights import InitialWeights
from piqa.tasks.learnt_std import LearntStd
from piqa.tasks.ranking import RankingTask
from piqa.training.compute_options import ComputeOptions

MEAN = "mean"


class AttributesTask(RankingTask):
    """The ranking loss of the score and of each attribute, each over the pairs of which both images have its label.

    The score is called `overall` here. The loss is the mean over these tasks of weight times loss; a
    `piqa.tasks.GradNorm` in `trainer.callbacks` balances them instead. An image without a label in an attribute is left
    out of that attribute's loss. The losses of a step are divided by all its groups, so that an attribute that is
    seldom judged counts less, and the gradient does not depend on how a step is divided among processes.

    Args:
        network: Returns `score` and an output for each attribute, such as `DualBranch` with `attributes`.
        init: What training starts from; ignored when a run is resumed.
        attributes: The attributes, each an output of the network and a column `score.<attribute>` of the table; by
            default all those of the network.
        weights: Weights of the losses, by attribute and `overall`; 1 for those that are not named.
        selection: What chooses the checkpoint: the `mean` of all SROCCs, or that of `overall` or of one attribute.
        loss: As of `RankingTask`.
        target: Likewise; `score_std` needs the column `score_std.<attribute>` of every attribute too.
        optimizer: Makes the optimiser of the parameters.
        schedule: Makes its learning-rate schedule, stepped once per epoch.
        compute: How a training step is computed.
        learnt_std: As of `RankingTask`; it is that of the score alone.
        layer_decay: Likewise.

    Attributes:
        combine_losses: Makes one loss of those by `overall` and attribute; a callback may put its own in its place.

    Raises:
        InputError: If the network has no attributes, or a weight or the selection names another.
    """

    combine_losses: Callable[[Mapping[str, Tensor]], Tensor]

    def __init__(
        self,
        network: nn.Module,
        init: InitialWeights | None = None,
        attributes: Sequence[str] | None = None,
        weights: dict[str, float] | None = None,
        selection: str = MEAN,
        loss: Literal["fidelity", "published"] = "fidelity",
        target: Literal["published", "score_std"] = "published",
        optimizer: MakeOptimizer = published_adam,
        schedule: MakeSchedule = published_schedule,
        compute: ComputeOptions | None = None,
        learnt_std: LearntStd = "joint",
        layer_decay: float = 1.0,
    ) -> None:
        names = tuple(getattr(network, "attributes", ()) if attributes is None else attributes)
        self.collected = ("score", *names)
        super().__init__(network, init, loss, target, optimizer, schedule, compute, learnt_std, layer_decay)
        self.attributes = names
        if not names:
            raise InputError("there is no attribute to learn; name some in `model.network.init_args.attributes`")
        if taken := [name for name in names if name in (MEAN, OVERALL)]:
            raise InputError(f"an attribute is called {taken[0]!r}, which has a meaning here; rename it")
        tasks = (OVERALL, *names)
        self.loss_weights = dict.fromkeys(tasks, 1.0) | (weights or {})
        for what, given in (("weights", list(weights or {})), ("selection", [selection])):
            known = tasks if what == "weights" else (MEAN, *tasks)
            for unknown in (name for name in given if name not in known):
                raise InputError(f"`model.{what}` names {unknown!r}; choose of {', '.join(known)}")
        for name, weight in self.loss_weights.items():
            if not 0 <= weight < float("inf"):
                raise InputError(f"the weight of {name} in `model.weights` is {weight}; 0 or more is needed")
        self.combine_losses = self.weighted_mean
        self.monitor = _measure("srocc", None if selection == OVERALL else selection)

    def setup(self, stage: str) -> None:
        """Check that the table has the labels that are learnt and chosen by, and no column called like an attribute."""
        super().setup(stage)
        if stage == "fit" and self.combine_losses != self.weighted_mean and set(self.loss_weights.values()) != {1.0}:
            raise InputError("`model.weights` would do nothing beside GradNorm, which sets the weights; leave one out")
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        train = data.splits["train"]
        kinds = (SCORE, SCORE_STD) if self._target == "score_std" else (SCORE,)
        for name in self.attributes:
            if name in train:
                raise InputError(f"an attribute is called {name!r}, as a column of {data.table.name} is; rename it")
            missing = [kind + name for kind in kinds if kind + name not in train or train[kind + name].isna().all()]
            if stage == "fit" and missing:
                raise InputError(
                    f"{data.table.name} has no training image with a {missing[0]}, which the network is to learn; take "
                    "a table that has it, or leave the attribute out of the network"
                )
            if stage == "fit":
                self._check_comparable(name, train.dropna(subset=[kind + name for kind in kinds]))

    def _check_comparable(self, name: str, known: pd.DataFrame) -> None:
        """Check that an attribute can be learnt from training images, and that the checkpoint can be chosen by it.

        Raises:
            InputError: If no two images of a scene differ in it: its output would stay as it was drawn at first.
        """
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not can_be_compared(known, SCORE + name):
            raise InputError(
                f"no training scene of {data.table.name} has two images with different {SCORE + name}, so that nothing "
                "of it can be learnt; add labels, or leave the attribute out of the network"
            )
        chooses = self.monitor in (_measure("srocc", MEAN), _measure("srocc", name))
        if chooses and not can_be_compared(data.splits["val"], SCORE + name):
            raise InputError(
                f"no validation scene of {data.table.name} has two images with different {SCORE + name}, by which the "
                "checkpoint is chosen; hold out other scenes, or set `model.selection: overall`"
            )

    def task_losses(self, outputs: dict[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Return the loss of each task, by `overall` and attribute; 0, with a graph, where no pair has its labels.

        Raises:
            InputError: If the network has no output for an attribute.
        """
        losses = {OVERALL: super().loss_of(outputs, batch)}
        for name in self.attributes:
            if name not in outputs:
                raise InputError(
                    f"the network returns {', '.join(outputs)} but no `{name}`, an attribute that is to be learnt; add "
                    "it to the network's attributes"
                )
            score, std = batch[SCORE + name], batch.get(SCORE_STD + name)
            known = score.isfinite()
            if self._target == "score_std" and std is not None:
                known &= std.isfinite()
            own = {"group": batch["group"][known], "groups": batch["groups"]}
            losses[name] = self.pair_loss(outputs[name][known], score[known], None if std is None else std[known], own)
        return losses

    def weighted_mean(self, losses: Mapping[str, Tensor]) -> Tensor:
        """Return the mean over the tasks of weight times loss."""
        weighted = [self.loss_weights[name] * loss for name, loss in losses.items()]
        return torch.stack(weighted).mean()

    def loss_of(self, outputs: dict[str, Tensor], batch: Batch) -> Tensor:
        """Return the losses of all tasks, combined."""
        return self.combine_losses(self.task_losses(outputs, batch))

    def shared_weights(self) -> Sequence[nn.Parameter]:
        """Return the last weights of each backbone, which all tasks share."""
        backbones = [module for module in self.network.modules() if isinstance(module, Backbone)]
        return [[one for one in backbone.parameters() if one.ndim > 1][-1] for backbone in backbones]

    def test_step(self, batch: Batch) -> None:
        """Collect scores and attributes on the test split."""
        self.validation_step(batch)

    def _collect(self, loader: object) -> pd.DataFrame:
        """Return the table of predictions, those of attributes in columns `prediction.<attribute>`."""
        return super()._collect(loader).rename(columns={name: PREDICTION + name for name in self.attributes})

    def measures(self, table: pd.DataFrame) -> dict[str, float]:
        """Return the measures of the score, SROCC and pair accuracy of each attribute, and the mean of all SROCCs.

        SROCC is the mean over scenes. The mean is NaN, so that no checkpoint is chosen by it, where one SROCC is.
        """
        found = super().measures(table)
        sroccs = [found["srocc"]]
        for name in self.attributes:
            own = attribute_table(table, name) if SCORE + name in table else table[:0]
            found[_measure("srocc", name)] = float(per_scene(own)["srocc"].mean()) if len(own) else float("nan")
            found[_measure("pair_accuracy", name)] = pair_accuracy(own) if len(own) else float("nan")
            sroccs.append(found[_measure("srocc", name)])
        return found | {_measure("srocc", MEAN): float(sum(sroccs) / len(sroccs))}


def _measure(measure: str, task: str | None) -> str:
    return measure if task is None else f"{task}_{measure}"
