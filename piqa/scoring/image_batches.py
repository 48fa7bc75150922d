"""Images are prepared by worker processes and come back in their order, as batches of bytes for the device.

The workers decode, find faces and cut; the networks that score run in the main process, on whole batches.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from piqa.data.transforms import Batch, Crops, View, collate, crops_of
from piqa.errors import FileAccessError, InputError
from piqa.models.liqe_windows import cut_windows
from piqa.preparation.faces import Box, turned_clockwise
from piqa.preparation.image_file import Pixels, open_image
from piqa.preparation.portrait import Preparation, Preparer
from piqa.scoring.pictures import PictureInMemory
from piqa.system.worker_pool import map_in_workers

Stamp = list[int]  # size and time of change of a file
NO_STAMP = [-1, -1]  # of a file that was read, but could not be looked up
RETRIES = (0.1, 0.5)  # seconds before a file is tried again that could not be read for a moment
ENOUGH_IN_VAIN = 2
LASTING = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}  # which no moment mends
MANY = 16  # files in a row that cannot be read: then the disk may be gone


@dataclass
class ImageBatch:
    """Prepared images, and of those that could not be prepared the reason.

    The pixels are numpy arrays, which pass between processes through pipes, not torch's shared memory, of which a
    container has little.

    Attributes:
        files: All images of the batch.
        stamps: `stamp_of` each when it was read; None of one that could not be read because of the machine, not of its
            content: another try may succeed.
        errors: Why an image could not be prepared; None where it was.
        face_boxes: x1, y1, x2, y2 in pixels of the upright original; None where no face was found.
        turned: Clockwise degrees by which an image was turned for its face; None where it could not be prepared.
        crops: Of the good images, by name, uint8 of shape (good, crops, 3, side, side); a list of the images' own
            where these differ in shape.
        windows: LIQE's windows of the good images one after another, uint8, (windows, 3, 224, 224), or None.
        window_counts: How many windows each good image has.
    """

    files: list[str]
    stamps: list[Stamp | None]
    errors: list[str | None]
    face_boxes: list[Box | None]
    turned: list[int | None]
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
        self._in_vain = 0  # files in a row that were tried again and could not be read

    def __call__(self, files: list[str]) -> ImageBatch:
        """Prepare the images of a batch; an image that cannot be prepared has an error in its place."""
        items, windows = [], []
        batch = ImageBatch([*map(str, files)], [], [], [], [], {}, None, [])
        for file in files:
            stamp = stamp_of(file)
            reason = box = turned = None
            try:
                item, cut, box, turned = self._prepare(file)
                items.append(item)
                windows += [] if cut is None else [cut]
            except FileAccessError as error:
                reason, stamp = str(error), None
            except InputError as error:
                reason, stamp = str(error), stamp or NO_STAMP
            # Whatever a hostile image does to the detector, the other million images are not at fault.
            except Exception as error:
                reason, stamp = f"{file} could not be prepared ({type(error).__name__}: {error})", stamp or NO_STAMP
            else:
                stamp = stamp or stamp_of(file) or NO_STAMP
            batch.stamps.append(stamp)
            batch.errors.append(reason)
            batch.face_boxes.append(box)
            batch.turned.append(turned)
        if items:
            batch.crops = {
                name: [pixels.numpy() for pixels in values] if isinstance(values, list) else values.numpy()
                for name, values in collate(items).items()
            }
        if windows:
            batch.windows, batch.window_counts = np.concatenate(windows), [len(cut) for cut in windows]
        return batch

    def _prepare(self, file: str) -> tuple[Batch, Pixels | None, Box | None, int]:
        image = file.opened() if isinstance(file, PictureInMemory) else self._opened(file)
        portrait = self._preparer.prepare(image)
        crops = crops_of(portrait, self._size, self._crops, self._view)
        wanted = {name: values for name, values in crops.items() if name in self._inputs}
        windows = None
        if self._preparation.liqe is not None:
            windows = cut_windows(turned_clockwise(image, portrait.turned)).numpy()
        return wanted, windows, portrait.face_box, portrait.turned

    def _opened(self, file: str) -> Image.Image:
        """Open an image; one that cannot be read for a moment is tried again, unless the last ones were in vain."""
        for pause in (*RETRIES, None):
            try:
                image = open_image(file, self._preparation.colour)
            except FileAccessError as error:
                if getattr(error.__cause__, "errno", None) in LASTING:
                    raise
                if pause is None or self._in_vain >= ENOUGH_IN_VAIN:
                    self._in_vain += 1
                    raise
                time.sleep(pause)
            else:
                break
        self._in_vain = 0
        return image


def image_batches(
    files: Iterable[str], make_preparer: Callable[[], BatchPreparer], batch_size: int, workers: int
) -> Generator[ImageBatch, None, None]:
    """Prepare files batch by batch, in their order, at most two batches a worker ahead.

    `files` may be of any length; `make_preparer` is called once in each process. Other arguments and errors are as of
    `Scorer.score`.
    """
    remaining = iter(files)
    lists = iter(lambda: list(islice(remaining, batch_size)), [])
    yield from map_in_workers(make_preparer, lists, workers)


def until_the_disk_is_gone(batches: Generator[ImageBatch, None, None]) -> Generator[ImageBatch, None, None]:
    """Yield batches, but no more once many files in a row, and one that was read before, cannot be read any more."""
    in_a_row, was_read = 0, None
    with closing(batches):
        for batch in batches:
            yield batch
            for file, stamp in zip(batch.files, batch.stamps, strict=True):
                in_a_row, was_read = (in_a_row + 1, was_read) if stamp is None else (0, file)
            if in_a_row >= MANY and was_read is not None and not _is_readable(was_read):
                return


def _is_readable(file: str) -> bool:
    try:
        with Path(file).open("rb") as content:
            content.read(1)
    except (OSError, ValueError):
        return False
    return True


def stamp_of(file: str) -> Stamp | None:
    """Return size and time of change of a file, by which a changed file is recognised; None if there is none."""
    try:
        status = Path(file).stat()
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns]
