"""Bounds of an image file: what is read from disk, and what its header may promise. Nothing is decoded here."""

from __future__ import annotations

import io
import os
import re
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageFile

from piqa.errors import FileAccessError, InputError
from piqa.preparation.image_formats import FIRST_BYTES, format_of

MAX_PIXELS = 300_000_000  # more than a 200-megapixel phone camera has; larger files may be decompression bombs
MAX_ASPECT = 100  # long side / short side; resized to a short side of 448 pixels, a longer strip would take gigabytes
MAX_BYTES = 2_000_000_000  # 300 million pixels of 16-bit RGB take 1.8 GB uncompressed
MAX_UNKNOWN_BYTES = 100_000_000  # of a file whose first bytes name no format
# Progressive JPEG: each scan passes over all pixels again. libjpeg's own script has 10 scans, and 18 for four inks
# (`jpeg_simple_progression`, 2 + 4 x inks); mozjpeg writes no more.
MAX_SCANS = 30
# So many pixels are believed only of a file that has this share of a byte for each. An enlargement of 64 megapixels,
# smoother than any photograph, has 0.33 bytes a pixel as PNG, 0.022 as JPEG (quality 30) and 0.007 as WebP (10); one
# colour has 0.004 as PNG and 0.003 as JPEG.
LARGE = 50_000_000
LOSSY_SHARE, LOSSLESS_SHARE = 1 / 200, 1 / 20
LOSSLESS = {"PNG", "GIF", "BMP", "PNM", "QOI"}

KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_END, _SCAN = 0xD9, 0xDA
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)  # in coded data, 00 and restarts follow FF


def read_file(path: str | Path) -> bytes:
    """Return the bytes of an image file.

    Raises:
        FileAccessError: If the machine refuses the file: absent, no permission, a drive that is gone.
        InputError: If it is no regular file, or larger than an image that is read.
    """
    with opened_file(path) as file:
        limit = MAX_BYTES if format_of(file.read(FIRST_BYTES)) else MAX_UNKNOWN_BYTES
        if os.fstat(file.fileno()).st_size > limit:
            raise InputError(f"{path} has more than the {limit / 1e6:g} MB that are read of an image; scale it down")
        file.seek(0)
        return file.read()


@contextmanager
def opened_file(path: str | Path) -> Iterator[io.FileIO]:
    """Open a regular file to read from; faults of the machine inside the block are told as those of the file.

    Raises:
        FileAccessError: If the machine refuses the file: absent, no permission, a drive that is gone.
        InputError: If it is no regular file.
    """
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its writer, for ever
            kind = next((name for is_kind, name in KINDS if is_kind(status.st_mode)), "no regular file")
            raise InputError(f"{path} is {kind}, not an image file; name a file")
        with Path(path).open("rb", buffering=0) as file:
            yield file
    except InputError:
        raise
    except OSError as error:
        raise FileAccessError(f"cannot read {path}: {error.strerror}; check the path") from error
    except ValueError as error:
        raise InputError(f"{path!r} is no path ({error})") from error


def check_scans(content: bytes) -> None:
    """Refuse a JPEG of more scans than encoders write: a hundred kilobytes of them can take minutes."""
    scans, colours = 0, 0
    for marker, place in _segments(content):
        if marker in _FRAMES:
            colours = 0 if marker in _PROGRESSIVE else content[place + 7]
        if marker == _SCAN:
            once = content[place + 2] == colours  # all colours, not progressive: the decoder stops after this scan
            if scans == 0 and (once or content.count(b"\xff\xda", place) < MAX_SCANS):
                return
            scans += 1
        if scans > MAX_SCANS:
            raise InputError(f"a JPEG of more than {MAX_SCANS} scans, made to take long; save it anew")


def _segments(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield each marker of a JPEG up to its end, with the place behind it; previews and films of phones may follow."""
    place = 2
    while (found := _MARKER.search(content, place)) is not None and found.end() + 8 <= len(content):
        marker, place = found.group(1)[0], found.end()
        if marker == _END:
            return
        yield marker, place
        if marker not in (0x01, 0xD8):  # which have no content
            place += int.from_bytes(content[place : place + 2], "big")


def check_size(size: tuple[int, int], content: bytes, *, lossless: bool) -> None:
    """Refuse a picture by its width and height: a strip, or pixels that the file cannot hold.

    Pillow itself refuses what is larger than `MAX_PIXELS`.
    """
    share = LOSSLESS_SHARE if lossless else LOSSY_SHARE
    width, height = size
    if max(size) > MAX_ASPECT * min(size):
        raise InputError(f"its {width} x {height} pixels are a strip, too narrow to be judged; crop it")
    if width * height > LARGE and len(content) < width * height * share:
        raise InputError(
            f"claims {width} x {height} pixels and holds {len(content):,} bytes, too few for a picture; "
            "save it anew, or scale it down"
        )


_pillow_state = threading.Lock()  # Pillow's settings and Python's warning filters belong to the whole process


@contextmanager
def own_pillow_settings() -> Iterator[None]:
    """Raise Pillow's limit of 179 million pixels, and refuse truncated images, whatever other libraries have set.

    The limit still holds for images inside images (icons, tiles, frames). WeasyPrint, when it is imported, lets Pillow
    fill up truncated images for the whole process.
    """
    with _pillow_state, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as odd EXIF tags
        before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = MAX_PIXELS // 2, False
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = before
