"""Published weights, which lack a card, as networks: the registry says what they are, their layout how to read them.

Layouts are known by the keys in the files (`state_dicts.LAYOUTS`). Nobody's code is imported or run.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from piqa.errors import InputError
from piqa.models.clip import PromptedCLIP
from piqa.models.clip_iqa import CLIPIQAPlus
from piqa.models.contract import Arguments, ScoringModule, as_scoring_network
from piqa.weights.download import fetch
from piqa.weights.initialisation import WithoutInitialisation
from piqa.weights.model_card import ClassSpec, ModelCard
from piqa.weights.model_file import instantiate
from piqa.weights.registry import FILE, Entry, entries
from piqa.weights.state_dicts import (
    State,
    clip_state,
    from_dn_piqa,
    layout_of,
    load_strictly,
    read_file,
    read_state_dict,
    tensors_of,
)

PLACES = 365  # categories of Places365
CONTEXT = "prompt_learner.ctx"  # CLIP-IQA+'s learned tokens; in the authors' file behind `generator.`
# Layouts that `state_dicts.layout_of` does not tell: of files that are checked otherwise, or are not read.
OTHER_LAYOUTS = ("places365", "onnx", "keras", "tanet")


def read_published(path: str | Path) -> State:
    """Read the tensors of a published file; one that holds a tensor alone is a context of CLIP-IQA+.

    Raises:
        InputError: As `state_dicts.read_state_dict`.
    """
    return tensors_of(read_file(path, lone=CONTEXT), path)


def check_content(entry: Entry, path: Path) -> None:
    """Check by a file's keys that it is what an entry says; InputError if it is not."""
    if entry.layout == "onnx":  # known by its hash alone
        return
    state = read_published(path)
    found = layout_of(state)
    if found == "timm" and "fc.weight" in state and len(state["fc.weight"]) == PLACES:
        found = "places365"
    if found != entry.layout:
        raise InputError(f"{entry.name}: {path} has the layout '{found}', not '{entry.layout}': it is another file")


def load_published(entry: Entry) -> tuple[ScoringModule, ModelCard]:
    """Load a published model in evaluation mode, and a card that says what the registry knows of it.

    Raises:
        InputError: If it is no model that scores images, or its files are not to be had or do not fit.
    """
    _check_use(entry)
    state = read_published(fetch(entry))
    spec = ClassSpec(**_spec(entry, state))
    with WithoutInitialisation():
        network = as_scoring_network(instantiate(spec, nn.Module, f"the entry {entry.name} of {FILE.name}"))
    _fill(network, entry, state)
    card = ModelCard(
        ClassSpec.of(network),
        dict(entry.preparation),
        entry.view,
        entry.crop_size,
        weights=", ".join(entry.needs.values()) or None,
        trained_on={"name": entry.name, "what": entry.what, "citation": entry.citation},
        licence=entry.licence.to_dict() | {"commercial": entry.commercial, "line": entry.licence_line},
    )
    return network.eval(), card


def fill(network: nn.Module, entry: Entry) -> None:
    """Fill a network that training starts with from a published model; InputError if it is none, or does not fit."""
    _check_use(entry)
    _fill(network, entry, read_published(fetch(entry)))


def _check_use(entry: Entry) -> None:
    if entry.use in ("start", "part"):
        where = "as a start of training" if entry.use == "start" else "where a model is built with it"
        raise InputError(f"{entry.name} is no model that scores images but {entry.what}; name it {where}")


def _spec(entry: Entry, state: State) -> Arguments:
    """Return the network of an entry; what only its file tells is taken from there."""
    spec = {"class_path": entry.network["class_path"], "init_args": dict(entry.network.get("init_args", {}))}
    if entry.layout == "clip-iqa+ context":
        spec["init_args"]["shared_context"] = _context(state).ndim == 2
    return spec


def _fill(network: nn.Module, entry: Entry, state: State) -> None:
    FILLERS[entry.layout](network, entry, state)


def _fill_dn_piqa(network: nn.Module, entry: Entry, state: State) -> None:
    load_strictly(network, from_dn_piqa(state), entry.name)


def _fill_clip(network: nn.Module, entry: Entry, state: State) -> None:
    if not isinstance(network, PromptedCLIP):
        raise _misfit(network, entry, "network built on CLIP")
    load_strictly(network.clip, clip_state(state, network.clip), entry.name)


def _fill_context(network: nn.Module, entry: Entry, state: State) -> None:
    if not isinstance(network, CLIPIQAPlus):
        raise _misfit(network, entry, "CLIPIQAPlus")
    clip = entries()[entry.needs["clip"]]
    tensors = clip_state(read_state_dict(fetch(clip)), network.clip)
    whole = {f"clip.{key}": value for key, value in tensors.items()}
    load_strictly(network, whole | {"context": _context(state).float()}, entry.name)


def _misfit(network: nn.Module, entry: Entry, needed: str) -> InputError:
    return InputError(f"{entry.name} fills a {needed}, not a {type(network).__name__}")


def _context(state: State) -> Tensor:
    """Return the learned tokens among the tensors of a file: (context, width), or (prompts, context, width)."""
    return next(value for key, value in state.items() if key.endswith(CONTEXT))


def _fill_nima(network: nn.Module, entry: Entry, state: State) -> None:
    """Fill a NIMA from IQA-PyTorch's keys: timm's network with features alone, and a Linear behind a Dropout."""
    ours: State = {}
    for key, value in state.items():
        key = re.sub(r"^base_model\.(features_(\d+))?", _in_backbone, key)
        ours[re.sub(r"^classifier\.\d+\.", "head.1.", key)] = value
    load_strictly(network, ours, entry.name)


def _in_backbone(match: re.Match[str]) -> str:
    return "backbones.whole.net." + (f"features.{match[2]}" if match[2] else "")


FILLERS: dict[str, Callable[[nn.Module, Entry, State], None]] = {
    "dn_piqa": _fill_dn_piqa,
    "liqe": _fill_clip,
    "pyiqa liqe": _fill_clip,
    "clip-iqa+ context": _fill_context,
    "pyiqa nima": _fill_nima,
}
