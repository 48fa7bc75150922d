"""The data of a training run: the table, its splits, the prepared store, and the loaders."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property, partial
from typing import Literal

import pandas as pd
from lightning import LightningDataModule
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng
from torch.utils.data import DataLoader, Subset

from piqa.data.cuts import seen_side
from piqa.data.dataset import Batch, ScoringPortraits, Store, TrainingPortraits
from piqa.data.loader import StepLoader, worker_arguments
from piqa.data.mix_sampler import LIQE_IMAGES, MixSampler
from piqa.data.options import InputOptions, LoadingOptions, SamplingOptions, StoreOptions
from piqa.data.sampler import EpochSampler, StepSampler, StepShare, reference_pairs, scene_groups
from piqa.data.tables.splits import hold_out_scenes
from piqa.data.tables.table import Table
from piqa.data.transforms import collate
from piqa.errors import InputError
from piqa.preparation.portrait import Preparation
from piqa.preparation.store import PreparedStore
from piqa.preparation.video import ClipPreparation
from piqa.system.device import core_count
from piqa.system.files import digest_of
from piqa.training.run_record import fingerprint
from piqa.weights import state_dicts

SelectionSplit = Literal["validation", "test"]
NEEDED_SPLITS = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}  # by Lightning's stages


class PortraitData(LightningDataModule):
    """Scored images of many scenes: prepared, split, and batched by scene.

    Args:
        table: Which images, with which scores.
        preparation: How an image is prepared.
        clip: For a table of videos, how a video is prepared; then `preparation` is not used.
        store: Where prepared images are stored, and how they get there.
        inputs: What the network sees of an image.
        sampling: Which images make a training step.
        loading: How batches are loaded.
        checkpoint_selection_split: What chooses the checkpoint: `validation` scenes held out of the training split, or
            the `test` split as in the published code. Results of the latter are labelled so.
        validation_fraction: Fraction of the training scenes held out for validation, where the table names no
            validation split.
        seed: Seed of groups, crops and held-out scenes.

    Raises:
        InputError: If the settings do not go together.

    Examples:
        >>> from piqa import CSVTable
        >>> data = PortraitData(CSVTable("scores.csv"), inputs=InputOptions(crop_size=384))
        >>> data.side
        384
    """

    def __init__(
        self,
        table: Table,
        preparation: Preparation = Preparation(),  # noqa: B008 (frozen, as all defaults below)
        clip: ClipPreparation | None = None,
        store: StoreOptions = StoreOptions(),  # noqa: B008
        inputs: InputOptions = InputOptions(),  # noqa: B008
        sampling: SamplingOptions = SamplingOptions(),  # noqa: B008
        loading: LoadingOptions = LoadingOptions(),  # noqa: B008
        checkpoint_selection_split: SelectionSplit = "validation",
        validation_fraction: float = 0.15,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.table, self.preparation, self.clip = table, preparation, clip
        self.store, self.inputs, self.sampling, self.loading = store, inputs, sampling, loading
        self.checkpoint_selection_split = checkpoint_selection_split
        self.validation_fraction, self.seed = validation_fraction, seed
        self.splits: dict[str, pd.DataFrame] = {}
        self.left_out: dict[str, int] = {}  # images of the table that are in no split, by the reason
        self.unplaced = 0  # images in whose old entries of the store it is lost where the face is
        self._check_view()

    def _check_view(self) -> None:
        """Check that the prepared images can be seen as `inputs` tells."""
        view, side = self.inputs.view, (self.clip or self.preparation).short_side
        if view != "crops":
            if self.clip is not None:
                raise InputError(f"videos are seen as crops only, not as `data.inputs.view: {view}`")
        elif self.inputs.crop_size > side:
            raise InputError(
                f"a crop of {self.inputs.crop_size} px does not fit into images prepared to {side} px; lower "
                "`data.inputs.crop_size` or raise `short_side`"
            )
        elif self.clip is None and self.preparation.resize not in ("short_side", "stretch"):
            raise InputError(
                f"`data.preparation.resize: {self.preparation.resize}` may leave images smaller than a crop; take "
                "`short_side` or `stretch`, or another `data.inputs.view` than `crops`"
            )

    def prepare_data(self, verify: bool = False) -> None:
        """Check the table and prepare what the store lacks; with `verify`, check what is there, too.

        Lightning calls it in one process per node.
        """
        if self.splits:  # fit has asked before test does
            return
        paths, options = self._frame["path"], self.store
        # On several nodes, which may share the store or not, each prepares.
        alone = self.trainer is None or self.trainer.node_rank == 0
        with isolate_rng():  # networks that prepare must not shift the dropout of those that train
            report = self._open_store().build(
                paths, options.device, options.workers, options.max_failed, verify=verify, alone=alone
            )
        self.unplaced = report.unplaced
        print(f"{self.table.name}: {report}")

    def setup(self, stage: str | None = None) -> None:
        """Split the table; leave out images that could not be prepared.

        Raises:
            InputError: If a split that the stage needs is empty.
        """
        choosing = self.checkpoint_selection_split == "validation" and stage != "test"  # the test needs no validation
        if not self.splits or (choosing and self.splits["val"].empty):
            self._split(choosing)
        for name in NEEDED_SPLITS.get(stage or "", ()):
            if self.splits[name].empty:
                raise InputError(f"{self.table.name} has no usable image in its {name} split, which is needed here")

    def _split(self, choosing: bool) -> None:
        frame, self._prepared = self._assigned(choosing), self._open_store()
        there = frame["path"].map(self._is_prepared)
        if not there.all():
            rank_zero_warn(f"{(~there).sum()} of {len(frame)} images could not be prepared and are left out")
        frame = frame[there]
        alone = (frame["split"] == "train") & ~frame.duplicated(["split", "scene"], keep=False)
        if alone.any():
            rank_zero_warn(f"{alone.sum()} training images are left alone in their scene by that and are left out")
        frame = frame[~alone]
        self.left_out = {"not_prepared": int((~there).sum()), "alone_in_scene": int(alone.sum())}
        self.splits = {name: frame[frame["split"] == name] for name in ("train", "val", "test")}
        if self.checkpoint_selection_split == "test":
            self.splits["val"] = self.splits["test"]

    def _open_store(self) -> Store:
        folder = self.store.folder
        return PreparedStore(folder, self.preparation) if self.clip is None else PreparedStore(folder, self.clip)

    @cached_property
    def _frame(self) -> pd.DataFrame:
        return self.table.load()

    def _assigned(self, choosing: bool) -> pd.DataFrame:
        """Return the table, with validation scenes held out where it names none and they are needed."""
        if choosing and "val" not in set(self._frame["split"]):
            return hold_out_scenes(self._frame, self.validation_fraction, self.seed)
        return self._frame

    def check_shares(self, world: int, accumulation_steps: int) -> None:
        """Check, before anything is prepared, that each of `world` processes gets a group of every step.

        Raises:
            InputError: If one does not, or if the table cannot be read.
        """
        frame = self._assigned(self.checkpoint_selection_split == "validation")
        train = frame[frame["split"] == "train"]
        if len(train):
            self._sampler(train, StepShare(0, world, accumulation_steps))

    def _is_prepared(self, path: str) -> bool:
        try:
            return self._prepared.entry(path).is_file()
        except InputError:  # a file that cannot be read: `prepare_data` has counted and listed it
            return False

    def train_dataloader(self) -> StepLoader:
        """Return the loader of training steps: a batch each, or several where gradients are accumulated."""
        train = self.splits["train"]
        dataset = TrainingPortraits(train, self._prepared, self.inputs)
        settings = ["pairs", "groups_per_step", "images_per_group"]
        if self.sampling.pairs == "databases":
            settings += ["images_per_database", "steps_per_epoch"]
        identity: dict[str, object] = {f"data.sampling.{name}": getattr(self.sampling, name) for name in settings}
        identity |= {"seed_everything": self.seed, "data.table": fingerprint({"train": train})["train"]["digest"]}
        return StepLoader(dataset, self._sampler(train, self._share()), identity, self._workers())

    def _sampler(self, train: pd.DataFrame, share: StepShare) -> EpochSampler:
        scenes, options, groups = train["scene"].tolist(), self.sampling, self.sampling.groups_per_step
        if options.pairs == "databases":
            databases = train["database"].tolist() if "database" in train else scenes
            images: Mapping[str, int] = options.images_per_database or LIQE_IMAGES
            return MixSampler(databases, images, options.steps_per_epoch, self.seed, share)
        if options.pairs == "reference":
            return StepSampler(partial(reference_pairs, scenes), groups, self.seed, frozen=True, share=share)
        make_groups = partial(scene_groups, scenes, options.images_per_group, multiple=groups)
        return StepSampler(make_groups, groups, self.seed, share=share)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the loader of the images that choose the checkpoint."""
        return self._scoring("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Return the loader of the test split."""
        return self._scoring("test")

    def _scoring(self, split: str) -> DataLoader[Batch]:
        dataset = ScoringPortraits(self.splits[split], self._prepared, self.inputs)
        share = self._share()
        # All processes must run the same number of batches, or they wait for each other for ever. The first images
        # are repeated to fill the last round; `Predictions` counts them once.
        rounds = math.ceil(len(dataset) / share.world)
        own = Subset(dataset, [row % len(dataset) for row in range(share.rank, rounds * share.world, share.world)])
        size, workers = self.loading.eval_batch_size, worker_arguments(self._workers())
        return DataLoader(own, batch_size=size, collate_fn=collate, **workers)

    def _share(self) -> StepShare:
        trainer = self.trainer
        if trainer is None:
            return StepShare()
        return StepShare(trainer.global_rank, trainer.world_size, trainer.accumulate_grad_batches)

    def _workers(self) -> int:
        return min(8, core_count()) if self.loading.workers is None else self.loading.workers

    @property
    def side(self) -> int | None:
        """Side in pixels of the squares that the network sees; None where images keep their own shapes."""
        return seen_side(self.inputs.view, self.preparation, self.inputs.crop_size)

    def contract(self) -> dict[str, object]:
        """Return how an image is prepared and seen in training, for the model's card."""
        contract: dict[str, object] = {
            "preparation": asdict(self.clip or self.preparation),
            "view": self.inputs.view,
            "crop": self.side or self.inputs.crop_size,
        }
        if self.clip is None and self.preparation.liqe is not None:
            contract["liqe_digest"] = self._liqe_digest
        return contract

    @cached_property
    def _liqe_digest(self) -> str:
        assert self.preparation.liqe is not None
        return digest_of(state_dicts.require(self.preparation.liqe, "liqe"))
