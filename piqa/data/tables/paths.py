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
    def listing(below: str) -> tuple[str, set[str], dict[str, str]]:
        place = folder / below
        names = {file.name for file in place.iterdir()} if place.is_dir() else set()
        return f"{place}{os.sep}", names, {_lower_extension(name): name for name in sorted(names)}

    def find(image: str) -> str:
        if not image:
            return ""  # so that the check names its row
        below, _, name = image.rpartition("/")
        place, names, lowered = listing(below)  # a Path for every image would take half a minute for AVA's
        return place + (name if name in names else lowered.get(_lower_extension(name), name))

    return [find(image) for image in images]


def _lower_extension(name: str) -> str:
    extension = Path(name).suffix
    return name.removesuffix(extension) + extension.lower()
