"""What people hold in their hands becomes what a scorer prepares: files by their names, and pictures in memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np
from PIL import Image

from piqa.errors import InputError
from piqa.preparation.image_file import Colour, Pixels, to_upright_rgb
from piqa.scoring.file_list import expand

if TYPE_CHECKING:
    from torch import Tensor

    Picture = str | os.PathLike[str] | Image.Image | np.ndarray | Tensor
    Pictures = Picture | Iterable[Picture]  # one, a folder's, or any number of them
else:
    Picture = Pictures = Any
NEEDED = "give a path, a PIL image, or pixels of shape (height, width, 3) or (images, 3, height, width)"


class PictureInMemory(str):
    """The label of a picture that was given in memory, which stands where a file's name does, and its pixels.

    Attributes:
        pixels: Upright RGB, uint8, (height, width, 3); None where they could not be had.
        fault: Why not.
        srgb: The pixels in sRGB, where these are asked for and differ; else None.
    """

    pixels: Pixels | None
    fault: str
    srgb: Pixels | None

    def __new__(cls, label: str, pixels: Pixels | None, fault: str = "", srgb: Pixels | None = None) -> PictureInMemory:
        """Make the label; str does without `__init__`."""
        self = super().__new__(cls, label)
        self.pixels, self.fault, self.srgb = pixels, fault, srgb
        return self

    def __reduce__(self) -> tuple[type[PictureInMemory], tuple[str, Pixels | None, str, Pixels | None]]:
        return PictureInMemory, (str(self), self.pixels, self.fault, self.srgb)

    def opened(self) -> Image.Image:
        """Return the picture as `open_image` returns that of a file; InputError if it could not be had."""
        if self.pixels is None:
            raise InputError(self.fault)
        return Image.fromarray(self.pixels)

    def opened_in_srgb(self) -> Image.Image:
        """Return the picture in sRGB, likewise."""
        return self.opened() if self.srgb is None else Image.fromarray(self.srgb)


def pictures(
    images: Pictures, *, look_into_folders: bool = True, colour: Colour = "stored", with_srgb: bool = False
) -> Iterator[str]:
    """Return the pictures that are meant, one by one: names of files, and `PictureInMemory`.

    What is there already is checked at once; an iterator's pictures are checked as they come.

    Args:
        images: A path, a folder, whose images are all meant, a PIL image, an array or tensor, or any number of these. A
            string is one path. Arrays hold uint8, or floats in [0, 1]: (height, width, 3), (3, height, width), or
            several pictures of one size, (images, 3, height, width).
        look_into_folders: Whether a folder among several pictures stands for its images; else it costs its row.
        colour: What becomes of the colours of PIL images, as in `open_image`; other pixels count as sRGB.
        with_srgb: Whether PIL images are converted to sRGB as well.

    Raises:
        InputError: If something is no picture.
    """
    if _is_one(images):
        remaining: Iterator[Any] = iter([images])
    elif isinstance(images, str | bytes | Mapping) or _is_table(images) or not isinstance(images, Iterable):
        raise InputError(f"{_described(images)} is no picture; {NEEDED}, or a list or an iterator of these")
    else:
        remaining = iter(images)
    checked = _is_one(images) or isinstance(images, list | tuple)
    if checked:
        held = list(remaining)
        for one in held:
            _check(one)
        remaining = iter(held)
    colours: list[Colour] = [colour, "srgb"] if with_srgb and colour != "srgb" else [colour]
    return _each(remaining, checked, look_into_folders or _is_one(images), colours)


def _is_one(images: object) -> bool:
    if isinstance(images, np.ndarray):
        return images.dtype.kind not in "OSU"  # else it holds paths, as a column of a table does
    return isinstance(images, str | os.PathLike | Image.Image) or _is_tensor(images)


def _is_tensor(value: object) -> TypeGuard[Tensor]:
    """Whether it is a tensor; there is none where PyTorch was not imported."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def _is_table(images: object) -> bool:
    """Whether it is a pandas table, which is an iterable of its columns' names."""
    return hasattr(images, "columns")


