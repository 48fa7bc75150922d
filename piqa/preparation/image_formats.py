"""Which image format a file is in, by its first bytes or else by its ending; nothing is decoded."""

from __future__ import annotations

import re
from pathlib import Path

FIRST_BYTES = 64  # of a file, enough to tell its format

# By the files' endings; nearly all of them are TIFF inside.
RAW = {
    name: f"camera RAW ({name.removeprefix('.').upper()})"
    for name in (
        ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .gpr .iiq .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .raw .rw2 "
        ".rwl .sr2 .srf .srw .x3f"
    ).split()
}
MODERN = {
    **dict.fromkeys((".heic", ".heics", ".heif", ".heifs", ".hif"), "HEIC"),
    **dict.fromkeys((".avif", ".avifs"), "AVIF"),
    **dict.fromkeys((".jxr", ".wdp", ".hdp"), "JPEG XR"),
    ".jxl": "JPEG XL",
}
PHOTO_ENDINGS = frozenset(RAW) | frozenset(MODERN)  # of photographs, beside those that Pillow registers

_STARTS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"II\xbc\x01", "JPEG XR"),
    (b"8BPS", "Photoshop"),
    (b"qoif", "QOI"),
    (b"v/1\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"DDS ", "DDS"),
    (b"FUJIFILMCCD-RAW", RAW[".raf"]),
    (b"FOVb", RAW[".x3f"]),
    (b"\0MRM", RAW[".mrw"]),
    (b"II\x1a\0\0\0HEAPCCDR", RAW[".crw"]),
    (b"IIRO", RAW[".orf"]),
    (b"IIRS", RAW[".orf"]),
    (b"MMOR", RAW[".orf"]),
    (b"IIU\0", RAW[".rw2"]),
)
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_HEVC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}


def format_of(start: bytes, name: str | Path = "") -> str | None:
    r"""Return the format that a file's first bytes announce, such as `JPEG` or `HEIC`; None for no known image.

    Args:
        start: The first `FIRST_BYTES` bytes, or all of a shorter file.
        name: The file's name, whose ending tells the kinds of TIFF apart that are camera RAW.

    Examples:
        >>> format_of(b"\xff\xd8\xff\xe0"), format_of(b"II*\0", "a.NEF"), format_of(b"%PDF-1.7")
        ('JPEG', 'camera RAW (NEF)', None)
    """
    if start[4:8] == b"ftyp":
        return _of_brands(start)
    if start.startswith(_TIFF):
        return RAW[".cr2"] if start[8:10] == b"CR" else RAW.get(Path(name).suffix.lower(), "TIFF")
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WebP"
    if start[:2] == b"BM" and start[6:10] == bytes(4):  # two letters alone begin many a text
        return "BMP"
    if re.match(rb"P[1-6]\s+(#|\d)", start):
        return "PNM"
    return next((found for begin, found in _STARTS if start.startswith(begin)), None)


def _of_brands(start: bytes) -> str | None:
    """Return the format of a file of ISO boxes, which lists the brands that it conforms to: the own one first."""
    length = min(max(int.from_bytes(start[:4], "big"), 16), len(start))
    brands = [start[at : at + 4] for at in (8, *range(16, length - 3, 4))]
    if brands[0] == b"crx ":
        return RAW[".cr3"]
    if {b"avif", b"avis"} & set(brands):
        return "AVIF"
    if _HEVC & set(brands):
        return "HEIC"
    return "HEIF" if brands[0] in (b"mif1", b"mif2", b"msf1") else None  # such as a video
