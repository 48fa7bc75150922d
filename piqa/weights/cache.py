"""Where fetched weights are kept, and what is known of each: a folder a name, with the file and `download.json`.

The folder is `PIQA_HOME`, by default `piqa` among the user's caches. Files of the Hugging Face Hub stay in its own
cache, which other programs share; only `download.json` is here then.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from filelock import SoftFileLock, Timeout

from piqa.errors import InputError
from piqa.system.json_text import write_json
from piqa.system.progress import told_if_slow
from piqa.weights.registry import Entry

RECORD = "download.json"
LOCK = ".fetching.lock"
LONGEST_WAIT = 2 * 3600.0  # seconds for another process that fetches the same file


def home() -> Path:
    """Return the folder of all: the environment's `PIQA_HOME`, or that of the user's caches."""
    if given := os.environ.get("PIQA_HOME"):
        return Path(given).expanduser().absolute()
    import platformdirs

    return platformdirs.user_cache_path("piqa", appauthor=False)


def folder_of(entry: Entry) -> Path:
    """Return the folder of an entry."""
    return home() / "models" / entry.name


def place_of(entry: Entry) -> Path:
    """Return where the file of an entry belongs that is put there by hand."""
    return folder_of(entry) / Path(entry.source.file).name


@dataclass(frozen=True)
class Download:
    """What is known of a file that was fetched and found to be good.

    Args:
        path: Where it lies.
        sha256: Of its content, at the first use or as published.
        published: Whether the hash is one that a public text, or the host itself, states.
        bytes: Its size, and with `modified`, in nanoseconds, how it is known that it was not written since.
        modified: As above.
        source: Address that it came from.
        revision: Commit of the repository on the Hub.
        recorded: When.
    """

    path: str
    sha256: str
    published: bool
    bytes: int
    modified: int
    source: str
    revision: str | None = None
    recorded: str = ""

    @classmethod
    def of(cls, path: Path, sha256: str, published: bool, source: str, revision: str | None) -> Download:
        """Describe a file as it lies there."""
        status, now = path.stat(), datetime.now(timezone.utc).isoformat(timespec="seconds")
        return cls(str(path), sha256, published, status.st_size, status.st_mtime_ns, source, revision, now)

    def holds(self) -> bool:
        """Whether the file is still there, and was not written since."""
        try:
            status = Path(self.path).stat()
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (self.bytes, self.modified)


def read_record(entry: Entry) -> Download | None:
    """Return what is known of an entry's file; None where nothing is, or nothing that can be read."""
    try:
        content = json.loads((folder_of(entry) / RECORD).read_text(encoding="utf-8"))
        record = Download(**content)
        return record if isinstance(record.path, str) and isinstance(record.sha256, str) else None
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def write_record(entry: Entry, download: Download) -> None:
    """Keep what is known of an entry's file; InputError if it cannot be written."""
    write_json(asdict(download), folder_of(entry) / RECORD)


def cached_file(entry: Entry) -> Path | None:
    """Return the file of an entry if it lies on this machine; nothing is fetched, and nothing is checked."""
    record = read_record(entry)
    if record is not None and Path(record.path).is_file():
        return Path(record.path)
    place = place_of(entry)
    return place if place.is_file() else None


@contextmanager
def waiting_lock(entry: Entry) -> Iterator[bool]:
    """Hold the lock of an entry's folder, once another process has fetched the file; yield whether it is held.

    It is not held, and cannot be, where the folder is not writable, as a common one of many users may be.

    Raises:
        InputError: If another process holds it for hours.
    """
    folder = folder_of(entry)
    lock = SoftFileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with told_if_slow(f"{entry.name}: another process is fetching it; waiting"):
            lock.acquire(timeout=LONGEST_WAIT, poll_interval=0.1)
    except Timeout as error:
        reason = f"another process has been fetching it for {LONGEST_WAIT / 3600:g} hours"
        raise InputError(f"{entry.name}: {reason}; remove {folder / LOCK} if that process is gone") from error
    except OSError:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's content, in hexadecimal digits; raise OSError if it cannot be read."""
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            hasher.update(chunk)
    return hasher.hexdigest()
