"""How an image looks, in a few numbers: by these, images of one view are told from others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from piqa.errors import InputError
from piqa.preparation.small_image import open_small
from piqa.system.device import core_count
from piqa.system.progress import progress

SHORT_SIDE = 128  # px that an image is decoded at, at least
HASH_SIDE = 8  # of the perceptual hash: 64 bits
Bits = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Look:
    """How an image looks.

    Attributes:
        bits: Perceptual hash, 0 or 1, (64,).
    """

    bits: Bits


def look_of(image: Image.Image) -> Look:
    """Return how an RGB image looks."""
    return Look(np.asarray(imagehash.phash(image, HASH_SIDE).hash, np.uint8).ravel())


class Looks:
    """The looks of files, each of which is read once.

    Attributes:
        faults: Why files could not be read, by file; these look like no other.
    """

    def __init__(self, workers: int | None = None, *, quiet: bool = True) -> None:
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
