"""The colours that an image file means: which description of them counts, and the way from there to sRGB.

`stored` takes the numbers as they stand in the file, as the published models were trained. `srgb` converts them by the
file's own description: relative colorimetric with black point compensation, in 8 bits. A description that is damaged or
made for another kind of image counts as none, and an image without one counts as sRGB.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Literal, cast

import numpy as np
from PIL import ExifTags, Image, ImageCms

from piqa.errors import InputError
from piqa.preparation import icc
from piqa.preparation.heif import nclx

Colour = Literal["stored", "srgb"]
Converter = Callable[[Image.Image], Image.Image]  # of RGB or RGBA to the same in sRGB

GREY_MODES = ("1", "L", "LA", "La", "I", "F")  # and all that begin with I
SAME = 1  # levels of 255: a profile that changes no colour by more is sRGB, whatever its name
HDR_PROFILE_NAME = b"ITUR_2100_PQ_FULL"  # W3C note "Using the ITU BT.2100 PQ EOTF with the PNG format"
ADOBE_RGB_INTEROP = "R03"  # DCF 2.0: an option file, in Adobe RGB
ADOBE_RGB_COLOUR_SPACE = 2  # what some cameras write into EXIF's ColorSpace, against the standard
BLACK_POINT_COMPENSATION = 0x2000  # of Little CMS; Pillow has a name for it from 10.3 on
EXACT = 0x0100  # of Little CMS, NOOPTIMIZE: its short cut for grey is wrong by up to 10 levels in the dark
_SIDE = 9  # of the cube of colours by which profiles are compared


def converter(image: Image.Image, content: bytes, colour: Colour) -> Converter | None:
    """Return what turns the image's RGB into the colours that are asked for; None where nothing changes.

    Args:
        image: As Pillow opened it, in its own mode.
        content: The bytes of the file.
        colour: `stored` or `srgb`.

    Raises:
        InputError: If its values follow a transfer curve for HDR, which say nothing on the scale of other images.
    """
    chunks = _png_chunks(content)
    points = _code_points(image, content, chunks)
    if (curve := _hdr_curve(image, points, chunks)) is not None:
        raise InputError(f"an HDR image ({curve}) is not read; export it as SDR, such as JPEG in sRGB")
    if colour == "stored" or image.mode in ("CMYK", "LAB"):
        return None
    grey = image.mode in GREY_MODES or image.mode.startswith("I")
    profile = _profile(image, points, chunks, grey=grey)
    return None if profile is None else _converter(profile, grey)


def _profile(
    image: Image.Image, points: tuple[int, int] | None, chunks: dict[bytes, bytes], *, grey: bool
) -> bytes | None:
    """Return the description that counts, as an ICC profile. In PNG: cICP, iCCP, sRGB, then gAMA with cHRM."""
    embedded = cast(bytes | None, image.info.get("icc_profile"))
    if b"cICP" in chunks and points is not None:
        return icc.cicp_profile(*points, grey=grey)
    if embedded:
        return embedded
    if points is not None:
        return icc.cicp_profile(*points, grey=grey)
    if b"sRGB" in chunks:
        return None
    if len(chunks.get(b"gAMA", b"")) == 4:
        exponent = int.from_bytes(chunks[b"gAMA"], "big") / 100_000
        return icc.power_profile(1 / exponent, _png_primaries(chunks), grey=grey) if 0.1 < exponent < 10 else None
    return icc.power_profile(icc.ADOBE_RGB_GAMMA, icc.ADOBE_RGB) if not grey and _exif_says_adobe(image) else None


@lru_cache(maxsize=8)
def _converter(profile: bytes, grey: bool) -> Converter | None:
    """Return the conversion of a profile; None if it is that of sRGB, of another kind of image, or damaged."""
    try:
        described = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if described.profile.xcolor_space.strip() != ("GRAY" if grey else "RGB"):
            return None
        if grey:
            return _grey_converter(_transform(described, "L"))
        opaque, layered = _transform(described, "RGB"), _transform(described, "RGBA")
        levels = np.linspace(0, 255, _SIDE).round().astype(np.uint8)
        cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
        seen = np.asarray(opaque.apply(Image.fromarray(cube)))
        if np.abs(seen.astype(int) - cube).max() <= SAME:
            return None
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None

    def convert(image: Image.Image) -> Image.Image:
        transform = opaque if image.mode == "RGB" else layered
        transform.apply_in_place(image)
        return image

    return convert


def _transform(described: ImageCms.ImageCmsProfile, mode: str) -> ImageCms.ImageCmsTransform:
    target = "RGB" if mode == "L" else mode
    return ImageCms.buildTransform(
        described,
        ImageCms.createProfile("sRGB"),
        mode,
        target,
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=cast("ImageCms.Flags", BLACK_POINT_COMPENSATION | (EXACT if mode == "L" else 0)),
    )


def _grey_converter(transform: ImageCms.ImageCmsTransform) -> Converter | None:
    """Return a table of grey levels as a conversion: grey stays grey."""
    levels = np.arange(256, dtype=np.uint8)
    seen = np.asarray(transform.apply(Image.fromarray(levels[None])))[0, :, 1]
    if np.abs(seen.astype(int) - levels).max() <= SAME:
        return None
    table, same = seen.tolist(), levels.tolist()
    return lambda image: image.point(table * 3 + (same if image.mode == "RGBA" else []))


def _png_chunks(content: bytes) -> dict[bytes, bytes]:
    """Return the chunks of a PNG before its pixels; of other files none."""
    chunks: dict[bytes, bytes] = {}
    place = 8 if content.startswith(b"\x89PNG\r\n\x1a\n") else len(content)
    while place + 8 <= len(content):
        length, name = struct.unpack_from(">I4s", content, place)
        if name in (b"IDAT", b"IEND"):
            break
        if name in (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM"):
            chunks.setdefault(name, content[place + 8 : place + 8 + length])
        place += 12 + length
    return chunks


def _png_primaries(chunks: dict[bytes, bytes]) -> icc.Primaries:
    """Return the primaries of a cHRM chunk; those of sRGB where there is none that makes sense."""
    body = chunks.get(b"cHRM", b"")
    if len(body) != 32:
        return icc.BT709
    values = [number / 100_000 for number in struct.unpack(">8I", body)]
    white, red, green, blue = (pair for pair in zip(values[::2], values[1::2], strict=True))
    sensible = all(0 <= x <= 1 and 0 < y <= 1 for x, y in (white, red, green, blue))
    return (red, green, blue, white) if sensible else icc.BT709


def _code_points(image: Image.Image, content: bytes, chunks: dict[bytes, bytes]) -> tuple[int, int] | None:
    """Return primaries and transfer characteristics of H.273 from PNG, HEIF or AVIF."""
    if b"cICP" in chunks:
        body = chunks[b"cICP"]
        return (body[0], body[1]) if len(body) == 4 and body[2] == 0 and body[3] == 1 else None
    if image.format in ("HEIF", "AVIF"):
        return nclx(content)
    return None


def _hdr_curve(image: Image.Image, points: tuple[int, int] | None, chunks: dict[bytes, bytes]) -> str | None:
    """Return the name of the curve if the values are for HDR."""
    if chunks.get(b"iCCP", b"").startswith(HDR_PROFILE_NAME + b"\0"):
        return "PQ"
    transfers = [] if points is None else [points[1]]
    profile = image.info.get("icc_profile") or b""
    if len(profile) > 132:
        count = min(int.from_bytes(profile[128:132], "big"), 100)
        for place in range(132, 132 + 12 * count, 12):
            if profile[place : place + 4] == b"cicp":
                body = int.from_bytes(profile[place + 4 : place + 8], "big") + 8
                transfers += profile[body + 1 : body + 2]
    return next((icc.HDR_CURVES[transfer] for transfer in transfers if transfer in icc.HDR_CURVES), None)


def _exif_says_adobe(image: Image.Image) -> bool:
    """Return whether a camera says that the image is in Adobe RGB, by the DCF standard or by habit."""
    space, index = None, ""
    with suppress(Exception):  # a damaged EXIF block fails in many ways, and an absent one in some versions of Pillow
        exif = image.getexif()
        space = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ColorSpace)
        index = str(exif.get_ifd(ExifTags.IFD.Interop).get(1, "")).strip("\0 ")
    return space == ADOBE_RGB_COLOUR_SPACE or (index == ADOBE_RGB_INTEROP and space != 1)
