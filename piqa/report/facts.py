"""What is kept of a measured image until the pages are written: its facts and its pictures, in plain types."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from PIL import Image

from piqa.factors.factor import Reading
from piqa.factors.families import FACTORS
from piqa.factors.maps import ImageMap
from piqa.factors.measure import PortraitFactors
from piqa.factors.overlays import legend, overlay
from piqa.preparation.file_facts import FileFacts
from piqa.system.phrases import Phrase

PHOTO_SIDE, PHOTO_QUALITY = 1000, 82  # long side in pixels: about 150 kB
THUMBNAIL_SIDE, THUMBNAIL_QUALITY = 144, 72  # about 4 kB
MAP_SIDE = 160  # long side in pixels; browsers smooth it

ON_FILM = Phrase(" on 35 mm film")

Stamp = list[int]  # size and time of change of a file


@dataclass(frozen=True)
class Facts:
    """What was measured of an image, or why it could not be.

    Attributes:
        stamp: `stamp_of` the file when it was read; None where the machine refused it: another try may succeed.
        error: Why there is nothing else; `{file}` stands for the image.
        width: Of the upright image, in pixels.
        height: Likewise.
        face_box: x1, y1, x2, y2 of the measured face, in these pixels.
        face_points: Eyes, nose and corners of the mouth, likewise.
        other_faces: How many other faces were found.
        turned: Clockwise degrees by which the image was turned for its face.
        readings: Value and note of each factor.
        hue_shares: Of the twelve hues; None where there is too little colour.
        histogram: 64 counts a channel.
        camera: Exposure time, aperture, sensitivity, focal length and device, as words, in this order; what is known.
    """

    stamp: Stamp | None
    error: str | None = None
    width: int = 0
    height: int = 0
    face_box: list[float] | None = None
    face_points: list[list[float]] | None = None
    other_faces: int = 0
    turned: int = 0
    readings: dict[str, list[float | str | None]] = field(default_factory=dict)
    hue_shares: list[float] | None = None
    histogram: dict[str, list[int]] = field(default_factory=dict)
    camera: dict[str, str] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, float | None]:
        """The value of each factor; None where it could not be measured."""
        return {name: reading.value for name, reading in self.read().items()}

    def read(self) -> dict[str, Reading]:
        """Return the reading of each factor, without a percentile."""
        return {
            name: Reading(FACTORS[name], value if isinstance(value, float | int) else None, str(note))
            for name, (value, note) in self.readings.items()
        }


@dataclass(frozen=True)
class MapPicture:
    """A map as a transparent picture to lay over the photograph.

    Attributes:
        name: Such as `exposure`.
        title: What it shows.
        legend: Words and colours.
        picture: A PNG as data URI.
        limits: Values at the ends of the colours, as words; "" where the legend says it all.
    """

    name: str
    title: str
    legend: list[tuple[str, str]]
    picture: str
    limits: str = ""


@dataclass(frozen=True)
class Pictures:
    """The pictures of a portrait's page as data URIs: scaled, upright, in sRGB, without any metadata."""

    photo: str = ""
    thumbnail: str = ""
    maps: list[MapPicture] = field(default_factory=list)


def facts_of(found: PortraitFactors, stamp: Stamp | None) -> Facts:
    """Return what is kept of a measured image."""
    return Facts(
        stamp,
        width=found.width,
        height=found.height,
        face_box=None if found.face_box is None else [round(float(edge), 1) for edge in found.face_box],
        face_points=None if found.face_points is None else [[float(x), float(y)] for x, y in found.face_points],
        other_faces=found.other_faces,
        turned=found.turned,
        readings={name: [reading.value, reading.note] for name, reading in found.readings.items()},
        hue_shares=None if found.hue_shares is None else list(found.hue_shares),
        histogram={name: list(counts) for name, counts in found.histogram.items()},
        camera=camera_words(found.file or FileFacts()),
    )


def pictures_of(found: PortraitFactors) -> Pictures:
    """Return the pictures of a measured image."""
    photo = found.copy(PHOTO_SIDE)
    small = photo.copy()
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    maps = [map_picture(shown, photo.size) for shown in found.maps.values()]
    return Pictures(data_uri(photo, "JPEG", PHOTO_QUALITY), data_uri(small, "JPEG", THUMBNAIL_QUALITY), maps)


def map_picture(shown: ImageMap, size: tuple[int, int]) -> MapPicture:
    """Return a map as a picture for a photograph of this size."""
    scale = MAP_SIDE / max(size)
    picture = overlay(shown, (max(1, round(size[0] * scale)), max(1, round(size[1] * scale))))
    low, high = shown.limits
    ends = {"low": _end(low), "high": _end(high)}
    limits = Phrase("colours from {low} to {high}", **ends)
    if shown.unit:
        limits = Phrase("colours from {low} to {high} {unit}", **ends, unit=Phrase(shown.unit))
    return MapPicture(shown.name, shown.title, legend(shown), data_uri(picture), limits)


def _end(value: float) -> str:
    return f"{value:.3g}".replace("-", "\N{MINUS SIGN}")


def score_pictures(maps: Mapping[str, ImageMap]) -> list[MapPicture]:
    """Return maps of the score as pictures, with one scale of colours for all of them."""
    most = max((max(map(abs, shown.limits)) for shown in maps.values()), default=0.0) or 1.0
    return [
        map_picture(replace(shown, limits=(-most, most)) if shown.palette == "diverging" else shown, _size(shown))
        for shown in maps.values()
    ]


def _size(shown: ImageMap) -> tuple[int, int]:
    rows, columns = np.shape(shown.values)
    return columns, rows


def data_uri(image: Image.Image, kind: Literal["PNG", "JPEG"] = "PNG", quality: int = 0) -> str:
    """Return an image as a data URI, without metadata."""
    image = image.copy()
    image.info.clear()
    buffer = io.BytesIO()
    settings: Mapping[str, int] = {"quality": quality} if kind == "JPEG" else {}
    image.save(buffer, format=kind, optimize=True, **settings)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def camera_words(file: FileFacts) -> dict[str, str]:
    """Return what a file says of the camera's settings, in words; only what matters for quality.

    Examples:
        >>> camera_words(FileFacts(exposure_time=0.008, f_number=2.8, iso=400))
        {'exposure time': '1/125 s', 'aperture': 'f/2.8', 'sensitivity': 'ISO 400'}
    """
    words = {}
    if (time := file.exposure_time) is not None:
        words["exposure time"] = f"1/{1 / time:.0f} s" if time < 0.3 else f"{time:.3g} s"
    if file.f_number is not None:
        words["aperture"] = f"f/{file.f_number:.3g}"
    if file.iso is not None:
        words["sensitivity"] = f"ISO {file.iso}"
    if file.focal_length is not None:
        words["focal length"] = f"{file.focal_length:.3g} mm"
    if file.focal_length_35mm is not None:
        words["focal length"] = f"{words.get('focal length', '')} ({file.focal_length_35mm} mm{ON_FILM})".strip()
    if file.device is not None:
        words["device"] = file.device
    return words
