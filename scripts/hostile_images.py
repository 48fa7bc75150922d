"""Make hostile image files: seeded damage to JPEG, PNG, TIFF, WebP, AVIF and HEIC files of the two public portraits."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pillow_heif
import skimage.data
import tifffile
from PIL import ExifTags, Image

Rng = np.random.Generator
SIDE = 192  # long side of the sound images, px: small, so that thousands take minutes

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
    "TIFF, 16-bit planes": {"format": "planes"},
    "WebP": {"format": "WEBP"},
    "WebP, lossless": {"format": "WEBP", "lossless": True},
    "WebP, transparent": {"format": "WEBP", "mode": "RGBA"},
    "WebP, animated": {"format": "WEBP", "save_all": True},
    "AVIF": {"format": "AVIF"},
    "HEIC": {"format": "HEIF"},
}

BARE = ("WebP", "WebP, lossless")  # with EXIF they would no longer have the format's simple form
SIZES = (0, 1, 2, 255, 4096, 16383, 17320, 32767, 65500, 65535, 2**24, 2**31 - 1, 2**31, 2**32 - 1)  # that are claimed
PNG_KINDS = {"1": (1, 0, 1), "L": (8, 0, 1), "P": (8, 3, 1), "RGB": (8, 2, 3), "RGBA": (8, 6, 4), "I;16": (16, 0, 1)}


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
    """Return file `number` of the sequence of a seed."""
    rng = np.random.default_rng([seed, number])
    encoding = list(ENCODINGS)[rng.integers(len(ENCODINGS))]
    damage = list(DAMAGES)[rng.integers(len(DAMAGES))]
    return Hostile(encoding, damage, DAMAGES[damage](sound(encoding, int(rng.integers(2))), rng))


@cache
def sound(encoding: str, sitter: int) -> bytes:
    """Return one of the two portraits, undamaged; most have an EXIF block with an orientation."""
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
    if encoding not in BARE and options["format"] not in ("TIFF", "planes"):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6
        options["exif"] = exif
    buffer = io.BytesIO()
    if options["format"] == "planes":
        planes = np.moveaxis(np.asarray(image).astype(np.uint16) * 257, -1, 0)
        tifffile.imwrite(buffer, planes, photometric="rgb", planarconfig="separate", metadata=None)
    elif options["format"] == "HEIF":
        pillow_heif.from_pillow(image).save(buffer, exif=options["exif"].tobytes())
    else:
        image.save(buffer, **options)
    return buffer.getvalue()


def portrait(sitter: int) -> Image.Image:
    """Return Eileen Collins (NASA) or Grace Hopper (US Navy), small."""
    if sitter == 0:
        image = Image.fromarray(skimage.data.astronaut())
    else:
        image = Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("RGB")
    image.thumbnail((SIDE, SIDE))
    return image


def written(one: Hostile, file: Path) -> None:
    """Write a file, or what is no regular file in its place."""
    if one.damage == "a pipe":
        os.mkfifo(file)
        return
    file.write_bytes(one.content)
    if one.damage == "sparse":
        os.truncate(file, 5_000_000_000)


def unharmed(content: bytes, _: Rng) -> bytes:
    """Return the file unchanged, as a control."""
    return content


def flipped(content: bytes, rng: Rng) -> bytes:
    """Change a few bits, anywhere or near the start, where the headers are."""
    damaged = bytearray(content)
    reach = len(content) if rng.random() < 0.5 else min(len(content), 200)
    for place in rng.integers(reach, size=rng.integers(1, 9)):
        damaged[place] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def overwritten(content: bytes, rng: Rng) -> bytes:
    """Overwrite a stretch by noise, zeros or ones."""
    start = int(rng.integers(len(content)))
    length = min(int(rng.integers(1, 400)), len(content) - start)
    filling = [rng.bytes(length), bytes(length), b"\xff" * length][rng.integers(3)]
    return content[:start] + filling + content[start + length :]


def truncated(content: bytes, rng: Rng) -> bytes:
    """Cut the file anywhere; it may become empty."""
    return content[: rng.integers(len(content))]


def spliced(content: bytes, rng: Rng) -> bytes:
    """Join its start with the end of a file of any encoding."""
    other = sound(list(ENCODINGS)[rng.integers(len(ENCODINGS))], int(rng.integers(2)))
    return content[: rng.integers(len(content))] + other[rng.integers(len(other)) :]


def repeated(content: bytes, rng: Rng) -> bytes:
    """Repeat a stretch many times."""
    start, length = int(rng.integers(len(content))), int(rng.integers(1, 200))
    return content[:start] + content[start : start + length] * int(rng.integers(2, 200)) + content[start:]


def lying(content: bytes, rng: Rng) -> bytes:
    """Make the header claim another size; in TIFF, half of the time, change any tag."""
    if content.startswith(b"II") and rng.random() < 0.5:
        return lying_tag(content, rng)
    one, other = (int(rng.choice(SIZES)) for _ in range(2))
    claim = next(claim for magic, claim in CLAIMS.items() if content.startswith(magic))
    return claim(content, one, int(rng.integers(1, 400)) if rng.random() < 0.3 else other)


def claim_jpeg(content: bytes, width: int, height: int) -> bytes:
    """Change the size in the frame header, SOF0 or SOF2."""
    place = max(content.find(b"\xff\xc0"), content.find(b"\xff\xc2"))
    return _put(content, place + 5, struct.pack(">HH", height & 0xFFFF, width & 0xFFFF))


def claim_png(content: bytes, width: int, height: int) -> bytes:
    """Change the size in IHDR, with a correct checksum."""
    body = struct.pack(">II", width, height) + content[24:29]
    return _put(content, 16, body + struct.pack(">I", zlib.crc32(b"IHDR" + body)))


def claim_tiff(content: bytes, width: int, height: int) -> bytes:
    """Change the size in the tags ImageWidth and ImageLength."""
    tags = _tiff_tags(content)
    for tag, size in ((256, width), (257, height)):
        content = _put(content, tags[tag] + 2, struct.pack("<HII", 4, 1, size))
    return content


def lying_tag(content: bytes, rng: Rng) -> bytes:
    """Change type, count or value of any tag of a TIFF's first directory."""
    place = list(_tiff_tags(content).values())[rng.integers(len(_tiff_tags(content)))]
    field = rng.integers(3)
    if field == 0:
        return _put(content, place + 2, struct.pack("<H", rng.integers(20)))
    return _put(content, place + (4 if field == 1 else 8), struct.pack("<I", rng.choice(SIZES)))


