"""The settings of `PortraitData`, in groups: `data.store`, `data.inputs`, `data.sampling` and `data.loading`.

A number or a choice that is out of range raises an `InputError`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from piqa.data.cuts import Crops, View
from piqa.data.mix_sampler import LIQE_STEPS
from piqa.data.tables.table import require_choice
from piqa.errors import InputError

Pairs = Literal["groups", "reference", "databases"]


@dataclass(frozen=True)
class StoreOptions:
    """Where and how prepared images are stored.

    Args:
        folder: Folder of the prepared store. Images that it lacks are prepared before training starts.
        workers: Processes that prepare images; None takes one per core.
        device: Where the face detector and LIQE run during preparation: `cpu`, `cuda`, or `auto`.
        max_failed: Fraction of the images that may fail to be prepared; they are left out and counted.
    """

    folder: str = "data/prepared"
    workers: int | None = None
    device: str = "auto"
    max_failed: float = 0.01

    def __post_init__(self) -> None:
        _check((self.workers or 0) >= 0, "data.store.workers", "must be 0 or more processes", self.workers)
        _check(0 <= self.max_failed <= 1, "data.store.max_failed", "must lie between 0 and 1", self.max_failed)


@dataclass(frozen=True)
class InputOptions:
    """What the network sees of an image.

    Args:
        view: `crops`: square crops, random in training; `whole`: the whole image; `windows`: LIQE's windows, 3 random
            ones in training and 15 in validation and test. Only crops come with face crops.
        crop_size: Side of the crops in pixels.
        test_crops: For `view: crops`, the crops whose mean is the score of an image in validation and test: `five`,
            `one` from the centre, or `ten` and `two`, the same with their mirror images, for twice the arithmetic.
        flip: Mirror half of the training images. The published recipe does not.
    """

    view: View = "crops"
    crop_size: int = 384
    test_crops: Crops = "five"
    flip: bool = False

    def __post_init__(self) -> None:
        require_choice("`data.inputs`", "view", self.view, get_args(View))
        require_choice("`data.inputs`", "test_crops", self.test_crops, get_args(Crops))
        _check(self.crop_size >= 1, "data.inputs.crop_size", "must be at least 1 px", self.crop_size)


@dataclass(frozen=True)
class SamplingOptions:
    """Which images make a training step.

    Args:
        pairs: `groups`: all pairs within groups of one scene, every image once per epoch. `reference`: the published
            construction, each image with each of two random partners, drawn once for all epochs. `databases`: a fixed
            number of images from each database of a mix, as for LIQE.
        groups_per_step: Groups in a training step, over all processes and accumulated batches; for `reference`, pairs.
        images_per_group: Images in a group.
        images_per_database: For `databases`, images of each database in a training step; None takes LIQE's numbers.
        steps_per_epoch: For `databases`, training steps in an epoch.
    """

    pairs: Pairs = "groups"
    groups_per_step: int = 2
    images_per_group: int = 6
    images_per_database: dict[str, int] | None = None
    steps_per_epoch: int = LIQE_STEPS

    def __post_init__(self) -> None:
        require_choice("`data.sampling`", "pairs", self.pairs, get_args(Pairs))
        _check(self.steps_per_epoch >= 1, "data.sampling.steps_per_epoch", "must be at least 1", self.steps_per_epoch)
        if self.images_per_database == {}:
            raise InputError("`data.sampling.images_per_database` names no database; leave it out for LIQE's numbers")
        if self.groups_per_step < 1 or self.images_per_group < 2:
            raise InputError(
                "a training step needs at least 1 group of 2 images, not `data.sampling.groups_per_step` "
                f"{self.groups_per_step} with `data.sampling.images_per_group` {self.images_per_group}"
            )


@dataclass(frozen=True)
class LoadingOptions:
    """How batches are loaded.

    Args:
        eval_batch_size: Images in a validation or test batch.
        workers: Loader processes of each training process; None takes one per core, at most 8.
    """

    eval_batch_size: int = 4
    workers: int | None = None

    def __post_init__(self) -> None:
        _check((self.workers or 0) >= 0, "data.loading.workers", "must be 0 or more processes", self.workers)
        size = self.eval_batch_size
        _check(size >= 1, "data.loading.eval_batch_size", "must be at least 1 image", size)


def _check(good: bool, setting: str, rule: str, found: object) -> None:
    if not good:
        raise InputError(f"`{setting}` {rule}, not {found}")
