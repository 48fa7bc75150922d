"""When, with which camera and how exposed an image file says it was taken; never where, or by whom."""

from __future__ import annotations

import math
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timezone
from typing import BinaryIO

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import ParseError, fromstring
from PIL import ExifTags

from piqa.moments.maker_notes import MakerNotes, read_maker_notes
from piqa.moments.metadata import opened_metadata
from piqa.moments.tags import Tag, read_directory, read_header

BASE = ExifTags.Base
GOOGLE = "{http://ns.google.com/photos/1.0/camera/}"  # the namespace GCamera of XMP
UNSET = {date(1970, 1, 1), date(1980, 1, 1), date(2000, 1, 1)}  # where clocks begin that nobody has set
A_DAY = 86_400  # seconds; a clock may be ahead by all time zones
AUTO_BRACKET = 2  # of ExposureMode
TEXT_LENGTH = 100  # characters of a name or identifier
DNG_SERIAL = 0xC62F
FIRST = {BASE.Make, BASE.Model, BASE.ExifOffset, BASE.XMLPacket, DNG_SERIAL}
SECOND = {
    *(BASE.DateTimeOriginal, BASE.SubsecTimeOriginal, BASE.OffsetTimeOriginal, BASE.BodySerialNumber),
    *(BASE.ExposureTime, BASE.FNumber, BASE.ISOSpeedRatings, BASE.ExposureBiasValue, BASE.ExposureMode),
    BASE.MakerNote,
}


@dataclass(frozen=True)
class CaptureFacts:
    """What a file says of how it was taken; None where it says nothing, or nothing that can be read.

    Attributes:
        seconds: Capture time since 1970-01-01, local to the camera, with its fraction. None also of a clock that was
            never set (1970-01-01, 1980-01-01, 2000-01-01) or that is in the future.
        subseconds: Whether the file tells the fraction.
        offset: Minutes by which that time is ahead of UTC.
        camera: Maker, model and serial number.
        burst: Identifier of the burst, by Apple's maker notes or Google's XMP.
        cover: Whether the camera chose it as the best of its burst.
        content: Apple's identifier of the content, which edited copies share.
        ev: Exposure value at ISO 100, log2(N^2 / t) - log2(ISO / 100).
        bias: Exposure compensation, EV.
        exposure: Exposure time, seconds.
        bracketing: Whether the camera says that it bracketed the exposure.
    """

    seconds: float | None = None
    subseconds: bool = False
    offset: int | None = None
    camera: str | None = None
    burst: str | None = None
    cover: bool = False
    content: str | None = None
    ev: float | None = None
    bias: float | None = None
    exposure: float | None = None
    bracketing: bool = False


def read_capture_facts(path: str) -> CaptureFacts:
    """Return what an image file says of how it was taken, from its tags alone.

    Raises:
        FileAccessError: If the machine refuses the file.
        InputError: If it is no regular file.
    """
    with opened_metadata(path) as found:
        if found.exif is None:
            first: dict[int, Tag] = {}
            second: dict[int, Tag] = {}
            notes = MakerNotes()
        else:
            first, second, notes = _tags(found.exif)
        packet = found.xmp or _bytes(first.get(BASE.XMLPacket))
    google, primary = _google_burst(packet)
    seconds = _seconds(_text(second, BASE.DateTimeOriginal))
    fraction = _fraction(_text(second, BASE.SubsecTimeOriginal))
    serial = _text(second, BASE.BodySerialNumber) or _text(first, DNG_SERIAL)
    camera = " ".join(filter(None, (_text(first, BASE.Make), _text(first, BASE.Model), serial)))
    exposure, aperture, iso = (
        _positive(second, tag) for tag in (BASE.ExposureTime, BASE.FNumber, BASE.ISOSpeedRatings)
    )
    return CaptureFacts(
        seconds=None if seconds is None else seconds + (fraction or 0),
        subseconds=seconds is not None and fraction is not None,
        offset=_offset(_text(second, BASE.OffsetTimeOriginal)),
        camera=camera or None,
        burst=notes.burst or google,
        cover=primary,
        content=notes.content,
        ev=exposure_value(exposure, aperture, iso),
        bias=_number(second, BASE.ExposureBiasValue),
        exposure=exposure,
        bracketing=notes.bracketing or _number(second, BASE.ExposureMode) == AUTO_BRACKET,
    )


