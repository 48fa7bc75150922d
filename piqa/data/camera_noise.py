"""Noise as a camera makes it: in linear light, before the colours of a pixel are interpolated, then sRGB and JPEG.

The variance of a photosite is a Y + b: photons arrive by chance (Poisson), and the electronics add to that (Gaussian).
White noise added to encoded values looks like no camera's.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from piqa.factors.measured_image import linear_light
from piqa.preparation.image_file import Pixels

Light = NDArray[np.floating]

GAIN = (1e-4, 2e-2)  # a
FLOOR = (1e-6, 1e-3)  # b
QUALITIES = (75, 98)  # of the JPEG
PATTERN = ((0, 1), (1, 2))  # the colour of each photosite of 2 x 2: red, green, green, blue
BETWEEN_GREEN = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]]) / 4  # bilinear interpolation
BETWEEN_OTHERS = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4


@dataclass(frozen=True)
class Exposure:
    """How noisy one picture is, and how it is stored.

    Attributes:
        gain: a of the variance a Y + b, Y in [0, 1].
        floor: b.
        quality: JPEG quality.
    """

    gain: float
    floor: float
    quality: int

    @classmethod
    def at(cls, strength: float, rng: np.random.Generator) -> Exposure:
        """Return the exposure of a strength in [0, 1], on a geometric scale; its JPEG quality is drawn."""
        gain, floor = (low * (high / low) ** strength for low, high in (GAIN, FLOOR))
        return cls(gain, floor, int(rng.integers(QUALITIES[0], QUALITIES[1] + 1)))


def site_noise(light: Light, exposure: Exposure, rng: np.random.Generator) -> Light:
    """Return the noise of photosites after the interpolation of colours, in linear light, (height, width, 3).

    Args:
        light: Linear light in [0, 1], (height, width, 3).
        exposure: How noisy it is.
        rng: Source of the noise.
    """
    height, width = light.shape[:2]
    colour = np.tile(PATTERN, (height // 2 + 1, width // 2 + 1))[:height, :width]
    seen = np.take_along_axis(light, colour[..., None], axis=2)[..., 0]  # each site sees one colour
    noise = rng.standard_normal((height, width)) * np.sqrt(exposure.gain * seen + exposure.floor)
    kernels = (BETWEEN_OTHERS, BETWEEN_GREEN, BETWEEN_OTHERS)
    planes = [ndimage.convolve(noise * (colour == c), kernel, mode="mirror") for c, kernel in enumerate(kernels)]
    return np.stack(planes, axis=-1)


def noisy_and_clean(picture: Pixels, exposure: Exposure, rng: np.random.Generator) -> tuple[Pixels, Pixels]:
    """Return a clean picture with noise, and without, both stored as JPEG of one quality.

    Both have been compressed alike, so that they differ by the noise and not by the compression.

    Args:
        picture: sRGB, uint8, (height, width, 3), of which it is assumed that it has no noise.
        exposure: How noisy it becomes.
        rng: Source of the noise.
    """
    light = linear_light(picture / 255)
    noisy = np.clip(light + site_noise(light, exposure, rng), 0, 1)
    return _stored(_encoded(noisy), exposure.quality), _stored(picture, exposure.quality)


def _encoded(light: Light) -> Pixels:
    encoded = np.where(light <= 0.0031308, light * 12.92, 1.055 * np.power(light, 1 / 2.4) - 0.055)
    pixels: Pixels = np.rint(encoded * 255).astype(np.uint8)
    return pixels


def _stored(pixels: Pixels, quality: int) -> Pixels:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))
