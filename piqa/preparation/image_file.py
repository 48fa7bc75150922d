"""Open image files: upright, RGB, whole. A file that cannot be read raises InputError, whatever it contains."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError

from piqa.errors import InputError

MAX_PIXELS = 300_000_000  # more than a 200-megapixel phone camera has; larger files may be decompression bombs
MAX_ASPECT = 100  # long side / short side; resized to a short side of 448 pixels, a longer strip would take gigabytes
PIXELS_AT_A_TIME = 1_000_000  # where a conversion takes many bytes a pixel
OTHER_PROGRAMS = {"EPS"}  # formats that Pillow opens with another program (Ghostscript)
Pixels = NDArray[np.uint8]


def open_image(path: str | Path) -> Image.Image:
    """Open an image file: upright, RGB, whole. All image files are opened here.

    EXIF orientation is applied. Transparency is laid on white; 16-bit grey is scaled to 8 bits; CMYK is converted by
    its ICC profile where it has one; the first page of several is taken. As in the reference, the ICC profile of an
    RGB image is not applied.

    Raises:
        InputError: If the file is absent, no image, truncated, damaged, larger than `MAX_PIXELS`, or a strip of more
            than `MAX_ASPECT` times its short side.

    Examples:
        >>> open_image("a.jpg").size
        (50, 60)
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check the path") from error
    return decode_image(content, path)


def decode_image(content: bytes, name: str | Path) -> Image.Image:
    """Decode an image as `open_image` does, from bytes already read; `name` stands for them in errors."""
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
    # Decoders raise almost any exception on damaged or hostile bytes; the fault is the file's.
    except Exception as error:
        raise InputError(f"{name} is a damaged or truncated image ({error})") from error


def to_upright_rgb(image: Image.Image, name: str) -> Image.Image:
    """Convert an image that is open already to what `open_image` returns; `name` stands for it in errors."""
    try:
        with _own_pixel_limit():
            if image.width * image.height > MAX_PIXELS:
                raise InputError(
                    f"it has more than the {MAX_PIXELS / 1e6:g} million pixels that are read; scale it down"
                )
            if max(image.size) > MAX_ASPECT * min(image.size):
                found = f"its {image.width} x {image.height} pixels"
                raise InputError(f"{found} are a strip, too narrow to be judged; crop it")
            image.load()
            rgb, turn = _to_rgb(image), _turn(image)
        return rgb if turn is None else rgb.transpose(turn)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    except Exception as error:  # decoders raise almost any exception on damaged bytes, which are read only now
        raise InputError(f"{name} is a damaged or truncated image ({error})") from error


def _decoded(content: bytes) -> tuple[Image.Image, Image.Transpose | None]:
    """Return RGB as stored, and the turn that makes it upright: turning later, after decoding, takes less memory."""
    Image.init()
    formats = [known for known in Image.ID if known not in OTHER_PROGRAMS]
    with _own_pixel_limit(), Image.open(io.BytesIO(content), formats=formats) as image:
        if max(image.size) > MAX_ASPECT * min(image.size):
            raise InputError(f"its {image.width} x {image.height} pixels are a strip, too narrow to be judged; crop it")
        image.load()
        return _to_rgb(image), _turn(image)


_pillow_state = threading.Lock()  # Pillow's limit and Python's warning filters belong to the whole process


@contextmanager
def _own_pixel_limit() -> Iterator[None]:
    """Raise Pillow's limit of 179 million pixels; it still holds for images inside images (icons, tiles, frames)."""
    with _pillow_state, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as odd EXIF tags
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
    """Return the turn that EXIF names. `ImageOps.exif_transpose` also rewrites the EXIF, and fails where it is odd."""
    try:
        return TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # a damaged EXIF block fails in many ways; viewers show such an image as stored
        return None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return _scaled_grey(image).convert("RGB")
    if image.has_transparency_data:
        return _on_white(image)
    profile = image.info.get("icc_profile")
    if image.mode == "CMYK" and profile:
        with suppress(ImageCms.PyCMSError, OSError):  # as if it had no profile
            srgb = ImageCms.createProfile("sRGB")
            if converted := ImageCms.profileToProfile(image, io.BytesIO(profile), srgb, outputMode="RGB"):
                return converted
    return image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """Lay a transparent image on white, band by band: as a whole it would be in memory five times."""
    result = Image.new("RGB", image.size)
    for band in _bands(image):
        layered = image.crop((0, band.start, image.width, band.stop)).convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        result.paste(Image.alpha_composite(white, layered).convert("RGB"), (0, band.start))
    return result


def _bands(image: Image.Image) -> list[slice]:
    rows = max(1, PIXELS_AT_A_TIME // image.width)
    return [slice(top, min(top + rows, image.height)) for top in range(0, image.height, rows)]


def _scaled_grey(image: Image.Image) -> Image.Image:
    """Scale grey values of more than 8 bits to 8 bits. Pillow's conversion would clip all above 255 to white."""
    values = np.asarray(image)
    least, most = float(values.min()), float(values.max())  # NaN where any value is
    top = 65535.0 if image.mode != "F" else 1.0 if most <= 1.0 else 255.0  # the two conventions for float images
    if not 0 <= least <= most <= top:
        raise InputError(f"grey values from {least} to {most} fit no known scale (mode {image.mode})")
    scaled = np.empty(values.shape, dtype=np.uint8)
    for band in _bands(image):
        scaled[band] = np.rint(values[band].astype(np.float64) * (255.0 / top))
    return Image.fromarray(scaled)
