"""Trained models as files: weights, and beside them a card that describes network and preparation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from piqa.errors import FileAccessError, InputError
from piqa.models import DualBranch
from piqa.models.contract import Arguments, ScoringModule, as_scoring_network
from piqa.system.files import digest_of, replacing
from piqa.weights.initialisation import WithoutInitialisation
from piqa.weights.model_card import CARD_FORMAT, ClassSpec, ModelCard
from piqa.weights.model_places import EXPORTED
from piqa.weights.model_places import find_model as find_model
from piqa.weights.registry import entry_named
from piqa.weights.state_dicts import (
    CKPT_CARD,
    State,
    check_state_dict,
    from_dn_piqa,
    layout_of,
    load_strictly,
    read_file,
    tensors_of,
)
from piqa.weights.trust import check_arguments, current_arguments, find_class, shown, trusted_packages

LARGEST_CARD = 10_000_000  # bytes
NAMED = (
    "liqe",
    "pyiqa liqe",
    "pyiqa nima",
    "clip-iqa+ context",
)  # layouts of models that are known by their name alone
# How images are prepared for the official checkpoint: its detector's first face is the most confident one.
PUBLISHED_PREPARATION: Arguments = {"short_side": 448, "face_rule": "most_confident", "face_margin": 20}


def save(module: nn.Module, path: str | Path, card: ModelCard | Mapping[str, object]) -> Path:
    """Write a module as safetensors and its card as JSON beside it, each atomically.

    The card holds the digest of the weights, so that `load_model` notices where only one of the two was replaced.

    Args:
        module: A network whose whole state dict is written.
        path: The `.safetensors` file; the card gets the same name with `.json`.
        card: What a reader must know to use the weights; of a part of a model, such as a backbone, any table.
    """
    path = Path(path)
    state = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
    content = card.to_dict() if isinstance(card, ModelCard) else {"format": CARD_FORMAT, **card}
    # The card takes its place first: where the program is killed before the weights do, its digest tells.
    with replacing(path) as weights, replacing(path.with_suffix(".json")) as sidecar:
        try:
            save_file(state, weights)
        except SafetensorError as error:  # how safetensors reports a full disk
            raise OSError(str(error)) from error
        content["weights_digest"] = digest_of(weights)
        # Strictly: what JSON cannot hold must not become text, from which no network could be built.
        sidecar.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return path


def load_model(path: str | Path, trust: Sequence[str] = ()) -> tuple[ScoringModule, ModelCard]:
    """Load a trained network in evaluation mode, and its card.

    Args:
        path: piqa's own file (or its folder), a training checkpoint (`.ckpt`), an official DN-PIQA checkpoint, or a
            name, as for `find_model`.
        trust: Packages and modules besides piqa whose networks the card may name; they are imported. Any other name is
            refused before anything is imported.

    Returns:
        The network and its card. That of an official checkpoint, or of a published name, names the published network
        and preparation.

    Raises:
        InputError: If there is no such file, or it is of another kind, or its parts do not fit.
    """
    if (entry := entry_named(path)) is not None:
        from piqa.weights.published import load_published  # which is built on this module

        return load_published(entry)
    path = find_model(path)
    _refuse_exported(path)
    card = _read_card(path.with_suffix(".json")) if path.suffix == ".safetensors" else None
    content = read_file(path)
    if card is not None:
        _check_digest(card, path)
    elif isinstance(content.get(CKPT_CARD), Mapping):
        card = ModelCard.from_dict(content[CKPT_CARD], f"the card in {path}")
    state = tensors_of(content, path)
    if card is not None:
        network = build_network(card.network, path, trust, state)
    elif (layout := layout_of(state)) == "dn_piqa":
        with WithoutInitialisation():
            network = DualBranch()
        state = from_dn_piqa(state)
        card = ModelCard(ClassSpec.of(network), dict(PUBLISHED_PREPARATION))
    else:
        published = (
            "; if it is a published file, `piqa models` lists the names of those that do" if layout in NAMED else ""
        )
        if layout == "piqa model":
            raise InputError(
                f"{path} has weights of a piqa model without the card that says of which; give the run's folder, its "
                "model.safetensors with model.json beside it, or a checkpoint of it"
            )
        raise InputError(f"{path} has the layout '{layout}', which is no model that scores portraits{published}")
    load_strictly(network, state, path)
    return network.eval(), card


def read_card(path: str | Path) -> ModelCard | None:
    """Return the card of a model that is given as for `load_model`; None where it has none, as published files have.

    Raises:
        InputError: If there is no such file, or it is of another kind.
    """
    path = find_model(path)
    if path.suffix == ".safetensors":
        return _read_card(path.with_suffix(".json"))
    if path.suffix in (".yaml", ".yml"):
        return None
    _refuse_exported(path)
    card = read_file(path).get(CKPT_CARD)
    return ModelCard.from_dict(card, f"the card in {path}") if isinstance(card, Mapping) else None


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


def build_network(
    spec: ClassSpec, path: str | Path, trust: Sequence[str] = (), state: State | None = None
) -> ScoringModule:
    """Build the network that a card describes: randomly initialised, or with no values at all where `state` is given.

    Args:
        spec: The network in the card.
        path: The card's file, for the errors' messages.
        trust: As for `load_model`.
        state: The tensors that it must fit. It is then built without memory first: whatever size a card claims, no more
            is taken than the file holds.

    Raises:
        InputError: As `instantiate`; or if the tensors do not fit.
    """
    source = f"the card of {path}"
    if state is not None and spec.class_path.startswith("piqa."):
        try:
            with torch.device("meta"), WithoutInitialisation():
                sketch = instantiate(spec, nn.Module, source, trust)
        except InputError as error:
            if "meta" not in str(error):
                raise  # else an older timm, which computes with numbers while it builds
        else:
            check_state_dict(sketch, state, path)
            with WithoutInitialisation():
                return as_scoring_network(instantiate(spec, nn.Module, source, trust))
    return as_scoring_network(instantiate(spec, nn.Module, source, trust))


def instantiate(spec: object, kind: type, source: str, trust: Sequence[str] = ()) -> Any:
    """Build what a card describes by `class_path` and `init_args`.

    A card may come from anywhere, so nothing but the constructor of a `kind` is ever called: one of piqa's, with
    arguments of the right types and in a sane range, or one of a package that the user trusts.

    Args:
        spec: A `ClassSpec`, or the table of one.
        kind: The class, or a base class of it.
        source: Where the description stands, for the error's message.
        trust: As for `load_model`.

    Raises:
        InputError: If the card names something else, or something that cannot be built so.
    """
    spec = spec if isinstance(spec, ClassSpec) else ClassSpec.from_dict(spec, source)
    named = find_class(spec.class_path, kind, source, trusted_packages(trust))
    cannot = f"{source} describes no {kind.__name__} that can be built here"
    try:
        arguments = {name: _built(value, kind, source, trust) for name, value in spec.init_args.items()}
        arguments = current_arguments(named, arguments)
        if spec.class_path.startswith("piqa."):
            check_arguments(named, arguments, f"{cannot}: {named.__name__}")
        return named(**arguments)
    except InputError:
        raise
    except Exception as error:  # the card's arguments may make a constructor fail in any way
        raise InputError(f"{cannot} ({type(error).__name__}: {shown(str(error))})") from error


def _built(value: object, kind: type, source: str, trust: Sequence[str]) -> object:
    """Return an argument; a network inside a network is built, and so is a list of tables, as a mix has."""
    if kind is nn.Module and isinstance(value, Mapping) and "class_path" in value:
        return instantiate(value, kind, source, trust)
    if not isinstance(value, list) or not all(isinstance(one, Mapping) and "class_path" in one for one in value):
        return value
    if any(isinstance(one.get("init_args"), Mapping) and "tables" in one["init_args"] for one in value):
        raise InputError(f"{source} has a mix inside a mix; name the tables of both in one")
    return [instantiate(one, kind, source, trust) for one in value]


def _refuse_exported(path: Path) -> None:
    if path.suffix.lower() in EXPORTED:
        raise InputError(f"{path} is an exported model, which scores and does nothing else; give what it was made of")


def _check_digest(card: ModelCard, path: Path) -> None:
    """Check that the weights are those that the card was written with; cards of 0.1.0 do not tell."""
    if card.weights_digest is not None and card.weights_digest != digest_of(path):
        raise InputError(
            f"{path.with_suffix('.json')} and {path.name} are not of one run: the weights are not those that the card "
            "was written with; copy both again, or train again"
        )


def _read_card(path: Path) -> ModelCard:
    if not path.is_file():
        raise InputError(f"{path} is missing: piqa's weights need the card that was written beside them")
    try:
        if path.stat().st_size > LARGEST_CARD:
            raise InputError(f"{path} is no card: it has {path.stat().st_size / 1e6:.0f} MB")
        card = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FileAccessError(f"cannot read {path}: {error.strerror}; check its permissions") from error
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON that can be read: {shown(str(error))}") from error
    return ModelCard.from_dict({"format": None} | card if isinstance(card, dict) else card, str(path))
