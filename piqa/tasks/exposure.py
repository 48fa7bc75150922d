"""Learns how exposure departs from what is right, pixel by pixel: the training of `piqa.models.ExposureMap`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, StepLR

from piqa.data.dataset import Batch
from piqa.errors import InputError
from piqa.evaluation.metrics import srocc
from piqa.models.exposure_map import STOPS, ExposureMap, extended, outputs_of_map
from piqa.models.light import exposed
from piqa.preparation.portrait import Preparation
from piqa.preparation.store import PreparedStore
from piqa.tasks.base import MakeOptimizer, MakeSchedule, ScoringTask
from piqa.tasks.exposure_labels import deep_loss, drawn_stops, fixed_stops, stops_from_reference
from piqa.tasks.initial_weights import InitialWeights
from piqa.tasks.losses import mean_within_groups
from piqa.training.nan_guard import BatchResult

Labels = Literal["synthetic", "reference"]
REFERENCE = "reference_path"  # column of the expert's picture of an image
SEEN = 0.5  # stops; of less the sign is not judged
SHALLOWER = 2  # the most levels that a step's depth is below that of the image's size, and at which decoding stops


def exposure_adam(parameters: Iterable[nn.Parameter]) -> Optimizer:
    """Return Adam at 3e-4; P-IEANet's published rate for a network that starts from other weights is 3e-5."""
    return torch.optim.Adam(parameters, lr=3e-4)


def exposure_schedule(optimizer: Optimizer) -> LRScheduler:
    """Return P-IEANet's schedule: learning rate x 0.1 every 10 epochs."""
    return StepLR(optimizer, step_size=10, gamma=0.1)


