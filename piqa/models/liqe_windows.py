"""The windows by which LIQE sees an image: where they lie, and how they are cut."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor

WINDOW = 224  # px, CLIP ViT-B/32's input
STRIDE = 32  # px between windows
WINDOWS = 15  # windows whose logits are averaged; as many as a small image has, if it has fewer
TRAINING_WINDOWS = 3
LARGE = 1024  # px; of an image with such a side, windows lie further apart in LIQE's own code
LARGE_STRIDE = 48


@dataclass(frozen=True)
class WindowRule:
    """Rule by which windows of 224 x 224 px represent an image.

    All windows lie on a grid and are numbered row by row. Of the n, every (n // count)-th is taken, from the first;
    or, where a seed is given, `count` are drawn with replacement.

    Args:
        count: Number of windows.
        large_stride: Distance of the grid's windows in an image with a side of 1024 px or more; 32 px in others.
        few: Of an image with fewer than `count`, take `all`, or the `first` alone.
    """

    count: int = WINDOWS
    large_stride: int = LARGE_STRIDE
    few: Literal["all", "first"] = "all"


LIQE_RULE = WindowRule()  # LIQE's own; its code refuses images of fewer than 15 windows
LIQE_TRAINING_RULE = WindowRule(TRAINING_WINDOWS)  # with a seed for each image
# DN-PIQA takes the first of fewer windows 15 times; once is the same mean.
DN_PIQA_RULE = WindowRule(large_stride=STRIDE, few="first")


def window_corners(
    height: int, width: int, rule: WindowRule = DN_PIQA_RULE, seed: int | None = None
) -> list[tuple[int, int]]:
    """Return the top left corners (y, x) of the windows that represent an image of at least 224 x 224 pixels.

    They depend on this image's size and seed alone, never on others of a batch.

    Examples:
        >>> window_corners(224, 288)
        [(0, 0)]
        >>> len(window_corners(960, 1280))
        15
    """
    stride = rule.large_stride if max(height, width) >= LARGE else STRIDE
    rows, columns = (height - WINDOW) // stride + 1, (width - WINDOW) // stride + 1
    n = rows * columns
    step = max(1, n // rule.count)
    taken: Iterable[int] = range(0, n if n >= rule.count or rule.few == "all" else 1, step)[: rule.count]
    if seed is not None:
        taken = np.random.default_rng(seed).integers(n, size=rule.count).tolist()
    return [(index // columns * stride, index % columns * stride) for index in taken]


def cut_windows(image: Image.Image | np.ndarray, rule: WindowRule = DN_PIQA_RULE, seed: int | None = None) -> Tensor:
    """Cut an image's windows, and only those: the whole grid of a 12-megapixel image would fill gigabytes.

    A side below 224 px, at which the published code fails, is scaled up to 224 with the other in proportion.

    Args:
        image: RGB image of any size, or its uint8 pixels, (height, width, 3).
        rule: Chooses the windows.
        seed: Draws them; None takes evenly spaced ones.

    Returns:
        uint8 pixels, shape (windows, 3, 224, 224); `rule.count` windows, or fewer for a small image without a seed.
    """
    import torch  # exported models are given their windows without it

    return torch.from_numpy(window_pixels(image, rule, seed))


def window_pixels(
    image: Image.Image | np.ndarray, rule: WindowRule = DN_PIQA_RULE, seed: int | None = None
) -> NDArray[np.uint8]:
    """Cut an image's windows as `cut_windows` does, as an array."""
    height, width = image.shape[:2] if isinstance(image, np.ndarray) else (image.height, image.width)
    short = min(height, width)
    if short < WINDOW:
        whole = Image.fromarray(image) if isinstance(image, np.ndarray) else image
        height, width = (max(WINDOW, side * WINDOW // short) for side in (height, width))
        image = whole.resize((width, height), Image.Resampling.BILINEAR)
    windows = [
        image[y : y + WINDOW, x : x + WINDOW]
        if isinstance(image, np.ndarray)
        else np.asarray(image.crop((x, y, x + WINDOW, y + WINDOW)))
        for y, x in window_corners(height, width, rule, seed)
    ]
    return np.ascontiguousarray(np.stack(windows).transpose(0, 3, 1, 2))
