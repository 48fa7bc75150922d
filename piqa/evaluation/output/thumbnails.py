"""The images of the page: scaled down, without metadata, each file once, and no more than can be sent by mail."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from piqa.errors import InputError

THUMBNAIL_SIDE = 360  # long side of an image, px
THUMBNAIL_QUALITY = 80
THUMBNAIL_BYTES = 1_800_000  # all images together, encoded, so that the page can be sent by mail


@dataclass
class Thumbnails:
    """The images in the page as data URIs, each file once, and the number of files for which there was no room."""

    encoded: list[str] = field(default_factory=list)
    left_out: int = 0
    _places: dict[str, int | None] = field(default_factory=dict)

    def place(self, path: object) -> int | None:
        """Return the place of the file's image in `encoded`; None if it cannot be read or there is no room for it."""
        if not isinstance(path, str | Path) or not str(path):
            return None
        if str(path) not in self._places:
            self._places[str(path)] = self._add(path)
        return self._places[str(path)]

    def _add(self, path: str | Path) -> int | None:
        if sum(map(len, self.encoded)) >= THUMBNAIL_BYTES:
            self.left_out += 1
            return None
        try:
            self.encoded.append(thumbnail(path))
        except InputError:
            return None  # the page then shows its name
        return len(self.encoded) - 1


def thumbnail(path: str | Path) -> str:
    """Return an image scaled down to `THUMBNAIL_SIDE`, without its metadata, as a data URI, or raise an InputError."""
    from piqa.preparation.image_file import open_image  # imports torch, which a board without images does not need

    image = open_image(path, colour="srgb")  # as a browser shows it
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    image.info.clear()
    file = io.BytesIO()
    image.save(file, format="JPEG", quality=THUMBNAIL_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
