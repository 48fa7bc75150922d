"""The record of a run: what was run, on which data, with which versions, so that its results can be traced."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd
import torch

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


def write_record(folder: Path, command: str, data: Mapping[str, object]) -> None:
    """Write `record.json` to the folder of a run: its command line, and facts such as the `fingerprint` of the data."""
    record = {
        "command": command,
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "data": data,
        "git": _git_state(),
        "machine": {
            "python": platform.python_version(),
            "system": platform.platform(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "threads": torch.get_num_threads(),
        },
        "packages": {name: _version(name) for name in PACKAGES},
    }
    write_json(record, folder / "record.json")


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


def _git_state() -> dict[str, object] | None:
    """Return the commit of piqa's source and whether it was changed since; None outside a checkout."""

    def git(*arguments: str) -> str:
        here = Path(__file__).parent
        done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True, check=True, timeout=10)
        return done.stdout.strip()

    try:
        return {"commit": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain", "--", "."))}
    except (OSError, subprocess.SubprocessError):
        return None
