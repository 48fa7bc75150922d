"""The image files that raters see: every pixel as in the photo, no metadata, and a name that tells nothing."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from piqa.errors import InputError
from piqa.preparation.image_bounds import read_file
from piqa.preparation.image_file import decode_image
from piqa.preparation.image_formats import FIRST_BYTES, format_of
from piqa.system.files import replacing

TYPES = {".jpg": "image/jpeg", ".png": "image/png"}
AT_ONCE = threading.Semaphore(2)  # each holds an image as it is decoded, twice
# What a JPEG's pixels depend on: tables, frames, restart intervals, and Adobe's mark of the colours. The rest are
# descriptions: EXIF with its place and preview, profiles, comments.
_KEPT = {0xDB, 0xC4, 0xDD, 0xEE, *range(0xC0, 0xD0)}
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)


def blurred(image: Image.Image) -> Image.Image:
    """Return an image whose fine detail is lost, whatever its size."""
    return image.filter(ImageFilter.GaussianBlur(max(min(image.size) / 120, 1.5)))


def darker(image: Image.Image) -> Image.Image:
    """Return an image as if it had got a fifth of the light."""
    light = (np.arange(256) / 255) ** 2.2 / 5
    table = np.rint(255 * light ** (1 / 2.2)).astype(int).tolist()
    return image.point(table * 3)


SPOILINGS: dict[str, Callable[[Image.Image], Image.Image]] = {"blurred": blurred, "darker": darker}


def shown_file(photo: Path, folder: Path, spoiling: str | None) -> Path:
    """Return the file that raters see of a photo; it is made when it is asked for first.

    Args:
        photo: The photo's file.
        folder: Of what the server keeps of the photo.
        spoiling: A name in `SPOILINGS`, or None.

    Returns:
        A JPEG, the photo's own code, if its pixels need no change to be upright and sRGB; else a PNG.

    Raises:
        InputError: If the photo cannot be read, or the file not be written.
    """
    name = "judged" if spoiling is None else f"judged_{spoiling}"
    for ending in TYPES:
        if (path := folder / f"{name}{ending}").exists():
            return path
    try:
        with AT_ONCE:
            content, ending = _shown(read_file(photo), spoiling)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}{ending}"
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    except InputError as error:  # raters learn no path of the server
        raise InputError(str(error).replace(str(photo), "the photo").replace(f"{folder}/", "")) from error
    return path


def _shown(content: bytes, spoiling: str | None) -> tuple[bytes, str]:
    try:
        image = decode_image(content, "the photo", "srgb")
        if spoiling is None and format_of(content[:FIRST_BYTES]) == "JPEG":
            bare = without_descriptions(content)
            if bare is not None and _equal(image, decode_image(bare, "the photo")):
                return bare, ".jpg"
    except InputError as error:
        raise InputError(f"{error}; it cannot be shown to raters") from error
    written = io.BytesIO()
    image = image if spoiling is None else SPOILINGS[spoiling](image)
    image.info.clear()
    image.save(written, "PNG", compress_level=1)
    return written.getvalue(), ".png"


def _equal(one: Image.Image, other: Image.Image) -> bool:
    return one.size == other.size and one.tobytes() == other.tobytes()


def without_descriptions(content: bytes) -> bytes | None:
    r"""Return a JPEG with what its pixels depend on and nothing else; None if it is not as a JPEG should be.

    Examples:
        >>> bare = without_descriptions(Path("a.jpg").read_bytes())
        >>> bare[:2] + bare[-2:], b"JFIF" in bare
        (b'\xff\xd8\xff\xd9', False)
    """
    kept, place = [b"\xff\xd8"], 2
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker == 0xFF:  # padding
            place += 1
            continue
        end = place + 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        if marker == 0xDA:
            found = _AFTER_SCAN.search(content, end)
            if found is None:
                return None
            end = found.start()
            kept.append(content[place:end])
            if content[end + 1] == 0xD9:  # previews and films may follow
                return b"".join([*kept, b"\xff\xd9"])
        elif marker in _KEPT:
            kept.append(content[place:end])
        place = end
    return None
