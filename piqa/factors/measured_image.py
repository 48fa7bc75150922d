"""An image that is being measured: its pixels and regions, and the copies that several families share."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from piqa.factors.edges import ImageEdges
from piqa.factors.native import NativePixels
from piqa.factors.regions import Regions, Square
from piqa.preparation.file_facts import FileFacts
from piqa.preparation.image_file import Pixels

WORKING_SIDE = 1600  # most pixels on a side of the copy in which light, colour and contrast are measured
THUMBNAIL_SIDE = 64  # of the copy in which hues are looked at: noise and JPEG's blocks are gone in it
SMALL_SIDE = 256  # most pixels on a side of the copy in which local contrast and colourfulness are measured
LEAST_ZONE = 16  # pixels of the copy
SAMPLE = 400_000  # pixels that are enough for a percentile or a share
CHUNK = 32  # rows that are converted at a time: fresh memory costs more time than arithmetic

Values = NDArray[np.float32]


def linear_light(encoded: NDArray[np.floating]) -> Values:
    """Return linear light of encoded sRGB values, both in [0, 1] (IEC 61966-2-1, threshold of its first edition)."""
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4).astype(np.float32)


LINEAR = linear_light(np.arange(256) / 255)

LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)  # of linear red, green and blue


class MeasuredImage:
    """An upright sRGB image with its regions.

    Light, colour and contrast are measured in a copy of bounded size; noise, sharpness and artefacts in native pixels
    of the face, the eyes and the tiles, as a smaller copy hides them.

    Args:
        pixels: uint8 RGB, (height, width, 3), in sRGB.
        regions: Regions of it; by default those of an image without a face.
        file: What the file says of itself, where there is one.
        image: The same as Pillow's image, where there is one: the copy is made of it in half the time.
    """

    def __init__(
        self,
        pixels: Pixels,
        regions: Regions | None = None,
        file: FileFacts | None = None,
        image: Image.Image | None = None,
    ) -> None:
        self.pixels = pixels
        self._image = image  # until the copy is made
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
        """The copy of bounded size, uint8 RGB: means of squares of pixels; the image itself where that is small."""
        by, image = self._reduction, self._image
        self._image = None
        return self.pixels if by == 1 else np.asarray((image or Image.fromarray(self.pixels)).reduce(by))

    @property
    def _reduction(self) -> int:
        """Pixels of the image, on a side, for each of the copy: whole, as such copies are made five times as fast."""
        longest: int = max(self.width, self.height)
        return math.ceil(longest / WORKING_SIDE)

    @property
    def working_scale(self) -> float:
        """Pixels of the copy for each of the image."""
        return 1 / self._reduction

    @cached_property
    def thumbnail(self) -> Pixels:
        """A copy with 64 pixels on its longer side, made by a box filter; the copy itself where that is small."""
        rows, columns = self.working.shape[:2]
        scale = THUMBNAIL_SIDE / max(rows, columns)
        if scale >= 1:
            return self.working
        size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
        return np.asarray(Image.fromarray(self.working).resize(size, Image.Resampling.BOX))

    @cached_property
    def small(self) -> Pixels:
        """A copy of at most 256 pixels on a side, means of squares of pixels: hardly any noise is left in it."""
        by = math.ceil(max(self.working.shape[:2]) / SMALL_SIDE)
        return self.working if by == 1 else np.asarray(Image.fromarray(self.working).reduce(by))

    def zone(self, square: Square) -> Pixels | None:
        """Return a small place of the copy, given in pixels of the image; None with less than 16 pixels."""
        pixels = self.working[square.scaled(self.working_scale).slices]
        return pixels if pixels.shape[0] * pixels.shape[1] >= LEAST_ZONE else None

    def zone_luminance(self, square: Square) -> float | None:
        """Return the mean relative luminance of a small place; None with less than 16 pixels of the copy.

        Pixels in its middle weigh most, so that a blur does not bring in what lies beside it.
        """
        pixels = self.zone(square)
        if pixels is None:
            return None
        weights = np.bartlett(pixels.shape[0] + 2)[1:-1, None] * np.bartlett(pixels.shape[1] + 2)[1:-1]
        return float(((LINEAR[pixels] @ LUMINANCE) * weights).sum() / weights.sum())

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """How many pixels of the copy have each value of red, green and blue, (3, 256)."""
        return np.stack([np.bincount(self.working[..., channel].ravel(), minlength=256) for channel in range(3)])

    @cached_property
    def luminance(self) -> Values:
        """Relative luminance of the copy, in [0, 1], (rows, columns)."""
        rows, columns = self.working.shape[:2]
        luminance = np.empty((rows, columns), np.float32)
        linear = np.empty((CHUNK, columns, 3), np.float32)
        for start in range(0, rows, CHUNK):
            encoded = self.working[start : start + CHUNK]
            part = np.take(LINEAR, encoded, out=linear[: len(encoded)], mode="clip")
            np.matmul(part, LUMINANCE, out=luminance[start : start + CHUNK])
        return luminance

    def sampled(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return every n-th row and column of the copy, or of a mask of it, so that at most 400,000 pixels are left."""
        step = math.ceil(math.sqrt(values.shape[0] * values.shape[1] / SAMPLE))
        return values[::step, ::step]

    @cached_property
    def is_grey(self) -> bool:
        """Whether red, green and blue are equal everywhere: measures of colour then answer nothing."""
        for pixels in (self.working[::64], self.working):  # most images are told from a few of their rows
            red, green, blue = (pixels[..., channel] for channel in range(3))
            if not (np.array_equal(red, green) and np.array_equal(green, blue)):
                return False
        return True

    @cached_property
    def face(self) -> NDArray[np.bool_] | None:
        """The ellipse of the face as a mask of the copy; None without a face, or where it holds no pixel."""
        mask = self.regions.ellipse(*self.luminance.shape[:2])
        return mask if mask is not None and mask.any() else None

    @cached_property
    def face_luminance(self) -> Values | None:
        """Relative luminance of at most 400,000 pixels of the face, (pixels,); None without a face."""
        return None if self.face is None else self._thinned(self.luminance[self.face])

    @cached_property
    def face_pixels(self) -> Pixels | None:
        """The same pixels, uint8 RGB, (pixels, 3)."""
        return None if self.face is None else self._thinned(self.working[self.face])

    def _thinned(self, pixels: NDArray[Any]) -> NDArray[Any]:
        return pixels[:: math.ceil(len(pixels) / SAMPLE)]

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
