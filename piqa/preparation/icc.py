"""Make ICC profiles of RGB and grey from what other descriptions of colour say: primaries, white point and curve."""

from __future__ import annotations

import struct
from functools import cache

import numpy as np
from numpy.typing import NDArray

Chromaticity = tuple[float, float]
Primaries = tuple[Chromaticity, Chromaticity, Chromaticity, Chromaticity]  # of red, green, blue and white: x, y
Matrix = NDArray[np.float64]

D65, DCI_WHITE, C_WHITE = (0.3127, 0.3290), (0.314, 0.351), (0.310, 0.316)
BT709: Primaries = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), D65)
ADOBE_RGB: Primaries = ((0.640, 0.330), (0.210, 0.710), (0.150, 0.060), D65)
ADOBE_RGB_GAMMA = 563 / 256  # Adobe RGB (1998) Color Image Encoding, 4.3.4.2

# Code points of ITU-T H.273 (CICP), as in PNG's cICP and the nclx boxes of HEIF.
CICP_PRIMARIES: dict[int, Primaries] = {
    1: BT709,
    4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), C_WHITE),
    5: ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), D65),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), D65),
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), D65),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), D65),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), DCI_WHITE),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), D65),  # Display P3
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), D65),
}
UNSPECIFIED = 2
HDR_CURVES = {16: "PQ", 18: "HLG"}
SRGB_CURVE = 13
_D50 = np.array([0.9642, 1.0, 0.8249])  # the white of the profile connection space
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_POINTS = 4096  # of a sampled curve


def cicp_profile(primaries: int, transfer: int, *, grey: bool = False) -> bytes | None:
    """Return a profile of code points of H.273; None where they name none that is known here."""
    curve = _cicp_curve(transfer)
    colours = BT709 if primaries == UNSPECIFIED else CICP_PRIMARIES.get(primaries)
    if curve is None or colours is None:
        return None
    return _profile(b"GRAY" if grey else b"RGB ", colours, curve)


def power_profile(gamma: float, primaries: Primaries = BT709, *, grey: bool = False) -> bytes:
    """Return a profile whose light is the value to the power of `gamma`."""
    curve = b"para" + bytes(4) + struct.pack(">HH", 0, 0) + _fixed(gamma)
    return _profile(b"GRAY" if grey else b"RGB ", primaries, curve)


@cache
def _cicp_curve(transfer: int) -> bytes | None:
    values = np.linspace(0, 1, _POINTS)
    if transfer in (1, 6, 14, 15):  # BT.709 and its like: the inverse of the camera's curve
        light = np.where(values < 0.081, values / 4.5, ((values + 0.099) / 1.099) ** (1 / 0.45))
    elif transfer in (SRGB_CURVE, UNSPECIFIED):
        light = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    elif transfer in (4, 5, 8):
        light = values ** {4: 2.2, 5: 2.8, 8: 1.0}[transfer]
    else:
        return None
    sampled: bytes = np.rint(light * 65535).astype(">u2").tobytes()
    return b"curv" + bytes(4) + struct.pack(">I", _POINTS) + sampled


def _profile(space: bytes, primaries: Primaries, curve: bytes) -> bytes:
    """Return a display profile, version 4.3, of three primaries (or grey) with the same curve."""
    tags = {b"desc": _text("piqa"), b"cprt": _text("CC0"), b"wtpt": _xyz(_D50)}
    if space == b"GRAY":
        tags[b"kTRC"] = curve
    else:
        columns = _to_connection_space(primaries).T
        tags |= {name + b"XYZ": _xyz(column) for name, column in zip((b"r", b"g", b"b"), columns, strict=True)}
        tags |= {name + b"TRC": curve for name in (b"r", b"g", b"b")}
    place, directory, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        directory += name + struct.pack(">II", place + len(body), len(content))
        body += content
    header = struct.pack(">I4sI", place + len(body), b"lcms", 0x04300000) + b"mntr" + space + b"XYZ "
    header += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + _xyz(_D50)[8:]
    return header.ljust(128, b"\0") + directory + body


def _to_connection_space(primaries: Primaries) -> Matrix:
    """Return the matrix from linear RGB to XYZ, adapted to D50 by Bradford's method."""
    *colours, white = [np.array([x / y, 1, (1 - x - y) / y]) for x, y in primaries]
    columns = np.stack(colours, axis=1)
    adapted = np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white))
    result: Matrix = np.linalg.inv(_BRADFORD) @ adapted @ _BRADFORD @ (columns * np.linalg.solve(columns, white))
    return result


def _fixed(number: float) -> bytes:
    return struct.pack(">i", round(number * 65536))


def _xyz(values: Matrix) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(map(_fixed, values))


def _text(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(encoded), 28) + encoded
