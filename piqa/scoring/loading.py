"""From a model's file or config to what a scorer is made of: network, preparation, card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from piqa.errors import InputError
from piqa.models.contract import ScoringModule
from piqa.preparation.digests import digest_of
from piqa.preparation.portrait import Preparation
from piqa.scoring.from_config import CONFIGS, load_config, with_prompts
from piqa.weights import state_dicts
from piqa.weights.model_card import ClassSpec, ModelCard
from piqa.weights.model_file import find_model, load_model

PUBLISHED = {"liqe": "data/weights/LIQE.pt"}  # the preparation of official checkpoints, which name none


def load_parts(
    path: str | Path, liqe: str | Path | None = None, prompts: Mapping[str, Sequence[str]] | None = None
) -> tuple[ScoringModule, Preparation, ModelCard]:
    """Load what `Scorer.load` makes a scorer of.

    Args:
        path: As in `Scorer.load`.
        liqe: Likewise.
        prompts: Likewise.

    Raises:
        InputError: Likewise.
    """
    path = find_model(path)
    network, card = (load_config if path.suffix in CONFIGS else load_model)(path)
    if prompts:
        network = with_prompts(network, prompts)
        card = replace(card, network=ClassSpec.of(network))
    return network, _preparation(network, card, path, liqe), card


def _preparation(network: ScoringModule, card: ModelCard, path: Path, liqe: str | Path | None) -> Preparation:
    """Return the preparation that a card names, with LIQE's checkpoint if the network needs its logits.

    Raises:
        InputError: If it is none of this version, or the checkpoint is not the one of the training.
    """
    settings = dict(PUBLISHED if card.preparation is None else card.preparation)
    if "liqe_logits" not in network.inputs:
        settings["liqe"] = None
    elif liqe is not None:
        settings["liqe"] = str(liqe)
    if settings.get("liqe") is not None and card.liqe_digest is not None:
        used = state_dicts.require(settings["liqe"], "liqe")
        if digest_of(used) != card.liqe_digest:
            raise InputError(f"{used} is not the LIQE checkpoint that {path} was trained with; name that by `liqe`")
    try:
        return Preparation(**settings)
    except TypeError as error:
        raise InputError(f"{path}: its card names a preparation that this version does not know: {error}") from error
