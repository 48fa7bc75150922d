"""Packs a model into the challenge's zip, with all that it takes to run it where piqa is not installed."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import torch

import piqa
from piqa.data.transforms import Crops
from piqa.errors import InputError
from piqa.scoring.options import Precision
from piqa.scoring.scorer import Scorer
from piqa.system.files import replacing
from piqa.weights import state_dicts
from piqa.weights.model_card import ClassSpec, ModelCard

SOURCE = Path(piqa.__file__).parent
SCRIPT = '''"""Scores the images of images.csv; run it from the folder that holds images.csv."""

import sys
from pathlib import Path

ROOT = Path(__file__).absolute().parent.parent
sys.path.insert(0, str(ROOT / "assets"))

from assets_{name}.submission.run import run  # noqa: E402

if __name__ == "__main__":
    figures = run(ROOT, "{name}", test_crops="{crops}", precision="{precision}")
'''
PACKAGE = '"""Parts of piqa (Apache-2.0) under a name of their own, lest an installed piqa be taken for them."""\n'


def pack(
    scorer: Scorer, content: dict[str, object], name: str, out: Path, test_crops: Crops, precision: Precision
) -> None:
    """Writes the zip, whole or not at all.

    Args:
        scorer: The model.
        content: What `weights_file` gives.
        name: `<LAST>_<FIRST>`.
        out: The zip.
        test_crops: As the script shall score.
        precision: As the script shall score.

    Raises:
        InputError: If it cannot be written.
    """
    package = f"assets_{name}"
    sources = modules_needed(["piqa.submission.run", type(scorer.network).__module__])
    with replacing(out) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        script = SCRIPT.format(name=name, crops=test_crops, precision=precision)
        archive.writestr(_entry(f"models/model_{name}.py"), script)
        for path, source in sources.items():
            text = PACKAGE if path == Path("__init__.py") else renamed(source, package)
            archive.writestr(_entry(f"assets/{package}/{path.as_posix()}"), text)
        libraries = "\n".join(requirements(sources.values())) + "\n"
        archive.writestr(_entry(f"assets/{package}/requirements.txt"), libraries)
        with archive.open(_entry(f"weights/weights_{name}.ckpt"), "w", force_zip64=True) as file:
            torch.save(content, file)


def _entry(path: str) -> zipfile.ZipInfo:
    """A file that everyone may read, of no date, so that the same model gives the same zip; stored as it is.

    Weights would not shrink, and the rest is small.
    """
    entry = zipfile.ZipInfo(path)
    entry.external_attr = 0o644 << 16
    return entry


def weights_file(scorer: Scorer, half: bool) -> dict[str, object]:
    """What the one weights file holds: a checkpoint that `load_model` reads, and LIQE's tensors in it.

    The card says how to build the network and prepare its images; where it was trained, and on what, stays at home.

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
    state = {name: tensor.detach().cpu() for name, tensor in network.state_dict().items()}
    content: dict[str, object] = {
        state_dicts.CKPT_CARD: ModelCard(
            ClassSpec.of(network), asdict(preparation), scorer.view, scorer.crop_size
        ).to_dict(),
        "state_dict": {
            f"{state_dicts.CKPT_NETWORK}{name}": _stored(name, tensor, half) for name, tensor in state.items()
        },
    }
    if scorer.preparation.liqe is not None:
        liqe = state_dicts.read_state_dict(scorer.preparation.liqe)
        content[state_dicts.CKPT_LIQE] = {name: _stored(name, tensor, half) for name, tensor in liqe.items()}
    return content


def bytes_of(content: dict[str, object]) -> int:
    """Size of all tensors of `weights_file`, bytes."""
    tables = (content.get(key, {}) for key in ("state_dict", state_dicts.CKPT_LIQE))
    return sum(tensor.nbytes for table in tables if isinstance(table, dict) for tensor in table.values())


def _stored(name: str, tensor: torch.Tensor, half: bool) -> torch.Tensor:
    if not half or not tensor.is_floating_point():
        return tensor
    if not torch.isfinite(small := tensor.half()).all():
        raise InputError(f"the weights cannot be stored in half precision: {name} exceeds float16's 65504")
    return small


def modules_needed(roots: Iterable[str]) -> dict[Path, str]:
    """Sources of piqa's modules that importing the roots can lead to, by path below the package.

    Imports inside functions count too; `piqa/__init__.py`, which imports nothing at once, is listed but not followed.
    """
    sources: dict[Path, str] = {Path("__init__.py"): ""}
    left = list(roots)
    while left:
        name = left.pop()
        path = _source_of(name)
        if path is not None and path not in sources:
            sources[path] = (SOURCE / path).read_text(encoding="utf-8")
            left += [name.rpartition(".")[0], *imports_of(sources[path])]
    return dict(sorted(sources.items()))


def _source_of(name: str) -> Path | None:
    """The path below the package of a module of piqa's; None for all other names."""
    package, *parts = name.split(".")
    if package != "piqa":
        return None
    candidates = (Path(*parts, "__init__.py"), Path("/".join(parts) + ".py"))
    return next((path for path in candidates if (SOURCE / path).is_file()), None)


def imports_of(source: str) -> Iterator[str]:
    """Names of all modules that a source imports, wherever in it; `from a import b` gives both `a` and `a.b`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def renamed(source: str, package: str) -> str:
    """A module of piqa's whose imports of piqa are of `package`."""
    return re.sub(r"^(\s*(?:from|import)) piqa\b", rf"\1 {package}", source, flags=re.MULTILINE)


def requirements(sources: Iterable[str]) -> list[str]:
    """The installed versions of the libraries that sources import, as `pip install -r` reads them."""
    modules = {name.split(".")[0] for source in sources for name in imports_of(source)}
    homes = importlib.metadata.packages_distributions()
    libraries = {homes[name][0] for name in modules - sys.stdlib_module_names - {"piqa"} if name in homes}
    # "2.6.0+cpu" names a build that an index may not have; the public version is what matters.
    return sorted(f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in libraries)
