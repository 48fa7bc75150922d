"""How sure the scores of evaluated models are, kept where `piqa pick` finds it: in the cards of their runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from piqa.errors import InputError
from piqa.evaluation.report import Report
from piqa.weights.card_facts import add_to_card


def keep_preferences(
    models: Mapping[str, str], own: Mapping[str, str], reports: Mapping[str, Report], split: str
) -> list[str]:
    """Keep the fitted preferences in the cards of runs of piqa's; return a line on each model.

    Args:
        models: Path of each model, by name.
        own: Digests of the weights of those that are runs of piqa's, as they were when they scored.
        reports: What was found, by name.
        split: The evaluated part of the table.
    """
    notes = []
    for name, model in models.items():
        found = reports[name].calibration
        if found is None:
            notes.append(f"{name}: no preference, as no scene has two images with different predictions")
        elif split == "train":
            notes.append(f"{name}: the preference is not kept: scenes of the training make a model look too sure")
        elif name not in own:
            notes.append(f"{name}: the preference is not kept in a card, as the model is no run of piqa's")
        else:
            try:
                add_to_card(model, {"preference": found.preference.to_dict()}, own[name])
                notes.append(f"{name}: the preference is kept in {Path(model).with_suffix('.json')}, for `piqa pick`")
            except InputError as error:  # the evaluation itself is done
                notes.append(f"{name}: the preference is not kept: {error}")
    return notes
