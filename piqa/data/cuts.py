"""Cut what a network sees out of a prepared portrait to score it: crops, the whole image, or LIQE's windows.

Arrays in, arrays out, without PyTorch; nothing here changes an image's quality. `piqa.data.transforms` gives the same
as tensors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from piqa.data.face_boxes import Boxes, box_in_window, mirrored_boxes
from piqa.errors import InputError
from piqa.models.image_sides import SMALLEST
from piqa.models.liqe_windows import LIQE_RULE, WINDOW, window_pixels

if TYPE_CHECKING:
    from piqa.preparation.image_file import Pixels
    from piqa.preparation.portrait import Portrait, Preparation

Crops = Literal["five", "one", "ten", "two"]
View = Literal["crops", "whole", "windows"]
MIRRORED: dict[Crops, Crops] = {"ten": "five", "two": "one"}  # crops that come with their mirror images
Seen = dict[str, NDArray[Any]]  # of one image, by the names of a network's inputs


def seen_side(view: View, preparation: Preparation, crop: int) -> int | None:
    """Return the side in pixels of the squares that a network sees; None where images keep their own shapes."""
    if view == "whole":
        return preparation.short_side if preparation.resize == "stretch" else None
    return WINDOW if view == "windows" else crop


def check_crop(preparation: Preparation, view: str, size: int, source: object) -> None:
    """Raise an InputError if the crops that a model's file names are larger than the images that it prepares."""
    filled = view == "crops" and preparation.resize in ("short_side", "stretch")
    if filled and size > preparation.short_side:
        raise InputError(
            f"{source}: its card names crops of {size} px in images prepared to {preparation.short_side} px"
        )


def together(items: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any] | list[NDArray[Any]]]:
    """Return several images as a batch: arrays of one shape are stacked, others stay a list."""
    batch: dict[str, NDArray[Any] | list[NDArray[Any]]] = {}
    for name in items[0]:
        values = [item[name] for item in items]
        batch[name] = np.stack(values) if len({value.shape for value in values}) == 1 else values
    return batch


def portrait_seen(portrait: Portrait, size: int, crops: Crops, view: View = "crops") -> Seen:
    """Return what a network sees of a portrait to score it, uint8.

    `whole` is (crops, 3, size, size), crop i of the whole with crop i of the face; or the whole image as one crop,
    (1, 3, height, width); or (windows, 3, 224, 224). LIQE's logits come along, where the portrait has them, and but for
    windows `face_box`, (crops, 4): where the face is in each crop of the whole, as `piqa.data.face_boxes` tells.
    """
    seen: Seen = {} if portrait.liqe_logits is None else {"liqe_logits": portrait.liqe_logits}
    if view == "whole":
        seen["face_box"] = whole_box(portrait)[None]
    if view != "crops":
        return {"whole": image_pixels(portrait.whole, view)} | seen
    crops = differing_crops(portrait, size, crops)
    seen["face_box"] = crop_boxes(portrait, size, crops)
    whole, face = (crop_pixels(pixels, size, crops) for pixels in (portrait.whole, portrait.face_crop))
    return {"whole": whole, "face_crop": face} | seen


def whole_box(portrait: Portrait) -> Boxes:
    """Return where the face is in the whole image, float32, (4,)."""
    shape = portrait.whole.shape[:2]
    return box_in_window(portrait.relative_box, shape, (0, 0), shape)


def crop_boxes(portrait: Portrait, size: int, crops: Crops) -> Boxes:
    """Return where the face is in each crop that `crop_pixels` cuts of the whole image, float32, (crops, 4)."""
    if crops in MIRRORED:
        upright = crop_boxes(portrait, size, MIRRORED[crops])
        return np.concatenate([upright, mirrored_boxes(upright)])
    shape, box = portrait.whole.shape[:2], portrait.relative_box
    corners = crop_corners(shape[0], shape[1], size, crops)
    return np.stack([box_in_window(box, shape, corner, (size, size)) for corner in corners])


def differing_crops(portrait: Portrait, size: int, crops: Crops) -> Crops:
    """Return which crops differ: those of `one` where whole image and face have the crops' size, and all are one."""
    same = portrait.whole.shape[:2] == portrait.face_crop.shape[:2] == (size, size)
    centre: dict[Crops, Crops] = {"five": "one", "ten": "two"}
    return centre.get(crops, crops) if same else crops


def image_pixels(pixels: Pixels, view: View) -> Pixels:
    """Return the image for `whole`, (1, 3, height, width), or its `windows`, (up to 15, 3, 224, 224); uint8.

    Raises:
        InputError: If it is too small for `view: whole`.
    """
    if view == "whole" and min(pixels.shape[:2]) < SMALLEST:
        raise InputError(f"its {pixels.shape[1]} x {pixels.shape[0]} pixels are too few; {SMALLEST} a side are needed")
    return window_pixels(pixels, LIQE_RULE) if view == "windows" else channels_first(pixels)[None]


def crop_pixels(pixels: Pixels, size: int, crops: Crops) -> Pixels:
    """Return the fixed crops of a whole image or face whose scores are averaged, uint8, (crops, 3, size, size).

    `five` are top left, top right, bottom left, bottom right and centre; `one` is the centre. Where the image is
    smaller, the centre has black borders, and there are no five. `ten` are the five and their mirror images, `two` the
    centre and its mirror image: twice the arithmetic.

    Raises:
        InputError: If the image is smaller than its five crops.
    """
    image = channels_first(pixels)
    height, width = image.shape[1:]
    if crops in MIRRORED:
        upright = crop_pixels(pixels, size, MIRRORED[crops])
        return np.concatenate([upright, upright[..., ::-1]])
    if crops == "five" and min(height, width) < size:
        raise InputError(f"its {width} x {height} pixels are too few for five crops of {size} px; use `one`")
    above, before = max(0, size - height), max(0, size - width)
    if above or before:
        padding = ((0, 0), (above // 2, above - above // 2), (before // 2, before - before // 2))
        image = np.pad(image, padding)
    corners = [(y + above // 2, x + before // 2) for y, x in crop_corners(height, width, size, crops)]
    return np.stack([image[:, y : y + size, x : x + size] for y, x in corners])


def crop_corners(height: int, width: int, size: int, crops: Crops) -> list[tuple[int, int]]:
    """Return the top left corners (y, x) of the crops, but for mirror images, that `crop_pixels` cuts, in its order.

    That of a crop with a black border, of an image smaller than it, is negative.
    """
    low, right = height - size, width - size
    y, x = (round(left / 2) if left >= 0 else -(-left // 2) for left in (low, right))
    return [(y, x)] if crops == "one" else [(0, 0), (0, right), (low, 0), (low, right), (y, x)]


def channels_first(pixels: Pixels) -> Pixels:
    """Return pixels, (height, width, 3), as (3, height, width), one after another in memory."""
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))
