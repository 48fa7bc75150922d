"""Print the oldest versions that pyproject.toml allows, as constraints for pip: a line `name==version` a requirement.

    python scripts/floors.py > floors.txt

`make test-floors` installs piqa with them into an environment of its own, and runs the quick tests there.
"""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"
SECTION = re.compile(r"^dependencies = \[\n(.*?)^\]", re.MULTILINE | re.DOTALL)  # Python 3.10 has no reader of TOML
FLOOR = re.compile(r'^\s*"([\w.-]+)(?:\[[\w,]+\])?>=([\d.]+)')


def floors(project: str) -> dict[str, str]:
    """Return the oldest allowed version of each requirement of the project, by name, from the text of pyproject.toml.

    Raises:
        ValueError: If a requirement names no oldest version.
    """
    section = SECTION.search(project)
    lines = section[1].splitlines() if section else []
    found = [FLOOR.match(line) for line in lines]
    if not found or None in found:
        raise ValueError(f"each dependency in {PROJECT.name} must begin with its oldest version, as in `torch>=2.6`")
    return {match[1]: match[2] for match in found if match}


if __name__ == "__main__":
    for name, version in floors(PROJECT.read_text(encoding="utf-8")).items():
        print(f"{name}=={version}")
