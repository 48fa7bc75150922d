"""The files that are meant, as shots: RAW and JPEG, picture and film, picture and edits are one shot."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from piqa.errors import InputError
from piqa.moments.capture_facts import CaptureFacts, read_capture_facts
from piqa.moments.file_names import is_preferred, named_burst, plain, shot_key
from piqa.moments.moment import Shot
from piqa.preparation.image_formats import RAW
from piqa.scoring.file_list import expand
from piqa.system.files import digest_of
from piqa.system.progress import progress

FILMS = frozenset((".mov", ".mp4", ".m4v"))
COMPANIONS = FILMS | {".aae", ".thm"}
ONE_SHOT = 2.0  # seconds between the times that the files of one shot may tell: RAW and JPEG are written in turn
READERS = 8  # threads that read tags, which wait for the disk

NOTHING = CaptureFacts()


@dataclass(frozen=True)
class Shots:
    """What was found.

    Attributes:
        shots: In the order of the files' names.
        left_out: A line for each folder that could not be read, and on the files that are none of a shot.
    """

    shots: list[Shot]
    left_out: list[str]


@dataclass(frozen=True)
class _File:
    """A file with what it says of itself, or why it could not be read."""

    path: str
    size: int = 0
    facts: CaptureFacts = NOTHING
    fault: str = ""


def find_shots(paths: Sequence[str], listed: str | None = None, *, quiet: bool = True) -> Shots:
    """Return the shots in files and folders.

    Files of one shot lie in one folder and share a name but for its ending, its case and its form of Unicode. Files
    that cannot be read are shots with a `fault`; one that vanishes costs its own row, too. Links to folders are not
    followed, and a file that is meant twice comes once.

    Args:
        paths: Images and folders, as `piqa.scoring.file_list.expand` takes them.
        listed: Text file of more, one a line.
        quiet: Whether to show no progress.

    Raises:
        InputError: If something is not there, or there is no image.
    """
    lines: list[str] = []
    names = expand(paths, listed, lines.append, COMPANIONS)
    images = [name for name in names if _ending(name) not in COMPANIONS]
    others = [name for name in names if _ending(name) in COMPANIONS]
    if not images:
        raise InputError(f"there is no picture in {', '.join(map(str, paths))}; name a folder of pictures")
    with progress(len(images), task="reading capture times", quiet=quiet) as advance:
        files = _read(images, lambda: advance(1))
    shots, unpaired = _paired(files, others)
    return Shots(shots, [*lines, *_unpaired_in_words(unpaired)])


def _read(images: Iterable[str], advance: Callable[[], None]) -> list[_File]:
    files = []
    with ThreadPoolExecutor(READERS) as pool:
        for file in pool.map(_read_file, images):
            files.append(file)
            advance()
    return files


def _read_file(path: str) -> _File:
    try:
        size = os.stat(path).st_size  # noqa: PTH116 -- a Path fails for a name of 300 letters
        if not size:
            return _File(path, fault=f"{path} is empty; copy or download it again")
        return _File(path, size, read_capture_facts(path))
    except InputError as error:
        return _File(path, fault=str(error))
    except (OSError, ValueError) as error:
        return _File(path, fault=f"cannot read {path}: {getattr(error, 'strerror', error)}; check the path")


def _paired(files: Sequence[_File], others: Sequence[str]) -> tuple[list[Shot], list[str]]:
    """Return the shots, and those of the other files that belong to none."""
    by_key: defaultdict[tuple[str, str], list[_File]] = defaultdict(list)
    for file in files:
        by_key[_key(file.path)].append(file)
    companions: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for path in others:
        companions[_key(path)].append(path)
    together: list[list[_File]] = []
    for group in by_key.values():
        together += _of_one_shot(group)
    shots = []
    for group in _without_copies(together):
        keys = dict.fromkeys(_key(file.path) for file in group)
        beside = [path for key in keys for path in companions.pop(key, [])]
        shots.append(_shot(group, beside))
    place = {file.path: number for number, file in enumerate(files)}
    shots.sort(key=lambda shot: place[shot.file])
    return shots, sorted(path for paths in companions.values() for path in paths)


def _key(path: str) -> tuple[str, str]:
    return os.path.dirname(path), shot_key(path)  # noqa: PTH120 -- for each of many files


def _of_one_shot(group: list[_File]) -> list[list[_File]]:
    """Split files of one name into shots: two pictures are one only if a camera wrote both at the same time."""
    shots: list[list[_File]] = []
    for file in sorted(group, key=lambda file: (_ending(file.path) in RAW, file.path)):
        fitting = next((shot for shot in shots if _fits(file, shot)), None)
        if fitting is None:
            shots.append([file])
        else:
            fitting.append(file)
    return shots


def _fits(file: _File, shot: list[_File]) -> bool:
    """Whether a file belongs to a shot of the same name."""
    times = file.facts.seconds, shot[0].facts.seconds
    if None not in times and abs(times[0] - times[1]) > ONE_SHOT:  # type: ignore[operator]
        return False
    if _ending(file.path) in RAW:
        return not any(_ending(other.path) == _ending(file.path) for other in shot)
    return times[0] is not None and times[1] is not None and file.facts.camera == shot[0].facts.camera


def _without_copies(shots: list[list[_File]]) -> list[list[_File]]:
    """Join shots of one folder that are the same bytes, or that Apple calls the same content."""
    alike: defaultdict[tuple[object, ...], list[list[_File]]] = defaultdict(list)
    for shot in shots:
        folder = os.path.dirname(shot[0].path)  # noqa: PTH120
        content = shot[0].facts.content
        alike[(folder, content) if content else (folder, shot[0].size, shot[0].facts)].append(shot)
    joined: list[list[_File]] = []
    for similar in alike.values():
        if len(similar) == 1 or similar[0][0].facts.content:
            joined.append([file for shot in similar for file in shot])
            continue
        by_digest: defaultdict[str, list[_File]] = defaultdict(list)
        for shot in similar:
            by_digest[_digest(shot[0])].extend(shot)
        joined += by_digest.values()
    return joined


def _digest(file: _File) -> str:
    """Return the digest of a file's bytes; its own name where it cannot be read."""
    try:
        return file.path if file.fault else digest_of(file.path)
    except OSError:
        return file.path


