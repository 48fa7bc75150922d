"""Pictures are prepared by worker processes and come back in their order, as batches of bytes for the device.

The workers decode, find faces and cut; every network that judges runs in the main process, on whole batches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from piqa.data.dataset import Batch, crops_of
from piqa.data.transforms import Crops
from piqa.errors import InputError
from piqa.faces import Box
from piqa.models.liqe import cut_windows
from piqa.portrait import Preparation, Preparer, open_image

Stamp = tuple[int, int]


@dataclass
class PictureBatch:
    """Prepared pictures, and of those that could not be prepared the reason.

    Attributes:
        files: All pictures of the batch.
        stamps: `stamp_of` each when it was read.
        errors: Why a picture could not be prepared; None where it was.
        face_boxes: x1, y1, x2, y2 in pixels of the upright original; None where no face was found.
        crops: Of the good pictures, uint8 of shape (good, crops, 3, side, side) by name.
        windows: LIQE's windows of the good pictures one after another, uint8, (windows, 3, 224, 224), or None.
        window_counts: How many windows each good picture has.
    """

    files: list[str]
    stamps: list[Stamp | None]
    errors: list[str | None]
    face_boxes: list[Box | None]
    crops: Batch
    windows: Tensor | None
    window_counts: list[int]

    def to(self, device: torch.device, non_blocking: bool = True) -> PictureBatch:
        """The batch with its tensors on a device."""
        return self._with(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> PictureBatch:
        """The batch in page-locked memory, from which a GPU copies while others work; DataLoader calls it."""
        return self._with(Tensor.pin_memory)

    def _with(self, change: Any) -> PictureBatch:
        crops = {name: change(values) for name, values in self.crops.items()}
        return replace(self, crops=crops, windows=None if self.windows is None else change(self.windows))


class Pictures(Dataset[PictureBatch]):
    """Turns lists of files into batches.

    Args:
        preparation: How; LIQE's windows are cut where it names LIQE, its logits are not computed.
        size: Side in pixels of the square crops.
        crops: How many, and where.
        inputs: Names of the crops that are wanted.
        preparer: Prepares without LIQE; None makes one when it is first needed, in each worker process.
    """

    def __init__(
        self, preparation: Preparation, size: int, crops: Crops, inputs: set[str], preparer: Preparer | None = None
    ) -> None:
        self._preparation, self._size, self._crops = preparation, size, crops
        self._inputs = inputs | {"full_image"}  # which tells how many crops a portrait has
        self._preparer = preparer

    def __getitem__(self, files: list[str]) -> PictureBatch:
        """Prepares the pictures of one batch; a bad one costs its row alone."""
        self._preparer = self._preparer or Preparer(replace(self._preparation, liqe=None))
        items, windows = [], []
        batch = PictureBatch(files, [], [], [], {}, None, [])
        for file in files:
            batch.stamps.append(stamp_of(file))
            try:
                item, cut, box = self._prepare(file, self._preparer)
            except InputError as error:
                batch.errors.append(str(error))
                batch.face_boxes.append(None)
                continue
            # Whatever a hostile picture does to the detector, the other million pictures are not at fault.
            except Exception as error:
                batch.errors.append(f"{file} could not be prepared ({type(error).__name__}: {error})")
                batch.face_boxes.append(None)
                continue
            batch.errors.append(None)
            batch.face_boxes.append(box)
            items.append(item)
            windows += [] if cut is None else [cut]
        if items:
            batch.crops = default_collate(items)
        if windows:
            batch.windows, batch.window_counts = torch.cat(windows), [len(cut) for cut in windows]
        return batch

    def _prepare(self, file: str, preparer: Preparer) -> tuple[Batch, Tensor | None, Box | None]:
        image = open_image(file)
        portrait = preparer.prepare(image)
        crops = crops_of(portrait, self._size, self._crops)
        wanted = {name: values for name, values in crops.items() if name in self._inputs}
        return wanted, None if self._preparation.liqe is None else cut_windows(image), portrait.face_box


def picture_batches(
    files: Iterable[str], pictures: Pictures, batch_size: int, workers: int, pin: bool
) -> Iterator[PictureBatch]:
    """Prepares files batch by batch, in their order, at most two batches a worker ahead.

    Args:
        files: Read no further than that, so that it may be of any length.
        pictures: What prepares them.
        batch_size: Pictures in a batch.
        workers: Processes that do it; 0 does it in this one.
        pin: Whether the batches are laid into page-locked memory.

    Raises:
        InputError: If a worker process is killed.
    """
    loader: DataLoader[PictureBatch] = DataLoader(
        pictures,
        batch_size=None,
        sampler=_lists(files, batch_size),  # type: ignore[arg-type]
        collate_fn=_as_it_is,
        num_workers=workers,
        pin_memory=pin,
        multiprocessing_context="spawn" if workers else None,  # a forked child may not use torch's threads or CUDA
    )
    with dead_workers_told():
        yield from loader


@contextmanager
def dead_workers_told() -> Iterator[None]:
    """Tells in one line that a worker process was killed.

    The news comes by a signal, in the middle of whatever the main process does, so all of its loop belongs inside.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        reason = str(error).splitlines()[0].rstrip(". ")
        raise InputError(
            f"a process that prepares pictures was killed ({reason}), mostly for want of memory; use fewer `workers`"
        ) from error


def stamp_of(file: str) -> Stamp | None:
    """Size and time of change of a file, by which a changed one is known; None if it is not there."""
    try:
        status = Path(file).stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def _lists(files: Iterable[str], size: int) -> Iterator[list[str]]:
    remaining = iter(files)
    while part := list(islice(remaining, size)):
        yield part


def _as_it_is(batch: Any) -> Any:
    return batch
