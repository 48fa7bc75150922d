"""Which patches of an image show texture: the entropy of their luminance, after small noise is averaged away."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

LUMINANCE = (0.299, 0.587, 0.114)  # BT.601, of encoded values
CELL = 4  # px a side whose mean is one value: noise of single pixels counts a quarter
LEVELS = 32  # of the luminance; at most 5 bits


def patch_entropy(patches: Tensor) -> Tensor:
    """Return the entropy of the luminance of patches in bits, float32, shape (patches,): 0 for a flat one, at most 5.

    Args:
        patches: uint8 or float in [0, 1], (patches, 3, height, width), with sides of 4 px or more.

    Examples:
        >>> flat, half = torch.full((3, 8, 8), 0.5), torch.zeros(3, 8, 8)
        >>> half[:, 4:] = 1
        >>> [round(value, 3) for value in patch_entropy(torch.stack([flat, half])).tolist()]
        [0.0, 1.0]
    """
    pixels = patches.float() / 255 if patches.dtype == torch.uint8 else patches.float()
    weights = torch.tensor(LUMINANCE, device=pixels.device).view(1, 3, 1, 1)
    means = avg_pool2d((pixels * weights).sum(dim=1, keepdim=True), CELL).flatten(1)  # (patches, values)
    level = (means * LEVELS).floor().clamp(0, LEVELS - 1)
    levels = torch.arange(LEVELS, device=pixels.device, dtype=level.dtype)
    fractions = (level.unsqueeze(2) == levels).float().mean(dim=1)  # (patches, levels)
    return (fractions * -fractions.clamp_min(1e-9).log2()).sum(dim=1)