def _each(images: Iterator[Any], checked: bool, look_into_folders: bool, colours: list[Colour]) -> Iterator[str]:
    numbers = count()
    for one in images:
        if not checked:
            _check(one)
        yield from _several(one, numbers, look_into_folders, colours)


def _several(one: Any, numbers: Iterator[int], look_into_folders: bool, colours: list[Colour]) -> Iterator[str]:
    """Yield what one thing stands for: a file, a picture in memory, or several of them."""
    if isinstance(one, PictureInMemory):
        next(numbers)
        yield one
    elif isinstance(one, str | os.PathLike):
        path = os.fsdecode(one)
        is_folder = look_into_folders and os.path.isdir(path)  # noqa: PTH112 -- a Path fails for a name of 300 letters
        for file in expand([path]) if is_folder else [path]:
            next(numbers)
            yield file
    elif isinstance(one, Image.Image):
        label = f"image {next(numbers)}"
        try:
            pixels, *others = (np.asarray(to_upright_rgb(one, label, colour)) for colour in colours)
            differing = next((other for other in others if not np.array_equal(other, pixels)), None)
            yield PictureInMemory(label, pixels, srgb=differing)
        except InputError as error:
            yield PictureInMemory(label, None, str(error))
    else:
        for pixels in _split(one):
            label = f"image {next(numbers)}"
            try:
                to_upright_rgb(Image.fromarray(pixels), label)  # its bounds are those of files
                yield PictureInMemory(label, pixels)
            except InputError as error:
                yield PictureInMemory(label, None, str(error))


def _check(one: object) -> None:
    if isinstance(one, np.ndarray) or _is_tensor(one):
        shape = tuple(one.shape)
        several = len(shape) == 4 and shape[1] == 3
        if not (several or (len(shape) == 3 and 3 in (shape[0], shape[2]))) or 0 in shape[len(shape) - 3 :]:
            raise InputError(
                f"{_described(one)} is no picture; needed is (height, width, 3) or (images, 3, height, width)"
            )
        byte, floating = _kinds(one)
        if not byte and not floating:
            raise InputError(f"{_described(one)} is no picture; needed is uint8, or float in [0, 1]")
        if floating and len(one) and not (one.min() >= 0 and one.max() <= 1):  # false for NaN
            found = f"{_described(one)} has values from {float(one.min()):.3g} to {float(one.max()):.3g}"
            raise InputError(f"{found}; floats of a picture must lie in [0, 1]: divide by 255, or give uint8")
    elif not isinstance(one, str | os.PathLike | Image.Image):
        raise InputError(f"{_described(one)} is no picture; {NEEDED}")


def _kinds(array: np.ndarray | Tensor) -> tuple[bool, bool]:
    """Return whether it holds uint8, and whether floats."""
    if not isinstance(array, np.ndarray):
        return str(array.dtype) == "torch.uint8", array.is_floating_point()
    return array.dtype == np.uint8, array.dtype.kind == "f"


def _split(array: object) -> Iterator[Pixels]:
    """Yield the pictures of an array or tensor, uint8, (height, width, 3)."""
    if _is_tensor(array):
        plain = array.detach().cpu()
        array = (plain.float() if plain.is_floating_point() else plain).numpy()
    assert isinstance(array, np.ndarray)
    channels_first = array.ndim == 4 or array.shape[2] != 3
    for one in array if array.ndim == 4 else [array]:
        values = one.transpose(1, 2, 0) if channels_first else one
        bytes_ = values if values.dtype == np.uint8 else np.rint(values.astype(np.float64) * 255).astype(np.uint8)
        yield np.array(bytes_, order="C")  # a copy: the caller may write on while workers read


def _described(value: object) -> str:
    if isinstance(value, np.ndarray) or _is_tensor(value):
        kind = "an array" if isinstance(value, np.ndarray) else "a tensor"
        return f"{kind} of shape {tuple(value.shape)} and {str(value.dtype).removeprefix('torch.')}"
    advice = ", open it with PIL.Image.open(io.BytesIO(...)):" if isinstance(value, bytes | bytearray) else ""
    return f"what is of the type {type(value).__name__}{advice}"
