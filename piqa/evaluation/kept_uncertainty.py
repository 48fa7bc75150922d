"""How sure the scores of evaluated models are by themselves, kept in the cards of their runs.

`piqa predict` takes the unit of `score_std` from there, `piqa pick` and `piqa compare` how sure an order is.
"""

from __future__ import annotations

from collections.abc import Mapping

from piqa.errors import InputError
from piqa.evaluation.report import Report
from piqa.weights.card_facts import add_to_card
from piqa.weights.model_file import read_card

VALIDATION = "split val"  # how the source of what was found on validation scenes says so


def keep_uncertainty(
    models: Mapping[str, str], own: Mapping[str, str], reports: Mapping[str, Report], split: str
) -> list[str]:
    """Keep the fitted uncertainty in the cards of runs of piqa's; return a line on each of them.

    What was found on validation scenes stays when the test scenes are evaluated, so that the test scenes test it.

    Args:
        models: Path of each model, by name.
        own: Digests of the weights of those that are runs of piqa's, as they were when they scored.
        reports: What was found, by name.
        split: The evaluated part of the table.
    """
    notes = []
    for name, model in models.items():
        found = reports[name].doubt
        if found is None or split == "train" or name not in own:
            continue  # of runs and of the training split `keep_preferences` has told
        try:
            card = read_card(model)
            kept = {} if card is None else card.uncertainty
            if split != "val" and VALIDATION in str(kept.get("source", "")):
                notes.append(f"{name}: the uncertainty in its card, found on validation scenes, stays as it is")
                continue
            add_to_card(model, {"uncertainty": found.uncertainty.to_dict()}, own[name])
            notes.append(f"{name}: how sure its scores are is kept in its card, for `score_std`, `pick` and `compare`")
        except InputError as error:  # the evaluation itself is done
            notes.append(f"{name}: how sure its scores are is not kept: {error}")
    return notes
