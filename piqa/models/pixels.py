"""Pixels as networks take them: uint8, or float in [0, 1]. Every network normalises its own input."""

from __future__ import annotations

import torch
from torch import Tensor

from piqa.errors import InputError

ROUNDING = 1e-3  # what a resize of pixels in [0, 1] may exceed it by


def normalised(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Scale pixels to [0, 1], and normalise them as a network was trained; float32.

    Training and scoring give bytes, which travel to the device as such. Floats cost a look at all of their values.

    Args:
        pixels: uint8, or float in [0, 1], shape (images, 3, height, width).
        mean: Of pixels in [0, 1], shape (3, 1, 1).
        std: Likewise.

    Raises:
        InputError: If they are of another type, or floats out of range, as pixels that are normalised already are.

    Examples:
        >>> mean, std = torch.full((3, 1, 1), 0.5), torch.full((3, 1, 1), 0.25)
        >>> grey = torch.full((1, 3, 1, 1), 255, dtype=torch.uint8)
        >>> normalised(grey, mean, std).flatten().tolist(), normalised(grey / 255, mean, std).flatten().tolist()
        ([2.0, 2.0, 2.0], [2.0, 2.0, 2.0])
    """
    return (as_unit_floats(pixels) - mean) / std


def as_unit_floats(pixels: Tensor) -> Tensor:
    """Return pixels, uint8 or float in [0, 1], as float32 in [0, 1]; errors as of `normalised`."""
    if pixels.dtype == torch.uint8:
        return pixels.float().div(255)
    _check_floats(pixels)
    return pixels.float()


def _check_floats(pixels: Tensor) -> None:
    if not pixels.is_floating_point():
        found = str(pixels.dtype).removeprefix("torch.")
        raise InputError(f"pixels of the type {found} were given to a network; it takes uint8, or float in [0, 1]")
    if torch.compiler.is_compiling() or pixels.is_meta or not pixels.numel():
        return
    low, high = (float(end) for end in pixels.detach().aminmax())
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):  # true for NaN
        raise InputError(
            f"float pixels from {low:.3g} to {high:.3g} were given to a network, which normalises pixels itself; they "
            "must lie in [0, 1]"
        )
