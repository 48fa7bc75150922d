"""Files of weights by name: found on this machine, or fetched, and checked before anything uses them.

A hash that is known is checked. Of most published weights none is: it is recorded at the first use, which is told, and
checked ever after. What the file holds is checked by its layout, whatever it is called.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from piqa.errors import FileAccessError, InputError
from piqa.system.progress import Advance, progress
from piqa.weights.cache import (
    RECORD,
    Download,
    folder_of,
    place_of,
    read_record,
    sha256_of,
    waiting_lock,
    write_record,
)
from piqa.weights.hosts import google_drive, hugging_face, plain_http
from piqa.weights.hosts.refusal import HostRefusal, Progress, check_reachable
from piqa.weights.registry import HUB, Entry, Source, entry_named, is_hub

INCOMING = "incoming"  # folder of what has come of a file, and is not checked yet
HOSTS = {"hf": "the Hugging Face Hub", "gdrive": "Google Drive", "github": "GitHub", "http": "its authors' site"}


@dataclass(frozen=True)
class Found:
    """A file that lies on this machine and is not checked yet; `came` if it was fetched just now."""

    path: Path
    came: bool = False
    revision: str | None = None
    sha256: str | None = None  # as the host states it


def fetch(entry: Entry, again: bool = False) -> Path:
    """Return the file of an entry, fetched if it is not on this machine, and checked.

    Args:
        entry: What is wanted.
        again: Whether a file that was not written since it was checked is checked once more.

    Raises:
        InputError: If it is not to be had, or is not what it should be; the message says where it belongs.
        FileAccessError: If another try may succeed, as without a connection.
    """
    if entry.why_not:
        raise InputError(f"{entry.name} is not run by piqa: {entry.why_not}")
    record = read_record(entry)
    if record is not None and record.holds() and not again:
        return Path(record.path)
    with waiting_lock(entry) as held:
        record = read_record(entry)
        if record is not None and record.holds() and not again:  # another process has fetched it meanwhile
            return Path(record.path)
        found = _on_this_machine(entry, record)
        if found is None:
            if not held:
                raise InputError(f"cannot write {folder_of(entry)}; name another folder by PIQA_HOME")
            found = _download(entry, record)
        return _checked(entry, found, record, held)


def named_file(given: object) -> Path | None:
    """Return the file of a name, fetched if need be; None if this is no name, or a path that exists.

    Raises:
        InputError: As `fetch`; or if it names the model of a repository, which is more than a file.
    """
    entry = entry_named(given)
    if entry is not None:
        return fetch(entry)
    return hub_model(str(given)) if is_hub(given) else None


def hub_model(given: str) -> Path:
    """Return the weights of `hf:owner/name[@revision]`, a model of piqa's own, with the card beside them.

    The repository holds `model.safetensors` and `model.json`, as a run's folder does. Without a revision, what is in
    the cache is taken as it is, and nothing is asked of the Hub.

    Raises:
        InputError: If this names no repository, or it holds no such model.
        FileAccessError: If another try may succeed.
    """
    repo, _, revision = given.removeprefix(HUB).partition("@")
    if len(parts := repo.split("/")) != 2 or not all(parts):
        raise InputError(f"{given} names no repository of the Hub; write it as {HUB}owner/name or {HUB}owner/name@main")
    kept = [hugging_face.cached(repo, file, revision or None) for file in ("model.json", "model.safetensors")]
    if kept[1] is not None and kept[0] is not None:
        return kept[1]
    try:
        check_reachable(hugging_face.address())
        _tell(f"{given}: fetching model.json and model.safetensors from {HOSTS['hf']}")
        card = hugging_face.download(repo, "model.json", revision or None)
        weights = hugging_face.download(repo, "model.safetensors", card.revision)
    except HostRefusal as error:
        kind = FileAccessError if error.passing else InputError
        what = "its model.json and model.safetensors, as a run's folder holds them, are needed"
        raise kind(f"{given}: {error.reason}; {what}: download them into one folder, and give that") from error
    except OSError as error:
        raise _disk_fault(given, error) from error
    if weights.sha256 is not None and weights.sha256 != sha256_of(weights.path):
        _remove(weights.path)
        raise InputError(f"{given}: what came is not what the Hub says it is (sha256); give the command again")
    return weights.path


def _on_this_machine(entry: Entry, record: Download | None) -> Found | None:
    """Return the file of an entry if it lies here: put there by hand, found good before, or in the Hub's cache."""
    source = entry.source
    if (place := place_of(entry)).is_file():
        return Found(place)
    if record is not None and Path(record.path).is_file():
        return Found(Path(record.path), revision=record.revision)
    if source.host == "hf":
        revision = _pinned(entry, record)
        if (kept := hugging_face.cached(str(source.repo), source.file, revision)) is not None:
            return Found(kept, revision=_commit_of(kept))
    return None


def _pinned(entry: Entry, record: Download | None) -> str | None:
    """Return the commit of the first use, or else the one that the registry pins, if it does."""
    return (record.revision if record is not None else None) or entry.source.revision


def _commit_of(path: Path) -> str | None:
    """Return the commit of a file in the Hub's cache, `snapshots/<commit>/<file>`."""
    return next((one for one in path.parts if len(one) == 40 and not set(one) - set("0123456789abcdef")), None)


