"""The one way in for image files: upright, RGB, whole; whatever a file holds, it costs itself alone."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from piqa.errors import InputError

MAX_PIXELS = 300_000_000  # a 200-megapixel phone camera fits; what is larger is refused as a decompression bomb
MAX_ASPECT = 100  # long side by short side; with its short side at 448 px a longer strip would fill gigabytes
BAND = 1_000_000  # pixels that are converted at a time where a conversion takes many bytes a pixel
OTHER_PROGRAMS = {"EPS"}  # formats for which Pillow would start another program (Ghostscript) on the file
Pixels = np.ndarray[Any, np.dtype[np.uint8]]


def open_image(path: str | Path) -> Image.Image:
    """The one way in for image files: upright, RGB, whole.

    EXIF orientation is applied. Transparency is laid on white; 16-bit grey is scaled to 8 bits; CMYK goes through its
    ICC profile where it has one; the first page of several is taken. As in the reference, the ICC profile of an RGB
    image is not applied.

    Raises:
        InputError: If the file is absent, no image, truncated, damaged, larger than `MAX_PIXELS`, or a strip of more
            than `MAX_ASPECT` times its short side.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    return decode_image(content, path)


def decode_image(content: bytes, name: str | Path) -> Image.Image:
    """`open_image` for bytes already read; `name` is what an error calls them."""
    try:
        image, turn = _decoded(content)
        return image if turn is None else image.transpose(turn)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    except UnidentifiedImageError as error:
        raise InputError(f"{name} is not an image that can be read") from error
    except Image.DecompressionBombError as error:
        limit = f"{MAX_PIXELS / 1e6:g} million"
        raise InputError(f"{name} claims more than the {limit} pixels that are read; scale it down") from error
    except MemoryError as error:
        raise InputError(f"{name} needs more memory than there is; scale it down") from error
    # Decoders meet hostile bytes with almost any exception; whichever it is, the image is at fault, not the program.
    except Exception as error:
        raise InputError(f"{name} is a damaged or truncated image ({error})") from error


def _decoded(content: bytes) -> tuple[Image.Image, Image.Transpose | None]:
    """RGB as stored, and the turn that makes it upright: turned last, when what was decoded is gone, it takes less."""
    Image.init()
    formats = [known for known in Image.ID if known not in OTHER_PROGRAMS]
    with _own_pixel_limit(), Image.open(io.BytesIO(content), formats=formats) as image:
        if max(image.size) > MAX_ASPECT * min(image.size):
            raise InputError(f"its {image.width} x {image.height} pixels are a strip, not a portrait; crop it")
        image.load()
        return _to_rgb(image), _turn(image)


_pillow_state = threading.Lock()  # Pillow's limit and Python's warning filters belong to the whole process


@contextmanager
def _own_pixel_limit() -> Iterator[None]:
    """Pillow refuses what is above twice its limit (179 million pixels, less than today's largest phone cameras have).

    Its limit is moved, not lifted: Pillow applies it also to images inside images (icons, tiles, GIF frames).
    """
    with _pillow_state, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd EXIF tags and the like: the pixels decide
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MAX_PIXELS // 2
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


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
    """What EXIF asks for. `ImageOps.exif_transpose` also rewrites the EXIF, and fails where that is odd."""
    try:
        return TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # a damaged EXIF block fails in many ways; any viewer shows such an image as it lies
        return None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return _scaled_grey(image).convert("RGB")
    if image.has_transparency_data:
        return _on_white(image)
    profile = image.info.get("icc_profile")
    if image.mode == "CMYK" and profile:
        try:
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, io.BytesIO(profile), srgb, outputMode="RGB")
            assert converted is not None  # None is for in-place conversion alone
            return converted
        except (ImageCms.PyCMSError, OSError):
            pass  # a profile that cannot be read is like none
    return image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """Lays a transparent image on white, band by band: as a whole it would stand in memory five times."""
    result = Image.new("RGB", image.size)
    for top, bottom in _bands(image):
        layered = image.crop((0, top, image.width, bottom)).convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        result.paste(Image.alpha_composite(white, layered).convert("RGB"), (0, top))
    return result


def _bands(image: Image.Image) -> Iterator[tuple[int, int]]:
    rows = max(1, BAND // image.width)
    for top in range(0, image.height, rows):
        yield top, min(top + rows, image.height)


def _scaled_grey(image: Image.Image) -> Image.Image:
    """Grey values of more than 8 bits -> 8 bits. Pillow's own conversion would clip everything above 255 to white."""
    values = np.asarray(image)
    least, most = float(values.min()), float(values.max())  # NaN where any value is
    if image.mode == "F":
        top = 1.0 if most <= 1.0 else 255.0  # the two conventions for float images
    else:
        top = 65535.0
    if not 0 <= least <= most <= top:
        raise InputError(f"grey values from {least} to {most} fit no known scale (mode {image.mode})")
    scaled = np.empty(values.shape, dtype=np.uint8)
    for start, end in _bands(image):
        scaled[start:end] = np.rint(values[start:end].astype(np.float64) * (255.0 / top))
    return Image.fromarray(scaled)
