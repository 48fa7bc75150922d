"""A folder of the picks: links to them, or copies. The images themselves are never touched.

picks-links/IMG_0001.JPG -> /photos/IMG_0001.JPG
picks-links/.links.json       what was put there, so that a later run takes back its own, and nothing else
"""

from __future__ import annotations

import json
import os
import shutil
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from piqa.errors import InputError
from piqa.moments.pick import PickedMoment
from piqa.system.files import digest_of, replacing
from piqa.system.json_text import write_json
from piqa.system.ownership import claim_folder, locked
from piqa.system.progress import progress

WHAT = "folder of picks"
JOURNAL = ".links.json"
LINK, COPY = "link", "copy"
Claim = dict[str, str]  # what a link points to, or the digest of a copy
Journal = dict[str, list[Claim]]  # by name; of several claims one holds, after a kill


@dataclass(frozen=True)
class Placed:
    """What was done: files that are in the folder now, earlier ones taken back, and a line on each that failed."""

    placed: int
    taken_back: int
    left: Sequence[str]


def picked_files(picked: Iterable[PickedMoment]) -> list[str]:
    """Return the files of all picks, with those that belong to the same shots, such as RAW."""
    return [
        file
        for moment in picked
        for shot in moment.ranked
        if shot.pick
        for file in (shot.shot.file, *shot.shot.companions)
    ]


def check_place(folder: str | Path, inputs: Iterable[str]) -> None:
    """Check that a folder of picks does not lie among the images, where the next run would take them for images.

    Raises:
        InputError: If it does.
    """
    place = Path(folder).resolve()
    for one in inputs:
        given = Path(one).resolve()
        if given.is_dir() and place.is_relative_to(given):
            raise InputError(f"the folder of picks {folder} lies in {one}, and would be searched; name one beside it")


def place_picks(files: Sequence[str], folder: str | Path, copy: bool = False) -> Placed:
    """Put links to files into a folder, or copies, and take back what an earlier run put there and is none now.

    Args:
        files: What is put there; names that stand twice, on any file system, get a number.
        folder: New or empty, or a folder of picks.
        copy: Whether files are copied.

    Raises:
        InputError: If the folder is somebody else's or cannot be written. A file that is gone is a line of the result.
    """
    folder = Path(folder)
    with locked(folder, folder=True):
        claim_folder(folder, WHAT)
        journal = {name: said for name, said in _read(folder).items() if _is_own(folder / name, said)}
        wanted = _names(files, folder, journal)
        taken_back = [name for name in journal if name not in wanted]
        for name in taken_back:
            (folder / name).unlink()
        left: list[str] = []
        with progress(len(wanted), task="copying" if copy else "linking") as advance, _told(folder):
            claims, left = _claims(wanted, copy)
            # Before anything is placed, and with what stood there before: so that it is known as ours after a kill.
            write_json({name: [*journal.get(name, []), claim] for name, claim in claims.items()}, folder / JOURNAL)
            for name, claim in claims.items():
                if not _matches(folder / name, claim):
                    left += _place(folder / name, wanted[name], copy)
                advance(1)
            write_json({name: [claim] for name, claim in claims.items()}, folder / JOURNAL)
    return Placed(len(wanted) - len(left), len(taken_back), left)


def _names(files: Sequence[str], folder: Path, journal: Journal) -> dict[str, str]:
    """Return the name of each file in the folder; what lies there and is not ours keeps its name."""
    taken = {_folded(one.name) for one in folder.iterdir() if one.name not in journal}
    names: dict[str, str] = {}
    for file in files:
        path = Path(file)
        name, number = path.name, 1
        while _folded(name) in taken:
            number += 1
            name = f"{path.stem}-{number}{path.suffix}"
        taken.add(_folded(name))
        names[name] = os.path.abspath(file)  # noqa: PTH100 -- links stay links
    return names


def _claims(wanted: Mapping[str, str], copy: bool) -> tuple[dict[str, Claim], list[str]]:
    """Return what will be known of each place, and a line on each file that is gone."""
    claims: dict[str, Claim] = {}
    left = []
    for name, file in wanted.items():
        try:
            claims[name] = {COPY: digest_of(file)} if copy else {LINK: file}
            if not copy:
                os.stat(file)  # noqa: PTH116 -- for each of many files
        except OSError as error:
            claims.pop(name, None)
            left.append(f"{name} is not there: {error.strerror or error}")
    return claims, left


def _place(target: Path, file: str, copy: bool) -> list[str]:
    """Put one file in its place, which is free or ours; return a line if the file is gone."""
    if target.is_symlink():
        target.unlink()  # `replacing` would write what it points to
    if copy:
        try:
            with replacing(target) as temporary:
                shutil.copyfile(file, temporary)
                shutil.copystat(file, temporary)
        except InputError as error:
            if Path(file).exists():
                raise
            return [f"{target.name} is not there: {error}"]
        return []
    target.unlink(missing_ok=True)  # a copy of ours, of an earlier run
    try:
        target.symlink_to(file)
    except (OSError, NotImplementedError) as error:
        raise InputError(
            f"cannot make links in {target.parent} ({error}); `--copy true` copies the picks instead"
        ) from error
    return []


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Turn an error of the disk into one that says what to do."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror or error}; name another folder") from error


def _is_own(target: Path, said: Sequence[Claim]) -> bool:
    """Whether what lies there is what an earlier run put there."""
    return any(_matches(target, one) for one in said)


def _matches(target: Path, claim: Claim) -> bool:
    try:
        if LINK in claim:
            return target.is_symlink() and os.readlink(target) == claim[LINK]  # noqa: PTH115
        return target.is_file() and not target.is_symlink() and digest_of(target) == claim.get(COPY)
    except OSError:
        return False


def _read(folder: Path) -> Journal:
    try:
        content = json.loads((folder / JOURNAL).read_text(encoding="utf-8"))
        return {
            name: [{str(key): str(value) for key, value in one.items()} for one in said]
            for name, said in content.items()
            if Path(name).name == name
        }
    except (OSError, ValueError, RecursionError, AttributeError, TypeError):
        return {}


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
