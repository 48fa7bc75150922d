"""Trained models as files: weights, and beside them a card that describes network and preparation."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from piqa.errors import InputError
from piqa.models import DualBranch
from piqa.models.contract import Arguments, ScoringModule, as_scoring_network
from piqa.system.config_files import find_config
from piqa.system.files import replacing
from piqa.weights.model_card import CARD_FORMAT, PUBLIC, ClassSpec, ModelCard
from piqa.weights.state_dicts import (
    CKPT_CARD,
    check_state_dict,
    from_dn_piqa,
    layout_of,
    load_strictly,
    read_file,
    tensors_of,
)

# Names of constructors' arguments in cards of version 0.1.0.
FORMER_ARGUMENTS = {"test_share": "test_fraction", "val_share": "val_fraction", "pairs": "prompts"}


def save(module: nn.Module, path: str | Path, card: ModelCard | Mapping[str, object]) -> Path:
    """Write a module as safetensors and its card as JSON beside it, each atomically.

    Args:
        module: A network whose whole state dict is written.
        path: The `.safetensors` file; the card gets the same name with `.json`.
        card: What a reader must know to use the weights; of a part of a model, such as a backbone, any table.
    """
    path = Path(path)
    state = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
    content = card.to_dict() if isinstance(card, ModelCard) else {"format": CARD_FORMAT, **card}
    with replacing(path) as weights, replacing(path.with_suffix(".json")) as sidecar:
        try:
            save_file(state, weights)
        except SafetensorError as error:  # how safetensors reports a full disk
            raise OSError(str(error)) from error
        # Strictly: what JSON cannot hold must not become text, from which no network could be built.
        sidecar.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return path


def find_model(path: str | Path) -> Path:
    """Find a model file by its path (the ending may lack), a run's folder or a config's name; InputError if none."""
    path = Path(path)
    if path.suffix in (".yaml", ".yml"):
        return Path(find_config(str(path)))
    for candidate in (path, path / "model.safetensors", path.with_name(path.name + ".safetensors")):
        if candidate.is_file():
            return candidate
    raise InputError(f"no model at {path}; give a .safetensors, .ckpt or .pth file, or the folder of a finished run")


def load_model(path: str | Path) -> tuple[ScoringModule, ModelCard]:
    """Load a trained network in evaluation mode, and its card.

    Args:
        path: piqa's own file (or its folder), a training checkpoint (`.ckpt`), or an official DN-PIQA checkpoint.

    Returns:
        The network and its card. That of an official checkpoint names the published network and nothing else.

    Raises:
        InputError: If there is no such file, or it is of another kind, or its parts do not fit.
    """
    path = find_model(path)
    card = _read_card(path.with_suffix(".json")) if path.suffix == ".safetensors" else None
    content = read_file(path)
    if card is None and isinstance(content.get(CKPT_CARD), Mapping):
        card = ModelCard.from_dict(content[CKPT_CARD], f"the card in {path}")
    state = tensors_of(content, path)
    if card is not None:
        network = build_network(card.network, path)
    elif (layout := layout_of(state)) == "dn_piqa":
        network, state = DualBranch(), from_dn_piqa(state)
        card = ModelCard(ClassSpec.of(network))
    else:
        raise InputError(f"{path} has the layout '{layout}', which is no model that scores portraits")
    load_strictly(network, state, path)
    return network.eval(), card


def check_resumable(path: str | Path, network: nn.Module) -> None:
    """Check that a file is a training checkpoint of a network, before anything is built on it; InputError if not."""
    content = read_file(path)
    if not isinstance(content.get(CKPT_CARD), Mapping):
        advice = "start from a model by `--model.init.model` instead"
        raise InputError(f"{path} is no training checkpoint of piqa's; {advice}")
    state = {key: value for key, value in tensors_of(content, path).items() if not key.startswith("_")}
    check_state_dict(network, state, path)


def is_checkpoint(path: str | Path) -> bool:
    """Whether a file is a training checkpoint that piqa wrote."""
    try:
        return isinstance(read_file(Path(path)).get(CKPT_CARD), Mapping)
    except InputError:
        return False


def build_network(spec: ClassSpec, path: str | Path) -> ScoringModule:
    """Build the network that a card describes, randomly initialised; errors as of `instantiate`."""
    return as_scoring_network(instantiate(spec, nn.Module, f"the card of {path}"))


def instantiate(spec: object, kind: type, source: str) -> Any:
    """Build what a card describes by `class_path` and `init_args`.

    A card may come from anywhere, so nothing but the constructor of a `kind` is ever called.

    Args:
        spec: A `ClassSpec`, or the table of one.
        kind: The class, or a base class of it.
        source: Where the description stands, for the error's message.

    Raises:
        InputError: If the card names something else, or something that cannot be built so.
    """
    spec = spec if isinstance(spec, ClassSpec) else ClassSpec.from_dict(spec, source)
    try:
        named = _find_class(spec.class_path)
        if isinstance(named, type) and issubclass(named, kind):
            return named(**_current_arguments(named, spec.init_args))
    except InputError:
        raise
    except Exception as error:  # the card's arguments may make a constructor fail in any way
        raise InputError(f"{source} describes no {kind.__name__} that can be built here ({error})") from error
    raise InputError(f"{source} names {spec.class_path}, which is no {kind.__name__}")


def _find_class(class_path: str) -> object:
    """Import what a path names; of this package by its public name, wherever the path has it."""
    module, _, name = class_path.rpartition(".")
    if module.split(".")[0] == "piqa":
        for package in map(importlib.import_module, PUBLIC):
            if hasattr(package, name):
                return getattr(package, name)
    return getattr(importlib.import_module(module), name)


def _current_arguments(named: type, init_args: Arguments) -> Arguments:
    """Rename arguments of version 0.1.0, where the class takes the new name in place of the old one."""
    known = inspect.signature(named).parameters
    return {
        new if old not in known and (new := FORMER_ARGUMENTS.get(old, old)) in known else old: value
        for old, value in init_args.items()
    }


def _read_card(path: Path) -> ModelCard:
    if not path.is_file():
        raise InputError(f"{path} is missing: piqa's weights need the card that was written beside them")
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is no JSON: {error}") from error
    return ModelCard.from_dict({"format": None} | card if isinstance(card, dict) else card, str(path))
