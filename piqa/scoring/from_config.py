"""A config as a model: networks that score without any training of ours, such as CLIP-IQA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from piqa.data.transforms import seen_side
from piqa.errors import InputError
from piqa.models.clip_iqa import CLIPIQA
from piqa.models.contract import ScoringModule
from piqa.models.liqe import LIQE
from piqa.preparation.digests import digest_of
from piqa.preparation.portrait import Preparation
from piqa.weights import state_dicts
from piqa.weights.model_card import ClassSpec, ModelCard
from piqa.weights.model_file import build_network

CONFIGS = (".yaml", ".yml")


def load_config(path: str | Path) -> tuple[ScoringModule, ModelCard]:
    """The network that a training config describes, with the weights that training would start from, and its card.

    Args:
        path: The config: `model.network`, `model.init` (or its `clip`), and of `data` `preparation`, `view` and `crop`.

    Raises:
        InputError: If the config says something else, or its network must be trained first, or its weights cannot be
            had.
    """
    content = _read(path)
    model, data = content["model"], content["data"]
    network = build_network(ClassSpec.from_dict(model.get("network"), f"`model.network` of {path}"), path)
    init = model.get("init", "openai")
    source = init.get("clip", "openai") if isinstance(init, Mapping) else str(init)
    if not (isinstance(network, CLIPIQA) or (isinstance(network, LIQE) and Path(source).suffix)):
        raise InputError(
            f"{path} describes a {type(network).__name__} that must be trained first: `python -m piqa.fit --config "
            f"{path}`; then give the run's folder"
        )
    state_dicts.load_clip(network, source)
    try:
        preparation = Preparation(**(data.get("preparation") or {}))
    except TypeError as error:
        raise InputError(f"{path}: `data.preparation` has a setting that there is not: {error}") from error
    view, crop = data.get("view", "crops"), data.get("crop", 384)
    weights = digest_of(source) if Path(source).is_file() else source
    side = seen_side(view, preparation, crop) or crop
    return network.eval(), ModelCard(ClassSpec.of(network), asdict(preparation), view, side, weights=weights)


def _read(path: str | Path) -> dict[str, dict[str, Any]]:
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read as a config: {' '.join(str(error).split())}") from error
    parts = {name: content.get(name) or {} for name in ("model", "data")} if isinstance(content, dict) else {}
    if not all(isinstance(part, dict) for part in parts.values()) or not parts.get("model"):
        raise InputError(f"{path} is no config of a model: it has no table `model` with a `network`")
    return parts


def with_prompts(network: ScoringModule, prompts: Mapping[str, Sequence[str]]) -> CLIPIQA:
    """A CLIP-IQA with the same weights that compares a user's own pairs of prompts.

    Args:
        network: A CLIP-IQA.
        prompts: Pairs of prompts by name, the better one first; the first pair gives the score.

    Raises:
        InputError: If the network is no CLIP-IQA, or a pair is none.
    """
    if not isinstance(network, CLIPIQA):
        raise InputError(f"prompts of your own can be asked of CLIP-IQA alone, not of a {type(network).__name__}")
    other = CLIPIQA(prompts=prompts, architecture=network.init_args["architecture"])
    other.load_state_dict(network.state_dict())
    return other.eval()
