"""Find the image files that labels name, whatever system the labels were written on."""

import os
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path, PureWindowsPath


def image_paths(folder: Path, images: Sequence[str]) -> list[str]:
    """Return the path of every image below a folder.

    A name that differs from the file's in case, or in how its accents are spelled, is that file's if it is no other's.
    An image that is not there gets the path that the labels name, an empty name an empty path.
    """
    folders = _Folders(folder)
    return [image and (folders.file(image) or f"{folder / image}") for image in images]


def similar_files(folder: Path, images: Sequence[str]) -> list[str | None]:
    """Return for every image that is not where the labels say the file that can be meant, or None.

    Of a path of another machine, such as `C:/photos/hall/a.jpg`, the longest end that is found below the folder counts.
    """
    folders = _Folders(folder)
    return [folders.file(image) or _by_end(folders, image) for image in images]


def _by_end(folders: "_Folders", image: str) -> str | None:
    path = PureWindowsPath(image)
    if not (path.drive or path.root):
        return None
    parts = path.parts[1:]
    ends = ("/".join(parts[start:]) for start in range(len(parts)))
    return next((file for end in ends if (file := folders.file(end))), None)


class _Folders:
    """The files below a folder, listed once each."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._listing = cache(self._list)  # a Path for every image would take half a minute for AVA's

    def file(self, image: str) -> str | None:
        """Return the path of an image, named with slashes; None if there is no file of that name."""
        below, _, name = image.rpartition("/")
        listing = self._listing(below or ("/" if image.startswith("/") else ""))
        found = listing and _meant(name, *listing[1:])
        return f"{listing[0]}{os.sep}{found}" if listing and found else None

    def _list(self, below: str) -> tuple[str, set[str], dict[str, str | None]] | None:
        """Return the path of a folder, the names in it, and which one is meant by each spelling, None if several."""
        place = self._root / below
        if not place.is_dir():
            above, _, name = below.rpartition("/")
            outer = self._listing(above) if below else None
            meant = outer and _meant(name, *outer[1:])
            if not (outer and meant):
                return None
            place = Path(outer[0]) / meant
        try:
            names = [file.name for file in place.iterdir()]
        except OSError:  # no folder, or one that may not be listed
            return None
        spellings: dict[str, str | None] = {}
        for name in names:
            key = _folded(name)
            spellings[key] = None if key in spellings else name
        return str(place), set(names), spellings


def _meant(name: str, names: set[str], spellings: dict[str, str | None]) -> str | None:
    return name if name in names else spellings.get(_folded(name))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