class ExposureTask(ScoringTask):
    """L1 on the maps of all levels of the decoder; depth and last level are drawn in every step.

    A table's scores are not learnt. In validation and test, `score` is what the labels say of the image: minus the mean
    absolute departure in stops.

    Args:
        network: `piqa.models.ExposureMap`, or another with its methods `depth_for` and `maps`.
        init: What training starts from; ignored when a run is resumed.
        labels: `synthetic`: the images count as well exposed, and each is spoilt by stops that are drawn anew in every
            step; in validation and test by stops that depend on its row. `reference`: images as they are, with the
            table's `reference_path`, an expert's picture of the same.
        flip: Mirror half of the training images, labels included.
        optimizer: Makes the optimiser of the parameters.
        schedule: Makes its learning-rate schedule, stepped once per epoch.

    Raises:
        InputError: If the network has no maps.
    """

    monitor = "within_half_stop"
    collected = ("score", "stops", "true_score", "true_stops", "mae", "signs", "within")

    def __init__(
        self,
        network: nn.Module,
        init: InitialWeights | None = None,
        labels: Labels = "synthetic",
        flip: bool = True,
        optimizer: MakeOptimizer = exposure_adam,
        schedule: MakeSchedule = exposure_schedule,
    ) -> None:
        super().__init__(network, optimizer, schedule, init=init)
        if not all(hasattr(network, name) for name in ("depth_for", "maps")):
            raise InputError(f"{type(network).__name__} has no maps; ExposureTask trains `piqa.models.ExposureMap`")
        self.network: ExposureMap
        self._labels, self._flip = labels, flip
        self._references: PreparedStore[Any] | None = None

    def prepare_data(self) -> None:
        """Prepare the experts' pictures that the store lacks."""
        if self._labels == "reference":
            data = self.trainer.datamodule  # type: ignore[attr-defined]
            table = data.table.load()
            if REFERENCE not in table:
                raise InputError(
                    f"`model.labels: reference` needs a column {REFERENCE}, which {data.table.name} lacks; take "
                    "`synthetic`"
                )
            report = self._store().build(table[REFERENCE], data.store.device, data.store.workers, data.store.max_failed)
            print(f"experts' pictures: {report}")

    def setup(self, stage: str) -> None:
        """Check how the network sees the images."""
        inputs = self.trainer.datamodule.inputs  # type: ignore[attr-defined]
        if inputs.view != "whole":
            raise InputError(f"ExposureTask needs whole images; set `data.inputs.view: whole`, not {inputs.view}")
        if self._labels == "reference":
            if inputs.flip:
                raise InputError("`data.inputs.flip` would mirror images without their labels; use `model.flip`")
            self._references = self._store()

    def _store(self) -> PreparedStore[Any]:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        preparation: Preparation = replace(data.preparation, face_rule="none", try_turns=False, liqe=None)
        return PreparedStore(data.store.folder, preparation)

    def loss(self, predicted: Tensor, batch: Batch) -> Tensor:
        """Refused: scores alone teach no map."""
        raise InputError("ExposureTask learns from maps; `loss_of_maps` is its loss")

    def loss_of_maps(self, pixels: Tensor, stops: Tensor) -> tuple[Tensor, Tensor]:
        """Return the losses and the scores, (images,), of spoilt images with a depth and a last level of its own.

        Args:
            pixels: uint8, (images, 3, height, width), as the network sees them.
            stops: What is right to say of them, (images, 1, height, width).
        """
        full = self.network.depth_for(*pixels.shape[-2:])
        depth = full - int(torch.randint(0, min(SHALLOWER, full - 1) + 1, ()))
        stop = int(torch.randint(0, min(SHALLOWER, depth) + 1, ()))
        maps = self.network.maps(pixels, depth, stop)
        with torch.autocast(self.device.type, enabled=False):
            losses = deep_loss(maps, extended(stops, depth) / STOPS, stop)
            if self.trainer.world_size > 1:  # DistributedDataParallel waits for the gradient of every weight
                losses = losses + 0 * sum(weight.sum() for weight in self.network.parameters())
        return losses, outputs_of_map(STOPS * maps[0].detach())["score"]

    def training_step(self, batch: Batch) -> Tensor:
        """Return the loss on one batch."""
        count = len(batch["index"])
        losses, scores = torch.zeros(count, device=self.device), torch.zeros(count, device=self.device)
        for rows, pixels in _by_shape(batch["whole"]):
            seen, stops = self.labelled(pixels, batch["index"][rows], "train")
            losses[rows], scores[rows] = self.loss_of_maps(seen, stops)
        loss = mean_within_groups(losses, batch["group"], batch["groups"])
        self._results.append(BatchResult(batch["index"], batch["score"], scores, loss.detach()))
        return loss

    def labelled(self, pixels: Tensor, index: Tensor, split: str) -> tuple[Tensor, Tensor]:
        """Return images as the network sees them, and by how many stops each place is too bright.

        Args:
            pixels: uint8, (images, 3, height, width), as they are.
            index: Their rows in the split.
            split: `train`, `val` or `test`.
        """
        height, width = pixels.shape[-2:]
        if self._labels == "synthetic":
            if split == "train":
                stops = torch.stack([drawn_stops(height, width) for _ in index])
            else:
                values = torch.tensor([fixed_stops(int(row)) for row in index])
                stops = values[:, None, None, None].expand(-1, 1, height, width)
            stops = stops.to(pixels.device)
            pixels = exposed(pixels, stops)
        else:
            stops = stops_from_reference(pixels, self._experts(index, split, pixels))
        if split == "train" and self._flip:
            mirrored = (torch.rand(len(pixels)) < 0.5).to(pixels.device)[:, None, None, None]
            pixels, stops = (torch.where(mirrored, one.flip(-1), one) for one in (pixels, stops))
        return pixels, stops

    def _experts(self, index: Tensor, split: str, pixels: Tensor) -> Tensor:
        """Return the experts' pictures of some rows, as uint8 tensors of the shape of `pixels`."""
        assert self._references is not None
        table: pd.DataFrame = self.trainer.datamodule.splits[split]  # type: ignore[attr-defined]
        found = []
        for path in table[REFERENCE].iloc[index.tolist()]:
            whole = np.ascontiguousarray(self._references.load(path).whole[:, :])
            if whole.shape[:2] != tuple(pixels.shape[-2:]):
                shape = f"{whole.shape[1]} x {whole.shape[0]} px, not {pixels.shape[-1]} x {pixels.shape[-2]}"
                raise InputError(f"{path} is prepared to {shape} as its image; both must show the same")
            found.append(torch.from_numpy(whole).permute(2, 0, 1))
        return torch.stack(found).to(pixels.device)

    def validation_step(self, batch: Batch) -> None:
        """Collect what the network says of labelled images of the split that chooses the checkpoint."""
        chosen = getattr(self.trainer.datamodule, "checkpoint_selection_split", "validation")  # type: ignore[attr-defined]
        self._judge(batch, "test" if chosen == "test" else "val")

    def test_step(self, batch: Batch) -> None:
        """Collect the same of the test split."""
        self._judge(batch, "test")

    def _judge(self, batch: Batch, split: str) -> None:
        for rows, pixels in _by_shape(batch["whole"]):
            index = batch["index"][rows]
            seen, stops = self.labelled(pixels.flatten(0, 1), index, split)  # one view of each image
            found = self.network.exposure_map(seen)
            said, true = outputs_of_map(found), outputs_of_map(stops)
            error, clear = (found - stops).abs(), stops.abs() >= SEEN
            right = ((found.sign() == stops.sign()) & clear).sum(dim=(1, 2, 3)) / clear.sum(dim=(1, 2, 3))
            values = {"score": said["score"], "stops": said["stops"], "mae": error.mean(dim=(1, 2, 3))}
            values |= {"true_score": true["score"], "true_stops": true["stops"], "signs": right}
            values |= {"within": (error < SEEN).float().mean(dim=(1, 2, 3))}
            for name, value in values.items():
                self._predictions[name].update(index, value)

    def _collect(self, loader: object) -> pd.DataFrame:
        """Return the table of predictions, in which `score` is what the labels say."""
        table = super()._collect(loader)
        table["score"] = table.pop("true_score")
        return table

    def measures(self, table: pd.DataFrame) -> dict[str, float]:
        """Return how well the maps and the scores agree with the labels.

        `mae`: mean absolute error of the maps in stops, also of images by their true stops; `signs`: fraction of the
        places at least half a stop off whose sign is right; `within_half_stop`: fraction of all places that err by
        less; `srocc_stops` and `srocc`: rank correlations of the mean of the map, and of the score, with the labels'.
        """
        found = {
            "within_half_stop": float(table["within"].mean()),
            "mae": float(table["mae"].mean()),
            "signs": float(table["signs"].mean()),
            "srocc_stops": srocc(table["true_stops"].to_numpy(), table["stops"].to_numpy()),
            "srocc": srocc(table["score"].to_numpy(), table["prediction"].to_numpy()),
        }
        by_stops = table.groupby(table["true_stops"].round().astype(int))["mae"].mean()
        return found | {f"mae/{stops:+d}": float(value) for stops, value in by_stops.items()}


def _by_shape(images: Tensor | list[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the rows of a batch, and their images in one tensor; an image of another shape comes alone."""
    if isinstance(images, Tensor):
        yield torch.arange(len(images), device=images.device), images
        return
    for row, image in enumerate(images):
        yield torch.tensor([row], device=image.device), image[None]
