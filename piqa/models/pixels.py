"""Pixels as networks take them."""

from __future__ import annotations

import torch
from torch import Tensor


def normalised(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Scale and normalise uint8 pixels, which travel to the device as bytes; floats are taken as normalised already.

    Args:
        pixels: Shape (images, 3, height, width).
        mean: Of pixels in [0, 1], shape (3, 1, 1).
        std: Likewise.
    """
    return (pixels.float().div(255) - mean) / std if pixels.dtype == torch.uint8 else pixels
