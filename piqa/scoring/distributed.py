"""Scoring on several devices or machines: Lightning starts a process a device, each scores its share of the images.

Nothing is gathered: every process appends to a part of its own (`piqa.scoring.resumable_csv`), and the first one makes
the table of all parts when all are done. So a run may go on, after an interruption, on another number of devices.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from datetime import timedelta

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.plugins.environments.lsf import LSFEnvironment
from lightning.fabric.plugins.environments.mpi import MPIEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.strategies import DDPStrategy

from piqa.data.cuts import Crops
from piqa.errors import InputError
from piqa.scoring.image_batches import ImageBatch, until_the_disk_is_gone
from piqa.scoring.resumable_csv import ScoreParts
from piqa.scoring.scorer import Row, Scorer
from piqa.system.launched import taken_from_launcher
from piqa.system.progress import Advance, progress


def is_first_process() -> bool:
    """Whether this process is the one that talks and writes the table; true before any other was started."""
    return bool(getattr(rank_zero_only, "rank", 0) == 0)


def accelerator_of(device: str, devices: int) -> str:
    """Return Lightning's name for the kind of device; InputError if one is named, or there are not so many."""
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"`device` {device} names one device, but `devices` asks for {devices}; give `cpu` or `cuda`")
    there = torch.cuda.device_count()
    if device == "cpu" or (device == "auto" and not there):
        return "cpu"
    if there < devices:
        raise InputError(f"there are {there} GPUs but `devices` asks for {devices}")
    return "cuda"


def is_launched() -> bool:
    """Whether a launcher such as torchrun or Slurm has started the other processes."""
    launchers = (TorchElasticEnvironment, SLURMEnvironment, LSFEnvironment, MPIEnvironment)
    return any(launcher.detect() for launcher in launchers)


class ScoringModule(LightningModule):
    """Scores a process's share of the images, and appends the rows to its part.

    Args:
        scorer: Still on the CPU.
        left: The images that all processes together score; None in all processes but the first, which tells them:
            what each of them would find on a common disk depends on when it looks.
        parts: Where the rows go.
        test_crops: As in `Scorer.score`.
        batch_size: Likewise.
        workers: Of each process.
        factors: Whether the images' factors are measured, too.
    """

    _advance: Advance

    def __init__(
        self,
        scorer: Scorer,
        left: Sequence[str] | None,
        parts: ScoreParts,
        test_crops: Crops,
        batch_size: int,
        workers: int,
        factors: bool = False,
    ) -> None:
        super().__init__()
        self._scorer, self._left, self._parts = scorer, left, parts
        self._test_crops, self._batch_size, self._workers, self._factors = test_crops, batch_size, workers, factors
        self._share: Sequence[str] = []
        self.open = ExitStack()  # what is open while images are scored

    def setup(self, stage: str) -> None:
        """Move the scorer to this process's device, and hear from the first process what is to be done."""
        self._scorer.to(self.trainer.strategy.root_device)
        self._left, self._parts.run = self.trainer.strategy.broadcast((self._left, self._parts.run))
        # Every n-th image: neighbours in a list take equally long.
        self._share = (self._left or [])[self.trainer.global_rank :: self.trainer.world_size]
        self.open.enter_context(self._parts.writing())
        self._advance = self.open.enter_context(progress(len(self._share), quiet=not is_first_process()))

    def predict_dataloader(self) -> Iterator[ImageBatch]:
        """Yield the batches of this process's share."""
        batches = self._scorer.batches(
            self._share,
            test_crops=self._test_crops,
            batch_size=self._batch_size,
            workers=self._workers,
            factors=self._factors,
        )
        return self.open.enter_context(closing(until_the_disk_is_gone(batches)))

    def transfer_batch_to_device(self, batch: ImageBatch, device: torch.device, dataloader_idx: int) -> ImageBatch:
        """Return the batch as it is: the scorer moves it."""
        return batch

    def predict_step(self, batch: ImageBatch, batch_idx: int) -> list[Row]:
        """Append a batch's rows to the part, and return them."""
        rows = self._scorer.rows(batch)
        self._parts.append(rows, batch.stamps)
        self._advance(len(rows))
        return rows

    def on_predict_end(self) -> None:
        """Wait until all processes have written their last row; InputError if one of them has ended."""
        try:
            self.trainer.strategy.barrier("scored")
        except RuntimeError as error:
            raise InputError("another of the scoring processes has ended early") from error


def score_on_devices(module: ScoringModule, accelerator: str, devices: int, nodes: int) -> None:
    """Score the module's images on several devices, and return when all are done.

    Where no launcher (torchrun, Slurm) has started the other processes, this starts them: the command as it was given.

    Args:
        module: What is scored, and how.
        accelerator: `cpu` or `cuda`.
        devices: Processes on each machine.
        nodes: Machines.

    Raises:
        InputError: If a process is killed, a device has too little memory, or a part cannot be written.
        KeyboardInterrupt: In the first process; Lightning would end it without a word, as it does the others.
    """
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # between Lightning and torch
    # Nothing but what is to be done, and the word that it is, passes between the processes: gloo does for GPUs too.
    # Whoever is done first waits for the last, longer than the half hour that is usual.
    strategy = DDPStrategy(process_group_backend="gloo", timeout=timedelta(days=7))
    with module.open:
        trainer = Trainer(
            accelerator=accelerator,
            devices=devices,
            num_nodes=nodes,
            strategy=strategy,
            use_distributed_sampler=False,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        try:
            trainer.predict(module, return_predictions=False)
        except BaseException as error:
            taken_from_launcher(strategy.launcher)
            stopped = isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt)
            if is_first_process() and stopped and error.__context__ is not None:
                raise error.__context__ from None
            raise
