"""Digests of files' content, kept on disk, so that unchanged files are not read again."""

from __future__ import annotations

import json
from pathlib import Path

from piqa.errors import InputError
from piqa.system.files import digest_of
from piqa.system.json_text import write_json


class Digests:
    """Content digests of files, known by path, size and times of change, and kept in a JSON file."""

    def __init__(self, path: Path) -> None:
        self._path, self.changed = path, False  # whether any digest is new
        self._known = self._read()
        self.known = any(isinstance(stamp, list) and len(stamp) == 4 for stamp in self._known.values())  # on disk

    def _read(self) -> dict[str, list[int | str]]:
        try:
            return dict(json.loads(self._path.read_text(encoding="utf-8")))
        except (OSError, TypeError, ValueError):
            return {}  # nothing is lost: the files are read again

    def of(self, path: str) -> str:
        """Return the digest of a file's content; raise InputError if it cannot be read."""
        try:
            absolute, status = str(Path(path).resolve()), Path(path).stat()
            # ctime beside mtime: copying and unpacking keep the latter, and TIFFs of one camera have one size.
            stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
            if self._known.get(absolute, [])[:-1] == stamp:
                return str(self._known[absolute][-1])
            digest = digest_of(path)
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror}; check the path") from error
        self._known[absolute] = [*stamp, digest]
        self.changed = True
        return digest

    def save(self) -> None:
        """Write the digests if any is new; keep those that other processes have written meanwhile."""
        if self.changed:
            self._known = self._read() | self._known
            write_json(self._known, self._path, indent=None)
            self.changed = False
