"""The moving average of the weights of a run: what is validated, chosen and kept."""

from __future__ import annotations

import warnings
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.trainer.states import TrainerFn

from piqa.errors import InputError
from piqa.training.checkpoints import AVERAGING, State


class AveragedWeights(EMAWeightAveraging):
    """Averages the weights over the steps; Lightning's callback, with what a run of piqa's needs.

    The validation sees the average, so it is what chooses the checkpoint. In every checkpoint `state_dict` is the
    average, which is what a model is loaded from; the weights that training goes on with stand beside it. The first
    steps of a run are averaged faster: with the decay `(1 + step) / (10 + step)`, as far as that is smaller, so that a
    short run does not keep the weights that it started from.

    Args:
        decay: What remains of the average in each step, in (0, 1), such as 0.99: it then spans some hundred steps.

    Raises:
        InputError: If the decay is out of range.
    """

    def __init__(self, decay: float) -> None:
        if not 0 < decay < 1:
            raise InputError(f"`ema_decay` is {decay}; it must lie between 0 and 1, such as 0.99")
        super().__init__(decay=decay)
        self._kwargs["avg_fn"] = _warmed_up(decay)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Copy the network; Lightning warns that sharded layers of `configure_model` are lost, and piqa has none."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "You're using the WeightAveraging callback with a model")
            super().setup(trainer, pl_module, stage)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: State) -> None:
        """Go on with both sets of weights where a run is resumed; a test sees the average, which is loaded already.

        Raises:
            InputError: If the run that is resumed was not averaged.
        """
        if trainer.state.fn != TrainerFn.FITTING:
            return
        if AVERAGING not in checkpoint:
            raise InputError(
                "the checkpoint is of a run whose weights were not averaged; leave `--ema_decay` out to resume it"
            )
        super().on_load_checkpoint(trainer, pl_module, checkpoint)


def _warmed_up(decay: float) -> Any:
    def average(average: Any, current: Any, averaged: Any) -> Any:
        """Return the next average of a tensor; `averaged` counts the steps before."""
        kept = min(decay, (1 + int(averaged)) / (10 + int(averaged)))
        return kept * average + (1 - kept) * current

    return average
