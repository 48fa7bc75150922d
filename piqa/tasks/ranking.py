"""Learning to rank the portraits of a scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pandas as pd
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from piqa.data.dataset import Batch
from piqa.errors import InputError
from piqa.evaluation.metrics import pair_accuracy, per_scene
from piqa.models.backbone import Backbone
from piqa.models.clip import PromptedCLIP
from piqa.models.tanet import TANet
from piqa.tasks.base import MakeOptimizer, MakeSchedule, ScoringTask, published_adam, published_schedule
from piqa.tasks.losses import (
    fidelity_loss,
    mean_within_groups,
    pairs_within,
    published_fidelity_loss,
    target_difference,
)
from piqa.training.compute_options import ComputeOptions
from piqa.weights import model_file, state_dicts

LOSSES = {"fidelity": fidelity_loss, "published": published_fidelity_loss}


@dataclass
class InitialWeights:
    """What training starts from.

    Args:
        whole: Weights of the whole-image backbone: a file (LSVQ, GFIQA, timm or piqa backbone), `imagenet` for timm's
            own, or `scratch`.
        face: Likewise of the face backbone.
        model: A whole trained model to go on from, official or piqa's own; then the others are not read.
        theme: Places365 weights of TANet's theme stream: the official file, or `scratch`.
        clip: Weights of a network that is built on CLIP: `openai` for CLIP's own, a file (a CLIP state dict, such as
            the official LIQE.pt, or piqa's own), or `scratch`.
    """

    whole: str = "data/weights/lsvq.safetensors"
    face: str = "data/weights/gfiqa.safetensors"
    model: str | None = None
    theme: str = "data/weights/resnet18_places365.pth.tar"
    clip: str = "openai"

    def load(self, network: nn.Module) -> None:
        """Fills a network.

        Raises:
            InputError: If a file is absent or does not fit.
        """
        if self.model is not None:
            state_dicts.load_model_weights(network, model_file.find_model(self.model))
            return
        sources = {"whole": self.whole, "face": self.face}
        for branch, backbone in getattr(network, "backbones", {}).items():
            source = sources.get(branch)
            if source is None or not isinstance(backbone, Backbone):
                continue  # of somebody else's network, which starts from what it was built with
            if source == "imagenet":
                backbone.load_timm_weights()
            elif source == "scratch":
                rank_zero_warn(f"the {branch} backbone starts from scratch, without any pretraining")
            else:
                state_dicts.load_backbone(
                    backbone, state_dicts.require(source, "lsvq" if branch == "whole" else "gfiqa")
                )
        if isinstance(network, PromptedCLIP):
            if self.clip == "scratch":
                rank_zero_warn("the network starts from a random CLIP, without any pretraining")
            else:
                state_dicts.load_clip(network, self.clip)
        if isinstance(network, TANet):
            if self.theme == "scratch":
                rank_zero_warn("TANet's theme stream, which is never trained, stays random: it knows no themes")
            else:
                state_dicts.load_places365(network.theme, self.theme)


class RankingTask(ScoringTask):
    """Fidelity loss over all pairs inside groups of one scene; SROCC per scene.

    Args:
        network: Answers scores for `whole`, `face_crop`, `liqe_logits`, or those of them that its `inputs` name.
        init: What training starts from; not read when a run is resumed.
        loss: `fidelity`, which never stops teaching, or `published`, whose gradient is 0 for pairs badly wrong.
        target: Observed preference of a pair: `published`, Phi of the score difference; or `score_std`, Phi of the
            difference in units of the two scores' own uncertainty, for tables that have that column.
        optimizer: Makes the optimiser of the parameters.
        schedule: Makes its learning-rate schedule, stepped once an epoch.
        speed: How the training step is computed.
    """

    def __init__(
        self,
        network: nn.Module,
        init: InitialWeights | None = None,
        loss: Literal["fidelity", "published"] = "fidelity",
        target: Literal["published", "score_std"] = "published",
        optimizer: MakeOptimizer = published_adam,
        schedule: MakeSchedule = published_schedule,
        speed: ComputeOptions | None = None,
    ) -> None:
        super().__init__(network, optimizer, schedule, speed)
        self._init = init or InitialWeights()
        self._loss, self._target = LOSSES[loss], target

    def load_initial_weights(self) -> None:
        """Fills the network as `init` says."""
        self._init.load(self.network)

    def setup(self, stage: str) -> None:
        """Refuses a table without the column that the target needs."""
        if stage == "fit" and self._target == "score_std":
            data = self.trainer.datamodule  # type: ignore[attr-defined]
            if "score_std" not in data.splits["train"]:
                raise InputError(f"`model.target: score_std` needs a score_std column, which {data.table.name} lacks")

    def loss(self, predicted: Tensor, batch: Batch) -> Tensor:
        """Mean loss over the pairs of each group, then over the step's groups.

        Args:
            predicted: Scores, float32, (portraits,).
            batch: `score`, `group`, `groups`, and `score_std` where the target needs it.
        """
        a, b = pairs_within(batch["group"])
        std = batch["score_std"] if self._target == "score_std" else None
        target = target_difference(
            batch["score"][a], batch["score"][b], None if std is None else std[a], None if std is None else std[b]
        )
        losses = self._loss(predicted[a] - predicted[b], target)
        return mean_within_groups(losses, batch["group"][a], batch["groups"])

    def measures(self, table: pd.DataFrame) -> dict[str, float]:
        """SROCC, mean, median and of each scene, and the share of pairs in the right order."""
        scenes = per_scene(table)["srocc"]
        return {
            "srocc": float(scenes.mean()),
            "srocc_median": float(scenes.quantile(0.5)),
            "pair_accuracy": pair_accuracy(table),
            "undefined_scenes": float(scenes.isna().sum()),  # constant predictions; left out of mean and median
            **{f"srocc/{scene}": float(value) for scene, value in scenes.items()},
        }
