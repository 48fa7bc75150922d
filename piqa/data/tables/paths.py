"""Find the image files that labels name."""

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path


def image_paths(folder: Path, images: Sequence[str]) -> list[str]:
    """Return the path of every image below a folder; the case of its extension may differ from the labels'.

    An image that is not there gets the path that the labels name, an empty name an empty path.
    """

    @cache
    def listing(below: str) -> tuple[str, dict[str, str]]:
        place = folder / below
        names = sorted(file.name for file in place.iterdir()) if place.is_dir() else []
        return f"{place}{os.sep}", {_lower_extension(name): name for name in names} | {name: name for name in names}

    def find(image: str) -> str:
        if not image:
            return ""  # so that the check names its row
        below, _, name = image.rpartition("/")
        place, files = listing(below)  # a Path for every image would take half a minute for AVA's
        return place + (files.get(name) or files.get(_lower_extension(name), name))

    return [find(image) for image in images]


def _lower_extension(name: str) -> str:
    extension = Path(name).suffix
    return name.removesuffix(extension) + extension.lower()
