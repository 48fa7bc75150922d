"""What images are called in a report: names without the machine's folders, and safe, unique names of their pages."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from piqa.system.csv_cells import RUNS
from piqa.system.shown_paths import EMBEDDED, shown_path
from piqa.web.text import printable as printable

NAME_LENGTH = 60  # characters of a page's name, far below what any file system takes
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)", re.IGNORECASE)  # names that Windows gives to devices
PLACE = "{file}"  # stands for the image in a message that is kept


def shown_names(files: Sequence[str]) -> list[str]:
    """Return what each image is called in the report: never where it lies on this machine.

    Relative paths stay as they are given, as `piqa.predict` writes them. Where one is absolute or leads upward, all are
    told from the folder that they have in common.

    Examples:
        >>> shown_names(["a.jpg", "more/b.jpg"])
        ['a.jpg', 'more/b.jpg']
        >>> shown_names(["/home/me/trip/day 1/a.jpg", "/home/me/trip/day 2/a.jpg"])
        ['day 1/a.jpg', 'day 2/a.jpg']
    """
    paths = [os.path.normpath(file) for file in files]
    if any(os.path.isabs(path) or Path(path).parts[:1] == (os.pardir,) for path in paths):  # noqa: PTH117
        paths = [os.path.abspath(path) for path in paths]  # noqa: PTH100
        common = os.path.commonpath([os.path.dirname(path) for path in paths])  # noqa: PTH120
        paths = [os.path.relpath(path, common) for path in paths]
    names = [path.replace(os.sep, "/") for path in paths]
    return [f"./{name}" if name.startswith(RUNS) else name for name in names]  # no formula for a spreadsheet


def folder_of(name: str) -> str:
    """Return the folder in a shown name; "" for none."""
    return name.rpartition("/")[0]


def page_names(names: Sequence[str]) -> list[str]:
    """Return a name for each image's page: letters, digits, `-` and `_` only, and none twice on any file system.

    Examples:
        >>> page_names(["a b.jpg", "c.jpg"])
        ['a-b.html', 'c.html']
    """
    plain = [_plain(name) for name in names]
    count = Counter(name.casefold() for name in plain)
    return [
        f"{short}.html" if count[short.casefold()] == 1 else f"{short}-{_digest(name)}.html"
        for short, name in zip(plain, names, strict=True)
    ]


def without_paths(text: str, file: str) -> str:
    """Return a message on an image with the image's path replaced by `PLACE`, and any other by its last part."""
    absolute = str(Path(file).absolute())
    for spelling in sorted({file, absolute, os.path.realpath(file)}, key=len, reverse=True):
        text = text.replace(spelling, PLACE)
    return EMBEDDED.sub(lambda found: shown_path(found[0]), text)


def _plain(name: str) -> str:
    stem = Path(name.rpartition("/")[2]).stem
    plain = re.sub(r"[^A-Za-z0-9_]+", "-", stem).strip("-")[:NAME_LENGTH]
    changed = plain.casefold() != stem.casefold() and not re.fullmatch(r"[\w .,()+-]+", stem, re.ASCII)
    if changed or not plain or RESERVED.fullmatch(plain) or len(stem) > NAME_LENGTH:
        plain = f"{plain or 'image'}-{_digest(name)}"
    return plain


def _digest(name: str) -> str:
    return hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=4).hexdigest()
