"""Learning to rank the portraits of a scene."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
import torch
from lightning import LightningModule
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from piqa import weights
from piqa.data.dataset import Batch
from piqa.errors import InputError
from piqa.evaluation.metrics import pair_accuracy, per_scene
from piqa.models.scoring import inputs_of, score_crops
from piqa.tasks.losses import (
    fidelity_loss,
    mean_within_groups,
    pairs_within,
    published_fidelity_loss,
    target_difference,
)
from piqa.tasks.predictions import Predictions

LOSSES = {"fidelity": fidelity_loss, "published": published_fidelity_loss}


@dataclass
class InitialWeights:
    """What training starts from.

    Args:
        whole: Weights of the whole-image backbone: a file (LSVQ, GFIQA, timm or piqa backbone), `imagenet` for timm's
            own, or `scratch`.
        face: Likewise of the face backbone.
        model: A whole trained model to go on from, official or piqa's own; then the other two are not read.
    """

    whole: str = "data/weights/lsvq.safetensors"
    face: str = "data/weights/gfiqa.safetensors"
    model: str | None = None

    def load(self, network: nn.Module) -> None:
        """Fills a network.

        Raises:
            InputError: If a file is absent or does not fit.
        """
        if self.model is not None:
            weights.load_dual_branch(network, weights.find_model(self.model))
            return
        for branch, backbone in getattr(network, "backbones", {}).items():
            source = {"whole": self.whole, "face": self.face}[branch]
            if source == "imagenet":
                backbone.load_timm_weights()
            elif source == "scratch":
                rank_zero_warn(f"the {branch} backbone starts from scratch, without any pretraining")
            else:
                weights.load_backbone(backbone, weights.require(source, "lsvq" if branch == "whole" else "gfiqa"))


def published_adam(parameters: Iterable[nn.Parameter]) -> Optimizer:
    """Adam as published: learning rate 1e-5, weight decay 1e-7 (L2)."""
    return torch.optim.Adam(parameters, lr=1e-5, weight_decay=1e-7)


def published_schedule(optimizer: Optimizer) -> LRScheduler:
    """Learning rate x 0.9 every 2 epochs, as published."""
    return torch.optim.lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.9)


class RankingTask(LightningModule):
    """Fidelity loss over all pairs inside groups of one scene; SROCC per scene.

    Args:
        network: Answers scores for `full_image`, `face_crop`, `liqe_logits`, or those of them that its `inputs` name.
        init: What training starts from; not read when a run is resumed.
        loss: `fidelity`, which never stops teaching, or `published`, whose gradient is 0 for pairs badly wrong.
        target: Observed preference of a pair: `published`, Phi of the score difference; or `score_std`, Phi of the
            difference in units of the two scores' own uncertainty, for tables that have that column.
        optimizer: Makes the optimiser of the parameters.
        schedule: Makes its learning-rate schedule, stepped once an epoch.
    """

    def __init__(
        self,
        network: nn.Module,
        init: InitialWeights | None = None,
        loss: Literal["fidelity", "published"] = "fidelity",
        target: Literal["published", "score_std"] = "published",
        optimizer: Callable[[Iterable], Optimizer] = published_adam,  # type: ignore[type-arg]
        schedule: Callable[[Optimizer], LRScheduler] = published_schedule,
    ) -> None:
        super().__init__()
        self.network = network
        self.init = init or InitialWeights()
        self._loss, self._target = LOSSES[loss], target
        self._make_optimizer, self._make_schedule = optimizer, schedule
        self._predictions = Predictions()
        self.test_table: pd.DataFrame | None = None

    def forward(self, batch: Batch) -> Tensor:
        """Mean score over each portrait's crops, (portraits,)."""
        return score_crops(self.network, batch)

    def training_step(self, batch: Batch) -> Tensor:
        """Loss of one step's groups."""
        predicted = self.network(**inputs_of(self.network, batch))
        with torch.autocast(self.device.type, enabled=False):  # square roots near 0 do not survive half precision
            loss = self.ranking_loss(predicted.float(), batch)
        self.log("train/loss", loss, on_epoch=True, prog_bar=True, sync_dist=True, batch_size=len(predicted))
        return loss

    def ranking_loss(self, predicted: Tensor, batch: Batch) -> Tensor:
        """Mean loss over the pairs of each group, then over the step's groups.

        Args:
            predicted: Scores, float32, (portraits,).
            batch: `score`, `group`, `groups`, and `score_std` where the target needs it.
        """
        a, b = pairs_within(batch["group"])
        std = None
        if self._target == "score_std":
            if "score_std" not in batch:
                raise InputError("`model.target: score_std` needs a table with a score_std column; this one has none")
            std = batch["score_std"]
        target = target_difference(
            batch["score"][a], batch["score"][b], None if std is None else std[a], None if std is None else std[b]
        )
        losses = self._loss(predicted[a] - predicted[b], target)
        return mean_within_groups(losses, batch["group"][a], float(batch["groups"]))

    def validation_step(self, batch: Batch) -> None:
        """Collects predictions of the portraits that choose the checkpoint."""
        self._predictions.update(batch["index"], self(batch))

    def test_step(self, batch: Batch) -> None:
        """Collects predictions of the test split."""
        self._predictions.update(batch["index"], self(batch))

    def on_validation_epoch_end(self) -> None:
        """Logs SROCC, mean and per scene, and the share of pairs in the right order."""
        table = self._collect(self.trainer.val_dataloaders)
        if self.trainer.sanity_checking:
            return
        scenes = per_scene(table)
        summary = {"val/srocc": float(scenes["srocc"].mean()), "val/pair_accuracy": pair_accuracy(table)}
        by_scene = {f"val/srocc/{scene}": float(value) for scene, value in scenes["srocc"].items()}
        # All processes hold the same table, so that averaging over them changes nothing; Lightning cannot know.
        self.log_dict(summary, prog_bar=True, sync_dist=True)  # ModelCheckpoint watches val/srocc
        self.log_dict({"val/srocc_median": float(scenes["srocc"].median()), **by_scene}, sync_dist=True)

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
