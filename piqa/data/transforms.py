"""What a network sees of a prepared portrait, as tensors: crops, the whole image, or LIQE's windows.

To score, they are cut by `piqa.data.cuts`; to train, here. Nothing here changes an image's quality. The only module
that knows albumentations.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from piqa.data.cuts import Crops, crop_pixels, differing_crops, image_pixels
from piqa.data.cuts import View as View
from piqa.models.liqe_windows import LIQE_TRAINING_RULE, cut_windows
from piqa.preparation.image_file import Pixels
from piqa.preparation.portrait import Portrait

if TYPE_CHECKING:
    from piqa.preparation.video import Clip  # needs a reader of videos, which scoring images does not

Batch = dict[str, Any]  # see piqa.data.dataset


def collate(items: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return several images as a batch: tensors of one shape are stacked, others stay a list."""
    batch: dict[str, Any] = {}
    for name in items[0]:
        values = [item[name] for item in items]
        batch[name] = default_collate(values) if len({value.shape for value in values}) == 1 else values
    return batch


class TrainingCrops:
    """A random crop of the whole image and one of the face, drawn independently, as published.

    Of an image in the store only the rows of the crop are read: its place is drawn on a blank image of the same shape.

    Args:
        size: Side of the crops in pixels.
        flip: Mirror half of the images, whole image and face alike. The published recipe does not.
    """

    def __init__(self, size: int, flip: bool = False) -> None:
        os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it would ask the network for its newest version
        import albumentations  # not needed for scoring, and slow to import

        self._crop = albumentations.Compose([albumentations.RandomCrop(size, size)], save_applied_params=True)
        self._flip = albumentations.Compose(
            [albumentations.HorizontalFlip(p=0.5 if flip else 0.0)], additional_targets={"face": "image"}
        )

    def __call__(self, portrait: Portrait, seed: int) -> tuple[Tensor, Tensor]:
        """Draw a whole and a face crop, uint8, each (3, size, size), that depend on the seed, in [0, 2**31), alone."""
        self._crop.set_random_seed(seed)
        self._flip.set_random_seed(seed + 2**31)  # from the same numbers, mirrored images would get the upper crops
        both = self._flip(image=self._draw(portrait.whole), face=self._draw(portrait.face_crop))
        return _tensor(both["image"]), _tensor(both["face"])

    def of_frames(self, frames: Iterable[Pixels], seed: int) -> Tensor:
        """Draw a crop of each frame of a clip, independently, as published for LSVQ: (frames, 3, size, size)."""
        self._crop.set_random_seed(seed)
        return torch.stack([_tensor(self._draw(frame)) for frame in frames])

    def _draw(self, image: Pixels) -> Pixels:
        blank = np.broadcast_to(np.uint8(0), image.shape[:2])  # takes no memory
        ((_, drawn),) = self._crop(image=blank)["applied_transforms"]
        left, top, right, bottom = drawn["crop_coords"]
        return image[top:bottom, left:right]


def training_image(pixels: Pixels, view: View, seed: int, flip: bool) -> Tensor:
    """Return the whole image, (3, height, width), or three random windows, (3, 3, 224, 224); uint8.

    The pixels may still lie in the store; with `flip`, half of the seeds, in [0, 2**31), mirror the image.
    """
    read = pixels[:, :]
    if flip and np.random.default_rng([seed, 1]).random() < 0.5:
        read = read[:, ::-1]
    return cut_windows(read, LIQE_TRAINING_RULE, seed) if view == "windows" else _tensor(read)


def scoring_image(pixels: Pixels, view: View) -> Tensor:
    """Return the whole image or its windows as `piqa.data.cuts.image_pixels` does, as a tensor."""
    return torch.from_numpy(image_pixels(pixels, view))


def scoring_crops(pixels: Pixels, size: int, crops: Crops) -> Tensor:
    """Return the fixed crops as `piqa.data.cuts.crop_pixels` does, uint8, (crops, 3, size, size), as a tensor."""
    return torch.from_numpy(crop_pixels(pixels, size, crops))


def crops_of(item: Portrait | Clip, size: int, crops: Crops, view: View = "crops") -> Batch:
    """Return what a network sees of one portrait or clip to score it.

    Of a portrait `whole` is (crops, 3, size, size), crop i of the whole with crop i of the face; or the whole
    image as one crop, (1, 3, height, width); or (windows, 3, 224, 224). Of a clip (frames * crops, 3, size, size).
    """
    if isinstance(item, Portrait):
        if view != "crops":
            return {"whole": scoring_image(item.whole, view)} | vectors_of(item)
        crops = differing_crops(item, size, crops)
        whole, face = (scoring_crops(pixels, size, crops) for pixels in (item.whole, item.face_crop))
        return {"whole": whole, "face_crop": face} | vectors_of(item)
    frames = torch.stack([scoring_crops(frame, size, crops) for frame in item.frames])  # (frames, crops, 3, size, size)
    vectors = {name: values.repeat_interleave(frames.shape[1], dim=0) for name, values in vectors_of(item).items()}
    return {"whole": frames.flatten(0, 1)} | vectors


def vectors_of(item: Portrait | Clip) -> Batch:
    """Return what comes beside the pixels: LIQE's logits, (495,), or motion features, (frames, 256), if any."""
    if isinstance(item, Portrait):
        return {} if item.liqe_logits is None else {"liqe_logits": torch.from_numpy(item.liqe_logits)}
    return {} if item.motion is None else {"motion": torch.from_numpy(item.motion)}


def _tensor(pixels: Pixels) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
