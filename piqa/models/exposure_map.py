"""An exposure map: by how many stops each place of an image is too dark or too bright, and a score.

An encoder-decoder after the idea of P-IEANet (NeurIPS 2024): the residual to the well-exposed image is predicted for
every pixel, with an auxiliary map at every level of the decoder. What is own: the number of levels follows the size of
the image, and both it and the level at which decoding stops are arguments, for speed. There is no normalisation of
features, as that of one image would remove how bright it is.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from piqa.errors import InputError
from piqa.models.contract import ScoringModule, is_traced
from piqa.models.light import log_luminance
from piqa.models.pixels import as_unit_floats

STOPS = 4.0  # of the targets' range: -4 .. 4 stops are learnt as -1 .. 1
COARSEST = 8  # pixels of the short side of the coarsest level
MOST_CHANNELS = 8  # times the width
INPUTS = 4  # red, green, blue, and the logarithm of the luminance


class ExposureMap(ScoringModule):
    """Encoder-decoder whose depth follows the size of the image; the score is minus the mean error of the exposure.

    Args:
        width: Channels of the finest level; each level has twice as many as the one before, at most eight times.
        levels: The most down-samplings: of an image whose short side is n px there are log2(n / 8), at most these.
        image_size: Side in pixels of its square input images, so that it can be exported; None for images of any size,
            of which the depth follows.

    Raises:
        InputError: If a number is not possible; or if it is exported without an `image_size`.

    Examples:
        >>> network = ExposureMap(width=4).eval()
        >>> images = torch.rand(2, 3, 48, 64)  # of any size; floats in [0, 1], or uint8
        >>> sorted(network(images)), network.exposure_map(images).shape
        (['score', 'stops'], torch.Size([2, 1, 48, 64]))
        >>> network.depth_for(64, 96), network.depth_for(512, 512)
        (3, 6)
    """

    inputs = ("whole",)

    def __init__(self, width: int = 16, levels: int = 6, image_size: int | None = None) -> None:
        super().__init__()
        if width < 1 or levels < 1:
            raise InputError(f"ExposureMap needs `width` and `levels` of at least 1, not {width} and {levels}")
        self.init_args = {"width": width, "levels": levels, "image_size": image_size}
        self.image_size = image_size
        self.levels = levels
        channels = [width * min(2**level, MOST_CHANNELS) for level in range(levels + 1)]
        self.stem = _convolution(INPUTS, channels[0])
        self.down = nn.ModuleList(
            nn.Sequential(_convolution(before, after, stride=2), _convolution(after, after))
            for before, after in pairwise(channels)
        )
        # Each level may be the coarsest one, where what is known of the whole image comes in.
        self.everywhere = nn.ModuleList(nn.Linear(count, count) for count in channels)
        self.up = nn.ModuleList(_convolution(before + after, before) for before, after in pairwise(channels))
        self.heads = nn.ModuleList(nn.Conv2d(count, 1, 1) for count in channels)
        for head in self.heads:
            # Training starts from hardly anything: from "as it should be" everywhere.
            nn.init.normal_(head.weight, std=0.01)  # type: ignore[arg-type]
            nn.init.zeros_(head.bias)  # type: ignore[arg-type]

    def depth_for(self, height: int, width: int) -> int:
        """Return how often an image of this size is halved by default."""
        return max(1, min(self.levels, int(math.log2(max(1.0, min(height, width) / COARSEST)))))

    def maps(self, whole: Tensor, depth: int | None = None, stop: int = 0) -> list[Tensor]:
        """Return the maps of all decoded levels, the finest first, in units of 4 stops, positive where too bright.

        Args:
            whole: uint8 or float in [0, 1], (images, 3, height, width), of any height and width.
            depth: How often the image is halved; by default `depth_for` its size. The image is extended at its right
                and lower border to a multiple of 2^depth pixels, and so are the maps.
            stop: The level at which decoding stops, 0 .. depth: the finest map has 1 / 2^stop of the pixels of a side.

        Returns:
            float32, each (images, 1, rows, columns), of the levels `stop` .. `depth`.

        Raises:
            InputError: If there is no such depth or level.
        """
        depth = self.depth_for(*whole.shape[-2:]) if depth is None else depth
        if not 1 <= depth <= self.levels or not 0 <= stop <= depth:
            raise InputError(f"ExposureMap: depth {depth} must be 1 .. {self.levels}, and stop {stop} be 0 .. {depth}")
        pixels = extended(as_unit_floats(whole), depth)
        light = log_luminance(pixels) / STOPS
        features = [self.stem(torch.cat([2 * pixels - 1, light], dim=1))]
        for down in list(self.down)[:depth]:
            features.append(down(features[-1]))
        decoded = features[depth] + self.everywhere[depth](features[depth].mean(dim=(2, 3)))[:, :, None, None]
        found = [self.heads[depth](decoded)]
        for level in range(depth - 1, stop - 1, -1):
            larger = functional.interpolate(decoded, scale_factor=2.0, mode="nearest")
            decoded = self.up[level](torch.cat([features[level], larger], dim=1))
            # Each level corrects the map of the one below.
            coarse = functional.interpolate(found[0], scale_factor=2.0, mode="bilinear", align_corners=False)
            found.insert(0, coarse + self.heads[level](decoded))
        return [one.float() for one in found]

    def exposure_map(self, whole: Tensor, depth: int | None = None, stop: int = 0) -> Tensor:
        """Return by how many stops each place is too bright (positive) or too dark (negative).

        Args:
            whole: As of `maps`.
            depth: Likewise.
            stop: Likewise; the map is enlarged to the size of the image.

        Returns:
            float32, (images, 1, height, width), in -4 .. 4 stops.

        Raises:
            InputError: If there is no such depth or level.
        """
        height, width = whole.shape[-2:]
        finest = self.maps(whole, depth, stop)[0]
        if stop:
            finest = functional.interpolate(finest, scale_factor=2.0**stop, mode="bilinear", align_corners=False)
        return STOPS * finest[..., :height, :width].clamp(-1, 1)

    def forward(self, whole: Tensor) -> dict[str, Tensor]:
        """Judge the exposure of images.

        Args:
            whole: As of `maps`.

        Returns:
            float32, (images,): `score`, minus the mean absolute value of the map in stops, so that 0 is the best; and
            `stops`, the mean of the map: the stops by which the image as a whole is too bright.

        Raises:
            InputError: If it is exported without an `image_size`.
        """
        if self.image_size is None and is_traced():
            raise InputError(
                "an ExposureMap for images of any size cannot be exported: how often it halves an image follows its "
                "size, and a graph has one depth; train it with an `image_size`, as exposure_map.yaml does"
            )
        return outputs_of_map(self.exposure_map(whole))


def outputs_of_map(stops: Tensor) -> dict[str, Tensor]:
    """Return what a map in stops, (images, 1, height, width), says of each image: `score` and `stops`, (images,)."""
    return {"score": -stops.abs().mean(dim=(1, 2, 3)), "stops": stops.mean(dim=(1, 2, 3))}


def extended(values: Tensor, depth: int) -> Tensor:
    """Return images or maps extended to a multiple of 2^depth rows and columns by repeating their last ones."""
    by = 2**depth
    down, right = (-values.shape[-2]) % by, (-values.shape[-1]) % by
    return functional.pad(values, (0, right, 0, down), mode="replicate") if down or right else values


def _convolution(before: int, after: int, stride: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(before, after, 3, stride=stride, padding=1)
    nn.init.kaiming_normal_(layer.weight, a=0.1)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return nn.Sequential(layer, nn.LeakyReLU(0.1))
