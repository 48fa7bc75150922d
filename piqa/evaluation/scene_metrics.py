"""The measures of scenes as `torchmetrics.Metric`: gathered over batches and processes, computed scene by scene.

Each is the mean, or the median, over the scenes of what `piqa.evaluation.metrics` computes of one scene.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat
from torchmetrics.utilities.distributed import gather_all_tensors

from piqa.errors import InputError
from piqa.evaluation import measures
from piqa.evaluation.measures import Array

Names = Sequence[str] | Sequence[int] | Tensor
STATES = {"prediction": torch.float64, "score": torch.float64, "scene": torch.int64, "image": torch.int64}
UNNAMED = -1  # in place of an image's name


class SceneMetric(Metric):
    """What the metrics of scenes share; a subclass names the measure.

    Args:
        over_scenes: `mean`, or `median` as on PIQ23's own board. A scene in which the measure is not defined, such as
            one with a single image, is left out; where none is left the result is NaN.
        kwargs: As for every `torchmetrics.Metric`.

    Raises:
        InputError: If `over_scenes` is neither.
    """

    full_state_update = False
    is_differentiable = False
    higher_is_better = True

    prediction: list[Tensor]
    score: list[Tensor]
    scene: list[Tensor]
    image: list[Tensor]

    def __init__(self, over_scenes: Literal["mean", "median"] = "mean", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if over_scenes not in ("mean", "median"):
            raise InputError(f"`over_scenes` is {over_scenes!r}; choose `mean` or `median`")
        self.over_scenes = over_scenes
        for name in STATES:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, prediction: Tensor, score: Tensor, scene: Names, image: Names | None = None) -> None:
        """Add a batch.

        Args:
            prediction: Predicted scores, shape (images,).
            score: The experts' scores, shape (images,).
            scene: Names or numbers of the images' scenes.
            image: Names or numbers of the images; one that comes twice, as where processes share images out evenly,
                counts once. None where none does.

        Raises:
            InputError: If there are not as many of each.
        """
        given = {"prediction": _numbers(prediction), "score": _numbers(score), "scene": _codes(scene)}
        given["image"] = torch.full_like(given["scene"], UNNAMED) if image is None else _codes(image)
        if len({values.shape for values in given.values()}) > 1 or given["scene"].ndim != 1:
            found = ", ".join(f"{name} {tuple(values.shape)}" for name, values in given.items())
            raise InputError(f"a metric of scenes needs one value of each for an image, found the shapes {found}")
        for name, values in given.items():
            getattr(self, name).append(values.to(self.device))

    def compute(self) -> Tensor:
        """Return the measure over the scenes, float64."""
        values = np.array([self._of_scene(score, prediction) for score, prediction in self._scenes()])
        defined = values[~np.isnan(values)]
        if not len(defined):
            return torch.tensor(float("nan"), dtype=torch.float64)
        over_scenes = np.mean(defined) if self.over_scenes == "mean" else np.median(defined)
        return torch.tensor(float(over_scenes), dtype=torch.float64)

    def _of_scene(self, score: Array, prediction: Array) -> Array:
        raise NotImplementedError

    def _scenes(self) -> Iterator[tuple[Array, Array]]:
        """Yield scores and predictions of every scene."""
        if not len(self.scene):
            return
        held = {name: dim_zero_cat(getattr(self, name)).cpu().numpy() for name in STATES}
        _, first = np.unique(held["image"], return_index=True)
        kept = np.sort(np.append(first[held["image"][first] != UNNAMED], np.flatnonzero(held["image"] == UNNAMED)))
        scenes = held["scene"][kept]
        for scene in np.unique(scenes):
            rows = kept[scenes == scene]
            yield held["score"][rows].astype(np.float64), held["prediction"][rows].astype(np.float64)

    def _sync_dist(
        self, dist_sync_fn: Callable[..., Any] = gather_all_tensors, process_group: Any | None = None
    ) -> None:
        # torchmetrics would send floats for a process without any batch, beside the whole numbers of others
        for name, kind in STATES.items():
            if not len(getattr(self, name)):
                setattr(self, name, [torch.empty(0, dtype=kind, device=self.device)])
        super()._sync_dist(dist_sync_fn, process_group)


class SceneSROCC(SceneMetric):
    """Spearman's rank correlation, over scenes.

    Examples:
        >>> metric = SceneSROCC()
        >>> metric.update(torch.tensor([1.0, 3.0, 2.0]), torch.tensor([1.0, 2.0, 3.0]), ["hall"] * 3)
        >>> metric.update(torch.tensor([4.0, 5.0]), torch.tensor([1.0, 2.0]), ["lake"] * 2)
        >>> metric.compute().item()
        0.75
    """

    def _of_scene(self, score: Array, prediction: Array) -> Array:
        return measures.srocc(score, prediction)


class SceneKROCC(SceneMetric):
    """Kendall's rank correlation, tau-b, over scenes.

    Examples:
        >>> metric = SceneKROCC()
        >>> metric.update(torch.tensor([1.0, 2.0, 4.0, 3.0]), torch.tensor([1.0, 2.0, 3.0, 4.0]), ["hall"] * 4)
        >>> round(metric.compute().item(), 4)
        0.6667
    """

    def _of_scene(self, score: Array, prediction: Array) -> Array:
        return measures.krocc(score, prediction)


class ScenePLCC(SceneMetric):
    """Pearson's linear correlation, over scenes.

    Examples:
        >>> metric = ScenePLCC()
        >>> metric.update(torch.tensor([10.0, 20.0, 40.0]), torch.tensor([1.0, 2.0, 3.0]), torch.tensor([7, 7, 7]))
        >>> round(metric.compute().item(), 4)
        0.982
    """

    def _of_scene(self, score: Array, prediction: Array) -> Array:
        return measures.plcc(score, prediction)


class ScenePairAccuracy(SceneMetric):
    """Fraction of all pairs within scenes that are in the experts' order, as `piqa.evaluation.metrics.pair_accuracy`.

    Every pair counts the same, so that there is nothing to be chosen by `over_scenes`.

    Examples:
        >>> metric = ScenePairAccuracy()
        >>> metric.update(torch.tensor([1.0, 3.0, 2.0]), torch.tensor([1.0, 2.0, 3.0]), ["hall"] * 3)
        >>> round(metric.compute().item(), 4)
        0.6667
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)

    def compute(self) -> Tensor:
        """Return the fraction over all scenes together, float64; NaN without pairs."""
        counted = [measures.concordance(score, prediction) for score, prediction in self._scenes()]
        difference, pairs = np.sum(counted, axis=0) if counted else (np.zeros(()), np.zeros(()))
        return torch.tensor(float(measures.pair_accuracy(difference, pairs)), dtype=torch.float64)


def _numbers(values: Tensor) -> Tensor:
    return torch.as_tensor(values).detach().to(torch.float64)


def _codes(names: Names) -> Tensor:
    """Return whole numbers for names, the same in every process; numbers are their own, but never `UNNAMED`."""
    if isinstance(names, Tensor):
        return names.detach().to(torch.int64)
    digests = (hashlib.blake2b(repr(name).encode(), digest_size=8).digest() for name in names)
    return torch.tensor([int.from_bytes(digest, "little") >> 1 for digest in digests], dtype=torch.int64)
