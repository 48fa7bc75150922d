"""What every task shares: a network that scores, predictions collected over processes, an optimiser, a card."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric

from piqa.data.dataset import Batch
from piqa.models.contract import as_scoring_network, network_outputs
from piqa.tasks.gathered_predictions import Predictions
from piqa.training.compute_options import ComputeOptions
from piqa.training.nan_guard import Share, stop_unless_finite
from piqa.weights import state_dicts
from piqa.weights.model_card import ClassSpec, ModelCard

MakeOptimizer = Callable[[Iterable], Optimizer]  # type: ignore[type-arg]
MakeSchedule = Callable[[Optimizer], LRScheduler]


LOSS_SO_FAR = "piqa_loss"  # where a checkpoint keeps the sums of the epoch's mean loss


def published_adam(parameters: Iterable[nn.Parameter], fused: bool = True) -> Optimizer:
    """Adam as published: learning rate 1e-5, weight decay 1e-7 (L2); `fused` takes the step in one kernel."""
    return torch.optim.Adam(parameters, lr=1e-5, weight_decay=1e-7, fused=fused)


def published_schedule(optimizer: Optimizer) -> LRScheduler:
    """Learning rate x 0.9 every 2 epochs, as published for PIQ23."""
    return torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.9)


class ScoringTask(LightningModule, ABC):
    """Trains a network that scores images; a subclass says by which loss and what to measure.

    Args:
        network: Answers as `piqa.models.contract.ScoringNetwork`.
        optimizer: Makes the optimiser of the parameters.
        schedule: Makes its learning-rate schedule, stepped once an epoch.
        speed: How the training step is computed.
    """

    def __init__(
        self, network: nn.Module, optimizer: MakeOptimizer, schedule: MakeSchedule, speed: ComputeOptions | None = None
    ) -> None:
        super().__init__()
        self.network = as_scoring_network(network)
        self._make_optimizer, self._make_schedule, self._speed = optimizer, schedule, speed or ComputeOptions()
        self._shares: list[Share] = []  # of the step under way
        self._epoch_loss = MeanMetric()
        self._predictions = Predictions()
        self.test_table: pd.DataFrame | None = None

    @abstractmethod
    def load_initial_weights(self) -> None:
        """Fills the network with what training starts from; not called when a run is resumed."""

    @abstractmethod
    def loss(self, predicted: Tensor, batch: Batch) -> Tensor:
        """Loss of one share of a step, from float32 scores, (images,).

        It is the sum over the share's groups, divided by the batch's `groups`, so that the mean over all processes and
        accumulated batches is the loss of the step, however it is shared out.
        """

    @abstractmethod
    def measures(self, table: pd.DataFrame) -> dict[str, float]:
        """What is logged of the validation rows and their `prediction`; `srocc` chooses the checkpoint."""

    def outputs(self, batch: Batch) -> dict[str, Tensor]:
        """All that the network says of the images, over crops or frames as `network_outputs` sums up."""
        return network_outputs(self.network, batch, self._speed.arrange)

    def loss_of(self, outputs: dict[str, Tensor], batch: Batch) -> Tensor:
        """Loss of one share of a step, for a task that learns from more of the network's outputs than the score."""
        return self.loss(outputs["score"], batch)

    def forward(self, batch: Batch) -> Tensor:
        """Scores, float32, (images,): the mean over crops or frames where an image has several."""
        return self.outputs(batch)["score"]

    def configure_model(self) -> None:
        """Sets the network up for speed; Lightning calls it before the optimiser is made."""
        self._speed.apply(self.network)

    def on_train_epoch_start(self) -> None:
        """Starts the epoch's mean loss; not called where an epoch is resumed in its middle."""
        self._epoch_loss.reset()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seeds dropout and its like from the step's number.

        So no generator's state need be kept for an exact resume, and processes differ from each other.
        """
        trainer = self.trainer
        share = batch_idx % trainer.accumulate_grad_batches * trainer.world_size + trainer.global_rank
        seed = getattr(trainer.datamodule, "seed", 0)  # type: ignore[attr-defined]
        torch.manual_seed(int(np.random.SeedSequence([seed, trainer.global_step, share]).generate_state(1)[0]))

    def training_step(self, batch: Batch) -> Tensor:
        """One share's loss, in float32 outside autocast: square roots near 0 do not survive half precision."""
        outputs = self.outputs(batch)
        with torch.autocast(self.device.type, enabled=False):
            loss = self.loss_of(outputs, batch)
        self._shares.append(Share(batch["index"], batch["score"], outputs["score"].detach(), loss.detach()))
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Logs the loss of the whole step, and ends the run where it or the gradient is no number."""
        loss = torch.stack([share.loss for share in self._shares]).mean()
        loss = self.trainer.strategy.reduce(loss, reduce_op="mean")  # type: ignore[assignment]
        stop_unless_finite(self.trainer, loss, self.network, self._shares)
        self._shares.clear()
        self._epoch_loss(loss)
        self.log("train/loss", self._epoch_loss, on_step=True, on_epoch=True, prog_bar=True)

    def validation_step(self, batch: Batch) -> None:
        """Collects predictions of the images that choose the checkpoint."""
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
        """The optimiser over all parameters that are trained, as one group, and its schedule."""
        optimizer = self._make_optimizer(weight for weight in self.network.parameters() if weight.requires_grad)
        return {"optimizer": optimizer, "lr_scheduler": self._make_schedule(optimizer)}

    def card(self) -> ModelCard:
        """What a reader of the weights must know: the network and the input that it expects."""
        expected = self.trainer.datamodule.contract()  # type: ignore[attr-defined]
        return ModelCard.from_dict({"network": asdict(ClassSpec.of(self.network)), **expected}, "this run")

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips as Lightning does, also for a fused optimiser.

        Lightning refuses those in mixed precision, as with float16 they bring the gradients to scale themselves. There
        is no scale with bfloat16.
        """
        plugin = self.trainer.precision_plugin
        if gradient_clip_val and plugin.precision == "bf16-mixed":
            clip = plugin.clip_grad_by_value if gradient_clip_algorithm == "value" else plugin.clip_grad_by_norm
            clip(optimizer, gradient_clip_val)
            return
        self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Lets `load_model` read a training checkpoint, and keeps the epoch's mean loss so far."""
        checkpoint[state_dicts.CKPT_CARD] = self.card().to_dict()
        checkpoint[LOSS_SO_FAR] = self._epoch_loss.metric_state

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Goes on with the mean loss of an epoch that is resumed in its middle."""
        for name, value in checkpoint.get(LOSS_SO_FAR, {}).items():
            setattr(self._epoch_loss, name, value)
