"""How an image looks, in a few numbers: by these, images of one view are told from others.

Perceptual hashes were measured as well (`scripts/moment_quality.py --hashes true`) and group the same generated shots
worse: a hash has no second try where the camera or the person moved, and the windows below are that second try.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from piqa.errors import InputError
from piqa.preparation.small_image import open_small
from piqa.system.device import core_count
from piqa.system.progress import progress

SHORT_SIDE = 128  # px of the reduced image that is looked at, at least
CELLS = 8  # of a window, in each direction
SHIFT = 0.04  # of the image's sides, by which windows are moved
COLOUR = 2.0  # how much differences of colour count beside those of light
FAINT = 1.0  # levels of 255 of contrast, below which an image shows nothing to compare
CORNERS = ((1, 1), (0, 0), (2, 0), (0, 2), (2, 2), (1, 0), (0, 1), (2, 1), (1, 2))  # of the inner windows, in shifts
Look = NDArray[np.float16]


def look_of(image: Image.Image) -> Look:
    """Return how an RGB image looks, (windows, values): the whole image, its middle, and the middle moved.

    The values of a window are its light and colour (Y, Cb, Cr) in 8 x 8 cells, less their means, so that neither the
    exposure nor a tint counts; their length is 1, or less where the window has hardly any contrast.
    """
    seen = image.reduce(max(min(image.size) // SHORT_SIDE, 1)).convert("YCbCr")
    width, height = seen.width * SHIFT, seen.height * SHIFT
    inner = (seen.width - 2 * width, seen.height - 2 * height)
    boxes = [(x * width, y * height, x * width + inner[0], y * height + inner[1]) for x, y in CORNERS]
    return np.stack([_window(seen, box) for box in [(0, 0, *seen.size), *boxes]])


def _window(seen: Image.Image, box: tuple[float, float, float, float]) -> Look:
    cells = np.asarray(seen.resize((CELLS, CELLS), Image.Resampling.BOX, box=box), np.float32)
    values = ((cells - cells.mean(axis=(0, 1))) * (1, COLOUR, COLOUR)).ravel()
    result: Look = (values / np.hypot(np.linalg.norm(values), FAINT * CELLS)).astype(np.float16)
    return result


class Looks:
    """The looks of files, each of which is read once.

    Attributes:
        faults: Why files could not be read, by file; these look like no other.
    """

    def __init__(self, workers: int | None = None, *, quiet: bool = True) -> None:
        """Make it.

        Args:
            workers: Threads that decode; by default one for each core.
            quiet: Whether to show no progress.
        """
        self.faults: dict[str, str] = {}
        self._workers, self._quiet = workers or core_count(), quiet
        self._known: dict[str, Look] = {}

    def add(self, file: str, image: Image.Image) -> None:
        """Keep the look of an image that is in memory under a name."""
        self._known[file] = look_of(image)

    def of(self, files: Iterable[str]) -> dict[str, Look]:
        """Return the looks of files, without those that cannot be read."""
        wanted = list(files)
        missing = [file for file in dict.fromkeys(wanted) if file not in self._known and file not in self.faults]
        if missing:
            with progress(len(missing), task="looking at images", quiet=self._quiet) as advance:
                self._read(missing, lambda: advance(1))
        return {file: self._known[file] for file in wanted if file in self._known}

    def _read(self, files: list[str], advance: Callable[[], None]) -> None:
        with ThreadPoolExecutor(self._workers) as pool:
            for file, found in zip(files, pool.map(_read_look, files), strict=True):
                if isinstance(found, str):
                    self.faults[file] = found
                else:
                    self._known[file] = found
                advance()


def _read_look(file: str) -> Look | str:
    """Return a file's look, or why it cannot be read."""
    try:
        return look_of(open_small(file, SHORT_SIDE))
    except InputError as error:
        return str(error)
