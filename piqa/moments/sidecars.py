"""Which XMP sidecars belong to a picture: `IMG_1.CR3.xmp`, as darktable and digiKam write, or `IMG_1.xmp`, as Adobe."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from piqa.errors import InputError
from piqa.moments.file_names import plain

SidecarNames = Literal["name.ext.xmp", "name.xmp"]
ENDING = ".xmp"
NO_PICTURES = {".mov", ".mp4", ".m4v", ".3gp", ".avi", ".aae", ".thm", ".wav", ENDING}  # companions without marks


class Sidecars:
    """Finds sidecars by the names in a folder, each of which is listed once.

    Args:
        names: The form of a sidecar that is made where a picture has none.
    """

    def __init__(self, names: SidecarNames = "name.ext.xmp") -> None:
        self.names = names
        self._listed: dict[Path, dict[str, list[str]]] = {}

    def of(self, pictures: Iterable[Path]) -> list[Path]:
        """Return the sidecars of the files of one shot: those that are there, or else a new one by the option.

        RAW and JPEG of a shot may share `IMG_1.xmp`, which is returned once.

        Raises:
            InputError: If the folder cannot be listed, or it is not clear which of several sidecars is meant.
        """
        found = dict.fromkeys(sidecar for picture in pictures for sidecar in self._of_one(picture))
        return list(found)

    def _of_one(self, picture: Path) -> list[Path]:
        full, stem = picture.name + ENDING, picture.stem + ENDING
        there = [known for name in dict.fromkeys([full, stem]) if (known := self._known(picture, name))]
        if there:
            return [picture.with_name(name) for name in there]
        return [picture.with_name(full if self.names == "name.ext.xmp" else stem)]

    def _known(self, picture: Path, name: str) -> str | None:
        """Return how a name is spelt in the picture's folder: as it stands, or with other case or normal form."""
        there = self._names(picture.parent).get(plain(name), [])
        if name in there or not there:
            return name if there else None
        # On a volume that tells case apart, `img.jpg.xmp` may belong to `img.jpg` and not to `IMG.JPG`.
        others = self._names(picture.parent).get(plain(picture.name), [])
        stems = {other[: -len(picture.suffix)] if picture.suffix else other for other in others} - {picture.stem}
        taken = {*others} - {picture.name} | stems
        free = [one for one in there if one[: -len(ENDING)] not in taken]
        if len(free) > 1:
            raise InputError(f"{', '.join(free)} may each be the sidecar of {picture.name}; rename all but one")
        return free[0] if free else None

    def _names(self, folder: Path) -> dict[str, list[str]]:
        if folder not in self._listed:
            names: dict[str, list[str]] = {}
            try:
                for entry in folder.iterdir():
                    names.setdefault(plain(entry.name), []).append(entry.name)
            except FileNotFoundError:  # a mirror that is not made yet
                pass
            except OSError as error:
                raise InputError(f"cannot list {folder}: {error.strerror}") from error
            self._listed[folder] = names
        return self._listed[folder]


def pictures_of(file: str, companions: Iterable[str]) -> list[str]:
    """Return the files of a shot that get marks: no film, no list of edits.

    Examples:
        >>> pictures_of("IMG_1.JPG", ["IMG_1.CR3", "IMG_1.MOV", "IMG_1.AAE"])
        ['IMG_1.JPG', 'IMG_1.CR3']
    """
    return [file, *(one for one in companions if Path(one).suffix.lower() not in NO_PICTURES)]
