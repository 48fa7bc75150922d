"""Images are prepared by worker processes and come back in their order, as batches of bytes for the device.

The workers decode, find faces and cut; the networks that score run in the main process, on whole batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from piqa.data.transforms import Batch, Crops, View, collate, crops_of
from piqa.errors import InputError
from piqa.models.liqe_windows import cut_windows
from piqa.preparation.faces import Box
from piqa.preparation.image_file import Pixels, open_image
from piqa.preparation.portrait import Preparation, Preparer
from piqa.system.worker_pool import map_in_workers

Stamp = list[int]  # size and time of change of a file


@dataclass
class ImageBatch:
    """Prepared images, and of those that could not be prepared the reason.

    The pixels are numpy arrays, which pass between processes through pipes, not torch's shared memory, of which a
    container has little.

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
        preparer: Prepares without LIQE; None makes one.
        view: How the network sees a portrait.
    """

    def __init__(
        self, preparation: Preparation, size: int, crops: Crops, inputs: set[str], preparer: Preparer | None, view: View
    ) -> None:
        self._preparation, self._size, self._crops, self._view = preparation, size, crops, view
        self._inputs = inputs | {"whole"}  # which tells how many crops a portrait has
        self._preparer = preparer or Preparer(replace(preparation, liqe=None))

    def __call__(self, files: list[str]) -> ImageBatch:
        """Prepare the images of a batch; an image that cannot be prepared has an error in its place."""
        items, windows = [], []
        batch = ImageBatch(files, [], [], [], {}, None, [])
        for file in files:
            batch.stamps.append(stamp_of(file))
            reason = box = None
            try:
                item, cut, box = self._prepare(file)
                items.append(item)
                windows += [] if cut is None else [cut]
            except InputError as error:
                reason = str(error)
            # Whatever a hostile image does to the detector, the other million images are not at fault.
            except Exception as error:
                reason = f"{file} could not be prepared ({type(error).__name__}: {error})"
            batch.errors.append(reason)
            batch.face_boxes.append(box)
        if items:
            batch.crops = {
                name: [pixels.numpy() for pixels in values] if isinstance(values, list) else values.numpy()
                for name, values in collate(items).items()
            }
        if windows:
            batch.windows, batch.window_counts = np.concatenate(windows), [len(cut) for cut in windows]
        return batch

    def _prepare(self, file: str) -> tuple[Batch, Pixels | None, Box | None]:
        image = open_image(file)
        portrait = self._preparer.prepare(image)
        crops = crops_of(portrait, self._size, self._crops, self._view)
        wanted = {name: values for name, values in crops.items() if name in self._inputs}
        return wanted, None if self._preparation.liqe is None else cut_windows(image).numpy(), portrait.face_box


def image_batches(
    files: Iterable[str], make_preparer: Callable[[], BatchPreparer], batch_size: int, workers: int
) -> Iterator[ImageBatch]:
    """Prepare files batch by batch, in their order, at most two batches a worker ahead.

    `files` may be of any length; `make_preparer` is called once in each process. Other arguments and errors are as of
    `Scorer.score`.
    """
    remaining = iter(files)
    lists = iter(lambda: list(islice(remaining, batch_size)), [])
    yield from map_in_workers(make_preparer, lists, workers)


def stamp_of(file: str) -> Stamp | None:
    """Return size and time of change of a file, by which a changed file is recognised; None if there is none."""
    try:
        status = Path(file).stat()
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns]
