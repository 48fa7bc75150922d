"""The journal of marks: what was written into which sidecar, and what brings back its bytes as they were.

A line of JSON for each sidecar, which is on disk before the sidecar is. Paths are told from the journal's folder.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from piqa.errors import FileAccessError, InputError
from piqa.moments.xmp_packet import MAX_BYTES, Packet, Property, Splice, difference, read_packet, spliced
from piqa.system.files import replacing
from piqa.system.progress import progress

Values = Mapping[Property, str | None]


@dataclass(frozen=True)
class Entry:
    """What was done to a sidecar.

    Attributes:
        sidecar: Its path.
        before: The digest of what it was; None where it was not there.
        after: The digest of what was written.
        back: What turns the bytes that were written into those before.
        old: The values of the properties before; None where there were none.
        new: Those that were written; None where one was removed.
        overruled: Properties that somebody had changed after an earlier run, which were not written any more.
    """

    sidecar: Path
    before: str | None
    after: str
    back: Splice
    old: Values
    new: Values
    overruled: frozenset[Property] = frozenset()


class Journal:
    """Reads and continues the journal of an output folder.

    Args:
        path: The file; made with its first entry.

    Raises:
        InputError: If it cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.folder = Path(os.path.realpath(self.path.parent))
        self.entries: dict[Path, list[Entry]] = {}
        for entry in self._read():
            self.entries.setdefault(entry.sidecar, []).append(entry)

    def note(self, entry: Entry) -> None:
        """Write an entry to disk; raise InputError if that fails."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(self._line(entry))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise FileAccessError(f"cannot write {self.path}: {error.strerror}; is there room?") from error
        self.entries.setdefault(entry.sidecar, []).append(entry)

    def keep(self, sidecars: Sequence[Path]) -> None:
        """Forget all sidecars but these; without any the journal itself is removed."""
        self.entries = {sidecar: self.entries[sidecar] for sidecar in sidecars}
        if not self.entries:
            self.path.unlink(missing_ok=True)
            return
        with replacing(self.path) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.writelines(self._line(entry) for entries in self.entries.values() for entry in entries)

    def without_marks(self, sidecar: Path, content: bytes) -> bytes | None:
        """Return a sidecar's content without the marks of this journal; None where it was made by them alone.

        Where nobody else changed it, those are the bytes as they were. Elsewhere only properties go that still have
        the values that were written.

        Raises:
            InputError: If somebody else changed it so that it cannot be edited any more.
        """
        now = digest(content)
        entries = self.entries.get(sidecar, [])
        for entry in reversed(entries):
            if entry.after == now:
                if entry.before is None:
                    return None
                before = spliced(content, [entry.back])
                if digest(before) == entry.before:
                    return before
        if not entries or any(entry.before == now for entry in entries):  # stopped before it was written
            return content
        packet = read_packet(content)
        for entry in reversed(entries):
            ours = {name: old for name, old in entry.old.items() if is_still(packet, name, entry.new[name])}
            if ours:
                return packet.edited(ours)
        return content

    def overruled(self, sidecar: Path, content: bytes) -> set[Property]:
        """Return the marks that somebody has changed since they were written, whose values count from then on."""
        entries = self.entries.get(sidecar, [])
        known = {name for entry in entries for name in entry.overruled}
        if not entries or digest(content) in {one for entry in entries for one in (entry.before, entry.after)}:
            return known
        packet = read_packet(content)
        return known | {name for name in entries[-1].new if not is_still(packet, name, entries[-1].new[name])}

    def _read(self) -> Iterator[Entry]:
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            raise FileAccessError(f"cannot read {self.path}: {error}; the marks in sidecars stay") from error
        for line in lines:
            with suppress(ValueError, TypeError, KeyError):  # the last line of a run that was killed
                kept = json.loads(line)
                start, end, text = kept["back"]
                back = (int(start), int(end), base64.b64decode(text))
                old, new = ({(uri, name): value for uri, name, value in kept[key]} for key in ("old", "new"))
                overruled = frozenset((uri, name) for uri, name in kept["overruled"])
                sidecar = Path(os.path.normpath(self.folder / kept["sidecar"]))
                yield Entry(sidecar, kept["before"], kept["after"], back, old, new, overruled)

    def _line(self, entry: Entry) -> str:
        path = str(entry.sidecar)
        with suppress(ValueError):  # another drive of Windows
            path = os.path.relpath(path, self.folder)
        content = {
            "sidecar": path,
            "before": entry.before,
            "after": entry.after,
            "back": [*entry.back[:2], base64.b64encode(entry.back[2]).decode()],
            "old": [[*name, value] for name, value in entry.old.items()],
            "new": [[*name, value] for name, value in entry.new.items()],
            "overruled": sorted(map(list, entry.overruled)),
        }
        return json.dumps(content) + "\n"


@dataclass
class Undone:
    """What became of the marks of a journal.

    Attributes:
        restored: Sidecars whose bytes are those from before, or that are removed as they were made by us alone.
        cleaned: Sidecars that others have changed since, which have lost our values where they were still ours.
        left: A line for each sidecar that was left alone, with the reason.
    """

    restored: int = 0
    cleaned: int = 0
    left: list[str] = field(default_factory=list)


def undo_marks(journal: str | Path, quiet: bool = False) -> Undone:
    """Take the marks of a journal back, and then the journal itself; marks that stay keep their entries.

    Args:
        journal: The file that `write_marks` wrote.
        quiet: Whether no progress is shown.

    Raises:
        InputError: If it cannot be read.
    """
    kept = Journal(journal)
    undone, left = Undone(), []
    with progress(len(kept.entries), quiet=quiet, task="taking marks back", unit="sidecars") as advance:
        for sidecar in kept.entries:
            try:
                _undo_one(sidecar, kept, undone)
            except InputError as error:
                left.append(sidecar)
                undone.left.append(f"{sidecar.name} keeps its marks: {error}")
            advance(1)
    kept.keep(left)
    return undone


def _undo_one(sidecar: Path, journal: Journal, undone: Undone) -> None:
    content = read_sidecar(sidecar)
    if content is None:  # somebody removed it
        return
    before = journal.without_marks(sidecar, content)
    if before == content:  # the marks were never written, or others have replaced all of them
        return
    replace_sidecar(sidecar, content, before)
    exact = before is None or digest(before) in [entry.before for entry in journal.entries[sidecar]]
    undone.restored += exact
    undone.cleaned += not exact


def new_entry(
    sidecar: Path, packet: Packet | None, content: bytes, values: Values, overruled: Iterable[Property] = ()
) -> Entry:
    """Return the entry of a sidecar that becomes `content`; `packet`: what it was without our marks."""
    before, old, back = None, dict[Property, str | None](dict.fromkeys(values)), (0, len(content), b"")
    if packet is not None:
        before, old = digest(packet.content), {name: packet.value(name) for name in values}
        back = difference(packet.content, content)
    return Entry(sidecar, before, digest(content), back, old, values, frozenset(overruled))


def read_sidecar(sidecar: Path) -> bytes | None:
    """Return a sidecar's bytes; None where there is none; raise InputError where it cannot be read."""
    try:
        with sidecar.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        if sidecar.is_symlink():
            raise FileAccessError("it is a link to a file that is not there") from None
        return None
    except OSError as error:
        raise FileAccessError(f"cannot read it: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise InputError(f"it has more than {MAX_BYTES >> 20} MiB")
    return content


def replace_sidecar(sidecar: Path, expected: bytes | None, content: bytes | None) -> None:
    """Replace a sidecar at once, or remove it where the content is None; it keeps its permissions.

    Raises:
        InputError: If it cannot be written, or is no longer what is expected, as another program has just written it.
    """
    if content is None:
        _check(sidecar, expected)
        try:
            sidecar.unlink()
        except OSError as error:
            raise FileAccessError(f"cannot remove it: {error.strerror}") from error
        return
    with _kept_mode(sidecar), replacing(sidecar) as temporary:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _check(sidecar, expected)


def digest(content: bytes) -> str:
    """Return the digest of a sidecar."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def is_still(packet: Packet, name: Property, value: str | None) -> bool:
    """Whether a property still has the value that was written; without one it is nobody's."""
    return value is not None and packet.value(name) == value.strip()


def _check(sidecar: Path, expected: bytes | None) -> None:
    if read_sidecar(sidecar) != expected:
        raise InputError("another program has just written it; run the command again")


@contextmanager
def _kept_mode(path: Path) -> Iterator[None]:
    mode = path.stat().st_mode & 0o7777 if path.exists() else None
    yield
    if mode is not None:
        with suppress(OSError):
            path.chmod(mode)
