"""What a file's name tells of its shot: the burst, the cover, and which files are one shot."""

from __future__ import annotations

import os
import re
import unicodedata
from typing import NamedTuple

# Shapes of cameras' names, of the stem in lower case. `key` is the burst, `cover` marks the camera's choice.
# Source: immich-go, internal/filenames.
BURSTS = (
    re.compile(r"(?P<key>img_\d{8}_\d{6})_burst\d+(?P<cover>_cover)?"),  # Huawei and others
    re.compile(r"\d+img_\d+_burst(?P<key>\d{14,17})(?P<cover>_cover)?"),  # Nexus, first Pixels
    re.compile(r"dsc_\d+_burst(?P<key>\d{14,17})(?P<cover>_cover)?"),  # Sony Xperia
    re.compile(r"(?P<key>\d{8}_\d{6})_(?:(?P<cover>001)|\d{3})"),  # Samsung
)
# A Pixel writes one shot into several files: RAW-01.COVER.jpg, RAW-02.ORIGINAL.dng, MP.jpg, PORTRAIT-01.COVER.jpg.
PIXEL = re.compile(r"(?P<shot>pxl_\d{8}_\d{9})\.(?P<rest>.*)")
# An iPhone's edited copy IMG_E1234 and its list of edits IMG_O1234 belong to IMG_1234.
APPLE = re.compile(r"img_(?P<edit>[eo])(?P<number>\d{4,})")


class NamedBurst(NamedTuple):
    """The burst that a name tells, and whether the name says that this is its cover."""

    key: str
    cover: bool


def plain(text: str) -> str:
    """Return a name as all systems compare it: one normal form of Unicode, one case.

    Examples:
        >>> plain("Cafe\u0301.JPG") == plain("caf\u00e9.jpg")
        True
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def named_burst(file: str) -> NamedBurst | None:
    """Return the burst that a file's name tells.

    Examples:
        >>> named_burst("IMG_20240501_120000_BURST002_COVER.jpg")
        NamedBurst(key='img_20240501_120000', cover=True)
        >>> named_burst("00003IMG_00003_BURST20240501120000123.jpg")
        NamedBurst(key='20240501120000123', cover=False)
        >>> named_burst("20240501_120000_001.jpg")
        NamedBurst(key='20240501_120000', cover=True)
        >>> named_burst("_MG_1234.jpg") is None
        True
    """
    stem = plain(os.path.splitext(os.path.basename(file))[0])  # noqa: PTH119, PTH122 -- for each of many files
    found = next((match for shape in BURSTS if (match := shape.fullmatch(stem))), None)
    return None if found is None else NamedBurst(found["key"], found["cover"] is not None)


def shot_key(file: str) -> str:
    """Return the name that files of one shot share, in one folder.

    Examples:
        >>> shot_key("IMG_1234.CR2") == shot_key("img_1234.jpg") == shot_key("IMG_E1234.HEIC")
        True
        >>> shot_key("PXL_20240501_120000123.RAW-02.ORIGINAL.dng")
        'pxl_20240501_120000123'
    """
    stem = plain(os.path.splitext(os.path.basename(file))[0])  # noqa: PTH119, PTH122 -- for each of many files
    if pixel := PIXEL.fullmatch(stem):
        return pixel["shot"]
    if apple := APPLE.fullmatch(stem):
        return f"img_{apple['number']}"
    return stem


def is_preferred(file: str) -> bool:
    """Whether the name says that this file of a shot is the one to look at: the cover, or the edited copy."""
    stem = plain(os.path.splitext(os.path.basename(file))[0])  # noqa: PTH119, PTH122 -- for each of many files
    apple = APPLE.fullmatch(stem)
    return stem.endswith(".cover") or (apple is not None and apple["edit"] == "e")
