"""Measure the factors of images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from piqa.errors import InputError
from piqa.factors.factor import Measurement, Reading
from piqa.factors.families import FACTORS, map_all, measure_all
from piqa.factors.histogram import histogram
from piqa.factors.hue import hue_wheel
from piqa.factors.maps import ImageMap
from piqa.factors.measured_image import MeasuredImage
from piqa.factors.regions import Regions
from piqa.preparation.faces import Box, Found, Points, turned_clockwise
from piqa.preparation.file_facts import FileFacts, file_facts
from piqa.preparation.image_bounds import read_file
from piqa.preparation.image_file import Pixels, decode_image, to_upright_rgb
from piqa.preparation.portrait import Preparation, Preparer
from piqa.system.phrases import Phrase

if TYPE_CHECKING:
    import torch

# Colours are converted to sRGB, so that a file measures like its twin in another colour space.
PREPARATION = Preparation(colour="srgb", try_turns=True, face_margin_fraction=0.075)
NO_NUMBER = Phrase("it cannot be measured in this image")
SMALLEST_SIDE = 8  # pixels; nothing can be said of less


@dataclass(frozen=True, eq=False)
class PortraitFactors:
    """The factors of one image.

    Attributes:
        readings: A reading for each factor, by name.
        width: Of the upright image, in pixels.
        height: Likewise.
        face_box: x1, y1, x2, y2 of the measured face, in pixels; None without a face.
        face_points: Eyes, nose and corners of the mouth, likewise.
        other_faces: How many other faces were found.
        turned: Clockwise degrees by which the image was turned because its face lay on its side.
        file: What the file says of itself; None for images in memory.

    Examples:
        >>> found = measure_factors("a.jpg")
        >>> found["megapixels"].value, found.face_box
        (0.003, None)
    """

    readings: Mapping[str, Reading]
    width: int
    height: int
    face_box: Box | None
    face_points: Points | None
    other_faces: int
    turned: int
    file: FileFacts | None
    _image: MeasuredImage = field(repr=False)

    def __getitem__(self, name: str) -> Reading:
        """Return the reading of a factor; KeyError if there is no such factor."""
        return self.readings[name]

    @property
    def values(self) -> dict[str, float | None]:
        """The value of each factor, by name; None where it cannot be measured."""
        return {name: reading.value for name, reading in self.readings.items()}

    @cached_property
    def maps(self) -> dict[str, ImageMap]:
        """Maps of the image, by name; made when they are first asked for, from the pixels that are kept until then."""
        return map_all(self._image)

    @cached_property
    def hue_shares(self) -> tuple[float, ...] | None:
        """Share of each of the twelve hues of the painters' wheel, from red; None where there is hardly any colour."""
        return hue_wheel(self._image)

    @cached_property
    def histogram(self) -> dict[str, tuple[int, ...]]:
        """Pixels in 64 bins of `red`, `green`, `blue` and `luminance`, from dark to light."""
        return histogram(self._image)

    def copy(self, side: int) -> Image.Image:
        """Return the measured image, upright and in sRGB, scaled down to `side` pixels at most; without metadata."""
        image = Image.fromarray(self._image.pixels)
        image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
        return image

    def to_dict(self) -> dict[str, object]:
        """Return all but the maps, as JSON can hold it."""
        about = {
            "width": self.width,
            "height": self.height,
            "face_box": None if self.face_box is None else list(self.face_box),
            "other_faces": self.other_faces,
            "turned": self.turned,
        }
        return about | {"factors": {name: _reading(reading) for name, reading in self.readings.items()}}


def _reading(reading: Reading) -> dict[str, object]:
    factor = reading.factor
    return {
        "value": reading.value,
        "unit": factor.unit,
        "direction": factor.direction,
        "region": factor.region,
        "reliable": reading.reliable,
        "percentile": reading.percentile,
        "sentence": reading.sentence,
        "advice": reading.advice,
        "caveat": factor.caveat,
    }


class FactorMeasurer:
    """Measures images one by one, with one face detector.

    Args:
        preparation: How faces are found; its `colour` must be `srgb`.
        device: Where the face detector runs.

    Examples:
        >>> measure = FactorMeasurer()
        >>> [measure(file).width for file in ("a.jpg", "b.jpg")]
        [50, 50]
    """

    def __init__(self, preparation: Preparation = PREPARATION, device: str | torch.device = "cpu") -> None:
        if preparation.colour != "srgb":
            raise InputError(f"factors are measured in sRGB; choose `colour: srgb`, not {preparation.colour}")
        self._preparer = Preparer(preparation, device)

    def __call__(self, image: str | Path | Image.Image | Pixels) -> PortraitFactors:
        """Measure an image; arguments and errors as of `measure_factors`."""
        if isinstance(image, str | Path):
            content = read_file(image)
            return self.measure(decode_image(content, image, "srgb"), file_facts(content), str(image))
        if isinstance(image, Image.Image):
            return self.measure(to_upright_rgb(image, "the image", "srgb"))
        pixels = np.asarray(image)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            found = f"{pixels.dtype} of shape {pixels.shape}"
            raise InputError(f"an array of {found} is no image; needed is uint8 of shape (height, width, 3)")
        return self.measure(to_upright_rgb(Image.fromarray(np.ascontiguousarray(pixels)), "the image"))

    def measure(self, image: Image.Image, file: FileFacts | None = None, name: str = "the image") -> PortraitFactors:
        """Measure an upright image in sRGB."""
        return factors_of(image, self._preparer.find_face(image), file, name)


def factors_of(
    image: Image.Image, found: Found, file: FileFacts | None = None, name: str = "the image"
) -> PortraitFactors:
    """Measure an upright image in sRGB whose face was found already.

    Raises:
        InputError: If the image has less than eight pixels on a side.
    """
    if min(image.size) < SMALLEST_SIDE:
        size = f"{image.width} x {image.height}"
        raise InputError(f"{name} has {size} pixels, too few to be measured; {SMALLEST_SIDE} on a side are needed")
    face, turned, others = found
    image = turned_clockwise(image, turned)
    box, points = (None, None) if face is None else (face.box, face.points)
    measured = MeasuredImage(np.asarray(image), Regions(*image.size, box, points), file, image)
    readings = {name: _reading_of(name, value) for name, value in measure_all(measured).items()}
    return PortraitFactors(readings, *image.size, box, points, others, turned, file, measured)


def _reading_of(name: str, measured: Measurement) -> Reading:
    """Return a measurement as a reading; a value that is no finite number counts as none."""
    value = None if measured.value is None else float(measured.value)
    if value is not None and not math.isfinite(value):
        return Reading(FACTORS[name], None, measured.note or NO_NUMBER)
    return Reading(FACTORS[name], value, measured.note, detail=measured.detail)


def measure_factors(image: str | Path | Image.Image | Pixels) -> PortraitFactors:
    """Measure what makes the quality of one image: exposure, colour, noise, sharpness, composition and more.

    For many images, keep a `FactorMeasurer`, or use `python -m piqa.explain`.

    Args:
        image: A file, a PIL image, or an array, uint8 RGB, (height, width, 3).

    Raises:
        FileAccessError: If the machine refuses the file.
        InputError: If it is no image, or has less than eight pixels on a side.

    Examples:
        >>> measure_factors("a.jpg").to_dict()["factors"]["megapixels"]["sentence"]
        'the image has 0.0 million pixels'
    """
    return _measurer()(image)


@cache
def _measurer() -> FactorMeasurer:
    return FactorMeasurer()
