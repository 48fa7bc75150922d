"""Scoring on several devices or machines: Lightning starts a process a device, each scores its share of the images.

Nothing is gathered: every process appends to a part of its own (`piqa.scoring.resumable_csv`), and the first one makes
the table of all parts when all are done. So a run may go on, after an interruption, on another number of devices.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from datetime import timedelta

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.strategies import DDPStrategy

from piqa.data.transforms import Crops
from piqa.errors import InputError
from piqa.scoring.image_batches import ImageBatch
from piqa.scoring.resumable_csv import ScoreParts
from piqa.scoring.scorer import Row, Scorer
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


class ScoringModule(LightningModule):
    """Scores a process's share of the images, and appends the rows to its part.

    Args:
        scorer: Still on the CPU.
        files: The images that all processes together score.
        test_crops: As in `Scorer.score`.
        batch_size: Likewise.
        workers: Of each process.
    """

    parts: ScoreParts  # open for writing
    advance: Advance  # called with the number of images just done

    def __init__(self, scorer: Scorer, files: Sequence[str], test_crops: Crops, batch_size: int, workers: int) -> None:
        super().__init__()
        self._scorer, self._files = scorer, files
        self._test_crops, self._batch_size, self._workers = test_crops, batch_size, workers

    def setup(self, stage: str) -> None:
        """Move the scorer to this process's device."""
        self._scorer.to(self.trainer.strategy.root_device)

    def predict_dataloader(self) -> Iterator[ImageBatch]:
        """Yield the batches of this process's share, every n-th image: neighbours in a list take equally long."""
        share = self._files[self.trainer.global_rank :: self.trainer.world_size]
        return self._scorer.batches(
            share, test_crops=self._test_crops, batch_size=self._batch_size, workers=self._workers
        )

    def transfer_batch_to_device(self, batch: ImageBatch, device: torch.device, dataloader_idx: int) -> ImageBatch:
        """Return the batch as it is: the scorer moves it."""
        return batch

    def predict_step(self, batch: ImageBatch, batch_idx: int) -> list[Row]:
        """Append a batch's rows to the part, and return them."""
        rows = self._scorer.rows(batch)
        self.parts.append(rows, batch.stamps)
        self.advance(len(rows))
        return rows

    def on_predict_end(self) -> None:
        """Wait until all processes have written their last row; InputError if one of them has ended."""
        try:
            self.trainer.strategy.barrier("scored")
        except RuntimeError as error:
            raise InputError("another of the scoring processes has ended early") from error


def score_on_devices(
    module: ScoringModule, images: int, parts: ScoreParts, accelerator: str, devices: int, nodes: int
) -> None:
    """Score the module's images on several devices, and return when all are done.

    Where no launcher (torchrun, Slurm) has started the other processes, this starts them: the command as it was given.

    Args:
        module: What is scored, and how.
        images: Their number.
        parts: Where the rows go.
        accelerator: `cpu` or `cuda`.
        devices: Processes on each machine.
        nodes: Machines.

    Raises:
        InputError: If a process is killed, a device has too little memory, or a part cannot be written.
    """
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")  # between Lightning and torch
    share = len(range(0, images, devices * nodes))
    # Nothing but the word that all are done passes between the processes: gloo does for GPUs too. Whoever is done first
    # waits for the last, longer than the half hour that is usual.
    strategy = DDPStrategy(process_group_backend="gloo", timeout=timedelta(days=7))
    with parts.writing() as module.parts, progress(share, quiet=not is_first_process()) as module.advance:
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
        trainer.predict(module, return_predictions=False)
