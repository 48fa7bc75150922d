"""Facts that become known of a model after its training: they join its card, and its weights stay as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from piqa.errors import InputError
from piqa.models.contract import Arguments
from piqa.system.files import digest_of
from piqa.system.json_text import write_json
from piqa.system.ownership import folder_mark
from piqa.weights.model_card import FACTS
from piqa.weights.model_file import read_card

RUN = "training run"  # what the marker of a run's folder says


def is_own_model(path: str | Path) -> bool:
    """Whether a file is the model of a run of piqa's, in the run's folder: its card may be added to."""
    path = Path(path)
    mark = folder_mark(path.parent)
    return path.name == "model.safetensors" and mark is not None and mark.get("what") == RUN


def add_to_card(path: str | Path, facts: Mapping[str, Arguments], weights_digest: str | None = None) -> None:
    """Replace facts in the card beside a model's weights, whole or not at all; everything else in it stays.

    No score depends on these facts, so that what was scored before counts as before.

    Args:
        path: The weights.
        facts: By name, such as `preference`: what a `ModelCard` holds.
        weights_digest: Digest of the weights that the facts were found with; None for whatever lies there now.

    Raises:
        InputError: If the weights have been replaced since, or the card cannot be read or written.
        ValueError: If a score could depend on an entry.
    """
    if wrong := facts.keys() - set(FACTS):
        raise ValueError(f"{', '.join(sorted(wrong))}: no facts of a card, but what scores depend on")
    path = Path(path)
    card = read_card(path)
    if card is None:
        raise InputError(f"{path} has no card that could be added to")
    current = digest_of(path)
    known = (current, None)  # cards of 0.1.0 do not tell their weights
    if card.weights_digest not in known or weights_digest not in known:
        raise InputError(f"{path} was replaced meanwhile; nothing was added to its card")
    added: dict[str, Any] = {name: dict(value) for name, value in facts.items()}
    write_json(replace(card, **added).to_dict(), path.with_suffix(".json"))
