"""Digests of files' content, and a memory of them, so that unchanged files are not read again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from piqa.errors import InputError
from piqa.system.json_text import write_json


def digest_of(path: str | Path) -> str:
    """Digest of a file's content; OSError if it cannot be read."""
    hasher = hashlib.blake2b(digest_size=16)
    with Path(path).open("rb") as file:
        while chunk := file.read(1 << 20):
            hasher.update(chunk)
    return hasher.hexdigest()


class Digests:
    """Content digests of files, remembered by path, size and times of change.

    Args:
        path: The JSON file that holds the memory; absent or spoilt, files are read again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = False
        self._known = self._read()

    def _read(self) -> dict[str, list[int | str]]:
        try:
            return dict(json.loads(self._path.read_text(encoding="utf-8")))
        except (OSError, TypeError, ValueError):
            return {}  # only ever a memory: without it the files are read again

    def of(self, path: str) -> str:
        """Digest of a file's content; InputError if it cannot be read."""
        try:
            absolute, status = str(Path(path).resolve()), Path(path).stat()
            # ctime beside mtime: copying and unpacking keep the latter, and TIFFs of one camera are all of one size.
            stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
            known = self._known.get(absolute)
            if known is not None and known[:-1] == stamp:
                return str(known[-1])
            digest = digest_of(path)
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}") from error
        self._known[absolute] = [*stamp, digest]
        self._changed = True
        return digest

    def save(self) -> None:
        """Writes the memory, if there is anything new, and keeps what other processes have written meanwhile."""
        if self._changed:
            self._known = self._read() | self._known
            write_json(self._known, self._path, indent=None)
            self._changed = False
