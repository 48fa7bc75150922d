"""Write files whole or not at all."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from piqa.errors import InputError

_place = f"{platform.node()} "
with suppress(OSError):
    _place += str(Path("/proc/self/ns/pid").readlink())
# a short name of where process numbers mean the same: this host, and in it this container
HERE = hashlib.blake2b(_place.encode(), digest_size=4).hexdigest()
# How `replacing` names a temporary file; the first version left out the place.
TEMPORARY = re.compile(r"\.(?P<name>.+?)(\.[0-9a-f]{8})?\.\d+\.\d+\.part")
LONGEST_NAME = 255  # bytes, of the usual file systems
ANY = re.compile(".*")
OF_DEVICES = {Path("/dev"), Path("/dev/fd"), Path("/proc/self/fd")}
OLD = 24 * 3600  # seconds after which no process is still writing a temporary file


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` to write to; move it to `path` when the block ends without an exception.

    A reader sees the old file or the new one, never a part of it; after an exception the old one is untouched. Missing
    folders are made. A symbolic link stays: the file that it points to is replaced. The temporary file of a process
    that was killed stays behind, for `remove_leftovers`.

    Raises:
        InputError: If the file cannot be written (no permission, no room, a file where a folder should be), or `path`
            is no regular file, such as a device or a pipe.

    Examples:
        >>> with replacing("notes.txt") as temporary:
        ...     _ = temporary.write_text("done", encoding="utf-8")
        >>> Path("notes.txt").read_text(encoding="utf-8")
        'done'
    """
    path = regular_target(path)
    temporary = path.with_name(_temporary_name(path.name))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        mode = temporary.stat().st_mode
        yield temporary
        temporary.chmod(mode)  # safetensors makes a file of its own, for its owner alone
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"cannot write {path}: {reason}; is there room, and may you write there?") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _temporary_name(name: str) -> str:
    """Return a name of this thread's own for what is written under a name, as long as a file system takes it."""
    end = f".{HERE}.{os.getpid()}.{threading.get_ident()}.part"
    encoded, room = os.fsencode(name), LONGEST_NAME - len(end) - 1
    if len(encoded) > room:  # two long names may begin alike
        digest = hashlib.blake2b(encoded, digest_size=8).hexdigest()
        name = encoded[: room - len(digest)].decode("utf-8", "ignore") + digest
    return f".{name}{end}"


def make_folder(folder: str | Path, mode: int = 0o777, output: str | Path | None = None) -> None:
    """Make a folder that is to be written into, and those above it, unless it is there.

    Args:
        folder: The folder.
        mode: Of a folder that is made.
        output: The file that is to be written there, for the message.

    Raises:
        InputError: If a file, or a link that leads nowhere, has its name or that of a folder above it.
        OSError: If it cannot be made for another reason.
    """
    folder = Path(folder)
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        above = (one for one in (folder, *folder.parents) if os.path.lexists(one))
        place = next(above, folder)
        kind = "a link that leads nowhere" if place.is_symlink() and not place.exists() else "no folder"
        what = f"into {folder}" if output is None else str(output)
        raise InputError(f"cannot write {what}: {place} is {kind}; name another folder") from error


def regular_target(path: str | Path) -> Path:
    """Return the regular file that is to be written, which need not be there: `path`, or what a link there points to.

    Raises:
        InputError: If it is a folder, a device, a pipe or a socket, or cannot be looked up.
    """
    path = Path(path)
    try:
        status = path.stat() if path.exists() else None  # before links are read: /dev/stdout may lead to a pipe's name
        if path.absolute().parent in OF_DEVICES:
            raise InputError(
                f"cannot write {path}: it is no regular file but a device, a pipe or a socket; name a file"
            )
        path = path.resolve() if path.is_symlink() else path
    except (OSError, RuntimeError) as error:  # RuntimeError: links that point to each other, before Python 3.13
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot write {path}: {reason}; name another file") from error
    if status is not None and not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file but a device, a pipe or a socket"
        raise InputError(f"cannot write {path}: it is {kind}; name a file")
    return path


def digest_of(path: str | Path) -> str:
    """Return the digest of a file's content; raise OSError if it cannot be read."""
    hasher = hashlib.blake2b(digest_size=16)
    with Path(path).open("rb") as file:
        while chunk := file.read(1 << 20):
            hasher.update(chunk)
    return hasher.hexdigest()


def remove_leftovers(folder: str | Path, names: re.Pattern[str] = ANY) -> None:
    """Remove temporary files of `replacing` below a folder that are a day old, or whose processes here have ended.

    Args:
        folder: Where to look, at any depth.
        names: What the files would have been called; hidden files of other programs may end with `.part`, too.
    """
    for leftover in Path(folder).rglob(".*.part"):
        temporary = TEMPORARY.fullmatch(leftover.name)
        if temporary is None or not names.fullmatch(temporary["name"]):
            continue
        with suppress(OSError):  # it may have been moved to its place by now
            if time.time() - leftover.stat().st_mtime > OLD or _writer_is_gone(leftover.name):
                leftover.unlink()


def _writer_is_gone(name: str) -> bool:
    written_by = re.search(rf"\.{HERE}\.(\d+)\.\d+\.part$", name)
    try:
        if written_by and os.name == "posix":
            os.kill(int(written_by[1]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # another user's process: it is there
        pass
    return False
