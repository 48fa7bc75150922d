"""Trained models as files: weights, and beside them a card that tells the network and how to prepare its images."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from piqa.errors import InputError
from piqa.models import DualBranch
from piqa.system.config_files import find_config
from piqa.system.files import replacing
from piqa.weights.state_dicts import (
    CKPT_CARD,
    check_state_dict,
    from_dn_piqa,
    layout_of,
    load_strictly,
    read_file,
    read_state_dict,
    tensors_of,
)

FORMAT = "piqa 1"  # in every card; a change of meaning gets a new number


def save(module: nn.Module, path: str | Path, card: Mapping[str, Any]) -> Path:
    """Writes a module as safetensors and its card as JSON beside it, each atomically.

    Args:
        module: A network whose whole state dict is written.
        path: The `.safetensors` file; the card gets the same name with `.json`.
        card: What a reader must know to use the weights: how to build the network, and the input that it expects.
    """
    path = Path(path)
    state = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
    with replacing(path) as weights, replacing(path.with_suffix(".json")) as sidecar:
        try:
            save_file(state, weights)
        except SafetensorError as error:  # how safetensors reports a full disk
            raise OSError(str(error)) from error
        sidecar.write_text(json.dumps({"format": FORMAT, **card}, indent=2) + "\n", encoding="utf-8")
    return path


def find_model(path: str | Path) -> Path:
    """The model file that a user means by a file, a run's folder, a file's name without its ending, or a config's name.

    Raises:
        InputError: If there is none.
    """
    path = Path(path)
    if path.suffix in (".yaml", ".yml"):
        return Path(find_config(str(path)))
    candidates = [path, path / "model.safetensors", path.with_name(path.name + ".safetensors")]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise InputError(f"no model at {path}; give a .safetensors, .ckpt or .pth file, or the folder of a finished run")


def load_model(path: str | Path) -> tuple[nn.Module, dict[str, Any]]:
    """A trained network in evaluation mode, and its card.

    Args:
        path: piqa's own file (or its folder), a training checkpoint (`.ckpt`), or an official DN-PIQA checkpoint.

    Returns:
        The network and its card. The card of an official checkpoint names the published network and nothing else.

    Raises:
        InputError: If there is no such file, or it is of another kind, or its parts do not fit.
    """
    path = find_model(path)
    if path.suffix == ".safetensors":
        card = _read_card(path.with_suffix(".json"))
        network = build_network(card, path)
        load_strictly(network, read_state_dict(path), path)
        return network.eval(), card
    content = read_file(path)
    if isinstance(content.get(CKPT_CARD), Mapping):
        card = dict(content[CKPT_CARD])
        network = build_network(card, path)
        load_strictly(network, tensors_of(content, path), path)
        return network.eval(), card
    state = tensors_of(content, path)
    if (layout := layout_of(state)) != "dn_piqa":
        raise InputError(f"{path} has the layout '{layout}', which is no model that scores portraits")
    network = DualBranch()
    load_strictly(network, from_dn_piqa(state), path)
    return network.eval(), {"network": {"class_path": "piqa.models.DualBranch", "init_args": {}}}


def check_resumable(path: str | Path, network: nn.Module) -> None:
    """Makes sure that a training checkpoint belongs to a network before anything is built on it.

    Raises:
        InputError: If it is no training checkpoint of piqa's, or one of another network.
    """
    content = read_file(path)
    if not isinstance(content.get(CKPT_CARD), Mapping):
        raise InputError(
            f"{path} is no training checkpoint of piqa's; start from a model by `--model.init.model` instead"
        )
    state = {key: value for key, value in tensors_of(content, path).items() if not key.startswith("_")}
    check_state_dict(network, state, path)


def build_network(card: Mapping[str, Any], source: str | Path) -> nn.Module:
    """The network that a card describes, randomly initialised.

    Raises:
        InputError: As `instantiate`.
    """
    network: nn.Module = instantiate(card.get("network"), nn.Module, f"the card of {source}")
    return network


def instantiate(spec: Any, kind: type, source: str) -> Any:
    """Builds what a card describes by `class_path` and `init_args`.

    A card may come from anywhere, so nothing but the constructor of a `kind` is ever called.

    Raises:
        InputError: If the card names something else, or something that cannot be built so.
    """
    try:
        module, _, name = spec["class_path"].rpartition(".")
        if module.split(".")[0] == "piqa":  # this package, which a challenge's submission carries under another name
            module = __name__.split(".")[0] + module.removeprefix("piqa")
        named = getattr(importlib.import_module(module), name)
        if isinstance(named, type) and issubclass(named, kind):
            return named(**spec["init_args"])
    except InputError:
        raise
    except Exception as error:  # the card's arguments may make a constructor fail in any way
        raise InputError(f"{source} describes no {kind.__name__} that can be built here ({error})") from error
    raise InputError(f"{source} names {spec['class_path']}, which is no {kind.__name__}")


def _read_card(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path} is missing: piqa's weights need the card that was written beside them")
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is no JSON: {error}") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        found = card.get("format") if isinstance(card, dict) else type(card).__name__
        raise InputError(f"{path} is no card of this version (format {found!r} instead of {FORMAT!r})")
    return card
