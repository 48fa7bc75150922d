"""From a table to batches: splits, the prepared store, the loaders."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property, partial
from typing import Any, Literal

import pandas as pd
import torch
from lightning import LightningDataModule
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng
from torch.utils.data import DataLoader, Subset

from piqa.data.dataset import Batch, ScoringPortraits, TrainingPortraits
from piqa.data.loader import StepLoader, deaf_to_signals
from piqa.data.mix_sampler import LIQE_IMAGES, LIQE_STEPS, MixSampler
from piqa.data.sampler import EpochSampler, StepSampler, check_shares, reference_pairs, scene_groups
from piqa.data.tables.table import Table, hold_out_scenes
from piqa.data.transforms import Crops, View, collate, seen_side
from piqa.errors import InputError
from piqa.preparation.digests import digest_of
from piqa.preparation.portrait import Preparation
from piqa.preparation.store import PreparedStore
from piqa.preparation.video import ClipPreparation
from piqa.system.device import core_count
from piqa.training.run_record import fingerprint

SelectOn = Literal["validation", "test"]
NEEDED_SPLITS = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}  # by Lightning's stages


class PortraitData(LightningDataModule):
    """Scored portraits of many scenes, prepared, split and batched by scene.

    Args:
        table: Which images, with which scores.
        preparation: How an image is prepared.
        store: Folder of the prepared store; what is missing there is prepared before training starts.
        view: How the network sees a portrait: `crops`, square ones, a random one in training; the `whole` image; or
            `windows` as LIQE draws them, 3 in training and 15 in validation and test. Only crops come with faces.
        crop: Side in pixels of the square crops that the network sees.
        flip: Mirror half of the training portraits. The published recipe does not.
        pairs: `groups`: all pairs within groups of one scene, every portrait once an epoch. `reference`: the published
            construction, each portrait with each of two random partners, drawn once for all epochs. `databases`: a
            fixed number of images from each database of a mix, as for LIQE.
        groups: Groups in a training step, over all processes and accumulated batches; for `reference`, pairs.
        images_per_group: Portraits in a group.
        images: For `databases`, images in a training step of each; None takes those of LIQE.
        steps: For `databases`, training steps in an epoch.
        checkpoint_selection_split: What chooses the checkpoint: `validation` scenes held out of the training split, or
            the `test` split as in the published code. Results of the latter are labelled so.
        validation: Share of the training scenes held out for validation, where the table names no validation split.
        crops: For `view: crops`, those whose mean is a portrait's score in validation and test.
        eval_batch_size: Portraits in a validation or test batch.
        workers: Loader processes of each training process; None takes one a core, at most 8.
        prepare_workers: Processes that prepare images; None takes one a core.
        prepare_device: Where face detector and LIQE run while preparing: `cpu`, `cuda`, or `auto`.
        max_failed: Share of images that may fail to be prepared; they are left out and counted.
        seed: Of groups, crops and held-out scenes.
        clip: For a table of videos, how a video is prepared; then `preparation` is not used.
    """

    def __init__(
        self,
        table: Table,
        preparation: Preparation = Preparation(),  # noqa: B008 (frozen)
        store: str = "data/prepared",
        crop: int = 384,
        flip: bool = False,
        pairs: Literal["groups", "reference", "databases"] = "groups",
        groups: int = 2,
        images_per_group: int = 6,
        checkpoint_selection_split: SelectOn = "validation",
        validation: float = 0.15,
        crops: Crops = "five",
        eval_batch_size: int = 4,
        workers: int | None = None,
        prepare_workers: int | None = None,
        prepare_device: str = "auto",
        max_failed: float = 0.01,
        seed: int = 0,
        clip: ClipPreparation | None = None,
        view: View = "crops",
        images: dict[str, int] | None = None,
        steps: int = LIQE_STEPS,
    ) -> None:
        super().__init__()
        recipe = clip or preparation
        if view == "crops" and not 0 < crop <= recipe.short_side:
            raise InputError(f"a crop of {crop} px does not fit into images prepared to {recipe.short_side} px")
        if view == "crops" and clip is None and preparation.resize not in ("short_side", "stretch"):
            raise InputError(
                f"`preparation.resize: {preparation.resize}` may leave images smaller than a crop; take `short_side` "
                "or `stretch`, or another `view` than `crops`"
            )
        if view != "crops" and clip is not None:
            raise InputError(f"videos are seen in crops alone, not as `view: {view}`")
        if groups < 1 or images_per_group < 2:
            raise InputError(
                f"a step needs at least 1 group of 2 portraits, not `groups` {groups} of {images_per_group}"
            )
        if eval_batch_size < 1:
            raise InputError(f"`eval_batch_size` must be at least 1 portrait, not {eval_batch_size}")
        self.table, self.preparation, self.clip, self.crop, self.checkpoint_selection_split = (
            table,
            preparation,
            clip,
            crop,
            checkpoint_selection_split,
        )
        self.view, self._images, self._steps = view, images, steps
        self._store_folder, self._flip, self._pairs = store, flip, pairs
        self._groups, self._group_size, self._validation = groups, images_per_group, validation
        self._crops, self._scoring_batch, self._workers = crops, eval_batch_size, workers
        self._prepare_workers, self._prepare_device, self._max_failed = prepare_workers, prepare_device, max_failed
        self.seed = seed
        self.splits: dict[str, pd.DataFrame] = {}

    def prepare_data(self, verify: bool = False) -> None:
        """Checks the table and prepares what the store lacks; Lightning calls it on one process a node.

        Args:
            verify: Check also all that is in the store, as `PreparedStore.build` tells.
        """
        if self.splits:  # fit has asked before test does
            return
        frame = self._frame
        store: PreparedStore[Any] = PreparedStore(self._store_folder, self.clip or self.preparation)
        with isolate_rng():  # networks that prepare must not shift the dropout of those that train
            report = store.build(
                frame["path"], self._prepare_device, self._prepare_workers, self._max_failed, verify=verify
            )
        print(f"{self.table.name}: {report}")

    def setup(self, stage: str | None = None) -> None:
        """Splits the table; images that could not be prepared are left out.

        Raises:
            InputError: If a split that the stage needs is empty.
        """
        choosing = (
            self.checkpoint_selection_split == "validation" and stage != "test"
        )  # a test alone needs no validation scenes
        if not self.splits or (choosing and self.splits["val"].empty):
            self._split(choosing)
        for name in NEEDED_SPLITS.get(stage or "", ()):
            if self.splits[name].empty:
                raise InputError(f"{self.table.name} has no usable image in its {name} split, which is needed here")

    def _split(self, choosing: bool) -> None:
        frame = self._assigned(choosing)
        self._store: PreparedStore[Any] = PreparedStore(self._store_folder, self.clip or self.preparation)
        there = frame["path"].map(self._is_prepared)
        if not there.all():
            rank_zero_warn(f"{(~there).sum()} of {len(frame)} images could not be prepared and are left out")
        frame = frame[there]
        alone = (frame["split"] == "train") & ~frame.duplicated(["split", "scene"], keep=False)
        if alone.any():
            rank_zero_warn(f"{alone.sum()} training images are left alone in their scene by that and are left out")
        frame = frame[~alone]
        self.splits = {name: frame[frame["split"] == name] for name in ("train", "val", "test")}
        if self.checkpoint_selection_split == "test":
            self.splits["val"] = self.splits["test"]

    @cached_property
    def _frame(self) -> pd.DataFrame:
        return self.table.load()

    def _assigned(self, choosing: bool) -> pd.DataFrame:
        """The table, with validation scenes held out where it names none and they are needed."""
        if choosing and "val" not in set(self._frame["split"]):
            return hold_out_scenes(self._frame, self._validation, self.seed)
        return self._frame

    def check_shares(self, world: int, accumulation_steps: int) -> None:
        """Makes sure that every training process gets a group of every step, before anything is prepared or started.

        Args:
            world: Number of processes.
            accumulation_steps: Accumulated batches in a step.

        Raises:
            InputError: If not, or if the table cannot be read.
        """
        if self._pairs != "databases":
            check_shares(self._groups, world, accumulation_steps)
        frame = self._assigned(self.checkpoint_selection_split == "validation")
        train = frame[frame["split"] == "train"]
        if len(train):
            self._sampler(train, 0, world, accumulation_steps)

    def _is_prepared(self, path: str) -> bool:
        try:
            return self._store.entry(path).is_file()
        except InputError:  # a file that cannot be read: `prepare_data` has counted and listed it
            return False

    def train_dataloader(self) -> StepLoader:
        """Whole training steps, each a batch of scene groups, or several where gradients are accumulated."""
        train = self.splits["train"]
        dataset = TrainingPortraits(train, self._store, self.crop, self._flip, self.view)
        trainer = self.trainer
        shares = (trainer.global_rank, trainer.world_size, trainer.accumulate_grad_batches) if trainer else (0, 1, 1)
        identity = {
            "seed_everything": self.seed,
            "data.pairs": self._pairs,
            "data.groups": self._groups,
            "data.images_per_group": self._group_size,
            "data.table": fingerprint({"train": train})["train"]["digest"],
        }
        if self._pairs == "databases":
            identity |= {"data.images": self._images, "data.steps": self._steps}
        return StepLoader(dataset, self._sampler(train, *shares), identity, **self._workers_arguments())

    def _sampler(self, train: pd.DataFrame, rank: int, world: int, accumulation_steps: int) -> EpochSampler:
        scenes = train["scene"].tolist()
        if self._pairs == "databases":
            databases = train["database"].tolist() if "database" in train else scenes
            images: Mapping[str, int] = self._images or LIQE_IMAGES
            return MixSampler(databases, images, self._steps, self.seed, rank, world, accumulation_steps)
        reference = self._pairs == "reference"
        make_groups = (
            partial(reference_pairs, scenes)
            if reference
            else partial(scene_groups, scenes, self._group_size, multiple=self._groups)
        )
        return StepSampler(make_groups, self._groups, self.seed, reference, rank, world, accumulation_steps)

    def val_dataloader(self) -> DataLoader[Batch]:
        """The portraits that choose the checkpoint."""
        return self._scoring("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """The test split, read once."""
        return self._scoring("test")

    def _scoring(self, split: str) -> DataLoader[Batch]:
        dataset = ScoringPortraits(self.splits[split], self._store, self.crop, self._crops, self.view)
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        # All processes must run the same number of batches, or they wait for each other for ever. The first portraits
        # fill up the last round; `Predictions` counts them once.
        rounds = math.ceil(len(dataset) / world)
        own = Subset(dataset, [row % len(dataset) for row in range(rank, rounds * world, world)])
        return DataLoader(own, batch_size=self._scoring_batch, collate_fn=collate, **self._workers_arguments())

    def _workers_arguments(self) -> dict[str, Any]:
        workers = min(8, core_count()) if self._workers is None else self._workers
        return {
            "num_workers": workers,
            "persistent_workers": workers > 0,
            "pin_memory": torch.cuda.is_available(),
            "worker_init_fn": deaf_to_signals,
        }

    @property
    def side(self) -> int | None:
        """Side in pixels of the squares that the network sees; None where images keep their own shapes."""
        return self.crop if self.clip is not None else seen_side(self.view, self.preparation, self.crop)

    def contract(self) -> dict[str, Any]:
        """What an image must go through to be scored as in training, for the model's card."""
        preparation = asdict(self.clip or self.preparation)
        contract: dict[str, Any] = {"preparation": preparation, "view": self.view, "crop": self.side or self.crop}
        if self.clip is None and self.preparation.liqe is not None:
            contract["liqe_digest"] = self._liqe_digest
        return contract

    @cached_property
    def _liqe_digest(self) -> str:
        assert self.preparation.liqe is not None
        return digest_of(self.preparation.liqe)
