"""Light and encoded values: sRGB to linear light and back, and brightness in stops, on tensors."""

from __future__ import annotations

import torch
from torch import Tensor

MID_GREY = 0.18  # of white, as of `piqa.factors.exposure`
DARKEST = 2.0**-12  # of white: below the smallest value of 8 bits
LUMINANCE = (0.2126, 0.7152, 0.0722)  # of red, green and blue (ITU-R BT.709)


def to_linear(encoded: Tensor) -> Tensor:
    """Return the light, 0 .. 1, of values encoded as sRGB, 0 .. 1 (IEC 61966-2-1).

    Examples:
        >>> [round(light, 4) for light in to_linear(torch.tensor([0.0, 0.5, 1.0])).tolist()]
        [0.0, 0.214, 1.0]
    """
    return torch.where(encoded <= 0.04045, encoded / 12.92, ((encoded.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4)


def from_linear(light: Tensor) -> Tensor:
    """Return light encoded as sRGB; what is beyond 0 .. 1 is clipped.

    Examples:
        >>> from_linear(to_linear(torch.tensor([0.02, 0.5]))).allclose(torch.tensor([0.02, 0.5]))
        True
    """
    light = light.clamp(0, 1)
    small = light.clamp(min=0.0031308)
    return torch.where(light <= 0.0031308, 12.92 * light, 1.055 * small ** (1 / 2.4) - 0.055)


def luminance(encoded: Tensor) -> Tensor:
    """Return the relative luminance, (images, 1, height, width), of sRGB pixels in [0, 1], (images, 3, ...)."""
    weights = torch.tensor(LUMINANCE, dtype=encoded.dtype, device=encoded.device).view(3, 1, 1)
    return (to_linear(encoded) * weights).sum(dim=1, keepdim=True)


def log_luminance(encoded: Tensor) -> Tensor:
    """Return by how many stops each pixel lies above mid-grey, at least -9.5; shapes as of `luminance`."""
    return torch.log2(luminance(encoded).clamp(min=DARKEST) / MID_GREY)


def exposed(pixels: Tensor, stops: Tensor) -> Tensor:
    """Return pixels as if the light had been another: Y' = Y * 2^stops in linear light, clipped, in 8 bits.

    Args:
        pixels: uint8, (images, 3, height, width), sRGB.
        stops: (images, 1, height, width), or what broadcasts to it.

    Returns:
        uint8, same shape.

    Examples:
        >>> grey = torch.full((1, 3, 1, 1), 128, dtype=torch.uint8)
        >>> [int(exposed(grey, torch.full((1, 1, 1, 1), float(ev)))[0, 0]) for ev in (-1, 0, 1, 9)]
        [92, 128, 176, 255]
    """
    light = to_linear(pixels.float() / 255) * torch.exp2(stops)
    return (255 * from_linear(light)).round().to(torch.uint8)
