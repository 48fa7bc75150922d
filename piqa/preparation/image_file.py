"""Open image files: upright, RGB, whole. A file that cannot be read raises InputError, whatever it contains."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from piqa.errors import InputError
from piqa.preparation import heif, tiff
from piqa.preparation.colour import Colour, Converter, converter
from piqa.preparation.image_bounds import (
    LOSSLESS,
    MAX_ASPECT,
    MAX_PIXELS,
    check_scans,
    check_size,
    own_pillow_settings,
    read_file,
)
from piqa.preparation.image_formats import FIRST_BYTES, format_of

__all__ = ["MAX_ASPECT", "MAX_PIXELS", "Colour", "Pixels", "decode_image", "open_image", "to_upright_rgb"]

PIXELS_AT_A_TIME = 1_000_000  # where a conversion takes many bytes a pixel
# Of the formats that Pillow knows, those in which people keep photographs. Others are opened with another program
# (EPS), hold a white page in place of layers (PSD), images that would go unchecked (BLP), or measurements (FITS).
FORMATS = "AVIF BMP DDS DIB GIF ICNS ICO JPEG JPEG2000 MPO PCX PNG PPM QOI SGI SUN TGA TIFF WEBP".split()
READ = {"JPEG", "PNG", "GIF", "TIFF", "WebP", "BMP", "PNM", "JPEG 2000", "QOI", "DDS"}  # by Pillow, as `format_of` says
OTHER_KINDS = (  # first bytes of what is no image file, or none that is read
    (b"%PDF", "a PDF"),
    (b"%!PS", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "PostScript"),
    (b"\x1a\x45\xdf\xa3", "a video"),
    (b"\0\0\x01\xba", "a video"),
    (b"\0\0\x01\xb3", "a video"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
)
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
Pixels = NDArray[np.uint8]


def open_image(path: str | Path, colour: Colour = "stored") -> Image.Image:
    """Open an image file: upright, RGB, whole. All image files are opened here.

    EXIF orientation is applied. Transparency is laid on white; more than 8 bits are scaled to 8; CMYK is converted by
    its ICC profile where it has one; the first image of several is taken, of a TIFF the first that is no reduced copy.

    Args:
        path: A regular file. What it contains counts, not its name.
        colour: `stored` takes the values of RGB and grey as they stand in the file, as in the reference; `srgb`
            converts them by their ICC profile or another description of their colours (`piqa.preparation.colour`).

    Raises:
        FileAccessError: If the machine refuses the file: absent, no permission, a drive that is gone.
        InputError: If the file is no image, of a kind that is not read, truncated, damaged, larger than `MAX_PIXELS`,
            a strip of more than `MAX_ASPECT` times its short side, or made to cost more than an image does.

    Examples:
        >>> open_image("a.jpg").size
        (50, 60)
    """
    return decode_image(read_file(path), path, colour)


def decode_image(content: bytes, name: str | Path, colour: Colour = "stored") -> Image.Image:
    """Decode an image as `open_image` does, from bytes already read; `name` stands for them in errors.

    Raises:
        InputError: As `open_image`.
    """
    if colour not in get_args(Colour):
        raise InputError(f"colour is {colour!r}; choose one of {', '.join(get_args(Colour))}")
    (image,) = _upright_images(content, name, (colour,))
    return image


def decode_stored_and_srgb(content: bytes, name: str | Path) -> tuple[Image.Image, Image.Image]:
    """Decode an image once, for both settings of `colour`: one and the same image where its colours are sRGB's."""
    stored, srgb = _upright_images(content, name, ("stored", "srgb"))
    return stored, srgb


def _upright_images(content: bytes, name: str | Path, colours: Sequence[Colour]) -> list[Image.Image]:
    """Decode an image in each of these colours; `name` stands for it in errors."""
    kind = format_of(content[:FIRST_BYTES], name)
    try:
        images, turn = _decoded(content, kind, colours)
        if turn is None:
            return images
        first = images[0].transpose(turn)
        return [first if image is images[0] else image.transpose(turn) for image in images]
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    except UnidentifiedImageError as error:
        raise InputError(f"{name} is not an image that can be read{_hint(content, kind)}") from error
    except Image.DecompressionBombError as error:
        limit = f"{MAX_PIXELS / 1e6:g} million"
        raise InputError(f"{name} claims more than the {limit} pixels that are read; scale it down") from error
    except MemoryError as error:
        raise InputError(f"{name} needs more memory than there is; scale it down") from error
    # Decoders raise almost any exception on damaged or hostile bytes; the fault is the file's.
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{name} is a damaged or truncated image ({kind or 'format unknown'}: {reason})") from error


def to_upright_rgb(image: Image.Image, name: str, colour: Colour = "stored") -> Image.Image:
    """Convert an image that is open already to what `open_image` returns; `name` stands for it in errors.

    Raises:
        InputError: If it is too large, too narrow or damaged.
    """
    try:
        with own_pillow_settings():
            if image.width * image.height > MAX_PIXELS:
                raise InputError(
                    f"it has more than the {MAX_PIXELS / 1e6:g} million pixels that are read; scale it down"
                )
            if max(image.size) > MAX_ASPECT * min(image.size):
                found = f"its {image.width} x {image.height} pixels"
                raise InputError(f"{found} are a strip, too narrow to be judged; crop it")
            converted = converter(image, b"", colour)
            image.load()
            rgb, turn = _to_rgb(image, converted, 65535), _turn(image)
        return rgb if turn is None else rgb.transpose(turn)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    except Exception as error:  # decoders raise almost any exception on damaged bytes, which are read only now
        raise InputError(f"{name} is a damaged or truncated image ({error})") from error


