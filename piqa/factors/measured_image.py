"""An image that is being measured: its pixels and regions, and the copies that several families share."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from piqa.factors.edges import ImageEdges
from piqa.factors.native import NativePixels
from piqa.factors.regions import Regions, Square
from piqa.preparation.file_facts import FileFacts
from piqa.preparation.image_file import Pixels

WORKING_SIDE = 1600  # longest side in pixels of the copy in which light, colour and contrast are measured

Values = NDArray[np.float32]

_ENCODED = np.arange(256) / 255
# IEC 61966-2-1, with the threshold of the standard's first edition
LINEAR = np.where(_ENCODED <= 0.04045, _ENCODED / 12.92, ((_ENCODED + 0.055) / 1.055) ** 2.4).astype(np.float32)


class MeasuredImage:
    """An upright sRGB image with its regions.

    Light, colour and contrast are measured in a copy of bounded size; noise, sharpness and artefacts in native pixels
    of the face, the eyes and the tiles, as a smaller copy hides them.

    Args:
        pixels: uint8 RGB, (height, width, 3), in sRGB.
        regions: Regions of it; by default those of an image without a face.
        file: What the file says of itself, where there is one.
    """

    def __init__(self, pixels: Pixels, regions: Regions | None = None, file: FileFacts | None = None) -> None:
        self.pixels = pixels
        self.height, self.width = pixels.shape[:2]
        self.regions = regions or Regions(self.width, self.height)
        self.file = file

    @cached_property
    def native(self) -> NativePixels:
        """Native pixels of its regions, in which noise, sharpness and artefacts are measured."""
        return NativePixels(self.pixels, self.regions)

    @cached_property
    def edges(self) -> ImageEdges:
        """Edges of its regions in native pixels."""
        return ImageEdges(self.native)

    @cached_property
    def working(self) -> Pixels:
        """The copy of bounded size, uint8 RGB, made by Pillow's box filter; the image itself where that is small."""
        scale = WORKING_SIDE / max(self.width, self.height)
        if scale >= 1:
            return self.pixels
        size = (max(1, round(self.width * scale)), max(1, round(self.height * scale)))
        return np.asarray(Image.fromarray(self.pixels).resize(size, Image.Resampling.BOX))

    @property
    def working_scale(self) -> float:
        """Pixels of the copy for each of the image."""
        return float(self.working.shape[1] / self.width)

    @cached_property
    def linear(self) -> Values:
        """The copy in linear light, RGB in [0, 1], (rows, columns, 3)."""
        return LINEAR[self.working]

    @cached_property
    def luminance(self) -> Values:
        """Relative luminance of the copy, in [0, 1], (rows, columns)."""
        return self.linear @ np.array([0.2126, 0.7152, 0.0722], np.float32)

    @cached_property
    def is_grey(self) -> bool:
        """Whether red, green and blue are equal everywhere: measures of colour then answer nothing."""
        red, green, blue = (self.working[..., channel] for channel in range(3))
        return bool(np.array_equal(red, green) and np.array_equal(green, blue))

    @cached_property
    def face(self) -> NDArray[np.bool_] | None:
        """The ellipse of the face as a mask of the copy; None without a face, or where it holds no pixel."""
        mask = self.regions.ellipse(*self.luminance.shape[:2])
        return mask if mask is not None and mask.any() else None

    @cached_property
    def surroundings(self) -> NDArray[np.bool_] | None:
        """The surroundings of the face as a mask of the copy; None without a face, or where it fills the image."""
        mask = self.regions.surroundings(*self.luminance.shape[:2])
        return mask if mask is not None and mask.any() else None

    def grey(self, square: Square) -> Values:
        """Return grey values of a region in native pixels, 0.299 R + 0.587 G + 0.114 B as encoded, in [0, 255]."""
        return self.pixels[square.slices].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)

    def chroma(self, square: Square) -> tuple[Values, Values]:
        """Return Cb and Cr of a region in native pixels, about 0 (ITU-R BT.601)."""
        values = self.pixels[square.slices].astype(np.float32)
        blue = values @ np.array([-0.168736, -0.331264, 0.5], np.float32)
        red = values @ np.array([0.5, -0.418688, -0.081312], np.float32)
        return blue, red
