"""CIELAB under D50, the white of ICC profiles, by the matrix that OFIQ uses too."""

from __future__ import annotations

import numpy as np

from piqa.factors.measured_image import Values

# linear sRGB to XYZ, adapted to D50 by Bradford's method, and the white; OFIQ v1.0.3, image_utils.cpp
XYZ = np.array([[0.43605, 0.38508, 0.14309], [0.22249, 0.71689, 0.06062], [0.01393, 0.09710, 0.71419]], np.float32)
WHITE = np.array([0.964221, 1.0, 0.825211], np.float32)
EPSILON, KAPPA = 216 / 24389, 24389 / 27  # CIE 15


def lightness(luminance: Values) -> Values:
    """Return L*, in [0, 100], of relative luminances in [0, 1]."""
    return np.float32(116) * _f(luminance) - np.float32(16)


def lab(linear: Values) -> Values:
    """Return L*, a* and b* of linear sRGB values in [0, 1]; (..., 3) to (..., 3)."""
    x, y, z = np.moveaxis(_f((linear @ XYZ.T) / WHITE), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def chroma(colours: Values) -> Values:
    """Return C* of colours in CIELAB; (..., 3) to (...)."""
    return np.hypot(colours[..., 1], colours[..., 2])


def _f(values: Values) -> Values:
    return np.where(values > EPSILON, np.cbrt(values), (np.float32(KAPPA) * values + 16) / 116).astype(np.float32)
