"""Where in an image its factors are measured: face, cheeks, eyes, nose and surroundings, from a box and five points."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from piqa.preparation.faces import Box, Point, Points

Mask = NDArray[np.bool_]

SURROUNDINGS = 1.7  # the ellipse of the face enlarged so many times leaves out hair and neck, not the body
TILES = 12
TILE_SIDES = (48, 512)  # least and most pixels of a tile of the surroundings


@dataclass(frozen=True)
class Square:
    """A square or rectangle of pixels, cut at the image's border.

    Attributes:
        left: First column.
        top: First row.
        right: First column behind it.
        bottom: First row behind it.
    """

    left: int
    top: int
    right: int
    bottom: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns, to index an array."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def pixels(self) -> int:
        """The number of its pixels; 0 where it lies outside of the image."""
        return max(0, self.right - self.left) * max(0, self.bottom - self.top)

    def scaled(self, scale: float) -> Square:
        """Return the same place in a copy of the image, `scale` times as large."""
        return Square(*(round(edge * scale) for edge in (self.left, self.top, self.right, self.bottom)))


@dataclass(frozen=True)
class Regions:
    """The regions of an upright image, in its own pixels.

    Args:
        width: Of the image.
        height: Of the image.
        face_box: x1, y1, x2, y2 of the judged face without margin; None without a face.
        points: Eyes, nose and corners of the mouth, of each pair the one on the left of the picture first; None where
            they are not known.
    """

    width: int
    height: int
    face_box: Box | None = None
    points: Points | None = None

    @property
    def eye_distance(self) -> float | None:
        """Distance of the eyes in pixels, which tells how large a face is whatever its box; None without points."""
        if self.points is None:
            return None
        return math.dist(self.points[0], self.points[1])

    @property
    def eyes_middle(self) -> Point | None:
        """The point between the eyes."""
        if self.points is None:
            return None
        (x1, y1), (x2, y2) = self.points[:2]
        return (x1 + x2) / 2, (y1 + y2) / 2

    @cached_property
    def face(self) -> Square | None:
        """The face box, as far as it lies in the image."""
        if self.face_box is None:
            return None
        x1, y1, x2, y2 = self.face_box
        return self._square(x1, y1, x2, y2)

    @cached_property
    def eyes(self) -> tuple[Square, Square] | None:
        """A square about each eye, of side 0.7 eye distances."""
        if self.points is None:
            return None
        return self.square_about(self.points[0]), self.square_about(self.points[1])

    @cached_property
    def nose(self) -> Square | None:
        """A square about the nose, of side 0.7 eye distances."""
        return None if self.points is None else self.square_about(self.points[2])

    @cached_property
    def cheeks(self) -> tuple[Square, Square] | None:
        """A square of skin below each eye, of side 0.3 eye distances, as in OFIQ (`image_utils.cpp`)."""
        if self.points is None or self.eye_distance is None:
            return None
        left, right, _, left_mouth, right_mouth = self.points
        side = 0.3 * self.eye_distance
        to_mouth = (left_mouth[1] + right_mouth[1]) / 2 - (left[1] + right[1]) / 2
        top_left, top_right = left[1] + to_mouth / 2, right[1] + to_mouth / 2
        return (
            self._square(left[0] - side, top_left, left[0], top_left + side),
            self._square(right[0], top_right, right[0] + side, top_right + side),
        )

    def ellipse(self, height: int, width: int, enlarged: float = 1.0) -> Mask | None:
        """Return the face as a mask of a copy of this size: an ellipse in its box, which leaves out most of the hair.

        Args:
            height: Rows of the copy.
            width: Columns of the copy.
            enlarged: Factor of both semi-axes, which are 0.42 widths and 0.48 heights of the box.
        """
        if self.face_box is None:
            return None
        x1, y1, x2, y2 = self.face_box
        x_scale, y_scale = width / self.width, height / self.height
        a, b = 0.42 * (x2 - x1) * enlarged * x_scale, 0.48 * (y2 - y1) * enlarged * y_scale
        x = (np.arange(width, dtype=np.float32) + 0.5 - (x1 + x2) / 2 * x_scale) / max(a, 1e-6)
        y = (np.arange(height, dtype=np.float32) + 0.5 - (y1 + y2) / 2 * y_scale) / max(b, 1e-6)
        inside: Mask = np.square(x)[None, :] + np.square(y)[:, None] <= 1
        return inside

    def surroundings(self, height: int, width: int) -> Mask | None:
        """Return all but the enlarged ellipse of the face as a mask of a copy of this size; it holds the body."""
        ellipse = self.ellipse(height, width, SURROUNDINGS)
        return None if ellipse is None else ~ellipse

    @cached_property
    def tiles(self) -> list[Square]:
        """At most twelve squares spread over the surroundings, or without a face over the whole image.

        They are as large as those of the eyes, so that their sharpness can be compared.
        """
        wanted = min(self.width, self.height) / 8 if self.eye_distance is None else 0.7 * self.eye_distance
        side = int(min(max(wanted, TILE_SIDES[0]), TILE_SIDES[1], self.width, self.height))
        columns, rows = (max(1, min(8, size // side)) for size in (self.width, self.height))
        corners = [
            (round(x), round(y))
            for y in np.linspace(0, self.height - side, rows)
            for x in np.linspace(0, self.width - side, columns)
        ]
        free = [Square(x, y, x + side, y + side) for x, y in corners]
        free = [square for square in free if not self._touches_face(square)]
        chosen = np.linspace(0, len(free) - 1, min(TILES, len(free))).round().astype(int).tolist() if free else []
        return [free[at] for at in dict.fromkeys(chosen)]

    def _touches_face(self, square: Square) -> bool:
        """Whether the point of the square next to the middle of the face lies in the enlarged ellipse."""
        if self.face_box is None:
            return False
        x1, y1, x2, y2 = self.face_box
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        near_x, near_y = min(max(x, square.left), square.right), min(max(y, square.top), square.bottom)
        a, b = 0.42 * (x2 - x1) * SURROUNDINGS, 0.48 * (y2 - y1) * SURROUNDINGS
        return bool(((near_x - x) / a) ** 2 + ((near_y - y) / b) ** 2 <= 1)

    def square_about(self, point: Point, side: float = 0.7) -> Square:
        """Return a square about a point, cut at the image's border; its side in eye distances."""
        assert self.eye_distance is not None
        half = side / 2 * self.eye_distance
        return self._square(point[0] - half, point[1] - half, point[0] + half, point[1] + half)

    def _square(self, left: float, top: float, right: float, bottom: float) -> Square:
        x1, x2 = (min(max(round(x), 0), self.width) for x in (left, right))
        y1, y2 = (min(max(round(y), 0), self.height) for y in (top, bottom))
        return Square(x1, y1, x2, y2)
