"""Native pixels of an image: windows of its face, eyes, nose and surroundings, and the patches that show its noise.

A reduced copy hides noise, blur and compression. A window is bounded, so that an image of 24 megapixels costs little
more than one of two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from PIL import Image

from piqa.factors.flat_patches import GREY, Noise, Values, noise_of, patches_of
from piqa.factors.regions import SURROUNDINGS, Regions, Square
from piqa.preparation.image_file import Pixels

WINDOW_SIDE = 320  # pixels; a larger region is seen through windows of this size
WINDOWS_ACROSS = 3
COMMON_EYE_DISTANCE = 60  # pixels between the eyes at which images of any size are compared


class Window:
    """Grey values of a region with their gradients.

    Args:
        grey: float32, (rows, columns), in [0, 255].
        left: Its first column in the image.
        top: Its first row.
    """

    def __init__(self, grey: Values, left: int = 0, top: int = 0) -> None:
        self.grey, self.left, self.top = grey, left, top

    @cached_property
    def smoothed_rows(self) -> Values:
        """Values smoothed by 1, 2, 1 across rows, (rows - 2, columns)."""
        return self.grey[:-2] + 2 * self.grey[1:-1] + self.grey[2:]

    @cached_property
    def smoothed_columns(self) -> Values:
        """Values smoothed by 1, 2, 1 across columns, (rows, columns - 2)."""
        return self.grey[:, :-2] + 2 * self.grey[:, 1:-1] + self.grey[:, 2:]

    @cached_property
    def gradient_x(self) -> Values:
        """Sobel's gradient along x, (rows - 2, columns - 2)."""
        return self.smoothed_rows[:, 2:] - self.smoothed_rows[:, :-2]

    @cached_property
    def gradient_y(self) -> Values:
        """Sobel's gradient along y, (rows - 2, columns - 2)."""
        return self.smoothed_columns[2:] - self.smoothed_columns[:-2]


class NativePixels:
    """Windows and patches of an image.

    Args:
        pixels: uint8 RGB, (height, width, 3).
        regions: Of the image.
    """

    def __init__(self, pixels: Pixels, regions: Regions) -> None:
        self.pixels, self.regions = pixels, regions

    @cached_property
    def face(self) -> list[Window]:
        """The face box, or nine windows spread over it where it is large; none without a face."""
        return [] if self.regions.face is None else self._windows(spread(self.regions.face))

    @cached_property
    def eyes(self) -> list[Window]:
        """A window on each eye; none without points."""
        return self._windows(self.regions.eyes or ())

    @cached_property
    def nose(self) -> list[Window]:
        """A window on the nose; none without points."""
        return self._windows(() if self.regions.nose is None else (self.regions.nose,))

    @cached_property
    def tiles(self) -> list[Window]:
        """Windows on the tiles of the surroundings, or of the whole image where there is no face."""
        return self._windows([_middle(tile) for tile in self.regions.tiles])

    def _windows(self, squares: Sequence[Square]) -> list[Window]:
        small = 2 * 3  # what Sobel's gradient and its neighbours need
        return [
            Window(self.pixels[square.slices].astype(np.float32) @ GREY, square.left, square.top)
            for square in squares
            if min(square.right - square.left, square.bottom - square.top) >= small
        ]

    @cached_property
    def noise(self) -> Noise:
        """Noise of patches spread over the image, those of the surroundings and of the face."""
        return noise_of(patches_of(self.pixels))

    @cached_property
    def common_face(self) -> Window | None:
        """The face box at the common eye distance; None where the eyes are nearer than that."""
        if self._common is None or self.regions.face_box is None:
            return None
        scale, left, top, pixels = self._common
        x1, y1, x2, y2 = self.regions.face_box
        columns = slice(max(0, round((x1 - left) / scale)), max(0, round((x2 - left) / scale)))
        rows = slice(max(0, round((y1 - top) / scale)), max(0, round((y2 - top) / scale)))
        return Window(pixels[rows, columns].astype(np.float32) @ GREY)

    @cached_property
    def common_noise(self) -> Noise | None:
        """Noise of the face and what is next to it, reduced likewise."""
        return None if self._common is None else noise_of(patches_of(self._common[3]))

    @cached_property
    def _common(self) -> tuple[float, float, float, Pixels] | None:
        """Scale, left, top and pixels of the face and what is next to it, reduced to the common eye distance.

        Means of squares take it to twice the size or a little more, Lanczos's filter the rest of the way: means alone
        blur by how the pixels of both sizes happen to meet.
        """
        distance, box = self.regions.eye_distance, self.regions.face_box
        if distance is None or box is None or distance < COMMON_EYE_DISTANCE:
            return None
        scale = distance / COMMON_EYE_DISTANCE
        x1, y1, x2, y2 = _enlarged(box, SURROUNDINGS, self.regions.width, self.regions.height)
        columns, rows = int((x2 - x1) / scale), int((y2 - y1) / scale)
        if min(columns, rows) < 1:
            return None
        left, top = int(x1), int(y1)
        image = Image.fromarray(self.pixels[top : math.ceil(y2), left : math.ceil(x2)])
        squares = max(1, int(scale / 2))
        if squares > 1:
            image = image.reduce(squares)
        part = (
            (x1 - left) / squares,
            (y1 - top) / squares,
            min((x1 - left + columns * scale) / squares, image.width),
            min((y1 - top + rows * scale) / squares, image.height),
        )
        return scale, x1, y1, np.asarray(image.resize((columns, rows), Image.Resampling.LANCZOS, box=part))


def spread(square: Square) -> list[Square]:
    """Return a square, or where it is large windows of bounded size spread evenly over it."""
    width, height = square.right - square.left, square.bottom - square.top
    if max(width, height) <= WINDOW_SIDE * 2:
        return [square] if square.pixels else []
    sides = min(width // WINDOWS_ACROSS, WINDOW_SIDE), min(height // WINDOWS_ACROSS, WINDOW_SIDE)
    return [
        Square(x, y, x + sides[0], y + sides[1])
        for y in np.linspace(square.top, square.bottom - sides[1], WINDOWS_ACROSS).astype(int).tolist()
        for x in np.linspace(square.left, square.right - sides[0], WINDOWS_ACROSS).astype(int).tolist()
    ]


def _middle(square: Square) -> Square:
    """Return the middle of a square, of bounded size."""
    x, y = (max(0, edge - WINDOW_SIDE) // 2 for edge in (square.right - square.left, square.bottom - square.top))
    return Square(square.left + x, square.top + y, square.right - x, square.bottom - y)


def _enlarged(
    box: tuple[float, float, float, float], factor: float, width: int, height: int
) -> tuple[float, float, float, float]:
    """Return a box enlarged about its middle, as far as it lies in the image."""
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    a, b = (box[2] - box[0]) / 2 * factor, (box[3] - box[1]) / 2 * factor
    return max(0.0, x - a), max(0.0, y - b), min(float(width), x + a), min(float(height), y + b)
