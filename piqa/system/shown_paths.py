"""Show files in what people pass on without telling where they lie on this machine."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path, PurePath, PureWindowsPath

ASSIGNED = re.compile(r"([^/\\=]*=)?(.*)", flags=re.S)  # `name=path`, as arguments have it
EMBEDDED = re.compile(r"(?<![\w./\\~-])(?:/|[A-Za-z]:[\\/])[^\s'\",;=\[\]{}]*")


def shown_path(path: str | Path) -> str:
    """Return a path relative to the working directory if it lies below; else an absolute one by the file's name.

    A `model.safetensors` is shown with its folder, the name of its run.

    Examples:
        >>> shown_path("runs/demo/model.safetensors"), shown_path("/data/me/peer.csv")
        ('runs/demo/model.safetensors', 'peer.csv')
        >>> shown_path("/data/me/demo/model.safetensors")
        'demo/model.safetensors'
    """
    text = str(path)
    own: PurePath = PureWindowsPath(text) if re.match(r"[A-Za-z]:[\\/]|\\\\", text) else Path(text)
    if not own.is_absolute():
        return text
    here = Path(os.path.normpath(own))
    if here.is_relative_to(Path.cwd()) and here != Path.cwd():
        return here.relative_to(Path.cwd()).as_posix()
    parts = own.parts[1:] or ("",)
    return "/".join(parts[-2:] if own.stem == "model" else parts[-1:])


def shown_command(command: str) -> str:
    """Return a command line with each of its paths as `shown_path` shows it.

    Examples:
        >>> shown_command("python -m piqa.evaluate --predictions ours=/data/me/a.csv --out runs/a")
        'python -m piqa.evaluate --predictions ours=a.csv --out runs/a'
    """
    try:
        words = shlex.split(command)
    except ValueError:  # no closing quotation mark: not a command of a shell
        return EMBEDDED.sub(lambda found: shown_path(found[0]), command)
    return shlex.join(map(_shown_word, words))


def _shown_word(word: str) -> str:
    found = ASSIGNED.fullmatch(word)
    assert found is not None
    name, value = found[1] or "", found[2]
    if shown_path(value) != value:
        return f"{name}{shown_path(value)}"
    return EMBEDDED.sub(lambda path: shown_path(path[0]), word)
