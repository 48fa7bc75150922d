"""What cameras note in their maker's own form: Apple's bursts, and the brackets of Canon, Nikon and Sony.

Source: the tag tables of exiftool (Apple, Canon, Nikon, Sony), which is where these notes are documented.
"""

from __future__ import annotations

import io
from contextlib import suppress
from typing import BinaryIO, NamedTuple

from piqa.moments.tags import Tag, read_directory, read_header

APPLE_BURST, APPLE_CONTENT = 0x000B, 0x0011  # BurstUUID, ContentIdentifier
CANON_FILE_INFO, CANON_BRACKET_MODE = 0x0093, 3  # and the place of BracketMode in it
NIKON_SHOOTING_MODE, NIKON_BRACKETS = 0x0089, 1 << 4
SONY_RELEASE_MODE, SONY_BRACKETS = 0xB049, 5


class MakerNotes(NamedTuple):
    """What they tell.

    Attributes:
        burst: The same for all pictures of a burst.
        content: The same for a picture, its edited copies and the film of a Live Photo.
        bracketing: Whether the camera bracketed the exposure.
    """

    burst: str | None = None
    content: str | None = None
    bracketing: bool = False


def read_maker_notes(exif: BinaryIO, note: Tag, maker: str) -> MakerNotes:
    """Return what a maker's notes tell; nothing of notes that are damaged, or of another maker.

    Args:
        exif: The block that holds them: some makers count places from its begin.
        note: The tag MakerNote.
        maker: The tag Make.
    """
    content = note.value if isinstance(note.value, bytes) else b""
    with suppress(ValueError):  # damaged, or moved by an editor that did not mend the places in them
        if content.startswith(b"Apple iOS\0"):
            tags = read_directory(io.BytesIO(content), 14, ">", {APPLE_BURST, APPLE_CONTENT})
            return MakerNotes(_text(tags, APPLE_BURST), _text(tags, APPLE_CONTENT))
        if content.startswith(b"Nikon\0\x02"):
            own = io.BytesIO(content[10:])
            order, place = read_header(own)
            mode = _number(read_directory(own, place, order, {NIKON_SHOOTING_MODE}), NIKON_SHOOTING_MODE)
            return MakerNotes(bracketing=bool(mode & NIKON_BRACKETS))
        order, _ = read_header(exif)
        if maker.lower().startswith("canon"):
            info = read_directory(exif, note.place, order, {CANON_FILE_INFO})
            return MakerNotes(bracketing=_number(info, CANON_FILE_INFO, CANON_BRACKET_MODE) == 1)
        if maker.lower().startswith("sony"):
            start = note.place + 12 * content.startswith(b"SONY")
            release = read_directory(exif, start, order, {SONY_RELEASE_MODE})
            return MakerNotes(bracketing=_number(release, SONY_RELEASE_MODE) == SONY_BRACKETS)
    return MakerNotes()


def _text(tags: dict[int, Tag], number: int) -> str | None:
    value = tags[number].value if number in tags else None
    return value or None if isinstance(value, str) else None


def _number(tags: dict[int, Tag], number: int, index: int = 0) -> int:
    value = tags[number].value if number in tags else ()
    return int(value[index]) if isinstance(value, tuple) and len(value) > index else 0