def _tiff_tags(content: bytes) -> dict[int, int]:
    """Return the position of each tag of the first directory."""
    (start,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, start)
    places = range(start + 2, start + 2 + 12 * count, 12)
    return {struct.unpack_from("<H", content, place)[0]: place for place in places}


def claim_webp(content: bytes, width: int, height: int) -> bytes:
    """Change the size in the header of the frame (VP8, VP8L) or canvas (VP8X), stored as it is or less one."""
    kind = content[12:16]
    if kind == b"VP8X":
        return _put(content, 24, struct.pack("<I", width & 0xFFFFFF)[:3] + struct.pack("<I", height & 0xFFFFFF)[:3])
    if kind == b"VP8L":
        return _put(content, 21, struct.pack("<I", width & 0x3FFF | (height & 0x3FFF) << 14))
    return _put(content, 26, struct.pack("<HH", width & 0xFFFF, height & 0xFFFF))


def claim_boxes(content: bytes, width: int, height: int) -> bytes:
    """Change all sizes in the boxes of AVIF or HEIC."""
    place = content.find(b"ispe")
    while place >= 0:
        content = _put(content, place + 8, struct.pack(">II", width & 0xFFFFFFFF, height & 0xFFFFFFFF))
        place = content.find(b"ispe", place + 4)
    return content


def huge(content: bytes, rng: Rng) -> bytes:
    """Make a valid black image of few bytes and very many pixels, some below the limit for reading, some above."""
    if rng.random() < 0.85:  # the others take a second each
        return absurd(content, rng)
    side = (6_000, 12_000, 17_000, 18_500)[rng.integers(4)]
    if content.startswith(b"\x89PNG"):
        return png_bomb(("1", "L", "P", "RGB", "RGBA", "I;16")[rng.integers(6)], side)
    if content.startswith(b"II"):
        return tiff_bomb(side)
    return encoded_bomb("JPEG" if content.startswith(b"\xff\xd8") else "WEBP")


def many_scans(content: bytes, rng: Rng) -> bytes:
    """Repeat the last scan of a progressive JPEG of one colour; the others become absurd."""
    if not content.startswith(b"\xff\xd8"):
        return absurd(content, rng)
    flat = progressive(int(rng.choice([500, 5000])))
    scan, end = flat.rfind(b"\xff\xda"), flat.rfind(b"\xff\xd9")
    return flat[:end] + flat[scan:end] * int(rng.integers(1, 400)) + flat[end:]


@cache
def progressive(side: int) -> bytes:
    """Return a progressive JPEG of one grey."""
    buffer = io.BytesIO()
    Image.new("L", (side, side), 128).save(buffer, format="JPEG", progressive=True)
    return buffer.getvalue()


def absurd(content: bytes, rng: Rng) -> bytes:
    """Make the header claim a square that fits into no memory, or barely."""
    side = int(rng.choice([16_383, 17_000, 17_400, 65_000]))
    lie = next(lie for magic, lie in CLAIMS.items() if content.startswith(magic))
    return lie(content, side, side)


def png_bomb(mode: str, side: int) -> bytes:
    """Make a PNG without holding all of its rows in memory."""
    bits, colour, samples = PNG_KINDS[mode]
    row = bytes(1 + (side * samples * bits + 7) // 8)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", side, side, bits, colour, 0, 0, 0))]
    chunks += [(b"PLTE", bytes(range(6)))] if mode == "P" else []
    chunks += [(b"IDAT", _deflated(row, side)), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n"
    for name, body in chunks:
        content += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    return content


def tiff_bomb(side: int) -> bytes:
    """Make a TIFF of one deflated strip of 8-bit grey."""
    data = _deflated(bytes(side), side)
    tags = {256: side, 257: side, 258: 8, 259: 8, 262: 1, 273: 8, 277: 1, 278: side, 279: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory


@cache
def encoded_bomb(kind: str) -> bytes:
    """Make a large file of a format that only its library writes; the time for that limits its size."""
    buffer = io.BytesIO()
    Image.new("L", (9_000, 9_000)).save(buffer, format=kind, quality=10, **({"method": 0} if kind == "WEBP" else {}))
    return buffer.getvalue()


def _deflated(row: bytes, rows: int) -> bytes:
    packer = zlib.compressobj(1)
    return b"".join(packer.compress(row) for _ in range(rows)) + packer.flush()


CLAIMS: dict[
    bytes, Callable[[bytes, int, int], bytes]
] = {  # by a file's first bytes; AVIF and HEIC begin with a length
    b"\0\0\0": claim_boxes,
    b"\xff\xd8": claim_jpeg,
    b"\x89PNG": claim_png,
    b"II": claim_tiff,
    b"RIFF": claim_webp,
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
    "many scans": many_scans,
    "a pipe": unharmed,
    "sparse": unharmed,
}


def _put(content: bytes, place: int, new: bytes) -> bytes:
    return content[:place] + new + content[place + len(new) :]
