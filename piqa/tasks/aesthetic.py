"""Learns ratings out of ten: the training of NIMA and of TANet."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from piqa.data.dataset import Batch
from piqa.data.tables.database import VOTES
from piqa.errors import InputError
from piqa.evaluation.metrics import plcc, srocc
from piqa.models.rating_distribution import RATING_LEVELS, rating_outputs
from piqa.tasks.base import MakeOptimizer, MakeSchedule
from piqa.tasks.emd import emd, maximum_entropy, vote_fractions
from piqa.tasks.initial_weights import InitialWeights
from piqa.tasks.losses import mean_within_groups
from piqa.tasks.two_groups import TwoGroupTask

Scores = TypeVar("Scores", Tensor, np.ndarray)

OTHER_SCALE = 1.0  # ratings that the mean of the votes and the score may differ by
LOWEST = {"emd": 1.0, "mse": 0.0}  # rating of the worst score: AVA's votes begin at 1, TAD66K's scale at 0


class TwoStages(LambdaLR):
    """Trains the head alone, then everything.

    The defaults are those of idealo's re-implementation for AVA, with Adam at 3e-5 and 14 epochs (it also lets the rate
    of the second stage decay slightly with every step, which is left out). For TID2013: `head_epochs: 25`, 50 epochs,
    Adam at 3e-7. The paper has one stage, SGD at 3e-6 with momentum 0.9: `head_epochs: 0`, `backbone_rate: 0.1`,
    `gamma: 0.95`.

    Args:
        optimizer: Its learning rate is that of the head in the second stage.
        head_epochs: Epochs of the first stage.
        head_lr: Learning rate of the head in the first stage.
        backbone_rate: Learning rate of the backbone in the second stage, relative to that of the head.
        gamma: Factor of all rates after every `step_size` epochs of the second stage.
        step_size: Epochs between two decays.

    Raises:
        InputError: If a number is out of range.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        head_epochs: int = 5,
        head_lr: float = 1e-3,
        backbone_rate: float = 1.0,
        gamma: float = 1.0,
        step_size: int = 10,
    ) -> None:
        if head_epochs < 0 or head_lr <= 0 or backbone_rate < 0 or step_size < 1:
            raise InputError(
                f"`schedule`: head_epochs {head_epochs} and backbone_rate {backbone_rate} must be at least 0, head_lr "
                f"{head_lr} above 0, step_size {step_size} at least 1"
            )
        groups = optimizer.param_groups
        head_factor = head_lr / groups[0]["lr"]

        def head(epoch: int) -> float:
            return head_factor if epoch < head_epochs else gamma ** ((epoch - head_epochs) // step_size)

        def backbone(epoch: int) -> float:
            return 0.0 if epoch < head_epochs else backbone_rate * head(epoch)

        super().__init__(optimizer, [backbone if group.get("name") == "backbone" else head for group in groups])


def nima_adam(parameters: Iterable[nn.Parameter]) -> Optimizer:
    """Return Adam at 3e-5, as in idealo's re-implementation of NIMA for AVA."""
    return torch.optim.Adam(parameters, lr=3e-5)


def nima_schedule(optimizer: Optimizer) -> LRScheduler:
    """Return `TwoStages` with its defaults: five epochs of the head at 1e-3, then all at the optimiser's rate."""
    return TwoStages(optimizer)


class AestheticTask(TwoGroupTask):
    """Ratings out of ten, compared over the whole split: SROCC and PLCC of mean and deviation, accuracy, EMD.

    Where images have votes, the distribution of votes is learnt. A plain score is mapped to a rating, and for EMD to
    the distribution of that mean with most entropy. TANet's published rates lie between 1e-7 and 1e-5, with Adam, for
    20 epochs (AVA) or 200 (TAD66K), all streams alike: `TwoStages` with `head_epochs: 0`.

    Args:
        network: Returns `score`, a rating, and for EMD `distribution`: NIMA, or TANet with the head `ava`. For MSE a
            network whose scores go from 0 to 10, such as TANet with the head `tad66k`.
        init: What training starts from; ignored when a run is resumed.
        loss: `emd`, with r = 2; or `mse` of a tenth of the rating, as published for TAD66K.
        score_range: The worst and the best possible score; None takes that of the table.
        optimizer: Makes the optimiser, of two groups of parameters named `head` (all but the backbone) and `backbone`.
            A group is frozen in epochs in which its learning rate is 0.
        schedule: Makes its learning-rate schedule, stepped once per epoch.

    Raises:
        InputError: If `score_range` is empty.
    """

    collected = ("score", "distribution")

    def __init__(
        self,
        network: nn.Module,
        init: InitialWeights = InitialWeights(whole="imagenet"),  # noqa: B008 (never changed)
        loss: Literal["emd", "mse"] = "emd",
        score_range: tuple[float, float] | None = None,
        optimizer: MakeOptimizer = nima_adam,
        schedule: MakeSchedule = nima_schedule,
    ) -> None:
        super().__init__(network, optimizer, schedule, init=init)
        if score_range is not None and not score_range[0] < score_range[1]:
            raise InputError(f"`model.score_range` must go from the worst to the best score, not {list(score_range)}")
        self._loss, self._range = loss, score_range

    def setup(self, stage: str) -> None:
        """Find the range of the scores, and check that all scores lie in it."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        self._range = self._range or getattr(data.table, "score_range", None)
        if self._range is None:
            raise InputError(
                f"{data.table.name} does not state its worst and best possible score; set `model.score_range`, such as "
                "[1, 10]"
            )
        for split, frame in data.splits.items():
            beyond = frame[~frame["score"].between(*self._range)]
            if len(beyond):
                raise InputError(
                    f"{len(beyond)} scores of the {split} split of {data.table.name}, such as "
                    f"{beyond['score'].iloc[0]:g} of {beyond['image'].iloc[0]}, lie outside {self._range[0]:g} .. "
                    f"{self._range[1]:g}; set `model.score_range`"
                )
            if self._loss == "emd" and set(VOTES) <= set(frame):
                self._check_votes(frame, f"the {split} split of {data.table.name}")

    def _check_votes(self, frame: pd.DataFrame, source: str) -> None:
        """Check that votes are on the scale of the ratings, 1 to 10: of a scale of five, a 5 would be a middling 5."""
        votes = frame[list(VOTES)].to_numpy(np.float64)
        total = votes.sum(axis=1)
        means = votes @ np.arange(1, RATING_LEVELS + 1) / np.where(total > 0, total, np.nan)
        off = np.abs(means - self.ratings(frame["score"].to_numpy(np.float64)))
        if np.isfinite(off).any() and float(np.nanmedian(off)) > OTHER_SCALE:
            raise InputError(
                f"the votes of {source} are not of ratings from 1 to 10: their means lie {np.nanmedian(off):.1f} from "
                "the scores, by the median; take piqa.tasks.CompositionTask for ratings from 1 to 5, or correct "
                "`model.score_range`"
            )

    def ratings(self, score: Scores) -> Scores:
        """Return scores of the table as ratings: 1 to 10, or 0 to 10 for the loss `mse`."""
        worst, best = self._range or (LOWEST[self._loss], float(RATING_LEVELS))
        lowest = LOWEST[self._loss]
        return lowest + (RATING_LEVELS - lowest) * (score - worst) / (best - worst)

    def target(self, batch: Batch) -> Tensor:
        """Return the distributions to learn, (images, 10): those of the `votes`, else those of the `score`."""
        means = self.ratings(batch["score"].double()).clamp(1, RATING_LEVELS)
        if "votes" not in batch:
            return maximum_entropy(means)
        voted = batch["votes"].isfinite().all(dim=1)  # in a mix of databases not every image is
        target = torch.empty_like(batch["votes"], dtype=torch.float32)
        target[voted], target[~voted] = vote_fractions(batch["votes"][voted]), maximum_entropy(means[~voted])
        return target

    def loss(self, predicted: Tensor, batch: Batch) -> Tensor:
        """Return the mean squared error of a tenth of the rating."""
        losses = mse_loss(predicted / RATING_LEVELS, self.ratings(batch["score"]) / RATING_LEVELS, reduction="none")
        return mean_within_groups(losses, batch["group"], batch["groups"])

    def loss_of(self, outputs: dict[str, Tensor], batch: Batch) -> Tensor:
        """Return the loss that the settings name."""
        if self._loss == "mse":
            return self.loss(outputs["score"], batch)
        if "distribution" not in outputs:
            raise InputError(
                f"`model.loss: emd` needs a network that outputs a distribution; {type(self.network).__name__} as "
                "configured does not; set `model.loss: mse`, or TANet's `head: ava`"
            )
        losses = emd(outputs["distribution"], self.target(batch))
        return mean_within_groups(losses, batch["group"], batch["groups"])

    def measures(self, table: pd.DataFrame) -> dict[str, float]:
        """Return SROCC and PLCC over the whole split, accuracy, and where there are distributions EMD (r = 1).

        `accuracy` is the fraction of the images on which table and network agree whether the rating is above 5.
        `srocc_std` and `plcc_std` are of the votes' standard deviation, where the table has votes.
        """
        rated = table.assign(score=self.ratings(table["score"].to_numpy()))
        agree = (rated["score"] > 5) == (rated["prediction"] > 5)
        found = super().measures(rated) | {"accuracy": float(agree.mean())}
        if "distribution" not in table:
            return found
        predicted = torch.from_numpy(np.stack(table["distribution"].tolist()))
        batch = {"score": torch.tensor(table["score"].to_numpy())}
        if set(VOTES) <= set(table):
            batch["votes"] = torch.tensor(table[list(VOTES)].to_numpy(np.float32))
        target = self.target(batch)
        found["emd"] = float(emd(predicted, target, r=1).mean())
        if "votes" in batch:
            voted = batch["votes"].isfinite().all(dim=1)
            deviations = [rating_outputs(rows[voted])["std"].numpy() for rows in (target, predicted)]
            found |= {"srocc_std": srocc(*deviations), "plcc_std": plcc(*deviations)}
        return found
