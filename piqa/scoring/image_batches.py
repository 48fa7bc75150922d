"""Images are prepared by worker processes and come back in their order, as batches of bytes for the device.

The workers decode, find faces and cut; the networks that score run in the main process, on whole batches.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from piqa.data.dataset import Batch, crops_of
from piqa.data.transforms import Crops, View, collate
from piqa.errors import InputError
from piqa.models.liqe_windows import cut_windows
from piqa.preparation.faces import Box
from piqa.preparation.image_file import Pixels, open_image
from piqa.preparation.portrait import Preparation, Preparer
from piqa.system.memory import KEPT_BY_WORKER, keep_freed_memory

Stamp = tuple[int, int]


@dataclass
class ImageBatch:
    """Prepared images, and of those that could not be prepared the reason.

    The pixels are numpy arrays, which pass between processes through pipes: torch would put them into shared memory,
    of which a container has little, and by way of file descriptors, which fail in odd ways when a process dies.

    Attributes:
        files: All images of the batch.
        stamps: `stamp_of` each when it was read.
        errors: Why an image could not be prepared; None where it was.
        face_boxes: x1, y1, x2, y2 in pixels of the upright original; None where no face was found.
        crops: Of the good images, by name, uint8 of shape (good, crops, 3, side, side); a list of the images' own
            where these differ in shape.
        windows: LIQE's windows of the good images one after another, uint8, (windows, 3, 224, 224), or None.
        window_counts: How many windows each good image has.
    """

    files: list[str]
    stamps: list[Stamp | None]
    errors: list[str | None]
    face_boxes: list[Box | None]
    crops: dict[str, Pixels | list[Pixels]]
    windows: Pixels | None
    window_counts: list[int]


class BatchPreparer:
    """Turns lists of files into batches.

    Args:
        preparation: Settings; LIQE's windows are cut where it names LIQE, its logits are not computed.
        size: Side in pixels of the square crops.
        crops: Which crops.
        inputs: Names of the crops that the network takes.
        preparer: Prepares without LIQE; None makes one when it is first needed, in each worker process.
        view: How the network sees a portrait.
    """

    def __init__(
        self,
        preparation: Preparation,
        size: int,
        crops: Crops,
        inputs: set[str],
        preparer: Preparer | None = None,
        view: View = "crops",
    ) -> None:
        self._preparation, self._size, self._crops, self._view = preparation, size, crops, view
        self._inputs = inputs | {"whole"}  # which tells how many crops a portrait has
        self._preparer = preparer

    def __call__(self, files: list[str]) -> ImageBatch:
        """Prepare the images of a batch; an image that cannot be prepared has an error in its place."""
        self._preparer = self._preparer or Preparer(replace(self._preparation, liqe=None))
        items, windows = [], []
        batch = ImageBatch(files, [], [], [], {}, None, [])
        for file in files:
            batch.stamps.append(stamp_of(file))
            try:
                item, cut, box = self._prepare(file, self._preparer)
            except InputError as error:
                batch.errors.append(str(error))
                batch.face_boxes.append(None)
                continue
            # Whatever a hostile image does to the detector, the other million images are not at fault.
            except Exception as error:
                batch.errors.append(f"{file} could not be prepared ({type(error).__name__}: {error})")
                batch.face_boxes.append(None)
                continue
            batch.errors.append(None)
            batch.face_boxes.append(box)
            items.append(item)
            windows += [] if cut is None else [cut]
        if items:
            batch.crops = {
                name: [pixels.numpy() for pixels in values] if isinstance(values, list) else values.numpy()
                for name, values in collate(items).items()
            }
        if windows:
            batch.windows, batch.window_counts = np.concatenate(windows), [len(cut) for cut in windows]
        return batch

    def _prepare(self, file: str, preparer: Preparer) -> tuple[Batch, Pixels | None, Box | None]:
        image = open_image(file)
        portrait = preparer.prepare(image)
        crops = crops_of(portrait, self._size, self._crops, self._view)
        wanted = {name: values for name, values in crops.items() if name in self._inputs}
        return wanted, None if self._preparation.liqe is None else cut_windows(image).numpy(), portrait.face_box


def image_batches(files: Iterable[str], prepare: BatchPreparer, batch_size: int, workers: int) -> Iterator[ImageBatch]:
    """Prepare files batch by batch, in their order, at most two batches a worker ahead.

    Args:
        files: Read no further than that, so that it may be of any length.
        prepare: What does it.
        batch_size: Images in a batch.
        workers: Processes that prepare; 0 does it in this one.

    Raises:
        InputError: If a worker process is killed.
    """
    lists = _lists(files, batch_size)
    if not workers:
        yield from map(prepare, lists)
        return
    context = multiprocessing.get_context("spawn")  # a forked child may not use torch's threads or CUDA
    pool = ProcessPoolExecutor(workers, context, _start_worker, (prepare,))
    try:
        ahead: deque[Future[ImageBatch]] = deque(pool.submit(_work, part) for part in islice(lists, 2 * workers))
        while ahead:
            batch = ahead.popleft().result()
            ahead.extend(pool.submit(_work, part) for part in islice(lists, 1))
            yield batch
    except BrokenProcessPool as error:
        raise InputError(
            f"a process that prepares images was killed, probably for want of memory; use fewer `workers` than "
            f"{workers}"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_of_this_worker: dict[str, Any] = {}


def _start_worker(prepare: BatchPreparer) -> None:
    torch.set_num_threads(1)  # the processes share the cores among them
    keep_freed_memory(KEPT_BY_WORKER)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of Ctrl-C the main process alone makes an end
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _of_this_worker["prepare"] = prepare


def _end_with_parent() -> None:
    """Ends this process when the one that started it is killed; it would wait for work for ever."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def _work(files: list[str]) -> ImageBatch:
    batch: ImageBatch = _of_this_worker["prepare"](files)
    return batch


def stamp_of(file: str) -> Stamp | None:
    """Return size and time of change of a file, by which a changed file is recognised; None if there is none."""
    try:
        status = Path(file).stat()
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def _lists(files: Iterable[str], size: int) -> Iterator[list[str]]:
    remaining = iter(files)
    while part := list(islice(remaining, size)):
        yield part
