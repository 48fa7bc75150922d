"""Which image files a command line means."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from PIL import Image

from piqa.errors import InputError


def expand(images: Sequence[str], listed: str | None = None) -> list[str]:
    """Return the files that are meant: those named, and all images below each folder, in order of name.

    A file that is meant twice, or by two spellings of its path, comes once.

    Args:
        images: Images and folders.
        listed: Text file of more, one a line. They are not looked up here: one that is not there costs its row.

    Raises:
        InputError: If something is not there, or a folder holds no image, or nothing is meant.
    """
    if len(images) == 1 and listed is None:
        return _meant_by(images[0])
    files: dict[str, str] = {}  # by absolute path, in the first spelling
    named = (file for image in images for file in _meant_by(image))
    for file in chain(named, [] if listed is None else _lines(listed)):
        files.setdefault(os.path.abspath(file), file)  # noqa: PTH100 -- resolve() asks the disk about every file
    if not files:
        raise InputError("there is nothing to score; name images, folders, or a text file that lists images (`--list`)")
    return list(files.values())


def _meant_by(image: str) -> list[str]:
    path = Path(image)
    if not path.exists():
        raise InputError(f"there is no file or folder {path}")
    if not path.is_dir():
        return [str(path)]
    Image.init()
    endings = {ending for ending, name in Image.registered_extensions().items() if name in Image.OPEN} - {".pdf"}
    if found := list(_below(str(path), tuple(endings))):
        return found
    raise InputError(f"there is no image in the folder {path}")


def _below(folder: str, endings: tuple[str, ...]) -> Iterator[str]:
    """Yield the images below a folder, in order of name; links to folders are not followed."""
    try:
        with os.scandir(folder) as entries:
            inside = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"cannot read the folder {folder}: {error.strerror}") from error
    for entry in inside:
        if entry.is_dir(follow_symlinks=False):
            yield from _below(entry.path, endings)
        elif entry.name.lower().endswith(endings) and entry.is_file():
            yield str(Path(entry.path))


def _lines(names: str) -> list[str]:
    from piqa.system.csv_text import read_text  # imports pandas, which a command without a list does not need

    lines = io.StringIO(read_text(names, errors="surrogateescape"), newline=None)  # a file's name may be any bytes
    return [name for line in lines if (name := line.rstrip("\n"))]
