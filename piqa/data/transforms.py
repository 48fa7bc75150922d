"""Crops: a random one for training, five fixed ones for scoring. Nothing here changes a picture's quality.

The only module that knows albumentations.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Literal

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network for news of itself

import albumentations
import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from piqa.portrait import Pixels, Portrait

Crops = Literal["five", "one"]


class TrainingCrops:
    """A random crop of the whole image and one of the face, drawn independently, as published.

    A crop's place is drawn before any pixel is touched: of a picture in the store only the rows of the crop are read.

    Args:
        size: Side of the crops in pixels.
        flip: Mirror half of the portraits, whole image and face alike. The published recipe does not.
    """

    def __init__(self, size: int, flip: bool = False) -> None:
        self._flip = albumentations.HorizontalFlip(p=0.5 if flip else 0.0)
        self._crop = albumentations.RandomCrop(size, size)

    def __call__(self, portrait: Portrait, seed: int) -> tuple[Tensor, Tensor]:
        """Draws by seed alone.

        Args:
            portrait: No side of its two pictures below the size of the crops; they may still lie in the store.
            seed: In [0, 2**31).

        Returns:
            Whole and face crop, uint8, each (3, size, size).
        """
        self._crop.set_random_seed(seed)
        self._flip.set_random_seed(seed + 2**31)  # from the same numbers, mirrored portraits would get the upper crops
        whole, face = self._draw(portrait.full_image), self._draw(portrait.face_crop)
        return (whole.flip(2), face.flip(2)) if self._flip.should_apply() else (whole, face)

    def of_frames(self, frames: Iterable[Pixels], seed: int) -> Tensor:
        """A random crop of each frame of a clip, drawn independently, as published for LSVQ.

        Args:
            frames: uint8 RGB, each (height, width, 3), no side below the size of the crops.
            seed: In [0, 2**31).

        Returns:
            uint8, (frames, 3, size, size).
        """
        self._crop.set_random_seed(seed)
        return torch.stack([self._draw(frame) for frame in frames])

    def _draw(self, picture: Pixels) -> Tensor:
        place = self._crop.get_params_dependent_on_data({"shape": picture.shape}, {})["crop_coords"]
        left, top, right, bottom = place
        return _tensor(picture[top:bottom, left:right])


def scoring_crops(pixels: Pixels, size: int, crops: Crops) -> Tensor:
    """The fixed crops of a whole image or face whose scores are averaged.

    Args:
        pixels: uint8 RGB, (height, width, 3), no side below `size`.
        size: Side of the crops in pixels.
        crops: `five` (top left, top right, bottom left, bottom right, centre), or `one`, the centre.

    Returns:
        uint8, (crops, 3, size, size).
    """
    image = _tensor(pixels)
    if crops == "one":
        kept = [functional.center_crop(image, [size, size])]
    else:
        kept = list(functional.five_crop(image, [size, size]))
    return torch.stack(kept)


def _tensor(pixels: Pixels) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
