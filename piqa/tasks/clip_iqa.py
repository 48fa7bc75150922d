"""Trains CLIP-IQA+ as published: scores of a whole database, from learned context tokens."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, LRScheduler

from piqa.data.dataset import Batch
from piqa.errors import InputError
from piqa.models.clip_iqa import CLIPIQAPlus
from piqa.tasks.base import MakeOptimizer, MakeSchedule, ScoringTask
from piqa.tasks.initial_weights import InitialWeights
from piqa.tasks.losses import mean_within_groups


def clip_iqa_sgd(parameters: Iterable[nn.Parameter]) -> Optimizer:
    """Return SGD as published for CLIP-IQA+: learning rate 0.002, no momentum, no weight decay."""
    return torch.optim.SGD(parameters, lr=0.002)


def clip_iqa_schedule(optimizer: Optimizer) -> LRScheduler:
    """Return the schedule published for CLIP-IQA+: a cosine from the full rate to 1e-7 in 300,000 steps, repeated."""
    return CosineAnnealingWarmRestarts(optimizer, T_0=300_000, eta_min=1e-7)


class CLIPIQATask(ScoringTask):
    """Mean squared error between the probability of the better prompt and the score, scaled to [0, 1].

    Only the context tokens are trained. Published: KonIQ-10k at full size, 128 images a step, the weights after
    80,000 steps.

    Args:
        network: CLIP-IQA+.
        init: As `clip` of `InitialWeights`: `openai`, the path of a file, or `scratch`.
        score_range: The scores that stand for 0 and for 1; KonIQ-10k's MOS goes from 0 to 100.
        optimizer: Makes the optimiser of the parameters.
        schedule: Makes its learning-rate schedule, stepped after every step of the optimiser.

    Raises:
        InputError: If `score_range` is empty.
    """

    schedule_interval = "step"

    def __init__(
        self,
        network: CLIPIQAPlus,
        init: str = "openai",
        score_range: tuple[float, float] = (0.0, 100.0),
        optimizer: MakeOptimizer = clip_iqa_sgd,
        schedule: MakeSchedule = clip_iqa_schedule,
    ) -> None:
        super().__init__(network, optimizer, schedule, init=InitialWeights(clip=init))
        if not score_range[0] < score_range[1]:
            raise InputError(f"`model.score_range` must go from the worst to the best score, not {list(score_range)}")
        self._range = score_range

    def setup(self, stage: str) -> None:
        """Suppress Lightning's warning about a network in evaluation mode, in which this one stays."""
        warnings.filterwarnings("ignore", r".*in eval mode at the start of training")

    def loss(self, predicted: Tensor, batch: Batch) -> Tensor:
        """Return the mean squared error between probabilities and scaled scores."""
        low, high = self._range
        losses = nn.functional.mse_loss(predicted, (batch["score"] - low) / (high - low), reduction="none")
        return mean_within_groups(losses, batch["group"], batch["groups"])
