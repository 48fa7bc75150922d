"""What an exported model says of itself, made from a scorer: its document, the face detector's networks, its card."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from piqa.conversion.face_networks import face_networks
from piqa.conversion.graph_module import LIQE_WINDOWS, GraphModule
from piqa.engines.exported import FACES_KEY, METADATA_KEY, ExportedModel, ExportPrecision, faces_text
from piqa.scoring.scorer import Scorer
from piqa.system.json_text import plain, write_json
from piqa.system.ownership import folder_mark, new_mark
from piqa.system.shown_paths import EMBEDDED, shown_command, shown_path
from piqa.weights.model_card import ModelCard
from piqa.weights.model_file import find_model, read_card

PATHS = ("liqe", "yunet")  # settings of the preparation that are paths of this machine


def document_of(
    scorer: Scorer, graph: GraphModule, precision: ExportPrecision, command: str, checks: Mapping[str, Any]
) -> ExportedModel:
    """Return the document of an export; nothing in it names a path of this machine."""
    classes = {name: list(scorer.network.classes[name]) for name in graph.outputs if name in scorer.network.classes}
    return ExportedModel(
        card=card_for_others(scorer.card),
        preparation=_without_paths(asdict(scorer.preparation)),
        inputs=[one.name for one in graph.inputs],
        outputs=graph.outputs,
        liqe=LIQE_WINDOWS in [one.name for one in graph.inputs],
        view=scorer.view,
        crop_size=scorer.crop_size,
        classes=classes,
        crops=graph.crops,
        precision=precision,
        checks=plain(checks),
        made_by={"version": new_mark("export")["version"], "command": shown_command(command)},
    )


def metadata_of(document: ExportedModel) -> dict[str, str]:
    """Return the texts that a file holds: its document, and the networks of MTCNN where that finds its faces."""
    metadata = {METADATA_KEY: document.text()}
    settings = document.preparation
    if settings.get("face_rule") != "none" and settings.get("detector") == "mtcnn":
        metadata[FACES_KEY] = faces_text(face_networks())
    return metadata


def card_for_others(card: ModelCard) -> ModelCard:
    """Return a card without the paths of this machine."""
    preparation = None if card.preparation is None else _without_paths(card.preparation)
    return replace(card, preparation=preparation, trained_on=_shown(card.trained_on), personal=_shown(card.personal))


def _without_paths(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in PATHS}


def _shown(value: Any) -> Any:
    """Return facts with each path in them as others may see it."""
    if isinstance(value, Mapping):
        return {name: _shown(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_shown(one) for one in value]
    if not isinstance(value, str) or "://" in value or not EMBEDDED.search(value):
        return value
    return shown_path(value) if re.match(r"(/|[A-Za-z]:[\\/])\S*$", value) else shown_command(value)


def keep_in_card(model: str | Path, name: str, check: Mapping[str, Any]) -> bool:
    """Write a check into the card of a model, if that is a run of ours; return whether it is.

    Published files, and files that lie in folders that piqa did not make, are left as they are.
    """
    path = find_model(model)
    if path.suffix != ".safetensors" or folder_mark(path.parent) is None:
        return False
    card = read_card(path)
    if card is None:
        return False
    write_json(replace(card, checks={**card.checks, name: dict(check)}).to_dict(), path.with_suffix(".json"))
    return True
