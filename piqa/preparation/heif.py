"""HEIC and AVIF: the reader of HEIC, which is an extra, and the colour that a picture's boxes state."""

from __future__ import annotations

import io
from collections.abc import Iterator

from PIL import Image

from piqa.errors import InputError

MAX_BOXES = 10_000


def opened(content: bytes) -> Image.Image:
    """Open a HEIC image by pillow-heif, which turns it upright itself and resets its orientation.

    Raises:
        InputError: If pillow-heif is not installed.
    """
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        advice = 'run `pip install "dn-piqa[heif]"`, or convert it to JPEG'
        raise InputError(f"a HEIC image is not read without pillow-heif; {advice}") from error
    image: Image.Image = HeifImageFile(io.BytesIO(content))  # type: ignore[no-untyped-call]
    return image


def nclx(content: bytes) -> tuple[int, int] | None:
    """Return the code points of H.273 of the main picture's primaries and transfer curve; None where none are stated.

    A file may hold more pictures, such as a gain map or an HDR rendition, with boxes of their own.
    """
    try:
        return _nclx(content)
    except (IndexError, ValueError):  # damaged boxes; the decoder has its own word on them
        return None


def _nclx(content: bytes) -> tuple[int, int] | None:
    meta = next((body for kind, body in _boxes(content) if kind == b"meta"), b"")[4:]
    inside = dict(_boxes(meta))
    if b"pitm" not in inside or b"iprp" not in inside:
        return None
    pitm = inside[b"pitm"]
    main = int.from_bytes(pitm[4:6] if pitm[0] == 0 else pitm[4:8], "big")
    properties: list[tuple[bytes, bytes]] = []
    used: list[int] = []
    for kind, body in _boxes(inside[b"iprp"]):
        if kind == b"ipco":
            properties = list(_boxes(body))
        elif kind == b"ipma":
            used += _properties_of(main, body)
    for index in used:
        kind, body = properties[index - 1] if 0 < index <= len(properties) else (b"", b"")
        if kind == b"colr" and body[:4] == b"nclx":
            return int.from_bytes(body[4:6], "big"), int.from_bytes(body[6:8], "big")
    return None


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and body of each box; sizes may be given in 8 bytes, or as 0 for all that follows."""
    place = 0
    for _ in range(MAX_BOXES):
        if place + 8 > len(content):
            return
        size, kind, head = int.from_bytes(content[place : place + 4], "big"), content[place + 4 : place + 8], 8
        if size == 1:
            size, head = int.from_bytes(content[place + 8 : place + 16], "big"), 16
        size = size or len(content) - place
        if size < head:
            return
        yield kind, content[place + head : place + size]
        place += size


def _properties_of(item: int, ipma: bytes) -> list[int]:
    """Return the numbers of an item's properties, counted from 1."""
    version, wide = ipma[0], ipma[3] & 1
    count, place, found = int.from_bytes(ipma[4:8], "big"), 8, []
    for _ in range(min(count, MAX_BOXES)):
        length = 2 if version == 0 else 4
        number, entries = int.from_bytes(ipma[place : place + length], "big"), ipma[place + length]
        place += length + 1
        for _ in range(entries):
            size = 2 if wide else 1
            index = int.from_bytes(ipma[place : place + size], "big") & (0x7FFF if wide else 0x7F)
            found += [index] if number == item else []
            place += size
    return found
