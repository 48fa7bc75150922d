"""Labels of exposure for every pixel, in units of 4 stops: made from well-exposed images, or by an expert's edit.

Positive is too bright. No public label maps exist for the published network (P-IEANet), so there are two ways:
a known change of the light (`drawn_stops`), or the difference from an expert's picture (`stops_from_reference`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from piqa.models.exposure_map import STOPS
from piqa.models.light import luminance

CONSTANT = 0.5  # of the training images get one exposure for all of the image
FIELD = 4  # values on a side of the noise that a smooth mask is made of
STEEPNESS = (2.0, 20.0)  # of the mask's borders
DARK = 1 / 255  # of white: added, so that black has a logarithm
SMOOTHING = 1 / 50  # of the longer side: radius of the guided filter
EDGES = 1e-3  # what the guided filter takes for flat: variance of luminance


def drawn_stops(height: int, width: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw by how many stops an image is spoilt: all of it alike, or inside and outside of a smooth mask.

    The stops are uniform in -4 .. 4. A mask is a sigmoid of smooth noise, whose borders are soft or steep; outside of
    it half of the images stay as they are.

    Args:
        height: Of the image, in pixels.
        width: Likewise.
        generator: Where the numbers come from; by default torch's own.

    Returns:
        Stops, float32, (1, height, width), on the CPU.
    """
    inside, outside, kind, steep, stays = torch.rand(5, generator=generator).tolist()
    noise = torch.randn(1, 1, FIELD, FIELD, generator=generator)
    if kind < CONSTANT:
        return torch.full((1, height, width), STOPS * (2 * inside - 1))
    field = functional.interpolate(noise, (height, width), mode="bicubic", align_corners=False)[0]
    low, high = STEEPNESS
    mask = torch.sigmoid(low * (high / low) ** steep * field)
    other = 0.0 if stays < 0.5 else STOPS * (2 * outside - 1)
    stops: Tensor = other + (STOPS * (2 * inside - 1) - other) * mask
    return stops


def fixed_stops(index: int) -> float:
    """Return the stops by which an image is spoilt to measure a network: spread evenly over -4 .. 4, by its row.

    Examples:
        >>> [round(fixed_stops(index), 2) for index in range(4)]
        [0.0, -3.06, 1.89, -1.17]
    """
    golden = (math.sqrt(5) - 1) / 2  # whose multiples fill an interval evenly, however many there are
    return STOPS * (2 * ((0.5 + index * golden) % 1) - 1)


def stops_from_reference(pixels: Tensor, reference: Tensor) -> Tensor:
    """Return by how many stops images are brighter than an expert's pictures of the same, smoothed along their edges.

    y = log2((Y + e) / (Y' + e)) with e = 1/255, clipped to 4 stops, then a guided filter (He et al. 2010) whose guide
    is the expert's luminance and whose radius is 1/50 of the longer side. The expert's style is part of it.

    Args:
        pixels: uint8, (images, 3, height, width), sRGB.
        reference: The expert's, same shape.

    Returns:
        float32, (images, 1, height, width), in -4 .. 4.
    """
    own, best = luminance(pixels.float() / 255), luminance(reference.float() / 255)
    stops = torch.log2((own + DARK) / (best + DARK)).clamp(-STOPS, STOPS)
    radius = max(1, round(SMOOTHING * max(pixels.shape[-2:])))
    return guided_filter(stops, best, radius, EDGES).clamp(-STOPS, STOPS)


def guided_filter(values: Tensor, guide: Tensor, radius: int, flat: float) -> Tensor:
    """Smooth values where a guide is flat, and keep steps where the guide has them.

    In each window the values are fitted as a * guide + b with a = cov / (var + flat); a pixel takes the mean of the
    fits of all windows that hold it.

    Args:
        values: (images, 1, height, width).
        guide: Same shape.
        radius: Of the square windows, in pixels.
        flat: Variance of the guide below which a window counts as flat.

    Reference: He, Sun and Tang, "Guided Image Filtering", ECCV 2010.
    """

    def mean(of: Tensor) -> Tensor:
        return functional.avg_pool2d(of, 2 * radius + 1, stride=1, padding=radius, count_include_pad=False)

    mean_guide, mean_values = mean(guide), mean(values)
    slope = (mean(guide * values) - mean_guide * mean_values) / (mean(guide * guide) - mean_guide**2 + flat)
    return mean(slope) * guide + mean(mean_values - slope * mean_guide)


def deep_loss(maps: list[Tensor], target: Tensor, stop: int = 0) -> Tensor:
    """Return the loss of the maps of all levels: mean absolute error, with weights 1, 1/2, 1/4, ... from the finest.

    Args:
        maps: As of `ExposureMap.maps`.
        target: (images, 1, height, width), extended like the images; it is averaged to the size of each map.
        stop: The level of the finest map.

    Returns:
        Losses, shape (images,).
    """
    losses = torch.zeros(len(target), device=target.device)
    for place, predicted in enumerate(maps):
        side = 2 ** (stop + place)
        pooled = functional.avg_pool2d(target, side)
        losses = losses + 0.5**place * (predicted - pooled).abs().mean(dim=(1, 2, 3))
    return losses
