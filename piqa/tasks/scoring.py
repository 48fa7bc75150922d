"""What every task shares: a network that scores, predictions collected over processes, an optimiser, a card."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd
import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from piqa import weights
from piqa.data.dataset import Batch
from piqa.models.scoring import inputs_of, score_crops, score_of
from piqa.tasks.predictions import Predictions

MakeOptimizer = Callable[[Iterable], Optimizer]  # type: ignore[type-arg]
MakeSchedule = Callable[[Optimizer], LRScheduler]


def published_adam(parameters: Iterable[nn.Parameter]) -> Optimizer:
    """Adam as published: learning rate 1e-5, weight decay 1e-7 (L2)."""
    return torch.optim.Adam(parameters, lr=1e-5, weight_decay=1e-7)


def published_schedule(optimizer: Optimizer) -> LRScheduler:
    """Learning rate x 0.9 every 2 epochs, as published for PIQ23."""
    return torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.9)


class ScoringTask(LightningModule, ABC):
    """Trains a network that scores pictures; a subclass says by which loss and what to measure.

    Args:
        network: Answers scores for the entries of a batch that its `inputs` name.
        optimizer: Makes the optimiser of the parameters.
        schedule: Makes its learning-rate schedule, stepped once an epoch.
    """

    def __init__(self, network: nn.Module, optimizer: MakeOptimizer, schedule: MakeSchedule) -> None:
        super().__init__()
        self.network = network
        self._make_optimizer, self._make_schedule = optimizer, schedule
        self._predictions = Predictions()
        self.test_table: pd.DataFrame | None = None

    @abstractmethod
    def load_initial_weights(self) -> None:
        """Fills the network with what training starts from; not called when a run is resumed."""

    @abstractmethod
    def loss(self, predicted: Tensor, batch: Batch) -> Tensor:
        """Loss of one process's share of a step, from float32 scores, (pictures,)."""

    @abstractmethod
    def measures(self, table: pd.DataFrame) -> dict[str, float]:
        """What is logged of the validation rows and their `prediction`; `srocc` chooses the checkpoint."""

    def forward(self, batch: Batch) -> Tensor:
        """Scores, float32, (pictures,): the mean over crops or frames where a picture has several."""
        if "full_image" in batch and batch["full_image"].ndim == 5:
            return score_crops(self.network, batch)
        return score_of(self.network(**inputs_of(self.network, batch))).float()

    def training_step(self, batch: Batch) -> Tensor:
        """One step's loss, in float32 outside autocast: square roots near 0 do not survive half precision."""
        predicted = self(batch)
        with torch.autocast(self.device.type, enabled=False):
            loss = self.loss(predicted, batch)
        self.log("train/loss", loss, on_epoch=True, prog_bar=True, sync_dist=True, batch_size=len(predicted))
        return loss

    def validation_step(self, batch: Batch) -> None:
        """Collects predictions of the pictures that choose the checkpoint."""
        self._predictions.update(batch["index"], self(batch))

    def test_step(self, batch: Batch) -> None:
        """Collects predictions of the test split."""
        self._predictions.update(batch["index"], self(batch))

    def on_validation_epoch_end(self) -> None:
        """Logs what the task measures; of a single scene, to the log alone."""
        table = self._collect(self.trainer.val_dataloaders)
        if self.trainer.sanity_checking:
            return
        measures = {f"val/{name}": value for name, value in self.measures(table).items()}
        # All processes hold the same table, so that averaging over them changes nothing; Lightning cannot know.
        self.log_dict({k: v for k, v in measures.items() if k.count("/") == 1}, prog_bar=True, sync_dist=True)
        self.log_dict({k: v for k, v in measures.items() if k.count("/") > 1}, sync_dist=True)

    def on_test_epoch_end(self) -> None:
        """Keeps the predictions table in `test_table`."""
        self.test_table = self._collect(self.trainer.test_dataloaders)

    def _collect(self, loader: Any) -> pd.DataFrame:
        rows, predictions = self._predictions.compute()
        self._predictions.reset()
        table: pd.DataFrame = loader.dataset.dataset.table
        return table.iloc[rows].assign(prediction=predictions)

    def configure_optimizers(self) -> Any:
        """The optimiser over all parameters, as one group, and its schedule."""
        optimizer = self._make_optimizer(self.network.parameters())
        return {"optimizer": optimizer, "lr_scheduler": self._make_schedule(optimizer)}

    def card(self) -> dict[str, Any]:
        """What a reader of the weights must know: the network and the input that it expects."""
        network = self.network
        return {
            "network": {
                "class_path": f"{type(network).__module__}.{type(network).__qualname__}",
                "init_args": getattr(network, "init_args", {}),
            },
            **self.trainer.datamodule.contract(),  # type: ignore[attr-defined]
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Makes a training checkpoint readable by `piqa.weights.load_model`."""
        checkpoint[weights.CKPT_CARD] = self.card()
