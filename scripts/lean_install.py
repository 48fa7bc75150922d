"""Install piqa without PyTorch, score a picture there, and tell what it takes beside the full installation.

    python scripts/lean_install.py

Builds the wheel, installs it into a bare environment with `piqa.engines.requirements.LEAN` alone, in the versions that
the wheel's metadata allow, and scores with a small exported model. Prints megabytes on disk, and seconds and memory of
a command that scores one picture, for this installation and for the one that runs the script.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
import zipfile
from collections.abc import Sequence
from email import message_from_bytes
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from piqa.engines.requirements import LEAN

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("piqa", "configs", "pretrain", "pyproject.toml", "setup.py", "README.md", "LICENSE")
QUIET = ["--quiet", "--disable-pip-version-check", "--no-input"]
# What a command takes is told by its own process, which knows its peak memory.
MEASURED = """
import resource, sys, time
start = time.perf_counter()
from piqa import predict
predict.main(sys.argv[1:])
seconds, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
# ru_maxrss of a process begins with that of the one that started it
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
print("took", seconds, used.ru_utime + used.ru_stime, peak * 1.024e-3, "torch" in sys.modules)
"""


def main() -> None:
    """Install, score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=224, help="side in pixels of the small network's crops")
    parser.add_argument("--times", type=int, default=3, help="how often each command is timed; the quickest counts")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["PIQA_HOME"] = str(folder / "home")
        model, exported, image = small_models(folder, arguments.side)
        python = lean_environment(folder / "lean", wheel(folder / "wheel"))
        lean, full = megabytes_below(python.parents[1]), full_megabytes()
        print("scoring ...", flush=True)
        rows = {
            "without PyTorch, ONNX": (lean, took(python, folder, image, exported, arguments.times)),
            "full, ONNX": (full, took(Path(sys.executable), folder, image, exported, arguments.times)),
            "full, PyTorch": (full, took(Path(sys.executable), folder, image, model, arguments.times)),
        }
    print(f"{'installation, model':24}{'MB on disk':>12}{'seconds':>10}{'CPU s':>8}{'peak MB':>10}  torch imported")
    for name, (size, (seconds, cpu, memory, torch)) in rows.items():
        print(f"{name:24}{size:12.0f}{seconds:10.2f}{cpu:8.2f}{memory:10.0f}  {torch}")


def small_models(folder: Path, side: int) -> tuple[Path, Path, Path]:
    """Write a small random model, the same exported, and a picture; return their paths."""
    import skimage.data
    import torch
    from PIL import Image

    from piqa.conversion.converted import converted
    from piqa.models import DualBranch
    from piqa.weights import model_file
    from piqa.weights.model_card import ClassSpec, ModelCard

    torch.manual_seed(0)
    network = DualBranch("edgenext_xx_small", ("whole", "face"), image_size=side)
    card = ModelCard(ClassSpec.of(network), {"short_side": side + 32}, crop_size=side)
    model_file.save(network, folder / "run" / "model.safetensors", card)
    Image.fromarray(skimage.data.astronaut()).save(folder / "portrait.png")
    return folder / "run", converted(folder / "run", "onnxruntime"), folder / "portrait.png"


def wheel(folder: Path) -> Path:
    """Build the wheel of a copy of the project, beside which nothing is left."""
    print("building the wheel ...", flush=True)
    copy = folder / "sources"
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy / name)
    quiet([sys.executable, "-m", "pip", "wheel", *QUIET, "--no-deps", "-w", folder, copy])
    return next(folder.glob("*.whl"))


def lean_environment(folder: Path, built: Path) -> Path:
    """Make an environment with the wheel and what scoring with an exported model needs; return its Python."""
    with zipfile.ZipFile(built) as archive:
        facts = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        asked = message_from_bytes(archive.read(facts)).get_all("Requires-Dist") or []
    parsed = map(Requirement, asked)
    needed = {canonicalize_name(one.name): one for one in parsed if not one.marker or "extra" in str(one.marker)}
    requirements = [re.sub(r"\s*;.*", "", str(needed[name])) for name in LEAN]
    print(f"installing {', '.join(requirements)} ...", flush=True)
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = [python, "-m", "pip", "install", *QUIET]
    quiet([*pip, *requirements])
    quiet([*pip, "--no-deps", built])
    quiet([python, "-m", "pip", "uninstall", *QUIET, "--yes", "pip", "setuptools"])
    return python


def quiet(command: Sequence[str | Path]) -> None:
    """Run a command without a word, unless it fails; what lies on this process's own path is not seen there."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command[:4]))} failed:\n{done.stderr}")


def megabytes_below(folder: Path) -> float:
    """Return the size of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / 1e6


def full_megabytes() -> float:
    """Return the size of all that the project's own metadata ask for, as it is installed here."""
    left, found, size = ["dn-piqa"], set(), 0.0
    while left:
        name = canonicalize_name(left.pop())
        if name in found:
            continue
        found.add(name)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # for another system
        paths = (Path(str(distribution.locate_file(file))) for file in distribution.files or [])
        size += sum(path.stat().st_size for path in paths if path.is_file()) / 1e6
        asked = map(Requirement, distribution.requires or [])
        left += [one.name for one in asked if one.marker is None or one.marker.evaluate({"extra": ""})]
    return size


def took(python: Path, folder: Path, image: Path, model: Path, times: int) -> tuple[float, float, float, str]:
    """Return seconds, CPU seconds, peak megabytes and whether torch was imported, of the quickest of some runs."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    if python == Path(sys.executable):
        environment["PYTHONPATH"] = str(ROOT)
    found = []
    for number in range(times):
        out = folder / f"scores-{python.parents[1].name}-{model.name}-{number}.csv"
        command = [python, "-c", MEASURED, image, "--ckpt_path", model, "--out", out, "--device", "cpu"]
        start = time.perf_counter()
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{python} could not score:\n{done.stderr}")
        _, _, cpu, memory, torch = done.stdout.splitlines()[-1].split()
        found.append((time.perf_counter() - start, float(cpu), float(memory), torch))
    return min(found)


if __name__ == "__main__":
    main()
