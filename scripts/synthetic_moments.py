"""Folders of synthetic moments whose truth is known: bursts, brackets, series by hand, copies, crops, drift.

A view is a person before a background: one of the demo's two public-domain portraits, cut out with a soft edge, before
a part of one of scikit-image's test pictures that show no person. Each shot has its own camera shake, movement of the
person, exposure, noise and JPEG quality. EXIF is written with Pillow, with times of the case in question.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import skimage.data
from PIL import ExifTags, Image, ImageDraw, ImageFilter

from piqa.data.demo import SITTERS

SIZE = 320, 240  # px of a shot
SURROUNDINGS = (
    *("chelsea", "coffee", "rocket", "moon", "page", "text", "coins", "hubble_deep_field", "grass", "brick", "gravel"),
    *("clock", "stereo_motorcycle", "immunohistochemistry"),
)
BEGIN = datetime(2024, 5, 1, 10)
BASE = ExifTags.Base


@dataclass(frozen=True)
class View:
    """What the camera points at: a person, mirrored or not, at a place before a part of a background, in a light."""

    sitter: int
    mirrored: bool
    surrounding: int
    part: tuple[float, float, float]  # left and top as shares of what is free, and width as a share
    place: tuple[float, float, float]  # middle of the head as shares of the picture, and its height as a share
    light: tuple[float, float, float]

    @classmethod
    def draw(cls, rng: np.random.Generator) -> View:
        """Draw a view."""
        return cls(
            sitter=int(rng.integers(2)),
            mirrored=bool(rng.integers(2)),
            surrounding=int(rng.integers(len(SURROUNDINGS))),
            part=(rng.uniform(), rng.uniform(), rng.uniform(0.5, 0.9)),
            place=(rng.uniform(0.25, 0.75), rng.uniform(0.35, 0.6), rng.uniform(0.35, 0.8)),
            light=tuple(rng.uniform(0.7, 1.1, 3)),
        )


@dataclass(frozen=True)
class Shake:
    """How much shots of one view differ, as shares of the picture's width; turns in degrees, light in EV."""

    camera: float = 0.01
    turn: float = 0.7
    person: float = 0.01
    light: float = 0.1


BURST, BY_HAND = Shake(), Shake(camera=0.025, turn=2, person=0.03, light=0.2)


@dataclass(frozen=True)
class File:
    """A file to be written, with its truth.

    Attributes:
        name: Path below the folder.
        image: Its pixels.
        moment: What it belongs to by time and look; None where nothing may be grouped with it.
        view: What it shows, by which likeness alone must group it.
        seconds: Capture time after `BEGIN`; None to write none.
        camera: Model.
        bias: Exposure compensation, EV.
        subseconds: Whether to write the fraction.
        quality: Of the JPEG.
        clock: When the camera's clock began, in place of `BEGIN`.
    """

    name: str
    image: Image.Image
    moment: str | None
    view: str
    seconds: float | None
    camera: str = "One"
    bias: float = 0.0
    subseconds: bool = True
    quality: int = 90
    clock: datetime = BEGIN

    def write(self, folder: Path, *, exif: bool = True) -> Path:
        """Write the file."""
        path = folder / self.name
        path.parent.mkdir(parents=True, exist_ok=True)
        self.image.save(path, quality=self.quality, **({"exif": self._exif()} if exif else {}))
        return path

    def _exif(self) -> Image.Exif:
        block = Image.Exif()
        block[BASE.Make], block[BASE.Model] = "Synthetic", self.camera
        shot = block.get_ifd(ExifTags.IFD.Exif)
        shot[BASE.ExposureTime], shot[BASE.FNumber], shot[BASE.ISOSpeedRatings] = 2**self.bias / 120, 2.8, 100
        shot[BASE.ExposureBiasValue] = self.bias
        if self.seconds is not None:
            whole = math.floor(self.seconds)
            shot[BASE.DateTimeOriginal] = (self.clock + timedelta(seconds=whole)).strftime("%Y:%m:%d %H:%M:%S")
            if self.subseconds:
                shot[BASE.SubsecTimeOriginal] = f"{round((self.seconds - whole) * 1000):03d}"
        return block


@cache
def _surrounding(number: int) -> Image.Image:
    pixels = getattr(skimage.data, SURROUNDINGS[number])()
    return Image.fromarray(pixels[0] if isinstance(pixels, tuple) else pixels).convert("RGB")


@cache
def _person(sitter: int, mirrored: bool) -> Image.Image:
    """Return head and shoulders, RGBA, cut out with a soft edge."""
    source = SITTERS[sitter].load()
    left, top, right, bottom = SITTERS[sitter].head
    width, height = right - left, bottom - top
    box = (left - width // 2, top - height // 8, right + width // 2, bottom + height // 2)
    person = source.crop(box)
    mask = Image.new("L", person.size)
    draw = ImageDraw.Draw(mask)
    draw.ellipse((width * 0.4, height * 0.02, width * 1.6, height * 1.25), fill=255)
    draw.rounded_rectangle((width * 0.1, height * 1.1, width * 1.9, height * 2), height * 0.3, fill=255)
    person.putalpha(mask.filter(ImageFilter.GaussianBlur(width / 20)))
    return person.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else person


def shoot(view: View, rng: np.random.Generator, shake: Shake = BURST, ev: float = 0.0) -> Image.Image:
    """Return a shot of a view; `ev` makes it brighter."""
    width, height = SIZE
    source = _surrounding(view.surrounding)
    left, top, share = view.part
    share *= 1 + rng.normal(0, shake.camera)
    across = min(source.width, source.height * width / height) * min(share, 1)
    free = source.width - across, source.height - across * height / width
    shift = rng.normal(0, shake.camera, 2) * across
    corner = np.clip([free[0] * left + shift[0], free[1] * top + shift[1]], 0, np.maximum(free, 0))
    box = (*corner, corner[0] + across, corner[1] + across * height / width)
    image = source.resize(SIZE, Image.Resampling.BILINEAR, box=tuple(map(float, box)))
    person = _person(view.sitter, view.mirrored)
    tall = view.place[2] * height * 1.6 * (1 + rng.normal(0, shake.person))
    person = person.resize((round(tall * person.width / person.height), round(tall)))
    middle = np.array(view.place[:2]) + rng.normal(0, shake.person, 2) - shift / across
    at = round(middle[0] * width - person.width / 2), round(middle[1] * height - person.height * 0.4)
    image.paste(person, at, person)
    image = image.rotate(rng.normal(0, shake.turn), Image.Resampling.BILINEAR, fillcolor=image.getpixel((2, 2)))
    linear = (np.asarray(image) / 255) ** 2.2 * np.array(view.light) * 2 ** (ev + rng.normal(0, shake.light))
    pixels = np.clip(linear, 0, 1) ** (1 / 2.2) * 255 + rng.normal(0, 3, (height, width, 1))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def crop(image: Image.Image, rng: np.random.Generator, most: float = 0.08) -> Image.Image:
    """Return an image without up to a share of it at each side."""
    width, height = image.size
    left, top, right, bottom = rng.uniform(0, most, 4)
    return image.crop(
        (round(left * width), round(top * height), round((1 - right) * width), round((1 - bottom) * height))
    )
