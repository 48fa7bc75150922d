"""What a network sees of an image, prepared as the scorer prepares it, and where that lies in the image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count

import torch
from PIL import Image
from torch import Tensor

from piqa.data.cuts import MIRRORED, Crops, crop_corners, differing_crops
from piqa.data.transforms import Batch, crops_of
from piqa.errors import InputError
from piqa.explanation.geometry import Place, crop_place
from piqa.models.liqe_windows import LIQE_RULE, cut_windows
from piqa.preparation.faces import relative_margin, turned_clockwise
from piqa.preparation.image_file import open_image
from piqa.preparation.portrait import Portrait, Preparation, Preparer
from piqa.scoring.pictures import Picture, PictureInMemory, pictures
from piqa.scoring.scorer import Scorer


@dataclass(frozen=True, eq=False)
class View:
    """One thing that a network looks at: a crop, or a whole image.

    Attributes:
        input: Name of the network's input.
        crop: Which of its crops.
        pixels: uint8, (3, height, width).
        place: Where it lies in the upright image.
        cut: What the network takes of such pixels, where that is not themselves.
    """

    input: str
    crop: int
    pixels: Tensor
    place: Place
    cut: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True, eq=False)
class SeenImage:
    """An image as a network sees it.

    Attributes:
        inputs: What the network takes of this one image, on its device: `whole` and `face_crop` of shape
            (crops, 3, height, width), `face_box` of (crops, 4), `liqe_logits` of shape (495,).
        views: What can be blurred of it, crop by crop.
        width: Of the upright image, turned for its face, in pixels.
        height: Likewise.
        turned: Clockwise degrees by which the image was turned because its face lay on its side.
        face_found: Whether there is a face; without one the face's branch sees the whole image as well.
    """

    inputs: Batch
    views: list[View]
    width: int
    height: int
    turned: int
    face_found: bool


class Seer:
    """Prepares images one by one as a scorer does.

    Args:
        scorer: Whose network looks at them.
        test_crops: As of `Scorer.score`.
    """

    def __init__(self, scorer: Scorer, test_crops: Crops = "five") -> None:
        if test_crops in MIRRORED:
            raise InputError(
                f"the crops `{test_crops}` are not explained, as mirrored ones show nothing new; take `five`"
            )
        self._scorer, self._crops = scorer, test_crops
        self._numbers = count()
        self._preparer = Preparer(replace(scorer.preparation, liqe=None), scorer.device)

    def label(self, image: Picture) -> str:
        """Return what names an image and finds it again: its path, or a `PictureInMemory`."""
        (one,) = pictures([image], look_into_folders=False, colour=self._scorer.preparation.colour)
        if isinstance(one, PictureInMemory):
            return PictureInMemory(f"image {next(self._numbers)}", one.pixels, one.fault)  # one name for one image
        return one

    def __call__(self, label: str) -> SeenImage:
        """Prepare an image; raises the errors of `open_image`."""
        scorer = self._scorer
        colour = scorer.preparation.colour
        image = label.opened() if isinstance(label, PictureInMemory) else open_image(label, colour)
        portrait = self._preparer.prepare(image)
        image = turned_clockwise(image, portrait.turned)
        crops = crops_of(portrait, scorer.crop_size, self._crops, scorer.view)
        if scorer.preparation.liqe is not None:
            windows = cut_windows(image)
            crops["liqe_logits"] = scorer.liqe_logits(windows.to(scorer.device), [len(windows)])[0]
        inputs = {name: crops[name].to(scorer.device) for name in scorer.network.inputs if name in crops}
        views = self._views(portrait, image, crops)
        return SeenImage(inputs, views, *image.size, portrait.turned, portrait.face_found)

    def _views(self, portrait: Portrait, image: Image.Image, crops: Batch) -> list[View]:
        everything = (0.0, 0.0, float(image.width), float(image.height))
        if self._scorer.view == "windows":
            pixels = torch.from_numpy(portrait.whole.copy()).permute(2, 0, 1)
            return [View("whole", 0, pixels, everything, _windows_of)]
        if self._scorer.view == "whole":
            return [View("whole", 0, crops["whole"][0], everything)]
        face = face_place(portrait, self._scorer.preparation) or everything
        found = []
        for name, resized, place in (
            ("whole", portrait.whole, everything),
            ("face_crop", portrait.face_crop, face),
        ):
            if name in self._scorer.network.inputs:
                shown, size = resized.shape[:2], self._scorer.crop_size
                corners = crop_corners(shown[0], shown[1], size, differing_crops(portrait, size, self._crops))
                found += [
                    View(name, at, crops[name][at], crop_place(corner, (size, size), (shown[0], shown[1]), place))
                    for at, corner in enumerate(corners)
                ]
        return found


def face_place(portrait: Portrait, preparation: Preparation) -> Place | None:
    """Return what the face crop shows, in pixels of the upright image, which it may pass; None without a face."""
    if portrait.face_box is None:
        return None
    fraction = preparation.face_margin_fraction
    margin = preparation.face_margin if fraction is None else relative_margin(portrait.face_box, fraction)
    x1, y1, x2, y2 = (round(value) for value in portrait.face_box)
    return x1 - margin, y1 - margin, x2 + margin, y2 + margin


def _windows_of(pixels: Tensor) -> Tensor:
    """Return the windows that a network sees of images, (images, windows, 3, 224, 224)."""
    return torch.stack([cut_windows(one.permute(1, 2, 0).cpu().numpy(), LIQE_RULE) for one in pixels])
