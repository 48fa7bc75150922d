"""Learns to rank the images of a scene."""

from __future__ import annotations

from typing import Literal

import pandas as pd
from torch import Tensor, nn

from piqa.data.dataset import Batch
from piqa.errors import InputError
from piqa.evaluation.metrics import pair_accuracy, per_scene
from piqa.tasks.base import MakeOptimizer, MakeSchedule, ScoringTask, published_adam, published_schedule
from piqa.tasks.initial_weights import InitialWeights
from piqa.tasks.learnt_std import LearntStd, std_terms
from piqa.tasks.losses import (
    fidelity_loss,
    mean_within_groups,
    pairs_within,
    published_fidelity_loss,
    target_difference,
)
from piqa.training.compute_options import ComputeOptions

LOSSES = {"fidelity": fidelity_loss, "published": published_fidelity_loss}


class RankingTask(ScoringTask):
    """Fidelity loss over all pairs within groups of one scene; SROCC per scene.

    Args:
        network: Scores `whole`, `face_crop`, `liqe_logits`, or those of them that its `inputs` name.
        init: What training starts from; ignored when a run is resumed.
        loss: `fidelity`, with a non-vanishing gradient, or `published`, whose gradient is 0 for pairs that are badly
            wrong.
        target: Observed preference of a pair: `published`, Phi of the score difference; or `score_std`, Phi of the
            difference over the standard deviation of the two scores, for tables that have that column.
        optimizer: Makes the optimiser of the parameters.
        schedule: Makes its learning-rate schedule, stepped once per epoch.
        compute: How a training step is computed.
        learnt_std: How a network that answers `score_std` learns it (`piqa.tasks.learnt_std`): `joint`, the doubt of
            the model, inside the predicted preference; or `raters`, the order of the standard deviations of the
            measured scores, for tables that have them. Ignored for other networks.
        layer_decay: Factor of the learning rate from a layer of a backbone to the one before it, such as 0.75; 1 for
            one rate.

    Raises:
        InputError: If `layer_decay` is out of range.
    """

    learns: tuple[str, ...] = ("score_std",)  # besides the score and the attributes, where the network answers it

    def __init__(
        self,
        network: nn.Module,
        init: InitialWeights | None = None,
        loss: Literal["fidelity", "published"] = "fidelity",
        target: Literal["published", "score_std"] = "published",
        optimizer: MakeOptimizer = published_adam,
        schedule: MakeSchedule = published_schedule,
        compute: ComputeOptions | None = None,
        learnt_std: LearntStd = "joint",
        layer_decay: float = 1.0,
    ) -> None:
        super().__init__(network, optimizer, schedule, compute, init)
        if not 0 < layer_decay <= 1:
            raise InputError(f"`model.layer_decay` is {layer_decay}; it must lie above 0 and be at most 1")
        self.layer_decay = layer_decay
        self._loss, self._target, self._learnt_std = LOSSES[loss], target, learnt_std

    def setup(self, stage: str) -> None:
        """Check that the table has what is learnt, and that all that the network answers is learnt."""
        if stage == "fit":
            self.refuse_unlearnt([*self.attributes, *self.learns])
        for setting, value, other in (("target", "score_std", "published"), ("learnt_std", "raters", "joint")):
            if stage == "fit" and getattr(self, f"_{setting}") == value:
                data = self.trainer.datamodule  # type: ignore[attr-defined]
                if "score_std" not in data.splits["train"]:
                    raise InputError(
                        f"`model.{setting}: {value}` needs a score_std column, which {data.table.name} lacks; take "
                        f"`{other}`"
                    )

    def loss(self, predicted: Tensor, batch: Batch) -> Tensor:
        """Return the mean loss over the pairs of each group, then over the groups of the step."""
        return self.pair_loss(predicted, batch["score"], batch.get("score_std"), batch)

    def loss_of(self, outputs: dict[str, Tensor], batch: Batch) -> Tensor:
        """Return the same loss; of a network that answers `score_std` with the standard deviations that it states."""
        std = outputs.get("score_std")
        if std is None:
            return self.loss(outputs["score"], batch)
        return self.pair_loss(outputs["score"], batch["score"], batch.get("score_std"), batch, std)

    def pair_loss(
        self,
        predicted: Tensor,
        score: Tensor,
        score_std: Tensor | None,
        batch: Batch,
        predicted_std: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of predictions of one attribute, by its subjective scores and their standard deviations.

        `predicted_std` are the standard deviations that the network states of its predictions, where it does.
        """
        a, b = pairs_within(batch["group"])
        std = score_std if self._target == "score_std" else None
        stds = (None, None) if std is None else (std[a], std[b])
        target = target_difference(score[a], score[b], *stds)
        difference, more = predicted[a] - predicted[b], None
        if predicted_std is not None:
            measured = None if score_std is None else (score_std[a], score_std[b])
            difference, more = std_terms(self._learnt_std, difference, (predicted_std[a], predicted_std[b]), measured)
        losses = self._loss(difference, target)
        losses = losses if more is None else losses + more
        return mean_within_groups(losses, batch["group"][a], batch["groups"])

    def measures(self, table: pd.DataFrame) -> dict[str, float]:
        """Return SROCC (mean, median and of each scene) and the fraction of concordant pairs."""
        scenes = per_scene(table)["srocc"]
        return {
            "srocc": float(scenes.mean()),
            "srocc_median": float(scenes.quantile(0.5)),
            "pair_accuracy": pair_accuracy(table),
            "undefined_scenes": float(scenes.isna().sum()),  # constant predictions; left out of mean and median
            **{f"srocc/{scene}": float(value) for scene, value in scenes.items()},
        }
