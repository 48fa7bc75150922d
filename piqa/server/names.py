"""What clients call their images: names to show, never paths of the server; and files below its root."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

from piqa.errors import InputError
from piqa.system.phrases import Phrase

MOST = 250  # characters of a name
DRIVE = re.compile(r"[A-Za-z]:")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # of a model
JOINERS = "\u200c\u200d"  # which some scripts are not written without
HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}  # categories: control, format (which turns text around), ...


def display_name(given: str) -> str:
    r"""Return what an image is called from the name that a client gave it: folders below each other, and a file.

    Raises:
        InputError: If it is too long.

    Examples:
        >>> display_name("../../etc/passwd"), display_name("C:\\photos\\day 1\\a.jpg"), display_name("\0")
        ('etc/passwd', 'photos/day 1/a.jpg', 'image')
    """
    if len(given) > MOST:
        raise InputError(
            Phrase("a name of {length} characters; {most} at most are taken", length=len(given), most=MOST)
        )
    text = unicodedata.normalize("NFC", given).replace("\\", "/")
    text = "".join(letter for letter in text if not _is_hidden(letter))
    parts = [part.strip() for part in text.split("/")]
    kept = [part for part in parts if part not in ("", ".", "..") and not DRIVE.fullmatch(part)]
    return "/".join(kept) or "image"


def plain_text(given: str) -> str:
    r"""Return what somebody has typed as one line: no control characters, and none that turn text around.

    Examples:
        >>> plain_text(" Ann\r\n  \0Lee\u202e ")
        'Ann Lee'
    """
    kept = (letter for letter in given if letter in JOINERS or letter.isspace() or not _is_hidden(letter))
    return " ".join("".join(kept).split()).strip(JOINERS)


def numbered(name: str, number: int) -> str:
    """Return the name with a number.

    Examples:
        >>> numbered("day 1/a.jpg", 2)
        'day 1/a (2).jpg'
    """
    stem, dot, ending = name.rpartition(".")
    if not dot or "/" in ending:
        stem, dot, ending = name, "", ""
    return f"{stem} ({number}){dot}{ending}"


def _is_hidden(letter: str) -> bool:
    return unicodedata.category(letter) in HIDDEN


def below_root(root: Path | None, name: str) -> Path:
    """Return the file of this name below the server's root.

    Raises:
        InputError: If there is no root, or the name leads out of it, by itself or by a symbolic link. What is there
            and what is not outside the root is not told.
    """
    if root is None:
        raise InputError(Phrase("this server has no `--root` whose images could be named; upload them"))
    if "\0" in name or len(name) > 4096 or os.path.isabs(name):  # noqa: PTH117 -- a Path would lose a final slash
        raise InputError(Phrase("an image is named by its path from the server's `--root`, such as day_1/a.jpg"))
    base = root.resolve()
    try:
        path = (base / name).resolve()
    except (OSError, RuntimeError, ValueError):
        path = base.parent
    if path == base or not path.is_relative_to(base) or ".." in Path(name).parts:
        raise InputError(
            Phrase(
                "{name} does not lie below the server's `--root`; name an image that does",
                name=display_name(name[:MOST]),
            )
        )
    return path
