"""What an image file says of itself: format, compression, camera settings. Never where it was taken, or by whom."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import SupportsFloat, cast

from PIL import ExifTags, Image

from piqa.preparation.image_bounds import own_pillow_settings, read_file

TEXT_LENGTH = 80  # characters of a name of a camera or program; files may hold megabytes


@dataclass(frozen=True)
class FileFacts:
    """What a file says of itself; None where it says nothing, or nothing that can be read.

    Attributes:
        format: As Pillow calls it, such as `JPEG`.
        quantization: Of a JPEG its tables of 64 numbers, in the order of the file's numbers.
        subsampling: Of a JPEG the horizontal and vertical factors of its components, such as ((2, 2), (1, 1), (1, 1)).
        exposure_time: Seconds.
        f_number: Of the aperture.
        iso: Sensitivity.
        focal_length: Millimetres.
        focal_length_35mm: Of the same view on 35 mm film.
        device: Maker and model of the camera.
        software: Program that wrote the file.
    """

    format: str | None = None
    quantization: tuple[tuple[int, ...], ...] = ()
    subsampling: tuple[tuple[int, int], ...] = ()
    exposure_time: float | None = None
    f_number: float | None = None
    iso: int | None = None
    focal_length: float | None = None
    focal_length_35mm: int | None = None
    device: str | None = None
    software: str | None = None


def read_file_facts(path: str | Path) -> FileFacts:
    """Return what an image file says of itself; nothing of a file that `open_image` reads but Pillow does not.

    Raises:
        FileAccessError: If the machine refuses the file.
        InputError: If it is no regular file, or larger than an image that is read.
    """
    return file_facts(read_file(path))


def file_facts(content: bytes) -> FileFacts:
    """Return what the bytes of an image file say of themselves; nothing is decoded, and no place or owner is read."""
    try:
        with own_pillow_settings(), Image.open(io.BytesIO(content)) as image:
            tables = getattr(image, "quantization", None) or {}
            layers = getattr(image, "layer", None) or []
            coding = FileFacts(
                format=image.format,
                quantization=tuple(tuple(map(int, tables[key])) for key in sorted(tables)),
                subsampling=tuple((int(layer[1]), int(layer[2])) for layer in layers),
            )
            with suppress(Exception):  # a damaged EXIF block fails in many ways, and is no fault of the picture
                return _with_exif(coding, image)
            return coding
    except Exception:  # of a kind that Pillow does not open; whether it is an image at all is `open_image`'s question
        return FileFacts()


def _with_exif(coding: FileFacts, image: Image.Image) -> FileFacts:
    """Return the facts with those of the EXIF block."""
    if image.format == "PNG" and "exif" not in image.info:
        return coding  # Pillow would decode the image to look for a block behind its pixels
    exif = image.getexif()
    shot = exif.get_ifd(ExifTags.IFD.Exif)
    device = " ".join(filter(None, (_text(exif.get(tag)) for tag in (ExifTags.Base.Make, ExifTags.Base.Model))))
    return replace(
        coding,
        exposure_time=_number(shot.get(ExifTags.Base.ExposureTime)),
        f_number=_number(shot.get(ExifTags.Base.FNumber)),
        iso=_whole(shot.get(ExifTags.Base.ISOSpeedRatings)),
        focal_length=_number(shot.get(ExifTags.Base.FocalLength)),
        focal_length_35mm=_whole(shot.get(ExifTags.Base.FocalLengthIn35mmFilm)),
        device=device or None,
        software=_text(exif.get(ExifTags.Base.Software)) or None,
    )


def _number(value: object) -> float | None:
    if isinstance(value, tuple):
        value = value[0] if value else None
    try:
        number = float(cast(SupportsFloat, value))
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if 0 < number < 1e9 else None  # false for NaN


def _whole(value: object) -> int | None:
    number = _number(value)
    return None if number is None else round(number)


def _text(value: object) -> str:
    text = value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:TEXT_LENGTH]
