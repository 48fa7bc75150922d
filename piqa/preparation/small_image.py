"""Small images for a quick look: a JPEG is decoded at a fraction of its size, which takes a fraction of the time."""

from __future__ import annotations

import io

from PIL import Image

from piqa.errors import InputError
from piqa.preparation.image_bounds import check_scans, check_size, own_pillow_settings, read_file
from piqa.preparation.image_file import TURNS, decode_image
from piqa.preparation.image_formats import FIRST_BYTES, format_of

ORIENTATION = 0x0112


def open_small(path: str, short_side: int) -> Image.Image:
    """Open an image as `open_image` does, upright and RGB, but hardly larger than a short side in pixels.

    The pixels of a JPEG are those of a reduced decoding and differ a little from `open_image`'s scaled down.

    Raises:
        FileAccessError: If the machine refuses the file.
        InputError: If it is no image that is read.
    """
    content = read_file(path)
    image = _reduced_jpeg(content, path, short_side) if format_of(content[:FIRST_BYTES]) == "JPEG" else None
    return decode_image(content, path) if image is None else image


def _reduced_jpeg(content: bytes, path: str, short_side: int) -> Image.Image | None:
    """Return a JPEG in reduced size; None where it is not RGB or grey, or damaged: `decode_image` has the last word."""
    try:
        check_scans(content)
        with own_pillow_settings():
            image = Image.open(io.BytesIO(content), formats=["JPEG"])  # of several images in one file the first
            check_size(image.size, content, lossless=False)
            turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
            if image.mode not in ("RGB", "L"):
                return None
            image.draft("RGB", (short_side, short_side))
            image.load()
        rgb = image.convert("RGB")
        return rgb if turn is None else rgb.transpose(turn)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except Exception:
        return None
