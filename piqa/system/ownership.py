"""Which folders and files are piqa's own: nothing else is ever deleted or replaced, and one process at a time writes.

A folder of piqa's holds a marker, `.piqa.json`, that says what the folder is, which version made it, and the id of the
run. A single file has its marker in the JSON that is written beside it, with the digest of the file as it was written:
a file that somebody else has edited since is theirs.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from filelock import SoftFileLock, Timeout

from piqa.errors import InputError
from piqa.system.files import digest_of, make_folder, regular_target
from piqa.system.json_text import write_json

MARKER = ".piqa.json"  # in a folder of ours
MARK = "piqa"  # the entry of a JSON file of ours that says so
LOCK = ".lock"
Mark = dict[str, object]


def new_mark(what: str) -> Mark:
    """Return a marker: what is marked, such as `training run`, this version, and a new run id."""
    try:
        own = version("dn-piqa")
    except PackageNotFoundError:  # the sources are used without an installation
        own = "0+unknown"
    return {"what": what, "version": own, "run": uuid.uuid4().hex}


def folder_mark(folder: str | Path) -> Mark | None:
    """Return the marker of a folder, or None where it has none that can be read."""
    return _mark_in(Path(folder) / MARKER, whole=True)


def claim_folder(
    folder: str | Path, what: str, *, renew: bool = False, made_before: Callable[[Path], bool] = lambda folder: False
) -> str:
    """Mark a folder as piqa's, or confirm that it is, before anything is written into it; return its run id.

    Args:
        folder: Made if it does not exist.
        what: What the folder is, such as `training run`: a folder of another kind is refused.
        renew: Whether a run that replaces the former one begins, under a new id.
        made_before: Whether a folder without a marker is one that a former version of piqa wrote.

    Raises:
        InputError: If the folder holds files and no marker, or is of another kind, or cannot be written.
    """
    folder = Path(folder)
    mark = folder_mark(folder)
    if mark is not None and mark.get("what") != what:
        raise InputError(f"{folder} is a folder of another kind ({mark.get('what')}, not {what}); name another folder")
    try:
        if mark is None and folder.exists() and _others(folder) and not (folder_mark(folder) or made_before(folder)):
            raise InputError(
                f"{folder} holds files that are not piqa's {what}, and they are left alone; name a folder that "
                f"does not exist or is empty"
            )
        if mark is None or renew:
            mark = new_mark(what)
            write_json(mark, folder / MARKER)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}; name another folder") from error
    return str(mark.get("run"))


def _others(folder: Path) -> bool:
    """Whether a folder holds anything but the locks and the unfinished marker of a process that is claiming it."""
    names = [one.name for one in folder.iterdir()]
    claiming = [(name.startswith(".") and name.endswith(LOCK)) or name.startswith(f".{MARKER}.") for name in names]
    return not all(claiming)


def check_replaceable(path: str | Path, beside: str | Path, also: str | None = None) -> None:
    """Check that an output file is new or empty, or was written by piqa and not changed since.

    Args:
        path: The file to write.
        beside: The JSON of the same run, written beside it by `write_marked`; it must be new or marked, too, and not
            belong to another file that is still there.
        also: A digest by which the file is piqa's as well, of a run that was killed before it wrote the JSON.

    Raises:
        InputError: If either is somebody else's, or no regular file.
    """
    path, beside = regular_target(path), regular_target(beside)
    mark = _mark_in(beside)
    if _holds_something(beside) and mark is None:
        raise InputError(f"{beside} is there and was not written by piqa; name another output, or move it away")
    files = (mark or {}).get("files")
    digests = files if isinstance(files, Mapping) else {}
    if path.name not in digests and (other := next((name for name in digests if (path.parent / name).exists()), None)):
        raise InputError(f"{beside} is the summary of {other}; name another output than {path.name}")
    if not _holds_something(path):
        return
    known = digests.get(path.name)
    own = digest_of(path)
    if own == also:
        return
    if known is None:
        raise InputError(f"{path} is there and was not written by piqa; name another output, or move it away")
    if known != own:
        raise InputError(f"{path} was changed since piqa wrote it; name another output, or move it away")


def _holds_something(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def write_marked(content: Mapping[str, object], path: str | Path, what: str, *files: str | Path) -> None:
    """Write the JSON of a run, marked, with the digests of the files that it was written with."""
    digests = {Path(file).name: digest_of(file) for file in files}
    write_json({**content, MARK: {**new_mark(what), "files": digests}}, path)


@contextmanager
def locked(output: str | Path, *, folder: bool = False) -> Iterator[None]:
    """Hold the lock of an output, a file or a folder, so that no other process writes it meanwhile.

    The lock is a hidden file beside the file, or in the folder, that names process and host; that of a process of this
    host that has ended is taken over.

    Raises:
        InputError: If another process holds it, or it cannot be written.
    """
    output = Path(output)
    path = output / f".piqa{LOCK}" if folder else output.with_name(f".{output.name}{LOCK}")
    lock = SoftFileLock(path)
    try:
        make_folder(path.parent, output=None if folder else output)
        with suppress(Timeout):
            lock.acquire(timeout=0)
        if not lock.is_locked:  # filelock before 4.2 removes a stale lock at the first try, and takes it at the second
            lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(
            f"{output} is being written by {_holder(path)}; wait for it, name another output, or remove {path} if that "
            f"process is gone"
        ) from error
    except OSError as error:
        raise InputError(f"cannot write {output}: {error.strerror}; may you write there?") from error
    try:
        yield
    finally:
        lock.release()


def _holder(path: Path) -> str:
    """Return 'process 123 on host', as a lock names its holder."""
    with suppress(OSError, ValueError):
        process, host = path.read_text(encoding="utf-8").split("\n")[:2]
        return f"process {process} on {host}"
    return "another process"


def _mark_in(path: Path, whole: bool = False) -> Mark | None:
    """Return the marker in a JSON file: the `whole` content, or its entry `piqa`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    mark = content if whole else content.get(MARK) if isinstance(content, dict) else None
    return mark if isinstance(mark, dict) and "what" in mark else None
