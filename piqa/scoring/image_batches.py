"""Images are prepared by worker processes and come back in their order, as batches of bytes for the device.

The workers decode, find faces and cut; the networks that score run in the main process, on whole batches.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from piqa.data.cuts import Crops, Seen, View, portrait_seen, together
from piqa.errors import FileAccessError, InputError
from piqa.models.liqe_windows import window_pixels
from piqa.preparation.faces import Box, turned_clockwise
from piqa.preparation.file_facts import FileFacts, file_facts
from piqa.preparation.image_bounds import read_file
from piqa.preparation.image_file import Pixels, decode_image, decode_stored_and_srgb, open_image
from piqa.preparation.portrait import Portrait, Preparation, Preparer
from piqa.preparation.runtime_faces import RuntimeFaces
from piqa.scoring.pictures import PictureInMemory
from piqa.system.worker_pool import map_in_workers

if TYPE_CHECKING:
    from piqa.scoring.factor_columns import MeasuredFactors

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
        factors: Of all images what was measured, None of one that could not be prepared; empty where not asked for.
    """

    files: list[str]
    stamps: list[Stamp | None]
    errors: list[str | None]
    face_boxes: list[Box | None]
    turned: list[int | None]
    crops: dict[str, Pixels | list[Pixels]]
    windows: Pixels | None
    window_counts: list[int]
    factors: list[MeasuredFactors | None] = field(default_factory=list)


@dataclass
class OpenedImage:
    """An upright RGB image in the colours of the preparation, and what its factors are measured in.

    Attributes:
        image: In the colours that the preparation takes.
        srgb: The same in sRGB, in which factors are measured.
        facts: What its file says of itself, where factors are measured; None of an image in memory.
    """

    image: Image.Image
    srgb: Image.Image
    facts: FileFacts | None = None


class BatchPreparer:
    """Turns lists of files into batches.

    Args:
        preparation: Settings; LIQE's windows are cut where it names LIQE or the network takes them; its logits are not
            computed.
        size: Side in pixels of the square crops.
        crops: Which crops.
        inputs: Names of the crops that the network takes.
        preparer: Prepares without LIQE; None makes one.
        view: How the network sees a portrait.
        factors: Whether the images' factors are measured, too.
        faces: As of `Preparer`.
    """

    def __init__(
        self,
        preparation: Preparation,
        size: int,
        crops: Crops,
        inputs: set[str],
        preparer: Preparer | None,
        view: View,
        factors: bool = False,
        faces: RuntimeFaces | None = None,
    ) -> None:
        self._preparation, self._size, self._crops, self._view = preparation, size, crops, view
        self._cuts_windows = preparation.liqe is not None or "liqe_windows" in inputs
        self._inputs = inputs | {"whole"}  # which tells how many crops a portrait has
        self._preparer = preparer or Preparer(replace(preparation, liqe=None), faces=faces)
        self._measure = None
        if factors:
            from piqa.scoring.factor_columns import PortraitMeasurer  # a run without factors starts the faster

            self._measure = PortraitMeasurer(preparation, faces)
        self._in_vain = 0  # files in a row that were tried again and could not be read

    def __call__(self, files: list[str]) -> ImageBatch:
        """Prepare the images of a batch; an image that cannot be prepared has an error in its place."""
        items, windows = [], []
        batch = ImageBatch([*map(str, files)], [], [], [], [], {}, None, [])
        for file in files:
            stamp = stamp_of(file)
            reason = box = turned = measured = None
            try:
                item, cut, portrait, measured = self._prepare(file)
                box, turned = portrait.face_box, portrait.turned
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
            batch.factors += [measured] if self._measure is not None else []
        if items:
            batch.crops = together(items)
        if windows:
            batch.windows, batch.window_counts = np.concatenate(windows), [len(cut) for cut in windows]
        return batch

    def _prepare(self, file: str) -> tuple[Seen, Pixels | None, Portrait, MeasuredFactors | None]:
        opened = self._in_memory(file) if isinstance(file, PictureInMemory) else self._opened(file)
        portrait = self._preparer.prepare(opened.image)
        crops = portrait_seen(portrait, self._size, self._crops, self._view)
        wanted = {name: values for name, values in crops.items() if name in self._inputs}
        windows = None
        if self._cuts_windows:
            windows = window_pixels(turned_clockwise(opened.image, portrait.turned))
        measured = None
        if self._measure is not None:
            measured = self._measure(opened.srgb, portrait, opened.facts, str(file))
        return wanted, windows, portrait, measured

    def _in_memory(self, file: PictureInMemory) -> OpenedImage:
        image = file.opened()
        return OpenedImage(image, image if self._measure is None else file.opened_in_srgb())

    def _opened(self, file: str) -> OpenedImage:
        """Open an image; one that cannot be read for a moment is tried again, unless the last ones were in vain."""
        for pause in (*RETRIES, None):
            try:
                opened = self._open(file)
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
        return opened

    def _open(self, file: str) -> OpenedImage:
        """Open an image, for its factors in sRGB as well; it is read and decoded once."""
        colour = self._preparation.colour
        if self._measure is None:
            image = open_image(file, colour)
            return OpenedImage(image, image)
        content = read_file(file)
        if colour == "stored":
            image, srgb = decode_stored_and_srgb(content, file)
        else:
            image = srgb = decode_image(content, file, colour)
        return OpenedImage(image, srgb, file_facts(content))


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
