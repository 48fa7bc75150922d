"""Write TIFF files of any layout, also those that no library writes without further codecs."""

import struct
import zlib
from dataclasses import dataclass, field

import numpy as np

NONE, LZW, DEFLATE, PACKBITS = 1, 5, 8, 32773
GREY_WHITE_IS_0, GREY, RGB, PALETTE, CMYK, YCBCR, LAB = 0, 1, 2, 3, 5, 6, 8
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
FIELDS = {"H": 3, "I": 4, "B": 1}


@dataclass
class Layout:
    """How samples stand in the file; `rows` is the height of a strip, `tile` the side of square tiles."""

    photometric: int
    bits: int = 8
    compression: int = NONE
    planar: bool = False
    byteorder: str = "<"
    kind: int = UNSIGNED
    predictor: int = 1
    rows: int = 7
    tile: int = 0
    extra: tuple[int, ...] = ()
    fill_order: int = 1
    tags: dict[int, tuple[str, list[int]]] = field(default_factory=dict)


def tiff(samples, layout):
    """Return the file of samples, (height, width, samples), as they are stored: integers or floats."""
    height, width, count = samples.shape
    planes = [samples[..., [one]] for one in range(count)] if layout.planar else [samples]
    parts = [_compressed(_packed(part, layout), layout) for plane in planes for part in _parts(plane, layout)]
    tags = {
        256: ("I", [width]),
        257: ("I", [height]),
        258: ("H", [layout.bits] * count),
        259: ("H", [layout.compression]),
        262: ("H", [layout.photometric]),
        266: ("H", [layout.fill_order]),
        277: ("H", [count]),
        284: ("H", [2 if layout.planar else 1]),
        317: ("H", [layout.predictor]),
        339: ("H", [layout.kind] * count),
    }
    if layout.extra:
        tags[338] = ("H", list(layout.extra))
    offsets = (8 + np.cumsum([0, *map(len, parts)])[:-1]).tolist()
    sizes = list(map(len, parts))
    if layout.tile:
        tags |= {322: ("H", [layout.tile]), 323: ("H", [layout.tile]), 324: ("I", offsets), 325: ("I", sizes)}
    else:
        tags |= {273: ("I", offsets), 278: ("I", [layout.rows]), 279: ("I", sizes)}
    return _file(b"".join(parts), tags | layout.tags, layout.byteorder)


def _parts(plane, layout):
    height, width = plane.shape[:2]
    if not layout.tile:
        return [plane[top : top + layout.rows] for top in range(0, height, layout.rows)]
    side = layout.tile
    padded = np.pad(plane, ((0, -height % side), (0, -width % side), (0, 0)))
    places = [(top, left) for top in range(0, height, side) for left in range(0, width, side)]
    return [padded[top : top + side, left : left + side] for top, left in places]


def _packed(part, layout):
    rows = part.reshape(len(part), -1)
    if layout.predictor == 2:
        before = np.concatenate([np.zeros_like(part[:, :1]), part[:, :-1]], axis=1)
        rows = ((part.astype(np.int64) - before) % (1 << layout.bits)).reshape(len(part), -1)
    if layout.kind == FLOAT:
        return rows.astype(f"{layout.byteorder}f{layout.bits // 8}").tobytes()
    if layout.bits in (8, 16, 32):
        return rows.astype(np.int64).astype(f"{layout.byteorder}u{layout.bits // 8}").tobytes()
    digits = rows.astype(np.int64)[..., None] >> np.arange(layout.bits - 1, -1, -1) & 1
    order = "little" if layout.fill_order == 2 else "big"
    return np.packbits(digits.reshape(len(rows), -1).astype(bool), axis=1, bitorder=order).tobytes()


def _compressed(data, layout):
    if layout.compression == DEFLATE:
        return zlib.compress(data)
    if layout.compression == PACKBITS:
        runs = [data[start : start + 128] for start in range(0, len(data), 128)]
        return b"".join(bytes([len(run) - 1]) + run for run in runs)
    return _lzw(data) if layout.compression == LZW else data


def _lzw(data):
    """Codes of 9 bits alone, with the table cleared before it needs 10."""
    codes = [256]
    for start in range(0, len(data), 200):
        codes += [*data[start : start + 200], 256]
    digits = np.array([*codes[:-1], 257])[:, None] >> np.arange(8, -1, -1) & 1
    return np.packbits(digits.reshape(-1).astype(bool)).tobytes()


def _file(data, tags, byteorder):
    data += b"\0" * (len(data) % 2)
    start = 8 + len(data)
    outside = start + 2 + 12 * len(tags) + 4
    entries, tail = b"", b""
    for tag, (form, values) in sorted(tags.items()):
        packed = struct.pack(f"{byteorder}{len(values)}{form}", *values)
        if len(packed) > 4:
            place, tail = struct.pack(f"{byteorder}I", outside + len(tail)), tail + packed + b"\0" * (len(packed) % 2)
        else:
            place = packed.ljust(4, b"\0")
        entries += struct.pack(f"{byteorder}HHI", tag, FIELDS[form], len(values)) + place
    head = (b"II*\0" if byteorder == "<" else b"MM\0*") + struct.pack(f"{byteorder}I", start)
    return head + data + struct.pack(f"{byteorder}H", len(tags)) + entries + bytes(4) + tail
