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

from piqa.data.cuts import Crops, crop_pixels, portrait_seen, whole_box
from piqa.data.cuts import View as View
from piqa.data.face_boxes import box_in_window, mirrored_boxes
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
            [albumentations.HorizontalFlip(p=0.5 if flip else 0.0)],
            additional_targets={"face": "image"},
            save_applied_params=True,
        )

    def __call__(self, portrait: Portrait, seed: int) -> tuple[Tensor, Tensor]:
        """Draw a whole and a face crop, uint8, each (3, size, size), that depend on the seed, in [0, 2**31), alone."""
        drawn = self.inputs(portrait, seed)
        return drawn["whole"], drawn["face_crop"]

    def inputs(self, portrait: Portrait, seed: int) -> Batch:
        """Draw them as `whole` and `face_crop`, with `face_box`, (4,), where the face is in the whole crop."""
        self._crop.set_random_seed(seed)
        self._flip.set_random_seed(seed + 2**31)  # from the same numbers, mirrored images would get the upper crops
        (top, left), (bottom, right) = self._window(portrait.whole)
        box = box_in_window(portrait.relative_box, portrait.whole.shape[:2], (top, left), (bottom - top, right - left))
        whole = portrait.whole[top:bottom, left:right]
        both = self._flip(image=whole, face=self._draw(portrait.face_crop))
        box = mirrored_boxes(box) if both["applied_transforms"] else box
        return {"whole": _tensor(both["image"]), "face_crop": _tensor(both["face"]), "face_box": torch.from_numpy(box)}

    def of_frames(self, frames: Iterable[Pixels], seed: int) -> Tensor:
        """Draw a crop of each frame of a clip, independently, as published for LSVQ: (frames, 3, size, size)."""
        self._crop.set_random_seed(seed)
        return torch.stack([_tensor(self._draw(frame)) for frame in frames])

    def _draw(self, image: Pixels) -> Pixels:
        (top, left), (bottom, right) = self._window(image)
        return image[top:bottom, left:right]

    def _window(self, image: Pixels) -> tuple[tuple[int, int], tuple[int, int]]:
        """Draw a crop: its first row and column, and those behind it."""
        blank = np.broadcast_to(np.uint8(0), image.shape[:2])  # takes no memory
        ((_, drawn),) = self._crop(image=blank)["applied_transforms"]
        left, top, right, bottom = drawn["crop_coords"]
        return (top, left), (bottom, right)


def training_image(pixels: Pixels, view: View, seed: int, flip: bool) -> Tensor:
    """Return the whole image, (3, height, width), or three random windows, (3, 3, 224, 224); uint8.

    The pixels may still lie in the store; with `flip`, half of the seeds, in [0, 2**31), mirror the image.
    """
    read = pixels[:, :]
    if is_mirrored(seed, flip):
        read = read[:, ::-1]
    return cut_windows(read, LIQE_TRAINING_RULE, seed) if view == "windows" else _tensor(read)


def training_box(portrait: Portrait, seed: int, flip: bool) -> Tensor:
    """Return where the face is in the whole image that `training_image` returns, float32, (4,)."""
    box = whole_box(portrait)
    return torch.from_numpy(mirrored_boxes(box) if is_mirrored(seed, flip) else box)


def is_mirrored(seed: int, flip: bool) -> bool:
    """Whether this seed, in [0, 2**31), mirrors an image, as half of them do with `flip`."""
    return flip and bool(np.random.default_rng([seed, 1]).random() < 0.5)


def scoring_crops(pixels: Pixels, size: int, crops: Crops) -> Tensor:
    """Return the fixed crops as `piqa.data.cuts.crop_pixels` does, uint8, (crops, 3, size, size), as a tensor."""
    return torch.from_numpy(crop_pixels(pixels, size, crops))


def crops_of(item: Portrait | Clip, size: int, crops: Crops, view: View = "crops") -> Batch:
    """Return what a network sees of one portrait or clip to score it.

    Of a portrait as `piqa.data.cuts.portrait_seen` tells; of a clip `whole` is (frames * crops, 3, size, size).
    """
    if isinstance(item, Portrait):
        return {name: torch.from_numpy(values) for name, values in portrait_seen(item, size, crops, view).items()}
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
