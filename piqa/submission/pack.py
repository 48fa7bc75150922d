"""A model as the challenge's zip, with all that it takes to run it where piqa is not installed."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import io
import zipfile
from dataclasses import asdict, replace
from pathlib import Path

import torch
from packaging.requirements import Requirement

import piqa
from piqa.data.cuts import Crops
from piqa.errors import InputError
from piqa.scoring.options import Precision
from piqa.scoring.scorer import Scorer
from piqa.system.files import replacing
from piqa.weights import state_dicts
from piqa.weights.model_card import ClassSpec, ModelCard

SOURCE = Path(piqa.__file__).parent
DISTRIBUTION = "dn-piqa"
# Dependencies that training and evaluation take, and scoring does not.
NOT_FOR_SCORING = {"lightning", "jsonargparse", "torchmetrics", "matplotlib", "jinja2", "scikit-image", "wandb"}
SCRIPT = '''"""Scores the images of images.csv; run it from the folder that holds images.csv."""

import sys
from pathlib import Path

ROOT = Path(__file__).absolute().parent.parent
WHEEL = ROOT / "assets" / "assets_{name}" / "{wheel}"
if not WHEEL.is_file():
    sys.exit(f"{{WHEEL}} is missing")
sys.path.insert(0, str(WHEEL))  # before any piqa that is installed

from piqa.submission.run import run  # noqa: E402

if __name__ == "__main__":
    figures = run(ROOT, "{name}", test_crops="{test_crops}", precision="{precision}")
'''
PACKAGE = '"""The package piqa (Apache-2.0), as a wheel from which the script imports it."""\n'
WHEEL_FACTS = "Wheel-Version: 1.0\nGenerator: piqa\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def pack(content: dict[str, object], name: str, out: Path, test_crops: Crops, precision: Precision) -> None:
    """Write the zip `out`, whole or not at all.

    Args:
        content: What `weights_file` gives.
        name: `<LAST>_<FIRST>`.
        out: The zip.
        test_crops: As the script shall score.
        precision: Likewise.

    Raises:
        InputError: If it cannot be written, or there is a file of that name that is no such zip.
    """
    check_free(out, name)
    try:
        distribution = importlib.metadata.distribution(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError as error:
        reason = "is not installed, so its dependencies are not known; `pip install` it"
        raise InputError(f"{DISTRIBUTION} {reason}") from error
    assets, wheel = f"assets/assets_{name}", f"{DISTRIBUTION.replace('-', '_')}-{distribution.version}-py3-none-any.whl"
    script = SCRIPT.format(name=name, wheel=wheel, test_crops=test_crops, precision=precision)
    with replacing(out) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        archive.writestr(_entry(f"models/model_{name}.py"), script)
        archive.writestr(_entry(f"{assets}/__init__.py"), PACKAGE)
        archive.writestr(_entry(f"{assets}/requirements.txt"), "\n".join(requirements(distribution)) + "\n")
        archive.writestr(_entry(f"{assets}/{wheel}"), wheel_of(distribution))
        with archive.open(_entry(f"weights/weights_{name}.ckpt"), "w", force_zip64=True) as file:
            torch.save(content, file)


def check_free(out: Path, name: str) -> None:
    """Check that there is no file `out` yet, or a zip that `pack` wrote for this name; InputError if not."""
    if not out.exists():
        return
    try:
        with zipfile.ZipFile(out) as archive:
            own = archive.read(f"assets/assets_{name}/__init__.py").decode() == PACKAGE and len(archive.namelist()) == 5
    except (OSError, KeyError, ValueError, zipfile.BadZipFile, RuntimeError, NotImplementedError):
        own = False
    if not own:
        raise InputError(f"{out} is there and was not written by piqa; name another `--out`, or move it away")


def _entry(path: str) -> zipfile.ZipInfo:
    """Return an uncompressed entry that everyone may read, without a date, so that a model gives one same zip."""
    entry = zipfile.ZipInfo(path)
    entry.external_attr = 0o644 << 16
    return entry


def weights_file(scorer: Scorer, half: bool) -> dict[str, object]:
    """Return the content of the weights file: a checkpoint that `load_model` reads, with LIQE's tensors in it.

    The card describes network and preparation, and leaves out where and on what the model was trained.

    Args:
        scorer: The model.
        half: Store all weights in float16. They are computed with in float32 again.

    Raises:
        InputError: If the network is no class of piqa's, or a weight is too large for float16.
    """
    network, preparation = scorer.network, scorer.preparation
    if preparation.liqe is not None:
        preparation = replace(preparation, liqe="in the weights file")
    kind = type(network)
    if not kind.__module__.startswith("piqa."):
        raise InputError(f"the network {kind.__module__}.{kind.__qualname__} is no part of piqa and cannot be packed")
    if preparation.detector == "yunet" and preparation.face_rule != "none":
        raise InputError(
            "the model finds faces by YuNet, whose model file the zip has no place for; train with `mtcnn`"
        )
    state = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    card = ModelCard(ClassSpec.of(network), asdict(preparation), scorer.view, scorer.crop_size)
    stored = {f"{state_dicts.CKPT_NETWORK}{name}": _stored(name, tensor, half) for name, tensor in state.items()}
    content: dict[str, object] = {state_dicts.CKPT_CARD: card.to_dict(), "state_dict": stored}
    if scorer.preparation.liqe is not None:
        liqe = state_dicts.read_state_dict(state_dicts.require(scorer.preparation.liqe, "liqe"))
        content[state_dicts.CKPT_LIQE] = {name: _stored(name, tensor, half) for name, tensor in liqe.items()}
    return content


def bytes_of(content: dict[str, object]) -> int:
    """Return the size of all tensors of `weights_file`, bytes."""
    tables = (content.get(key, {}) for key in ("state_dict", state_dicts.CKPT_LIQE))
    return sum(tensor.nbytes for table in tables if isinstance(table, dict) for tensor in table.values())


def _stored(name: str, tensor: torch.Tensor, half: bool) -> torch.Tensor:
    if not half or not tensor.is_floating_point():
        return tensor
    if not torch.isfinite(small := tensor.half()).all():
        raise InputError(f"the weights cannot be stored in half precision: {name} exceeds float16's 65504")
    return small


def wheel_of(distribution: importlib.metadata.Distribution) -> bytes:
    """Return this package as a wheel: all its files as they lie here, and what is known of its installation."""
    files = {
        f"piqa/{path.relative_to(SOURCE).as_posix()}": path.read_bytes()
        for path in sorted(SOURCE.rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    }
    facts = f"{DISTRIBUTION.replace('-', '_')}-{distribution.version}.dist-info"
    files[f"{facts}/METADATA"] = str(distribution.metadata).encode()  # an installed checkout has it as PKG-INFO
    files[f"{facts}/WHEEL"] = WHEEL_FACTS.encode()
    digests = {
        path: base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
        for path, content in files.items()
    }
    record = [f"{path},sha256={digests[path]},{len(content)}\n" for path, content in files.items()]
    files[f"{facts}/RECORD"] = "".join([*record, f"{facts}/RECORD,,\n"]).encode()
    wheel = io.BytesIO()
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in files.items():
            archive.writestr(_entry(path), content)
    return wheel.getvalue()


def requirements(distribution: importlib.metadata.Distribution) -> list[str]:
    """Return the installed versions of the libraries that scoring takes, as `pip install -r` reads them."""
    needed = [Requirement(line) for line in distribution.requires or []]
    # some are for an extra, or for another version of Python
    needed = [one for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    libraries = {one.name for one in needed} - NOT_FOR_SCORING
    # "2.6.0+cpu" names a build that an index may not have; the public version is what matters.
    return sorted(f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in libraries)
