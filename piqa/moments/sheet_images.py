"""The image files of a contact sheet: small JPEGs beside its page, none of which holds metadata.

sheet/<digest>-s.jpg  a thumbnail, named by its content
sheet/<digest>.jpg    a preview, named by the image's name, time stamp and size, so that it is made once
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from piqa.errors import InputError
from piqa.preparation.image_file import open_image
from piqa.system.files import remove_leftovers, replacing
from piqa.system.ownership import claim_folder
from piqa.system.progress import progress

FOLDER = "sheet"
OWN_NAMES = re.compile(r"[0-9a-f]{24}(-s)?\.jpg")
WHAT = "contact sheet images"
QUALITY = 85
WORKERS = 4  # each holds an image as it is decoded, 72 MB of 24 million pixels


@dataclass(frozen=True)
class Shown:
    """An image file of the page: its address from the page, and its size in pixels."""

    src: str
    width: int
    height: int


class SheetImages:
    """Writes the image files of a page, and removes those of an earlier one.

    Args:
        page_folder: The folder of the page.
        preview_size: The longer side of a preview in pixels; 0 for none.

    Raises:
        InputError: If the folder beside the page holds files of others, or cannot be written.
    """

    def __init__(self, page_folder: Path, preview_size: int) -> None:
        if preview_size and not 256 <= preview_size <= 20_000:
            raise InputError(f"a preview of {preview_size} pixels is not made; give 256 to 20000, or 0 for none")
        self.folder = page_folder / FOLDER
        self.preview_size = preview_size
        self._used: set[str] = set()
        claim_folder(self.folder, WHAT)

    def thumbnail(self, content: bytes) -> Shown | None:
        """Write a thumbnail, a JPEG; return None of one that is empty or no image."""
        try:
            with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
                size = image.size
        except (OSError, ValueError):
            return None
        name = f"{hashlib.blake2b(content, digest_size=12).hexdigest()}-s.jpg"
        if not (self.folder / name).exists():
            with replacing(self.folder / name) as temporary:
                temporary.write_bytes(content)
        return self._shown(name, size)

    def previews(self, files: Mapping[str, Path], quiet: bool = False) -> dict[str, Shown]:
        """Write the previews of images, several at a time.

        Args:
            files: By name; those that cannot be read are left out of what is returned.
            quiet: Whether no progress is shown.

        Raises:
            InputError: If the folder cannot be written.
        """
        if not self.preview_size:
            return {}
        shown = {}
        with progress(len(files), quiet=quiet, task="previews") as advance, _threads() as threads:
            for name, preview in zip(files, threads.map(self._preview, files, files.values()), strict=True):
                advance(1)
                if preview is not None:
                    shown[name] = preview
                    self._used.add(Path(preview.src).name)
        return shown

    def remove_others(self) -> None:
        """Remove the images of an earlier page that this one does not show."""
        for path in self.folder.iterdir():
            if OWN_NAMES.fullmatch(path.name) and path.name not in self._used:
                path.unlink(missing_ok=True)
        remove_leftovers(self.folder, OWN_NAMES)

    def _preview(self, name: str, file: Path) -> Shown | None:
        try:
            status = file.stat()
            made = f"{name}\n{status.st_size}\n{status.st_mtime_ns}\n{self.preview_size}\n{QUALITY}"
            path = self.folder / f"{_digest(made)}.jpg"
            with suppress(OSError, ValueError), Image.open(path, formats=["JPEG"]) as made_before:
                return Shown(f"{FOLDER}/{path.name}", *made_before.size)
            image = open_image(file, colour="srgb")
        except (InputError, OSError):  # the row says why it could not be read
            return None
        image.thumbnail((self.preview_size, self.preview_size), Image.Resampling.LANCZOS, reducing_gap=3.0)
        with replacing(path) as temporary:
            image.save(temporary, "JPEG", quality=QUALITY)
        return Shown(f"{FOLDER}/{path.name}", *image.size)

    def _shown(self, name: str, size: tuple[int, int]) -> Shown:
        self._used.add(name)
        return Shown(f"{FOLDER}/{name}", *size)


@contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """Yield threads (decoding, scaling and encoding let others run); those that wait are given up after an error."""
    threads = ThreadPoolExecutor(min(WORKERS, os.cpu_count() or 1))
    try:
        yield threads
    finally:
        threads.shutdown(cancel_futures=True)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()
