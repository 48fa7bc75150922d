"""Build the source archive and of it the wheel, install it into a bare environment, and try every command there.

    python scripts/try_wheel.py

Commands are given in an empty folder outside the project, so that nothing can come from the checkout. The environment
holds what the wheel's metadata ask for and nothing else. To spare gigabytes and minutes, those packages are linked out
of the environment that runs this script before pip installs the wheel; pip then finds each requirement met, or fetches
it. Run by `make test-wheel`.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from collections.abc import Iterable
from email import message_from_bytes
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from piqa.__main__ import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
IMAGE = "data/demo/images/Daylight_Hopper_01/reference.png"
SOURCES = ("piqa", "configs", "pretrain", "pyproject.toml", "setup.py", "README.md", "LICENSE")
SMALL = "--trainer.max_epochs 1 --trainer.check_val_every_n_epoch 1 --trainer.limit_train_batches 1"
SMALL += " --trainer.num_sanity_val_steps 0"
SMALL += " --data.store.workers 0 --data.loading.workers 0"
CASES = [
    "piqa --help",
    *(f"piqa {command} --help" for command in COMMANDS),
    "piqa evaluate submission --help",
    "piqa models check --help",
    "piqa models push --help",
    "python -m piqa.data.demo data/demo --scenes 4 --test_scenes 1",
    "python -m piqa.data.noise_pairs data/noise --scenes 3 --exposures 1 --patches 1",
    "piqa prepare --config demo.yaml --data.store.workers 0",
    f"python -m piqa.fit --config demo.yaml {SMALL}",
    "piqa evaluate --ckpt_path runs/demo --statistics.bootstrap_samples 100",
    f"piqa predict {IMAGE} --ckpt_path runs/demo --out scores.csv",
    f"piqa explain {IMAGE} --ckpt_path runs/demo --out report",
    f"piqa pick {IMAGE} --ckpt_path runs/demo --out picks",
    "piqa compare --table piqa.data.CSVTable --table.csv data/demo/demo.csv --out comparison --examples 0",
    "piqa scale pairs.csv --out scaled.csv",
    "piqa models",
    "piqa fit --config piqa.yaml --print_config",
    "piqa pretrain --config lsvq.yaml --print_config",
]
PAIRS = "image_a,image_b,winner,scene,rater\na.jpg,b.jpg,a,hall,kim\na.jpg,b.jpg,b,hall,lee\na.jpg,b.jpg,a,hall,ann\n"
# without its extra, a command says in one line what to install
REFUSED = {"piqa serve --data lab": "; `pip install 'dn-piqa[web]'`"}
QUIET = ["--quiet", "--disable-pip-version-check", "--no-input"]
IN_PYTHON = f"""
import sys, pathlib, piqa
from piqa import Scorer
assert pathlib.Path(piqa.__file__).is_relative_to(sys.prefix), piqa.__file__
table = Scorer.load("runs/demo").score(["{IMAGE}"])
assert table["error"].isna().all(), table["error"][0]
from piqa.web.page import HERE, PARTS
absent = [part + kind for part in PARTS for kind in PARTS[part] if not (HERE / "parts" / (part + kind)).is_file()]
assert not absent, absent
"""


def main() -> None:
    """Build, install and try; exit with status 1 at the first command that fails."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory(prefix="piqa-wheel-") as name:
        folder = Path(name)
        wheel = build(folder)
        python = bare_environment(folder / "bare")
        link_packages(wheel, python)
        work = folder / "work"
        work.mkdir()
        run([python, "-m", "pip", "install", *QUIET, str(wheel)], work)
        run([python, "-m", "pip", "check"], work)
        (work / "pairs.csv").write_text(PAIRS, encoding="utf-8")
        for case in CASES:
            program, *arguments = case.split()
            run([str(Path(python).parent / program), *arguments], work)
        for case, words in REFUSED.items():
            refused([str(Path(python).parent / case.split()[0]), *case.split()[1:]], words, work)
        run([python, "-c", IN_PYTHON], work)
    print(f"{wheel.name} works: {len(CASES) + 1} commands")


def build(folder: Path) -> Path:
    """Return a new wheel in `dist/`, made of a new source archive, as for a release."""
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    python = bare_environment(folder / "build")
    backend = re.search(r'^requires = \["(.+?)"\]', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert backend is not None
    run([python, "-m", "pip", "install", *QUIET, backend[1]], folder)
    source = folder / "source"  # a copy, as setuptools leaves folders behind, and takes what it finds in them
    source.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    run([python, "-c", f"from setuptools import build_meta; build_meta.build_sdist({str(ROOT / 'dist')!r})"], source)
    (archive,) = (ROOT / "dist").glob("*.tar.gz")
    run([python, "-m", "pip", "wheel", *QUIET, "--no-deps", "--wheel-dir", str(ROOT / "dist"), str(archive)], folder)
    (wheel,) = (ROOT / "dist").glob("*.whl")
    return wheel


def bare_environment(folder: Path) -> str:
    """Make a virtual environment that holds pip alone; return its Python."""
    venv.create(folder, with_pip=True)
    return str(folder / ("Scripts" if os.name == "nt" else "bin") / "python")


def link_packages(wheel: Path, python: str) -> None:
    """Link what a wheel needs, and what that needs, from this environment into that of another Python."""
    here = Path(sys.prefix)
    (there,) = Path(python).parents[1].glob("lib/python*/site-packages")
    for name in sorted(needed(Requirement(text) for text in requirements_of(wheel))):
        distribution = metadata.distribution(name)
        for file in distribution.files or []:
            source, target = Path(str(distribution.locate_file(file))), there / file
            if ".." in file.parts or not source.is_relative_to(here) or not source.is_file() or target.exists():
                continue  # a script, say
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(source, target)
            except OSError:  # on another disk
                target.symlink_to(source)


def requirements_of(wheel: Path) -> list[str]:
    """Return the requirements in a wheel's metadata."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name)).get_all("Requires-Dist", [])


def needed(requirements: Iterable[Requirement]) -> set[str]:
    """Return the names of the installed distributions that requirements lead to."""
    found: dict[str, set[str]] = {}  # extras, by name
    waiting = [(requirement, {""}) for requirement in requirements]
    while waiting:
        requirement, extras = waiting.pop()
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        name, asked = canonicalize_name(requirement.name), {"", *requirement.extras}
        if asked <= found.get(name, set()):
            continue
        found[name] = found.get(name, set()) | asked
        try:
            more = metadata.distribution(name).requires or []
        except metadata.PackageNotFoundError:
            del found[name]  # pip will fetch it, or say why not
            continue
        waiting += [(Requirement(text), found[name]) for text in more]
    return set(found)


def refused(command: list[str], words: str, folder: Path) -> None:
    """Run a command that must end with one line that holds these words."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode != 2 or done.stderr.count("\n") != 1 or words not in done.stderr:
        sys.exit(f"{done.stdout}{done.stderr}\nended with {done.returncode}, not with one line: {words}")


def run(command: list[str], folder: Path) -> None:
    """Run a command in a folder, without this environment's variables; print its time, or end with its output."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    start = time.monotonic()
    done = subprocess.run(command, cwd=folder, env=kept, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    shown = shlex.join([Path(command[0]).name, *command[1:]]).partition("\n")[0]
    print(f"{time.monotonic() - start:6.1f} s  {shown[:100]}", flush=True)
    if done.returncode:
        sys.exit(f"{done.stdout}\nfailed with status {done.returncode}: {shown}")


if __name__ == "__main__":
    main()