def exposure_value(exposure: float | None, aperture: float | None, iso: float | None) -> float | None:
    """Return the exposure value at ISO 100, None unless all three are known.

    Examples:
        >>> exposure_value(1 / 60, 4.0, 200)
        8.906890595608518
    """
    if not exposure or not aperture or not iso:
        return None
    return math.log2(aperture**2 / exposure) - math.log2(iso / 100)


def _tags(exif: BinaryIO) -> tuple[dict[int, Tag], dict[int, Tag], MakerNotes]:
    """Return the wanted tags of the first directory and of EXIF's own, and the maker's notes."""
    first: dict[int, Tag] = {}
    second: dict[int, Tag] = {}
    notes = MakerNotes()
    with suppress(ValueError, OverflowError):  # damaged: what was read so far counts
        order, place = read_header(exif)
        first = read_directory(exif, place, order, FIRST)
        inside = _number(first, BASE.ExifOffset)
        if inside:
            second = read_directory(exif, int(inside), order, SECOND)
        if BASE.MakerNote in second:
            notes = read_maker_notes(exif, second[BASE.MakerNote], _text(first, BASE.Make))
    return first, second, notes


def _google_burst(packet: bytes) -> tuple[str | None, bool]:
    """Return the identifier of Google's burst in a packet of XMP, and whether this is the camera's choice."""
    if b"BurstID" not in packet:
        return None, False
    try:
        tree = fromstring(packet.strip(b"\0 \n\r\t"), forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError):
        return None, False
    told: dict[str, str] = {}
    for node in tree.iter():
        told |= {name: value for name, value in node.attrib.items() if name.startswith(GOOGLE)}
        if str(node.tag).startswith(GOOGLE):
            told[str(node.tag)] = node.text or ""
    burst = _cleaned(told.get(f"{GOOGLE}BurstID", ""))
    return burst or None, told.get(f"{GOOGLE}BurstPrimary", "").strip() == "1"


def _seconds(text: str) -> float | None:
    """Return a time of EXIF in seconds since 1970, None for no time and for a clock that was never set."""
    match = re.fullmatch(r"(\d{4})[:\-/](\d\d)[:\-/](\d\d)[ T](\d\d):(\d\d):(\d\d)(?:[.Z+-].*)?", text)
    if match is None:
        return None
    try:
        told = datetime(*map(int, match.groups()), tzinfo=timezone.utc)  # type: ignore[misc,arg-type]
    except ValueError:  # such as 0000:00:00
        return None
    if told.date() in UNSET or told.timestamp() > time.time() + A_DAY:
        return None
    return told.timestamp()


def _fraction(text: str) -> float | None:
    """Return the fraction of a second from its decimals: `05` is 0.05, `5` is 0.5."""
    return float(f"0.{text}") if text.isascii() and text.isdigit() else None


def _offset(text: str) -> int | None:
    """Return minutes ahead of UTC from such as `+02:00`."""
    match = re.fullmatch(r"([+-])(\d\d):?(\d\d)", text)
    if match is None:
        return 0 if text == "Z" else None
    return (1 if match[1] == "+" else -1) * (int(match[2]) * 60 + int(match[3]))


def _number(tags: dict[int, Tag], tag: int) -> float | None:
    value = tags[tag].value if tag in tags else None
    if not isinstance(value, tuple) or not value or not math.isfinite(value[0]):
        return None
    return float(value[0])


def _positive(tags: dict[int, Tag], tag: int) -> float | None:
    number = _number(tags, tag)
    return number if number is not None and 0 < number < 1e9 else None


def _text(tags: dict[int, Tag], tag: int) -> str:
    value = tags[tag].value if tag in tags else ""
    return _cleaned(value) if isinstance(value, str) else ""


def _cleaned(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:TEXT_LENGTH]


def _bytes(tag: Tag | None) -> bytes:
    return tag.value if tag is not None and isinstance(tag.value, bytes) else b""