def _hint(content: bytes, kind: str | None) -> str:
    """Say which format was found, and what to do."""
    if not content.strip(b"\0"):  # what a copy that was broken off, or a full disk, leaves behind
        return f": it {'holds nothing but zeros' if content else 'is empty'}; copy it anew from where it came"
    if content.startswith(LFS_POINTER):
        return ": it is a pointer of Git LFS, and the image was not fetched; run `git lfs pull`"
    if kind is None:
        kind = next((name for start, name in OTHER_KINDS if content.startswith(start)), None)
        if content[4:8] == b"ftyp" or (content[:4] == b"RIFF" and content[8:11] == b"AVI"):
            kind = "a video"
        if b"<svg" in content[:1000].lower():
            kind = "SVG"
        elif content[:100].lstrip().lower().startswith((b"<!doctype html", b"<html")):
            return ": it is a web page, such as a server sends in place of a file; fetch the image anew"
    elif kind in READ or (kind == "AVIF" and "AVIF" in Image.OPEN):
        return f": it begins as {kind} and is damaged"
    elif kind.startswith("camera RAW"):
        return f": it is {kind}; develop it first, into JPEG or 8-bit TIFF"
    elif kind == "AVIF":
        return ": it is AVIF; install Pillow 11.3 or newer, or convert it to JPEG"
    return f": it is {kind}; convert it to JPEG or PNG" if kind else ""


def _decoded(
    content: bytes, kind: str | None, colours: Sequence[Colour]
) -> tuple[list[Image.Image], Image.Transpose | None]:
    """Return RGB as stored, in each of these colours, and the turn that makes it upright.

    Turning later, after decoding, takes less memory.
    """
    Image.init()  # loads the plugins
    if kind == "JPEG":
        check_scans(content)
    with own_pillow_settings():
        page = tiff.whole_page(content) if content.startswith(tiff.SIGNATURES) else None
        with _opened(content if page is None else page.content, kind, page) as image:
            if page is None:
                check_size(image.size, content, lossless=kind in LOSSLESS)
            converters = [converter(image, content, colour) for colour in colours]
            image.load()
            white = 65535 if page is None else page.white
            made = {converted: _to_rgb(image, converted, white) for converted in dict.fromkeys(converters)}
            return [made[converted] for converted in converters], _turn(image)


def _opened(content: bytes, kind: str | None, page: tiff.Page | None) -> Image.Image:
    """Open an image by the library that reads it right; most are not decoded yet."""
    if page is not None:
        check_size(page.size, content, lossless=not page.lossy)
        if page.size[0] * page.size[1] > MAX_PIXELS:
            raise Image.DecompressionBombError
        if not tiff.pillow_reads(page):
            return tiff.decoded(page)
    if kind in ("HEIC", "HEIF"):
        return heif.opened(content)
    try:
        return Image.open(io.BytesIO(content), formats=[known for known in FORMATS if known in Image.OPEN])
    except UnidentifiedImageError:
        if page is None:
            raise
        raise InputError(f"{page} is not read; convert it to 8-bit RGB") from None


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return the turn that EXIF names. `ImageOps.exif_transpose` also rewrites the EXIF, and fails where it is odd."""
    try:
        return TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # a damaged EXIF block fails in many ways; viewers show such an image as stored
        return None


def _to_rgb(image: Image.Image, converted: Converter | None, white: int) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        result = _scaled_grey(image, white).convert("RGB")
    elif image.has_transparency_data:
        return _on_white(image, converted)
    else:
        result = _from_cmyk(image) or image.convert("RGB")
    return result if converted is None else converted(result)


def _from_cmyk(image: Image.Image) -> Image.Image | None:
    """Convert CMYK by its profile; None if it has none, or a broken one, or is not CMYK."""
    profile = image.info.get("icc_profile")
    if image.mode == "CMYK" and profile:
        with suppress(ImageCms.PyCMSError, OSError):  # as if it had no profile
            srgb = ImageCms.createProfile("sRGB")
            return ImageCms.profileToProfile(image, io.BytesIO(profile), srgb, outputMode="RGB")
    return None


def _on_white(image: Image.Image, converted: Converter | None) -> Image.Image:
    """Lay a transparent image on white, band by band: as a whole it would be in memory five times."""
    result = Image.new("RGB", image.size)
    for band in _bands(image):
        layered = image.crop((0, band.start, image.width, band.stop)).convert("RGBA")
        layered = layered if converted is None else converted(layered)
        white = Image.new("RGBA", layered.size, "white")
        result.paste(Image.alpha_composite(white, layered).convert("RGB"), (0, band.start))
    return result


def _bands(image: Image.Image) -> list[slice]:
    rows = max(1, PIXELS_AT_A_TIME // image.width)
    return [slice(top, min(top + rows, image.height)) for top in range(0, image.height, rows)]


def _scaled_grey(image: Image.Image, white: int) -> Image.Image:
    """Scale grey values of more than 8 bits to 8 bits. Pillow's conversion would clip all above 255 to white."""
    values = np.asarray(image)
    least, most = float(values.min()), float(values.max())  # NaN where any value is
    top = float(white) if image.mode != "F" else 1.0 if most <= 1.0 else 255.0  # the two conventions for float images
    if not 0 <= least <= most <= top:
        raise InputError(f"grey values from {least} to {most} fit no known scale (mode {image.mode})")
    scaled = np.empty(values.shape, dtype=np.uint8)
    for band in _bands(image):
        scaled[band] = np.rint(values[band].astype(np.float64) * (255.0 / top))
    return Image.fromarray(scaled)
