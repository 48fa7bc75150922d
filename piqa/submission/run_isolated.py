"""Runs a submission's script without any installed piqa: `python -I run_isolated.py SCRIPT FIGURES.json`.

Started by path in a new process, isolated from PYTHONPATH. It imports nothing but the standard library, and refuses
every piqa that does not come from the submission's own folder, so that an installed one cannot lend what is missing.
"""

import json
import runpy
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path


class OwnPiqa:
    """An import finder that is asked first and finds piqa below the folder `root` only."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        """Find piqa's modules, or raise ModuleNotFoundError; None, for all others, asks the next finder."""
        if name.partition(".")[0] != "piqa":
            return None
        own = [place for place in (sys.path if path is None else path) if Path(place).is_relative_to(self._root)]
        if (spec := PathFinder.find_spec(name, own)) is None:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return spec


def peak_ram() -> int:
    """Return the most memory that this process ever held, in bytes."""
    status = Path("/proc/self/status")
    if status.is_file():  # not `ru_maxrss`, which on Linux starts from what the parent process held
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    """Run the script and write its measurements, with the peak RAM, as JSON."""
    script, figures = sys.argv[1:]
    folder = Path(script).absolute().parent
    sys.meta_path.insert(0, OwnPiqa(folder.parent))
    sys.path.insert(0, str(folder))  # as `python SCRIPT` does
    sys.argv = [script]
    measured = runpy.run_path(script, run_name="__main__")["figures"]
    Path(figures).write_text(json.dumps(measured | {"ram_bytes": peak_ram()}), encoding="utf-8")


if __name__ == "__main__":
    main()