def _shot(files: list[_File], beside: list[str]) -> Shot:
    """Return the shot of these files, and of other files beside them."""
    main = min(files, key=lambda file: (_ending(file.path) in RAW, bool(file.fault), not is_preferred(file.path)))
    known = [main.facts, *(file.facts for file in files)]
    timed = next((facts for facts in known if facts.seconds is not None), main.facts)
    named = named_burst(main.path)
    folder = os.path.dirname(main.path)  # noqa: PTH120
    return Shot(
        file=main.path,
        companions=(*(file.path for file in files if file is not main), *beside),
        seconds=timed.seconds,
        subseconds=timed.subseconds,
        offset=timed.offset,
        camera=timed.camera,
        burst=next((facts.burst for facts in known if facts.burst), None),
        series=None if named is None else f"{plain(folder)}/{named.key}",
        cover=any(facts.cover for facts in known) or (named is not None and named.cover),
        ev=timed.ev,
        bias=timed.bias,
        exposure=timed.exposure,
        bracketing=any(facts.bracketing for facts in known),
        fault=main.fault,
    )


def _unpaired_in_words(paths: Sequence[str]) -> list[str]:
    if not paths:
        return []
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(map(_ending, paths)).most_common())
    films = any(_ending(path) in FILMS for path in paths)
    advice = "; name a film itself to have its frames" if films else ""
    were = "file beside no picture was" if len(paths) == 1 else "files beside no picture were"
    return [f"{len(paths)} {were} left out: {kinds}{advice}"]


def _ending(path: str) -> str:
    return os.path.splitext(path)[1].lower()  # noqa: PTH122 -- for each of many files
