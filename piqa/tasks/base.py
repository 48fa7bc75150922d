"""What every task shares: a network that scores, predictions gathered over processes, an optimiser, a card."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import cast

import numpy as np
import pandas as pd
import torch
from lightning import LightningModule
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torchmetrics import MeanMetric

from piqa.data.dataset import Batch
from piqa.errors import InputError
from piqa.evaluation.metrics import plcc, srocc
from piqa.models.contract import as_scoring_network, network_outputs
from piqa.tasks.gathered_predictions import Predictions
from piqa.tasks.initial_weights import InitialWeights
from piqa.tasks.layer_decay import layer_groups, scale_rates
from piqa.training.checkpoints import State
from piqa.training.compute_options import ComputeOptions
from piqa.training.nan_guard import BatchResult, stop_unless_finite
from piqa.weights import state_dicts
from piqa.weights.model_card import ClassSpec, ModelCard

MakeOptimizer = Callable[[Iterable], Optimizer]  # type: ignore[type-arg]
MakeSchedule = Callable[[Optimizer], LRScheduler]

EPOCH_LOSS = "piqa_loss"  # where a checkpoint keeps the sums of the epoch's mean loss


def published_adam(parameters: Iterable[nn.Parameter], fused: bool = True) -> Optimizer:
    """Return Adam as published: learning rate 1e-5, weight decay 1e-7 (L2); `fused` takes the step in one kernel."""
    return torch.optim.Adam(parameters, lr=1e-5, weight_decay=1e-7, fused=fused)


def published_schedule(optimizer: Optimizer) -> LRScheduler:
    """Return the schedule published for PIQ23: learning rate x 0.9 every 2 epochs."""
    return torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.9)


class ScoringTask(LightningModule, ABC):
    """Trains a network that scores images; a subclass names the loss.

    Args:
        network: A `piqa.models.contract.ScoringNetwork`.
        optimizer: Makes the optimiser of the parameters.
        schedule: Makes its learning-rate schedule, stepped once per epoch.
        compute: How a training step is computed.
        init: What training starts from; ignored when a run is resumed.
    """

    monitor = "srocc"  # the measure that chooses the checkpoint
    collected: tuple[str, ...] = ("score",)  # outputs that the measures need, as far as the network has them
    attributes: tuple[str, ...] = ()  # what is learnt beside the score, each with a report of its own
    schedule_interval = "epoch"  # or `step`
    layer_decay = 1.0  # factor of the learning rate from a layer of a backbone to the one before it

    def __init__(
        self,
        network: nn.Module,
        optimizer: MakeOptimizer,
        schedule: MakeSchedule,
        compute: ComputeOptions | None = None,
        init: InitialWeights | None = None,
    ) -> None:
        super().__init__()
        self.network = as_scoring_network(network)
        self._make_optimizer, self._make_schedule = optimizer, schedule
        self.compute_options, self._init = compute or ComputeOptions(), init or InitialWeights()
        self._results: list[BatchResult] = []  # of the current training step
        self._epoch_loss = MeanMetric()
        by_output = nn.ModuleDict({name: Predictions() for name in self.collected})
        self._predictions = cast("Mapping[str, Predictions]", by_output)
        self.test_table: pd.DataFrame | None = None

    def load_initial_weights(self) -> None:
        """Load the weights that `init` names; not called when a run is resumed."""
        self._init.load(self.network)

    @abstractmethod
    def loss(self, predicted: Tensor, batch: Batch) -> Tensor:
        """Return the loss on one batch of a step, from float32 scores, (images,).

        It is the sum over the batch's groups, divided by the batch's `groups`, so that the mean over all processes and
        accumulated batches is the loss of the step, however the step is divided.
        """

    def measures(self, table: pd.DataFrame) -> dict[str, float]:
        """Return what is logged of the validation rows and their `prediction`; here SROCC and PLCC."""
        score, prediction = table["score"].to_numpy(), table["prediction"].to_numpy()
        return {"srocc": srocc(score, prediction), "plcc": plcc(score, prediction)}

    def outputs(self, batch: Batch) -> dict[str, Tensor]:
        """Return all outputs of the network on images, taken together over crops or frames by `network_outputs`."""
        return network_outputs(self.network, batch, self.compute_options.arrange)

    def refuse_unlearnt(self, learnt: Iterable[str]) -> None:
        """Check that the task learns all that the network is made to answer.

        An output without a loss keeps the weights that were drawn at first, and its numbers look like any others.

        Args:
            learnt: Outputs that the task learns besides the score.

        Raises:
            InputError: If the network answers an attribute, or `score_std`, that is not learnt.
        """
        answered = [*getattr(self.network, "attributes", ())]
        answered += ["score_std"] if self.network.init_args.get("score_std") else []
        left = [name for name in answered if name not in set(learnt)]
        if left:
            raise InputError(
                f"{type(self.network).__name__} answers {', '.join(left)}, which {type(self).__name__} does not learn; "
                "leave it out of `model.network`, name its labels, or take a task that learns it (AttributesTask)"
            )

    def loss_of(self, outputs: dict[str, Tensor], batch: Batch) -> Tensor:
        """Return the loss on one batch of a step, for a task that learns from more outputs than the score."""
        return self.loss(outputs["score"], batch)

    def forward(self, batch: Batch) -> Tensor:
        """Return scores, float32, (images,): the mean over crops or frames where an image has several."""
        return self.outputs(batch)["score"]

    def configure_model(self) -> None:
        """Apply the compute options; Lightning calls it before the optimiser is made."""
        self.compute_options.apply(self.network)

    def on_fit_start(self) -> None:
        """Tell where a network that takes the face box is not given it."""
        unplaced = getattr(self.trainer.datamodule, "unplaced", 0)  # type: ignore[attr-defined]
        if unplaced and "face_box" in self.network.inputs:
            rank_zero_warn(
                f"the network sees no face in {unplaced} images, since the store keeps them as a version before 0.2.0 "
                "prepared them, without the place of the face; name another `data.store.folder`"
            )

    def on_train_epoch_start(self) -> None:
        """Start the mean loss of the epoch; not called where an epoch is resumed in its middle."""
        self._epoch_loss.reset()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed dropout and the like from step and process, so that an exact resume needs no generator's state."""
        trainer = self.trainer
        position = batch_idx % trainer.accumulate_grad_batches * trainer.world_size + trainer.global_rank
        seed = getattr(trainer.datamodule, "seed", 0)  # type: ignore[attr-defined]
        torch.manual_seed(int(np.random.SeedSequence([seed, trainer.global_step, position]).generate_state(1)[0]))

    def training_step(self, batch: Batch) -> Tensor:
        """Return the loss on one batch, in float32 outside autocast: half precision loses square roots near 0."""
        outputs = self.outputs(batch)
        with torch.autocast(self.device.type, enabled=False):
            loss = self.loss_of(outputs, batch)
        self._results.append(BatchResult(batch["index"], batch["score"], outputs["score"].detach(), loss.detach()))
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Log the loss of the whole step, and end the run where it or the gradient is not finite."""
        loss = torch.stack([result.loss for result in self._results]).mean()
        loss = self.trainer.strategy.reduce(loss, reduce_op="mean")  # type: ignore[assignment]
        stop_unless_finite(self.trainer, loss, self.network, self._results)
        self._results.clear()
        self._epoch_loss(loss)
        self.log("train/loss", self._epoch_loss, on_step=True, on_epoch=True, prog_bar=True)

    def validation_step(self, batch: Batch) -> None:
        """Collect outputs on the images that choose the checkpoint."""
        outputs = self.outputs(batch)
        for name in self.collected:
            if name in outputs:
                self._predictions[name].update(batch["index"], outputs[name])

    def test_step(self, batch: Batch) -> None:
        """Collect scores on the test split."""
        self._predictions["score"].update(batch["index"], self(batch))

    def on_validation_epoch_end(self) -> None:
        """Log the measures; those of a single scene go to the log only, not to the progress bar."""
        table = self._collect(self.trainer.val_dataloaders)
        if self.trainer.sanity_checking:
            return
        measures = {f"val/{name}": value for name, value in self.measures(table).items()}
        # All processes hold the same table, so that averaging over them changes nothing; Lightning cannot know.
        self.log_dict({k: v for k, v in measures.items() if k.count("/") == 1}, prog_bar=True, sync_dist=True)
        self.log_dict({k: v for k, v in measures.items() if k.count("/") > 1}, sync_dist=True)

    def on_test_epoch_end(self) -> None:
        """Keep the table of predictions as `test_table`."""
        self.test_table = self._collect(self.trainer.test_dataloaders)

    def _collect(self, loader: object) -> pd.DataFrame:
        rows, scores = self._predictions["score"].compute()
        table: pd.DataFrame = loader.dataset.dataset.table  # type: ignore[attr-defined]
        table = table.iloc[rows].assign(prediction=scores)
        for name, predictions in self._predictions.items():
            if name != "score" and predictions.update_called:
                table[name] = list(predictions.compute()[1])
            predictions.reset()
        return table

    def parameters_to_train(self) -> Iterable[object]:
        """Return what the optimiser is made of: all trainable parameters, as one group, or one a layer."""
        if self.layer_decay != 1:
            return layer_groups(self.network, self.layer_decay)
        return (weight for weight in self.network.parameters() if weight.requires_grad)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Return the optimiser of `parameters_to_train`, and its schedule."""
        optimizer = self._make_optimizer(self.parameters_to_train())
        scale_rates(optimizer)
        schedule = self._make_schedule(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": self.schedule_interval}}

    def card(self) -> ModelCard:
        """Return what a reader of the weights must know: the network and the input that it expects."""
        expected = self.trainer.datamodule.contract()  # type: ignore[attr-defined]
        return ModelCard.from_dict({"network": asdict(ClassSpec.of(self.network)), **expected}, "this run")

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip gradients as Lightning does, also for a fused optimiser in bfloat16, which it refuses."""
        plugin = self.trainer.precision_plugin
        if gradient_clip_val and plugin.precision == "bf16-mixed":
            clip = plugin.clip_grad_by_value if gradient_clip_algorithm == "value" else plugin.clip_grad_by_norm
            clip(optimizer, gradient_clip_val)
            return
        self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def on_save_checkpoint(self, checkpoint: State) -> None:
        """Add the card, so that `load_model` reads the checkpoint, and the mean loss of the epoch so far."""
        checkpoint[state_dicts.CKPT_CARD] = self.card().to_dict()
        checkpoint[EPOCH_LOSS] = self._epoch_loss.metric_state

    def on_load_checkpoint(self, checkpoint: State) -> None:
        """Restore the mean loss of an epoch that is resumed in its middle."""
        for name, value in checkpoint.get(EPOCH_LOSS, {}).items():
            setattr(self._epoch_loss, name, value)
