"""Picture files that lie: seeded damage to JPEG, PNG, TIFF and WebP files of the two public portraits."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import skimage.data
from PIL import ExifTags, Image

Rng = np.random.Generator
SIDE = 192  # long side of the sound pictures, px: small, so that thousands take minutes

ENCODINGS: dict[str, dict[str, Any]] = {
    "JPEG": {"format": "JPEG"},
    "JPEG, progressive": {"format": "JPEG", "progressive": True},
    "JPEG, CMYK": {"format": "JPEG", "mode": "CMYK"},
    "PNG": {"format": "PNG"},
    "PNG, palette": {"format": "PNG", "mode": "P"},
    "PNG, transparent": {"format": "PNG", "mode": "RGBA"},
    "PNG, 16 bits": {"format": "PNG", "mode": "I;16"},
    "TIFF": {"format": "TIFF"},
    "TIFF, LZW": {"format": "TIFF", "compression": "tiff_lzw"},
    "TIFF, deflate": {"format": "TIFF", "compression": "tiff_adobe_deflate"},
    "TIFF, JPEG": {"format": "TIFF", "compression": "jpeg"},
    "TIFF, float": {"format": "TIFF", "mode": "F"},
    "WebP": {"format": "WEBP"},
    "WebP, lossless": {"format": "WEBP", "lossless": True},
    "WebP, transparent": {"format": "WEBP", "mode": "RGBA"},
    "WebP, animated": {"format": "WEBP", "save_all": True},
}

SIZES = (0, 1, 2, 255, 4096, 16383, 17320, 32767, 65500, 65535)  # that a 16-bit field may claim
LARGE_SIZES = (*SIZES, 2**24, 2**31 - 1, 2**31, 2**32 - 1)


@dataclass(frozen=True)
class Hostile:
    """A file and what was done to it.

    Attributes:
        encoding: One of `ENCODINGS`.
        damage: One of `DAMAGES`.
        content: Its bytes.
    """

    encoding: str
    damage: str
    content: bytes


def hostile(seed: int, number: int) -> Hostile:
    """File `number` of the sequence of a seed."""
    rng = np.random.default_rng([seed, number])
    encoding = list(ENCODINGS)[rng.integers(len(ENCODINGS))]
    damage = list(DAMAGES)[rng.integers(len(DAMAGES))]
    return Hostile(encoding, damage, DAMAGES[damage](sound(encoding, int(rng.integers(2))), rng))


@cache
def sound(encoding: str, sitter: int) -> bytes:
    """One of the two portraits, undamaged, with an EXIF block that says how it is turned."""
    options = dict(ENCODINGS[encoding])
    mode = options.pop("mode", "RGB")
    image = portrait(sitter)
    if mode == "RGBA":
        image.putalpha(image.convert("L"))
    elif mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L"), dtype=np.uint16) * 257)
    elif mode != "RGB":
        image = image.convert(mode)
    if "save_all" in options:
        options["append_images"] = [portrait(1 - sitter).resize(image.size)]
    if not options["format"].startswith("TIFF"):  # whose tags tell the orientation themselves
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        options["exif"] = exif
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


def portrait(sitter: int) -> Image.Image:
    """Eileen Collins (NASA) or Grace Hopper (US Navy), small."""
    if sitter == 0:
        image = Image.fromarray(skimage.data.astronaut())
    else:
        image = Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("RGB")
    image.thumbnail((SIDE, SIDE))
    return image


def unharmed(content: bytes, _: Rng) -> bytes:
    """As it is: a control."""
    return content


def flipped(content: bytes, rng: Rng) -> bytes:
    """A few bits changed, anywhere or near the start, where the headers are."""
    damaged = bytearray(content)
    reach = len(content) if rng.random() < 0.5 else min(len(content), 200)
    for place in rng.integers(reach, size=rng.integers(1, 9)):
        damaged[place] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def overwritten(content: bytes, rng: Rng) -> bytes:
    """A stretch of noise, of zeros or of ones."""
    start = int(rng.integers(len(content)))
    length = min(int(rng.integers(1, 400)), len(content) - start)
    filling = [rng.bytes(length), bytes(length), b"\xff" * length][rng.integers(3)]
    return content[:start] + filling + content[start + length :]


def truncated(content: bytes, rng: Rng) -> bytes:
    """Cut anywhere, the empty file included."""
    return content[: rng.integers(len(content))]


def spliced(content: bytes, rng: Rng) -> bytes:
    """Its start with the end of a file of any encoding."""
    other = sound(list(ENCODINGS)[rng.integers(len(ENCODINGS))], int(rng.integers(2)))
    return content[: rng.integers(len(content))] + other[rng.integers(len(other)) :]


def repeated(content: bytes, rng: Rng) -> bytes:
    """A stretch many times over."""
    start, length = int(rng.integers(len(content))), int(rng.integers(1, 200))
    return content[:start] + content[start : start + length] * int(rng.integers(2, 200)) + content[start:]


def lying(content: bytes, rng: Rng) -> bytes:
    """A header that claims another size, or, in TIFF, another anything."""
    lie = next(lie for magic, lie in LIES.items() if content.startswith(magic))
    return lie(content, rng)


def lying_jpeg(content: bytes, rng: Rng) -> bytes:
    """Height and width in the frame header, SOF0 or SOF2."""
    place = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2"))
    return _put(content, place + 5, struct.pack(">HH", *_sizes(rng, SIZES)))


def lying_png(content: bytes, rng: Rng) -> bytes:
    """Width and height in IHDR, with a checksum that agrees."""
    body = struct.pack(">II", *_sizes(rng, LARGE_SIZES)) + content[24:29]
    return _put(content, 16, body + struct.pack(">I", zlib.crc32(b"IHDR" + body)))


def lying_tiff(content: bytes, rng: Rng) -> bytes:
    """Width and height, or the type, count or value of any tag of the first directory."""
    (start,) = struct.unpack_from("<I", content, 4)
    (tags,) = struct.unpack_from("<H", content, start)
    entries = {
        struct.unpack_from("<H", content, start + 2 + 12 * number)[0]: start + 2 + 12 * number for number in range(tags)
    }
    if rng.random() < 0.5:
        for tag, size in zip((256, 257), _sizes(rng, LARGE_SIZES), strict=True):
            content = _put(content, entries[tag] + 2, struct.pack("<HII", 4, 1, size))
        return content
    place = list(entries.values())[rng.integers(tags)]
    field = rng.integers(3)
    if field == 0:
        return _put(content, place + 2, struct.pack("<H", rng.integers(20)))
    return _put(content, place + (4 if field == 1 else 8), struct.pack("<I", rng.choice(LARGE_SIZES)))


def lying_webp(content: bytes, rng: Rng) -> bytes:
    """Width and height in the frame's own header (VP8, VP8L) or the canvas's (VP8X)."""
    width, height = (size & 0xFFFFFF for size in _sizes(rng, LARGE_SIZES))
    kind = content[12:16]
    if kind == b"VP8X":
        return _put(content, 24, struct.pack("<I", width)[:3] + struct.pack("<I", height)[:3])
    if kind == b"VP8L":
        return _put(content, 21, struct.pack("<I", width & 0x3FFF | (height & 0x3FFF) << 14))
    return _put(content, 26, struct.pack("<HH", width & 0xFFFF, height & 0xFFFF))


def huge(_: bytes, rng: Rng) -> bytes:
    """An honest file of few bytes and very many pixels, in any mode: some below the limit that is read, some above."""
    if rng.random() < 0.8:  # the others take a second each
        return lying_png(sound("PNG", 0), rng)
    mode = ("1", "L", "P", "RGB", "RGBA", "I;16")[rng.integers(6)]
    width, height = (int(side) for side in rng.integers(2_000, 18_500, size=2))
    return bomb(mode, width, height)


def bomb(mode: str, width: int, height: int) -> bytes:
    """A black PNG without its rows ever being in memory together."""
    bits, colour = {"1": (1, 0), "L": (8, 0), "P": (8, 3), "RGB": (8, 2), "RGBA": (8, 6), "I;16": (16, 0)}[mode]
    samples = {"RGB": 3, "RGBA": 4}.get(mode, 1)
    row = bytes(1 + (width * samples * bits + 7) // 8)
    packer = zlib.compressobj(1)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))]
    chunks += [(b"PLTE", bytes(range(6)))] if mode == "P" else []
    chunks += [(b"IDAT", data), (b"IEND", b"")]
    packed = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


LIES: dict[bytes, Callable[[bytes, Rng], bytes]] = {
    b"\xff\xd8": lying_jpeg,
    b"\x89PNG": lying_png,
    b"II": lying_tiff,
    b"RIFF": lying_webp,
}
DAMAGES: dict[str, Callable[[bytes, Rng], bytes]] = {
    "none": unharmed,
    "bits flipped": flipped,
    "overwritten": overwritten,
    "truncated": truncated,
    "spliced": spliced,
    "repeated": repeated,
    "lying header": lying,
    "absurd size": huge,
}


def _sizes(rng: Rng, sizes: tuple[int, ...]) -> tuple[int, int]:
    """Two sizes, of which one may be the true one's order of magnitude."""
    one, other = (int(rng.choice(sizes)) for _ in range(2))
    return (one, int(rng.integers(1, 400))) if rng.random() < 0.3 else (one, other)


def _put(content: bytes, place: int, new: bytes) -> bytes:
    return content[:place] + new + content[place + len(new) :]