def _download(entry: Entry, record: Download | None) -> Found:
    source, place = entry.source, place_of(entry)
    incoming = folder_of(entry) / INCOMING
    try:
        check_reachable(_address(source))
        _tell(f"{entry.name}: fetching {source.file} ({source.size}) from {HOSTS[source.host]}; {entry.licence_line}")
        if source.host == "hf":
            revision = _pinned(entry, record)
            kept = hugging_face.download(str(source.repo), source.file, revision)
            return Found(kept.path, True, kept.revision, kept.sha256)
        incoming.mkdir(parents=True, exist_ok=True)
        target = incoming / place.name
        with _shown(entry) as report:
            _transfer(source, target, report)
        return Found(target, True)
    except HostRefusal as error:
        kind = FileAccessError if error.passing else InputError
        raise kind(f"{entry.name}: {error.reason}; {by_hand(entry)}") from error
    except OSError as error:
        raise _disk_fault(entry.name, error) from error


def _address(source: Source) -> str:
    """Return an address at the host of a file."""
    if source.host == "hf":
        return hugging_face.address()
    return google_drive.ADDRESS if source.host == "gdrive" else str(source.url)


def _transfer(source: Source, target: Path, report: Progress) -> None:
    if source.host == "gdrive":
        google_drive.download(str(source.id), target, report)
    else:
        plain_http.download(str(source.url), target, report)


def by_hand(entry: Entry) -> str:
    """Return how the file of an entry is had without this program: what it is, where it is, and where it belongs."""
    what = f"{Path(entry.source.file).name} ({entry.source.size})"
    return f"without this program: {what} is at {entry.source.page} and belongs at {place_of(entry)}"


def _disk_fault(what: str, error: OSError) -> InputError:
    reason = error.strerror or str(error)
    room = "make room, or name another folder by PIQA_HOME or HF_HOME; what came is kept"
    return InputError(f"{what}: cannot write {error.filename or 'the file'}: {reason}; {room}")


def _checked(entry: Entry, found: Found, record: Download | None, held: bool) -> Path:
    """Check a file, put it in its place, and record its hash; return where it lies."""
    source, path = entry.source, found.path
    try:
        size, sha256 = path.stat().st_size, sha256_of(path)
    except OSError as error:
        kind = FileAccessError if error.errno in (errno.EIO, errno.ESTALE, errno.EACCES) else InputError
        raise kind(f"{entry.name}: cannot read {path}: {error.strerror}; check its permissions") from error
    stated = source.sha256 or found.sha256
    with _removed_if_bad(found):
        if source.bytes is not None and size != source.bytes:
            raise InputError(f"{_bad(entry, found)}: it has {size} bytes instead of {source.bytes}")
        if stated is not None and sha256 != stated:
            raise InputError(f"{_bad(entry, found)}: its sha256 is {sha256}, published is {stated}")
        if record is not None and sha256 != record.sha256:
            raise InputError(
                f"{_bad(entry, found)}: its sha256 is {sha256}, but was {record.sha256} when it was first used "
                f"({record.recorded}); if it was published anew, and you trust that, remove {folder_of(entry) / RECORD}"
            )
        _check_content(entry, path)
    if found.came and source.host != "hf":
        path = _moved(entry, path)
    if held:
        published = stated is not None or (record is not None and record.published)
        revision = found.revision or (record.revision if record is not None else None)
        write_record(entry, Download.of(path, sha256, published, source.page, revision))
        if record is None and not published:
            first = "nobody has published its sha256, so that of this first use is recorded, and checked from now on"
            _tell(f"{entry.name}: {first}: {sha256}")
    return path


def _bad(entry: Entry, found: Found) -> str:
    return f"{entry.name}: {'what came' if found.came else str(found.path)} is not the published {entry.source.file}"


def _check_content(entry: Entry, path: Path) -> None:
    """Check that a file holds what it should, by the names and shapes in it."""
    from piqa.weights.published import check_content  # torch is not needed before there is a file

    check_content(entry, path)


def _moved(entry: Entry, path: Path) -> Path:
    place = place_of(entry)
    try:
        path.replace(place)
        path.parent.rmdir()
    except OSError as error:
        if not place.is_file():
            raise _disk_fault(entry.name, error) from error
    return place


@contextmanager
def _removed_if_bad(found: Found) -> Iterator[None]:
    """Remove a file that was fetched just now and is not what it should be, so that the next try fetches it anew."""
    try:
        yield
    except InputError:
        if found.came:
            _remove(found.path)
        raise


def _remove(path: Path) -> None:
    """Remove a file; of a link, as the Hub's cache has, what it points to as well."""
    with suppress(OSError):
        target = path.resolve()
        path.unlink(missing_ok=True)
        target.unlink(missing_ok=True)


@contextmanager
def _shown(entry: Entry) -> Iterator[Progress]:
    """Show how much of a file has come; yield what is told so."""
    with ExitStack() as stack:
        advance: Advance | None = None
        shown = 0

        def report(done: int, total: int | None) -> None:
            nonlocal advance, shown
            megabytes = done // 1_000_000
            if advance is None:
                expected = total / 1e6 if total is not None else entry.source.megabytes or megabytes
                advance = stack.enter_context(progress(round(expected), megabytes, task=entry.name, unit="MB"))
                shown = megabytes
            elif megabytes != shown:
                advance(megabytes - shown)
                shown = megabytes

        yield report


def _tell(line: str) -> None:
    print(f"piqa: {line}", file=sys.stderr, flush=True)
