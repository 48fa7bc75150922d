"""What a precision does to a model's ranks, told where it is chosen."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from shlex import quote

from piqa.weights.model_card import ModelCard


def tell_precision(card: ModelCard, precision: str, model: str | Path) -> None:
    """Say on stderr what is known of a precision other than float32; `model` is the model as the user named it."""
    if precision == "32":
        return
    check = card.checks.get(precision)
    if isinstance(check, Mapping):
        print(f"piqa: {precision} against float32: {in_words(check)}", file=sys.stderr)
    else:
        found = f"nothing is known of what {precision} does to the ranks of {model}"
        advice = f"`piqa models check {quote(str(model))} --precision {precision}` finds out"
        print(f"piqa: warning: {found}; {advice}", file=sys.stderr)


def in_words(check: Mapping[str, object]) -> str:
    """Return how far scores agree, as a card keeps it.

    Examples:
        >>> in_words({"images": 48, "largest": 0.0123, "spread": 0.41, "spearman": 0.9998, "within_scenes": 0.9996})
        'Spearman 0.9998, within scenes 0.9996, largest difference 0.012 (standard deviation of scores 0.41), 48 images'
    """
    parts = [f"Spearman {_number(check, 'spearman', '.4f')}"]
    if "within_scenes" in check:
        parts.append(f"within scenes {_number(check, 'within_scenes', '.4f')}")
    spread = f"standard deviation of scores {_number(check, 'spread', '.2g')}"
    parts.append(f"largest difference {_number(check, 'largest', '.2g')} ({spread})")
    return ", ".join([*parts, f"{_number(check, 'images', 'd')} images"])


def _number(check: Mapping[str, object], name: str, form: str) -> str:
    value = check.get(name)
    fits = isinstance(value, int) if form == "d" else isinstance(value, int | float)
    try:
        return format(value, form) if fits and not isinstance(value, bool) else "unknown"
    except OverflowError:  # a whole number of hundreds of digits, of which a card may have any
        return "unknown"
