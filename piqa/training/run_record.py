"""The record of a run: what was run, on which data, with which versions, so that its results can be traced."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd
import torch

from piqa.errors import InputError
from piqa.system.json_text import write_json

PACKAGES = (
    "dn-piqa",
    "torch",
    "torchvision",
    "timm",
    "lightning",
    "facenet-pytorch",
    "open_clip_torch",
    "numpy",
    "pillow",
)


KEPT_SESSIONS = 100  # of a run that was resumed again and again
OF_A_SESSION = ("command", "started", "ended", "status", "reason", "resumed_from", "git")


class RunRecord:
    """`record.json` of a run: written when it begins, completed when it ends, whatever ends it.

    A run that is resumed keeps what is known of its former sessions in `earlier`, the newest last.

    Args:
        folder: Folder of the run.
        command: The command line.
        resumed_from: The checkpoint that the run is resumed from.
        new: Whether the run replaces a former one, whose record is of no interest any more.
    """

    def __init__(self, folder: Path, command: str, resumed_from: str | None = None, new: bool = False) -> None:
        self._path = folder / "record.json"
        self._content: dict[str, object] = {
            "command": command,
            "status": "running",
            "started": _now(),
            "ended": None,
            "reason": None,
            "resumed_from": resumed_from,
            "data": None,
            "git": git_state(),
            "machine": {
                "python": platform.python_version(),
                "system": platform.platform(),
                "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
                "threads": torch.get_num_threads(),
            },
            "packages": {name: _version(name) for name in PACKAGES},
            "earlier": [] if new else _earlier(self._path),
        }
        self._write()

    def add(self, **facts: object) -> None:
        """Add facts, such as the fingerprint of the data; raise InputError if they cannot be written."""
        self._content |= facts
        self._write()

    def _write(self) -> None:
        write_json(self._content, self._path)

    @contextmanager
    def completed(self) -> Iterator[None]:
        """Run the session; record how it ends: `finished`, `stopped` by the user or a signal, or `failed`, and why."""
        try:
            yield
        except BaseException as error:
            status, reason = _ending(error)
            with suppress(InputError):  # the disk may be what is at fault; the error itself is told
                self.add(ended=_now(), status=status, reason=reason)
            raise
        self.add(ended=_now(), status="finished")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _ending(error: BaseException) -> tuple[str, str | None]:
    """Return how an error ends a session, and the reason in one line."""
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else bool(error.code)
        if code > 128:
            return "stopped", signal.Signals(code - 128).name
        return ("failed", f"exit status {code}") if code else ("finished", None)
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, KeyboardInterrupt):
        return "stopped", text
    return "failed", text if isinstance(error, InputError) else f"{type(error).__name__}: {text}"


def _earlier(path: Path) -> list[object]:
    """Return the former sessions that a record tells of; none where there is no record."""
    try:
        former = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    if not isinstance(former, dict):
        return []
    earlier = former.get("earlier")
    session = {name: former[name] for name in OF_A_SESSION if former.get(name) is not None}
    if session.get("status") == "running":
        session["status"] = "killed"  # it could not say so itself
    return [*(earlier if isinstance(earlier, list) else []), session][-KEPT_SESSIONS:]


def fingerprint(splits: Mapping[str, pd.DataFrame]) -> dict[str, dict[str, int | str]]:
    """Return counts of each split, and a digest of its images' names, scenes and scores in table order."""
    facts: dict[str, dict[str, int | str]] = {}
    for name, frame in splits.items():
        rows = frame[["image", "scene", "score"]].to_csv(index=False).encode()
        digest = hashlib.blake2b(rows, digest_size=8).hexdigest()
        facts[name] = {"images": len(frame), "scenes": int(frame["scene"].nunique()), "digest": digest}
    return facts


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def git_state(package: Path = Path(__file__).parents[1]) -> dict[str, object] | None:
    """Return the commit of a package's source and whether it was changed since; None outside a checkout of it.

    An installed package may lie inside the repository of another project, whose commit would say nothing.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(package), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10, env=own).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")
        return {"commit": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain", "--", "."))}
    except (OSError, subprocess.SubprocessError):
        return None
