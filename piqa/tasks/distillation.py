"""Learns to rank the images of a scene as a teacher ranks them."""

from __future__ import annotations

from typing import Literal

import pandas as pd
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from piqa.data.dataset import Batch
from piqa.errors import InputError
from piqa.evaluation.metrics import per_scene
from piqa.models.contract import Arguments
from piqa.tasks.base import MakeOptimizer, MakeSchedule, published_adam, published_schedule
from piqa.tasks.initial_weights import InitialWeights
from piqa.tasks.losses import fidelity_loss, mean_within_groups, pairs_within
from piqa.tasks.ranking import RankingTask
from piqa.training.compute_options import ComputeOptions
from piqa.weights.model_card import ModelCard

JOD_SPREAD = 1.4  # standard deviation of JODs inside a scene of PIQ23
USUAL = (0.2, 10.0)  # of a teacher's: beyond, nearly all its preferences are 1/2, or 0 and 1


class DistillationTask(RankingTask):
    """Fidelity between a student's and its teacher's preferences, over all pairs within groups of one scene.

    The teacher's preference of a pair is Phi of the difference of its two scores. Only differences count, so nothing
    needs a common zero of the scenes, and pictures without scores serve as well.

    Args:
        network: The student.
        init: What training starts from; ignored when a run is resumed.
        label_weight: How much the true scores of a table count, in [0, 1], against the teacher's. Images without a true
            score learn from the teacher alone.
        score_weight: What the squared difference to the teacher's scores counts beside, after the student's scores of
            each group have been given mean and standard deviation of the teacher's; 0 for nothing.
        unit: The difference of the teacher's scores that counts as one JOD; 1 for a teacher that has learnt JODs.
        target: How true scores become preferences, as of `RankingTask`.
        optimizer: Makes the optimiser of the parameters.
        schedule: Makes its learning-rate schedule, stepped once per epoch.
        compute: How a training step is computed.

    Raises:
        InputError: If a number is out of range.
    """

    learns = ()  # the score alone

    def __init__(
        self,
        network: nn.Module,
        init: InitialWeights | None = None,
        label_weight: float = 0.0,
        score_weight: float = 0.0,
        unit: float = 1.0,
        target: Literal["published", "score_std"] = "published",
        optimizer: MakeOptimizer = published_adam,
        schedule: MakeSchedule = published_schedule,
        compute: ComputeOptions | None = None,
    ) -> None:
        super().__init__(network, init=init, target=target, optimizer=optimizer, schedule=schedule, compute=compute)
        if not 0 <= label_weight <= 1 or score_weight < 0 or unit <= 0:
            raise InputError(
                f"`model.label_weight` {label_weight} must lie between 0 and 1, `model.score_weight` {score_weight} be "
                f"at least 0, and `model.unit` {unit} above 0"
            )
        self._label_weight, self._score_weight, self._unit = label_weight, score_weight, unit
        self.licence: Arguments = {}  # of the teacher, which the student takes over; the command sets it

    def setup(self, stage: str) -> None:
        """Check that there are true scores, where they are to count, and that the student answers the score alone."""
        if stage == "fit":
            self.refuse_unlearnt(self.learns)
        if self._label_weight:
            super().setup(stage)
            if stage == "fit" and self.trainer.datamodule.scored is None:  # type: ignore[attr-defined]
                raise InputError("`model.label_weight` needs true scores, which pictures lack; name a `data.table` too")
        if stage == "fit" and self._label_weight < 1:
            self._check_spread(self.trainer.datamodule.splits["train"])  # type: ignore[attr-defined]

    def _check_spread(self, train: pd.DataFrame) -> None:
        """Tell where the teacher's scores have another unit than preferences are made of.

        Raises:
            InputError: If the teacher tells no two images of a scene apart.
        """
        inside = train["teacher_score"] - train.groupby("scene")["teacher_score"].transform("mean")
        spread = float((inside**2).mean() ** 0.5)
        if not spread > 1e-9:  # what is left of equal scores by rounding
            raise InputError("the teacher gives all images of a scene one score, so that nothing can be learnt of it")
        if not USUAL[0] <= spread / self._unit <= USUAL[1]:
            extreme = "1/2" if spread < self._unit else "0 or 1"
            rank_zero_warn(
                f"inside a scene the teacher's scores have a standard deviation of {spread / self._unit:.2g} units, "
                f"where JODs have {JOD_SPREAD}: its preferences are nearly all {extreme}; try "
                f"`--model.unit {spread / JOD_SPREAD:.2g}`"
            )

    def loss(self, predicted: Tensor, batch: Batch) -> Tensor:
        """Return the loss against the teacher and, where there are true scores, against these."""
        group, groups, teacher = batch["group"], batch["groups"], batch["teacher_score"] / self._unit
        labelled = batch["score"].isfinite() if self._label_weight else torch.zeros_like(group, dtype=torch.bool)
        weight = 1 - self._label_weight * labelled.float()  # of the teacher, by image; the same for all of a scene
        a, b = pairs_within(group)
        losses = fidelity_loss(predicted[a] - predicted[b], teacher[a] - teacher[b]) * weight[a]
        loss = mean_within_groups(losses, group[a], groups)
        if self._score_weight:
            squares = weight * matched_squares(predicted, teacher, group)
            loss = loss + self._score_weight * mean_within_groups(squares, group, groups)
        if labelled.any():
            std = batch["score_std"][labelled] if "score_std" in batch else None
            own = {"group": group[labelled], "groups": groups}
            loss = loss + self._label_weight * self.pair_loss(predicted[labelled], batch["score"][labelled], std, own)
        return loss

    def loss_of(self, outputs: dict[str, Tensor], batch: Batch) -> Tensor:
        """Return the loss of the scores."""
        return self.loss(outputs["score"], batch)

    def measures(self, table: pd.DataFrame) -> dict[str, float]:
        """Return what `RankingTask` does, and the mean SROCC per scene with the teacher's scores."""
        known = table[table["teacher_score"].notna()]
        agreement = (
            per_scene(known.assign(score=known["teacher_score"]))["srocc"].mean() if len(known) else float("nan")
        )
        return super().measures(table) | {"teacher_srocc": float(agreement)}

    def card(self) -> ModelCard:
        """Return the card, with the licence of the teacher."""
        return ModelCard.from_dict(super().card().to_dict() | {"licence": self.licence}, "this run")


