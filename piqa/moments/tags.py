"""Directories of tags, as EXIF blocks and the notes of camera makers hold them (TIFF 6.0, section 2)."""

from __future__ import annotations

import struct
from collections.abc import Container
from typing import BinaryIO, Literal, NamedTuple

MAX_ENTRIES = 2_000  # of a directory; maker notes hold some hundred
MAX_VALUE = 1 << 17  # bytes of a value; a whole block of EXIF in a JPEG has at most 64 KiB
BYTES, ASCII, UNDEFINED, RATIONAL, SIGNED_RATIONAL = 1, 2, 7, 5, 10
# The letter of `struct` for each type of numbers, and how many of them make one value.
NUMBERS = {3: "H", 4: "I", 5: "II", 6: "b", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I"}
Order = Literal["<", ">"]
Value = str | bytes | tuple[float, ...]


class Tag(NamedTuple):
    """A tag's value: text, bytes or numbers, and where it lies in the source."""

    value: Value
    place: int


def read_directory(
    source: BinaryIO, place: int, order: Order, wanted: Container[int], origin: int = 0
) -> dict[int, Tag]:
    """Return the wanted tags of a directory; those that are damaged or lie outside the source are left out.

    Args:
        source: Where the directory lies.
        place: Its first byte.
        order: `<` for Intel's order of bytes, `>` for Motorola's.
        wanted: Numbers of the tags.
        origin: The byte from which places of values are counted.
    """
    source.seek(place)
    (count,) = _unpack(f"{order}H", source.read(2))
    entries = source.read(12 * min(int(count), MAX_ENTRIES))
    found: dict[int, Tag] = {}
    for at in range(0, len(entries) - 11, 12):
        tag, kind, values = struct.unpack_from(f"{order}HHI", entries, at)
        letters = "s" if kind in (BYTES, ASCII, UNDEFINED) else NUMBERS.get(kind)
        if tag not in wanted or letters is None:
            continue
        size = values * struct.calcsize(f"{order}{letters}")
        if size > MAX_VALUE:
            continue
        inside = place + 2 + at + 8
        where = inside if size <= 4 else origin + int(struct.unpack_from(f"{order}I", entries, at + 8)[0])
        source.seek(where)
        content = source.read(size)
        if len(content) == size:
            found[tag] = Tag(_decoded(content, kind, letters, order), where)
    return found


def read_header(source: BinaryIO) -> tuple[Order, int]:
    """Return the order of bytes and the place of the first directory of a TIFF, or of what a RAW file makes of it.

    Raises:
        ValueError: If the source begins otherwise.
    """
    source.seek(0)
    head = source.read(8)
    if head[:2] not in (b"II", b"MM") or len(head) < 8:
        raise ValueError("no TIFF")
    order: Order = "<" if head[:2] == b"II" else ">"
    return order, int(_unpack(f"{order}I", head[4:])[0])


def _decoded(content: bytes, kind: int, letters: str, order: Order) -> Value:
    if kind == ASCII:
        return content.split(b"\0")[0].decode(errors="replace").strip()
    if kind in (BYTES, UNDEFINED):
        return content
    numbers = struct.unpack(f"{order}{letters * (len(content) // struct.calcsize(order + letters))}", content)
    if kind not in (RATIONAL, SIGNED_RATIONAL):
        return numbers
    return tuple(above / below if below else float("nan") for above, below in zip(*[iter(numbers)] * 2, strict=True))


def _unpack(form: str, content: bytes) -> tuple[int, ...]:
    try:
        return struct.unpack(form, content)
    except struct.error as error:
        raise ValueError("a directory outside its file") from error
