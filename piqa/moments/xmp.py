"""Marks of picks for other programs: ratings and labels in XMP sidecars, merged into what is there.

Only sidecars are written, never a picture. The user's own marks come first: a rating is never lowered, a label is never
replaced, and what the user has rejected stays so. `marks_journal` takes all of it back.

References: Adobe XMP Specification Part 1 (2012) for xmp:Rating (-1 rejected, 0 to 5), xmp:Label, xmp:MetadataDate;
digiKam's PickLabel (0 none, 1 rejected, 2 pending, 3 accepted).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from piqa.errors import InputError
from piqa.moments.file_names import plain
from piqa.moments.marks_journal import Journal, Undone, new_entry, read_sidecar, replace_sidecar, undo_marks
from piqa.moments.pick import PickedMoment, RankedShot
from piqa.moments.sidecars import SidecarNames, Sidecars, pictures_of
from piqa.moments.user_marks import ACCEPTED, LABEL, PICK_LABEL, RATING, REJECTED, XMP, user_marks
from piqa.moments.xmp_packet import EMPTY, Packet, Property, read_packet

__all__ = ["MarkOptions", "Marked", "SidecarNames", "Undone", "undo_marks", "write_marks"]

OWN = "urn:dn-piqa:picks:1.0/"
DATE = (XMP, "MetadataDate")
# MicrosoftPhoto:Rating, which Windows keeps beside xmp:Rating; its namespace is written in two ways.
PERCENT_RATINGS = [(f"http://ns.microsoft.com/photo/1.0{end}", "Rating") for end in ("/", "")]
PERCENT = {-1: "0", 1: "1", 2: "25", 3: "50", 4: "75", 5: "99"}  # of stars
Verdict = Literal["pick", "reject"]


@dataclass(frozen=True)
class MarkOptions:
    """How picks are marked.

    Attributes:
        journal: The file by which `undo_marks` takes the marks back.
        root: The folder of the pictures, of which `sidecars` is a mirror.
        names: The form of a sidecar's name where a picture has none yet.
        sidecars: Another folder for the sidecars, as that of the pictures cannot be written; None for beside them.
        reject: Whether the shots of a moment that were not picked are marked as rejected, unless it is too close.
        rating: Stars of a pick, 1 to 5.
        label: Label of a pick; "" for none.
        model: The name of the model that ranked them; "" for none.
        path_of: Finds the file of a name in a shot.
    """

    journal: Path
    root: Path
    names: SidecarNames = "name.ext.xmp"
    sidecars: Path | None = None
    reject: bool = False
    rating: int = 5
    label: str = "Green"
    model: str = ""
    path_of: Callable[[str], Path] = Path

    def __post_init__(self) -> None:
        if not 1 <= self.rating <= 5:
            raise InputError(f"the rating of a pick is {self.rating}; give 1 to 5 stars")


@dataclass
class Marked:
    """What was done.

    Attributes:
        written: Sidecars that were made or changed.
        unchanged: Sidecars that had the marks already.
        taken_back: Sidecars that lost the marks of an earlier run.
        left: A line for each shot or sidecar that was left alone, with the reason.
    """

    written: int = 0
    unchanged: int = 0
    taken_back: int = 0
    left: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Wish:
    """A shot, what is to be said of it, and where; `source`: the sidecar beside it, where another folder is written."""

    picked: PickedMoment
    shot: RankedShot
    verdict: Verdict | None
    sidecar: Path
    source: Path
    picture: Path


def write_marks(
    picked: Iterable[PickedMoment], options: MarkOptions, advance: Callable[[int], None] = lambda shots: None
) -> Marked:
    """Write the marks of picks into sidecars, and take back those of an earlier run with the same journal.

    A run that was stopped is continued by running it again: marks that are there are not written twice.

    Args:
        picked: The moments.
        options: How and where.
        advance: Told of shots whose sidecars are written, or that get none.

    Raises:
        InputError: If the journal cannot be read. What hinders a single sidecar is a line of the result.
    """
    journal, marked = Journal(options.journal), Marked()
    by_sidecar: dict[str, list[_Wish]] = {}
    for wish in _wishes(picked, options, marked):
        by_sidecar.setdefault(_key(wish.sidecar, options), []).append(wish)
    wanted, told = set[Path](), set[int]()
    for wishes in by_sidecar.values():
        said = [wish for wish in wishes if wish.verdict is not None]
        shots = {id(wish.shot) for wish in wishes}
        if said:
            wanted.add(said[0].sidecar)
            if len(shots) > 1:
                names = ", ".join(dict.fromkeys(wish.picture.name for wish in wishes))
                of = said[0].sidecar.name
                marked.left.append(f"{of} is the sidecar of several shots ({names}) and is left alone")
            else:
                with _told(said[0].picture, marked):
                    _mark(said[0], journal, options, marked)
        advance(len(shots - told))
        told |= shots
    kept = {*journal.entries}
    for sidecar in kept - wanted:
        with _told(sidecar, marked):
            _take_back(sidecar, journal, marked)
            kept.remove(sidecar)
    if len(kept) < len(journal.entries):
        journal.keep([sidecar for sidecar in journal.entries if sidecar in kept])
    return marked


def _wishes(picked: Iterable[PickedMoment], options: MarkOptions, marked: Marked) -> Iterator[_Wish]:
    sidecars = Sidecars(options.names)
    for moment in picked:
        for shot in moment.ranked:
            pictures = [
                Path(os.path.abspath(options.path_of(one)))  # noqa: PTH100 - links stay links
                for one in pictures_of(shot.shot.file, shot.shot.companions)
            ]
            verdict = _verdict(shot, moment, options)
            try:
                for source in sidecars.of(_there(pictures)):
                    sidecar = _mirrored(source, options)
                    place = sidecar.parent.resolve() / sidecar.name
                    yield _Wish(moment, shot, verdict, place, source, pictures[0])
            except InputError as error:
                if verdict is not None:
                    marked.left.append(f"{pictures[0].name} gets no marks: {error}")


def _there(pictures: list[Path]) -> list[Path]:
    """Return the files that are still there; a sidecar of a file that is gone would be an orphan."""
    if not pictures[0].exists():
        raise InputError("it is no longer there")
    return [picture for picture in pictures if picture.exists()]


def _verdict(shot: RankedShot, moment: PickedMoment, options: MarkOptions) -> Verdict | None:
    if shot.pick:
        return "pick"
    kept = any(other.pick for other in moment.ranked)
    rejected = options.reject and kept and not moment.close and shot.rank is not None
    return "reject" if rejected else None


def _mirrored(sidecar: Path, options: MarkOptions) -> Path:
    if options.sidecars is None:
        return sidecar
    root = Path(os.path.abspath(options.root))  # noqa: PTH100
    if not sidecar.is_relative_to(root):
        raise InputError(f"it does not lie below {root}, of which {options.sidecars} is a mirror")
    return Path(os.path.abspath(options.sidecars)) / sidecar.relative_to(root)  # noqa: PTH100


def _key(sidecar: Path, options: MarkOptions) -> str:
    """Return by what two sidecars are known to be one file; a mirror may lie on a volume without cases of letters."""
    if options.sidecars is not None:
        return plain(str(sidecar))
    return os.path.realpath(sidecar)


@contextmanager
def _told(of: Path, marked: Marked) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        marked.left.append(f"{of.name} is left alone: {error}")


def _mark(wish: _Wish, journal: Journal, options: MarkOptions, marked: Marked) -> None:
    now = read_sidecar(wish.sidecar)
    base = None if now is None else journal.without_marks(wish.sidecar, now)
    start = base if base is not None else _source(wish)
    packet = read_packet(EMPTY if start is None else start)
    overruled: set[Property] = set() if now is None else journal.overruled(wish.sidecar, now)
    values = {name: value for name, value in _values(wish, packet, options).items() if name not in overruled}
    if now is not None and _says(now, values):
        marked.unchanged += 1
        return
    values[DATE] = datetime.now().astimezone().isoformat(timespec="seconds")
    content = packet.edited(values)
    if not wish.sidecar.parent.is_dir() or os.access(wish.sidecar.parent, os.W_OK):
        journal.note(new_entry(wish.sidecar, None if base is None else packet, content, values, overruled))
        replace_sidecar(wish.sidecar, now, content)
        marked.written += 1
    else:
        raise InputError("its folder cannot be written; `--sidecars FOLDER` writes into another")


def _source(wish: _Wish) -> bytes | None:
    """Return the sidecar beside the picture, from which one in another folder starts."""
    return None if wish.source == wish.sidecar else read_sidecar(wish.source)


def _says(content: bytes, values: Mapping[Property, str | None]) -> bool:
    packet = read_packet(content)
    return all(packet.value(name) == (None if value is None else value.strip()) for name, value in values.items())


def _take_back(sidecar: Path, journal: Journal, marked: Marked) -> None:
    now = read_sidecar(sidecar)
    if now is None:
        return
    before = journal.without_marks(sidecar, now)
    if before != now:
        replace_sidecar(sidecar, now, before)
        marked.taken_back += 1


def _values(wish: _Wish, packet: Packet, options: MarkOptions) -> dict[Property, str | None]:
    """Return what is to be written; raise InputError where the user's own marks are against it."""
    user = user_marks(packet, wish.picture)
    values: dict[Property, str | None] = {}
    if wish.verdict == "pick":
        if user.rejects:
            raise InputError("you have rejected it, which stays so")
        rating = options.rating
        if user.stars < rating:
            values[RATING] = str(rating)
        if options.label and not user.label:
            values[LABEL] = options.label
        values[PICK_LABEL] = ACCEPTED
    else:
        if user.likes:
            raise InputError("you have rated it, so it is not rejected")
        rating = -1
        values |= {RATING: "-1", PICK_LABEL: REJECTED}
    if RATING in values:
        values |= {name: PERCENT[rating] for name in PERCENT_RATINGS if packet.value(name) is not None}
    return values | _own_values(wish, options)


def _own_values(wish: _Wish, options: MarkOptions) -> dict[Property, str | None]:
    shot = wish.shot
    said = {
        "moment": wish.picked.moment.name,
        "rank": None if shot.rank is None else str(shot.rank),
        "score": None if shot.score is None else f"{shot.score:.6g}",
        "probability": None if shot.probability is None else f"{shot.probability:.4g}",
        "model": options.model or None,
    }
    return {(OWN, name): value for name, value in said.items() if value is not None}
