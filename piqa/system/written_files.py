"""The files of a folder that piqa wrote: these alone are replaced or removed, and only as they were written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from piqa.errors import InputError
from piqa.system.files import digest_of, regular_target, replacing

FOLDER, JOURNAL = ".parts", "written.jsonl"


class WrittenFiles:
    """Keeps account of what was written into a folder, before it appears there.

    Args:
        report: The folder, such as that of a report, claimed before.
    """

    def __init__(self, report: str | Path) -> None:
        self.report = Path(report)
        self._journal = self.report / FOLDER / JOURNAL
        self._known: dict[str, set[str]] = {}  # by name: after a kill, either of two contents may be there
        for line in self._lines():
            with suppress(ValueError, TypeError):
                name, digest = json.loads(line)
                self._known.setdefault(name, set()).add(digest)

    def check(self, names: Iterable[str]) -> None:
        """Check that files are new, empty, or as piqa wrote them.

        Raises:
            InputError: If one was written or changed by somebody else, or is no regular file.
        """
        for name in names:
            path = regular_target(self.report / name)
            if not path.exists() or not path.stat().st_size:
                continue
            if name not in self._known:
                raise InputError(f"{path} is there and was not written by piqa; name another `--out`, or move it away")
            if digest_of(path) not in self._known[name]:
                raise InputError(f"{path} was changed since piqa wrote it; name another `--out`, or move it away")

    @contextmanager
    def replacing(self, name: str) -> Iterator[Path]:
        """Yield a temporary file to write; it takes its place when the block ends; errors as of `check`."""
        self.check([name])
        with replacing(self.report / name) as temporary:
            yield temporary
            self._note(name, digest_of(temporary))

    def write_text(self, name: str, text: str) -> None:
        """Write a file of text; what is no UTF-8, as of a file's name, becomes a question mark."""
        with self.replacing(name) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="replace", newline="\n")

    def remove_others(self, kept: Iterable[str]) -> None:
        """Remove what an earlier run wrote and this one did not, unless somebody has changed it since."""
        keep = set(kept)
        for name in [name for name in self._known if name not in keep]:
            path = self.report / name
            with suppress(OSError):
                if path.is_file() and digest_of(path) in self._known[name]:
                    path.unlink()

    def _note(self, name: str, digest: str) -> None:
        if digest in self._known.get(name, set()):
            return
        self._journal.parent.mkdir(parents=True, exist_ok=True)
        with self._journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps([name, digest]) + "\n")
        self._known.setdefault(name, set()).add(digest)

    def _lines(self) -> list[str]:
        try:
            return self._journal.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            return []
