"""What licences say of the models that are used: for records, and for users who must keep to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from piqa.errors import InputError
from piqa.weights.model_card import ModelCard
from piqa.weights.registry import entry_named


def licence_lines(used: object) -> dict[str, str]:
    """Return a line for each published name among values, such as the settings of a run; by name.

    Examples:
        >>> list(licence_lines({"init": {"whole": "dn-piqa-lsvq", "face": "scratch"}}))
        ['dn-piqa-lsvq']
    """
    if isinstance(used, str):
        entry = entry_named(used)
        return {} if entry is None else {entry.name: entry.licence_line}
    inside: Iterable[object] = used.values() if isinstance(used, Mapping) else used if isinstance(used, list) else ()
    return {name: line for value in inside for name, line in licence_lines(value).items()}


def licence_of(card: ModelCard) -> str | None:
    """Return the line on a model's licence, as its card says it; None where it says nothing."""
    said = dict(card.licence)
    line = said.pop("line", None)
    if isinstance(line, str):
        return line
    return "; ".join(f"{name}: {value}" for name, value in said.items()) or None


def require_commercial(given: str) -> None:
    """Check that a model is known to allow commercial use.

    Args:
        given: The model as the user named it. A published name is checked before anything is fetched; any other model
            by its card.

    Raises:
        InputError: If it is not known to allow it, or cannot be read.
    """
    entry = entry_named(given)
    if entry is not None:
        if entry.commercial != "yes":
            known = "its licences do not allow it" if entry.commercial == "no" else "nothing is known that allows it"
            raise InputError(f"{entry.name} is not for commercial use: {known} ({entry.licence_line})")
        return
    from piqa.weights.model_file import read_card  # PyTorch, which exported models do without

    check_commercial(read_card(given), given)


def check_commercial(card: ModelCard | None, given: str) -> None:
    """Check that a model's card allows commercial use; `given` is the model as the user named it.

    Raises:
        InputError: If it does not say so.
    """
    if card is None or card.licence.get("commercial") != "yes":
        found = (None if card is None else licence_of(card)) or "nothing is said"
        write = 'write `"licence": {"commercial": "yes"}` into its card'
        raise InputError(f"{given} is not known to allow commercial use ({found}); if you know that it does, {write}")