def matched_squares(predicted: Tensor, teacher: Tensor, group: Tensor) -> Tensor:
    """Return squared differences of scores after those of each group were given the teacher's mean and deviation.

    Args:
        predicted: The student's scores, shape (images,).
        teacher: The teacher's, likewise.
        group: Group of each image.

    Returns:
        Of each image, shape (images,); 0 in a group to which the teacher gives one score. The mean over a group is
        2 (1 - r) times the teacher's variance, with r Pearson's correlation.

    Examples:
        >>> student, teacher = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([5.0, 7.0, 9.0])
        >>> matched_squares(student, teacher, torch.zeros(3)).tolist()
        [0.0, 0.0, 0.0]
    """
    _, place, sizes = torch.unique(group, return_inverse=True, return_counts=True)

    def centred(values: Tensor) -> tuple[Tensor, Tensor]:
        """Return values without the mean of their group, and the variance of each group."""
        zeros = torch.zeros(len(sizes), device=values.device, dtype=values.dtype)
        own = values - (zeros.index_add(0, place, values) / sizes)[place]
        return own, zeros.index_add(0, place, own.square()) / sizes

    (ours, our_variance), (theirs, their_variance) = centred(predicted), centred(teacher)
    # The floor keeps the slope finite where the student gives one score to all. The root of the quotient would have an
    # infinite slope where the teacher does.
    scale = their_variance.sqrt() / our_variance.clamp_min(1e-12).sqrt()
    return (scale[place] * ours - theirs).square()
