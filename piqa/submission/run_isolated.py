"""Runs a submission's script where there is no piqa: `python -I run_isolated.py SCRIPT FIGURES.json`.

Started by path in a new process, isolated from PYTHONPATH; it imports nothing but the standard library, and makes every
import of `piqa` fail, so that an installed one cannot lend the submission what it lacks.
"""

import json
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType


class NoPiqa:
    """An import finder that is asked first and refuses piqa."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        """Answers nothing, which sends the import on to the next finder; ModuleNotFoundError for piqa."""
        if name.partition(".")[0] == "piqa":
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)


def peak_ram() -> int:
    """The most memory that this process ever held, in bytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # not `ru_maxrss`, which on Linux starts from what the parent process held
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Runs the script and leaves its figures, with the peak RAM, as JSON."""
    script, figures = sys.argv[1:]
    sys.meta_path.insert(0, NoPiqa)
    sys.path.insert(0, str(Path(script).absolute().parent))  # as `python SCRIPT` does
    sys.argv = [script]
    measured = runpy.run_path(script, run_name="__main__")["figures"]
    Path(figures).write_text(json.dumps(measured | {"ram_bytes": peak_ram()}), encoding="utf-8")


if __name__ == "__main__":
    main()
