"""The folder in which a script keeps its runs, to go on where it was stopped: those of one set of settings."""

from __future__ import annotations

import json
from pathlib import Path

from piqa.system.json_text import write_json

FILE = "settings.json"


def keep_runs(folder: Path, **settings: object) -> None:
    """Note what the runs of a folder are made with.

    Args:
        folder: It may be absent; what the script made there before is gone on with.
        **settings: All that the runs depend on.

    Raises:
        SystemExit: If the folder holds runs of other settings, or files of which none are told: their results would be
            taken for those of this run.
    """
    wanted, file = json.loads(json.dumps(settings, default=str)), folder / FILE
    kept = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    if kept is None and folder.is_dir() and any(folder.iterdir()):
        raise SystemExit(f"{folder} holds files, and no {FILE} that tells what made them; name another folder")
    if kept is not None and kept != wanted:
        other = {name for name in {*kept, *wanted} if kept.get(name) != wanted.get(name)}
        told = ", ".join(f"{name} {kept.get(name)!r}, not {wanted.get(name)!r}" for name in sorted(other))
        raise SystemExit(f"{folder} holds runs of other settings ({told}); name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(wanted, file)
