"""Graded spoilings of a picture: what proves that a factor measures what its name says, and nothing else.

Level 0 leaves the picture as it is, level 6 is the strongest. Light and cast are changed in linear light, all else on
encoded values. Results are rounded to 8 bits.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy import ndimage

from piqa.factors.measured_image import LINEAR, Values
from piqa.factors.regions import Regions
from piqa.preparation.image_file import Pixels

LEVELS = range(7)
QUALITIES = (100, 90, 70, 50, 30, 18, 8)
REDUCTIONS = (1.0, 1.3, 1.6, 2.0, 2.5, 3.0, 4.0)
GREY_LEVELS = (256, 64, 40, 28, 20, 14, 10)

Spoiling = Callable[[Pixels, int, Regions], Pixels]


def _in_light(pixels: Pixels, factors: NDArray[np.floating] | float) -> Pixels:
    """Return the picture with its light multiplied by factors."""
    light = np.clip(LINEAR[pixels] * factors, 0, 1)
    encoded = np.where(light <= 0.0031308, light * 12.92, 1.055 * np.power(light, 1 / 2.4) - 0.055)
    return _bytes(encoded * 255)


def _bytes(values: NDArray[np.floating]) -> Pixels:
    clipped: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return clipped


def _chroma_scaled(pixels: Pixels, factor: float) -> Pixels:
    values = pixels.astype(np.float32)
    grey = (values @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    return _bytes(grey + (values - grey) * factor)


def _chroma_noise(pixels: Pixels, level: int) -> Pixels:
    blue, red = np.random.default_rng(0).normal(0, 3 * level, (2, *pixels.shape[:2]))
    noise = np.stack([1.402 * red, -0.344136 * blue - 0.714136 * red, 1.772 * blue], axis=-1)
    return _bytes(pixels + noise)


def _face_weight(pixels: Pixels, regions: Regions) -> Values:
    """Return 1 in the face and 0 far from it, feathered; (rows, columns, 1)."""
    mask = regions.ellipse(pixels.shape[0], pixels.shape[1], 1.7)
    assert mask is not None and regions.face_box is not None, "this spoiling needs a face"
    x1, _, x2, _ = regions.face_box
    weight: Values = ndimage.gaussian_filter(mask.astype(np.float32), 0.06 * (x2 - x1))[..., None]
    return weight


def _blurred(pixels: Pixels, sigma: float) -> Values:
    blurred: Values = ndimage.gaussian_filter(pixels.astype(np.float32), (sigma, sigma, 0))
    return blurred


def _jpeg(pixels: Pixels, level: int) -> Pixels:
    if level == 0:
        return pixels
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITIES[level])
    return np.asarray(Image.open(buffer))


def _upscaled(pixels: Pixels, level: int) -> Pixels:
    image = Image.fromarray(pixels)
    size = (round(image.width / REDUCTIONS[level]), round(image.height / REDUCTIONS[level]))
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS).resize(image.size, Image.Resampling.BICUBIC))


def _posterised(pixels: Pixels, level: int) -> Pixels:
    most = GREY_LEVELS[level] - 1
    return _bytes(np.rint(pixels / 255.0 * most) / most * 255)


def _side_light(pixels: Pixels, level: int) -> Pixels:
    across = np.linspace(0, 1, pixels.shape[1])[None, :, None]
    return _in_light(pixels, 2.0 ** (-0.5 * level * across))


def _top_light(pixels: Pixels, level: int) -> Pixels:
    down = np.linspace(0, 1, pixels.shape[0])[:, None, None]
    return _in_light(pixels, 2.0 ** (-0.5 * level * down))


SPOILINGS: dict[str, Spoiling] = {
    "darker": lambda pixels, level, _: _in_light(pixels, 2.0 ** (-0.4 * level)),
    "brighter": lambda pixels, level, _: _in_light(pixels, 2.0 ** (0.3 * level)),
    "face_darker": lambda pixels, level, regions: _in_light(
        pixels, 2.0 ** (-0.4 * level * _face_weight(pixels, regions))
    ),
    "flatter": lambda pixels, level, _: _bytes(128 + (pixels.astype(np.float32) - 128) * (1 - 0.12 * level)),
    "side_light": lambda pixels, level, _: _side_light(pixels, level),
    "top_light": lambda pixels, level, _: _top_light(pixels, level),
    "cast_blue": lambda pixels, level, _: _in_light(
        pixels, np.array([2.0 ** (-0.12 * level), 1.0, 2.0 ** (0.12 * level)])
    ),
    "cast_green": lambda pixels, level, _: _in_light(pixels, np.array([1.0, 2.0 ** (0.12 * level), 1.0])),
    "desat": lambda pixels, level, _: _chroma_scaled(pixels, 1 - 0.15 * level),
    "oversat": lambda pixels, level, _: _chroma_scaled(pixels, 1 + 0.2 * level),
    "noise": lambda pixels, level, _: _bytes(pixels + np.random.default_rng(0).normal(0, 3 * level, pixels.shape)),
    "chroma_noise": lambda pixels, level, _: _chroma_noise(pixels, level),
    "blur": lambda pixels, level, _: _bytes(_blurred(pixels, 0.5 * level)),
    "motion": lambda pixels, level, _: _bytes(
        ndimage.uniform_filter1d(pixels.astype(np.float32), 2 * level + 1, axis=1)
    ),
    "bg_blur": lambda pixels, level, regions: _bytes(
        _face_weight(pixels, regions) * pixels + (1 - _face_weight(pixels, regions)) * _blurred(pixels, 0.8 * level)
    ),
    "jpeg": lambda pixels, level, _: _jpeg(pixels, level),
    "sharpen": lambda pixels, level, _: np.asarray(
        Image.fromarray(pixels).filter(ImageFilter.UnsharpMask(radius=2, percent=50 * level, threshold=0))
    ),
    "upscaled": lambda pixels, level, _: _upscaled(pixels, level),
    "posterise": lambda pixels, level, _: _posterised(pixels, level),
}


def spoilt(pixels: Pixels, name: str, level: int, regions: Regions) -> Pixels:
    """Return a picture spoilt to a level, 0 to 6; KeyError for a name that is not in `SPOILINGS`.

    Args:
        pixels: uint8 RGB, (height, width, 3).
        name: Out of `SPOILINGS`.
        level: 0 for as it is, up to 6.
        regions: Of the picture; `face_darker` and `bg_blur` need a face.
    """
    return pixels if level == 0 else SPOILINGS[name](pixels, level, regions)
