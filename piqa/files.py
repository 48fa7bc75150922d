"""Files are written whole or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from piqa.errors import InputError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Gives a temporary name beside `path` to write to, and moves it to `path` when the block ends well.

    A reader sees the old file or the new one, never a half of it; after an exception the old one is untouched.

    Args:
        path: The file to be written; missing folders are made.

    Raises:
        InputError: If the file cannot be written (no permission, no room, a file where a folder should be).
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
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
