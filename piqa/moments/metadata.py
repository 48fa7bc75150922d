"""Where a file keeps what it says of itself: its block of EXIF and its packet of XMP; no pixels are read."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from PIL import Image

from piqa.preparation import heif
from piqa.preparation.image_bounds import opened_file, own_pillow_settings, read_file
from piqa.preparation.image_formats import FIRST_BYTES, format_of

MAX_READ = 4_000_000  # bytes of a file that are read for its tags
MAX_SEGMENTS = 1_000  # of a JPEG before its pixels; depth maps and previews of phones fill some hundred
BUFFER = 1 << 16  # bytes read at a time: the block of EXIF comes first, and has at most so many
EXIF, XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_SCAN, _END, _APP1 = 0xDA, 0xD9, 0xE1
_BARE = {0x01, *range(0xD0, 0xD9)}  # markers without content


class Metadata(NamedTuple):
    """What a file holds: a source that begins as TIFF does, None where it holds none, and a packet of XMP."""

    exif: BinaryIO | None
    xmp: bytes


@contextmanager
def opened_metadata(path: str) -> Iterator[Metadata]:
    """Open what an image file says of itself; nothing of a file that is damaged or of another kind.

    Of JPEG, TIFF and camera RAW only the tags are read; HEIC, AVIF and WebP are read whole.

    Raises:
        FileAccessError: If the machine refuses the file.
        InputError: If it is no regular file.
    """
    with opened_file(path) as raw:
        file = io.BufferedReader(_Bounded(raw), BUFFER)
        start = file.read(FIRST_BYTES)
        kind = format_of(start, path)
        if kind == "JPEG":
            yield _of_jpeg(file)
        elif start[:2] in (b"II", b"MM") and kind is not None:  # TIFF, and RAW that is built like it
            yield Metadata(file, b"")
        elif kind in ("PNG", "WebP", "AVIF", "HEIC", "HEIF"):
            yield _by_library(path, kind)
        else:
            yield Metadata(None, b"")


class _Bounded(io.RawIOBase):
    """A file of which no more than `MAX_READ` bytes are read, however its directories point to and fro."""

    def __init__(self, file: io.FileIO) -> None:
        self._file, self._left = file, MAX_READ

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, place: int, whence: int = 0) -> int:
        return self._file.seek(place, whence)

    def readinto(self, buffer: object) -> int:
        """Fill the buffer from the file; nothing once the bytes are spent."""
        view = memoryview(cast(bytearray, buffer))[: max(self._left, 0)]
        count = self._file.readinto(view)
        self._left -= count
        return count


def _of_jpeg(file: BinaryIO) -> Metadata:
    """Return the blocks in the segments before a JPEG's pixels."""
    exif, xmp, place = None, b"", 2
    for _ in range(MAX_SEGMENTS):
        file.seek(place)
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] in (_SCAN, _END):
            break
        if head[1] == 0xFF or head[1] in _BARE:  # a filling byte, or a marker without content
            place += 1 if head[1] == 0xFF else 2
            continue
        size = int.from_bytes(head[2:], "big")
        if head[1] == _APP1:
            content = file.read(max(size - 2, 0))
            if exif is None and content.startswith(EXIF):
                exif = io.BytesIO(content[len(EXIF) :])
            elif not xmp and content.startswith(XMP):
                xmp = content[len(XMP) :]
        place += 2 + size
    return Metadata(exif, xmp)


def _by_library(path: str, kind: str) -> Metadata:
    """Return the blocks of a file whose reader finds them; nothing where it cannot be read, or has no reader here."""
    with suppress(Exception):  # whether it is an image at all is `open_image`'s question
        content = Path(path).open("rb") if kind == "PNG" else io.BytesIO(read_file(path))
        with content as source, own_pillow_settings():
            if kind in ("HEIC", "HEIF"):
                image = heif.opened(source.read())
            else:
                image = Image.open(source, formats=[kind.upper()])
            info = image.info
        exif, xmp = bytes(info.get("exif") or b""), info.get("xmp") or b""
        exif = exif.removeprefix(EXIF)
        return Metadata(io.BytesIO(exif) if exif else None, xmp.encode() if isinstance(xmp, str) else bytes(xmp))
    return Metadata(None, b"")
