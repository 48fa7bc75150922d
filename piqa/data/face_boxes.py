"""Where the face is in what a network sees: the face box follows crops and mirroring.

A box is x1, y1, x2, y2 as fractions of the width and the height of what is seen. Of a face that passes its border, the
box does so, too. Four zeros, an empty box, stand for no face, so that no network meets anything but numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from piqa.preparation.faces import Box

Boxes = NDArray[np.float32]
Corner = tuple[int, int]


def box_in_window(box: Box | None, shown: Sequence[int], corner: Corner, size: Corner) -> Boxes:
    """Return the face box in a window of an image, float32, (4,).

    Args:
        box: As fractions of the image; None without a face.
        shown: Height and width in pixels of the image.
        corner: Top left corner (y, x) of the window in the image; negative where the window has a border.
        size: Height and width of the window.

    Examples:
        >>> box_in_window((0.5, 0.25, 0.75, 0.5), (80, 100), (10, 20), (40, 40)).tolist()
        [0.75, 0.25, 1.375, 0.75]
    """
    if box is None:
        return np.zeros(4, np.float32)
    (height, width), (top, left) = shown[:2], corner
    x = [(box[at] * width - left) / size[1] for at in (0, 2)]
    y = [(box[at] * height - top) / size[0] for at in (1, 3)]
    return np.array([x[0], y[0], x[1], y[1]], np.float32)


def mirrored_boxes(boxes: Boxes) -> Boxes:
    """Return the boxes, (..., 4), in the mirror images of what is seen; empty ones stay as they are.

    Examples:
        >>> mirrored_boxes(np.array([[0.25, 0.125, 0.5, 0.75], [0, 0, 0, 0]], np.float32)).tolist()
        [[0.5, 0.125, 0.75, 0.75], [0.0, 0.0, 0.0, 0.0]]
    """
    left, top, right, bottom = np.moveaxis(boxes, -1, 0)
    found: Boxes = np.stack([1 - right, top, 1 - left, bottom], axis=-1) * (right > left)[..., None]
    return found
