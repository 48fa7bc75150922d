"""Columns of labels beside the score: scores of further attributes, and classes.

- `score.<attribute>`: the image's score in that attribute, higher is better; empty where it has none,
- `score_std.<attribute>`: the standard deviation of that score,
- `class.<name>`: 1 where the image is of that class, 0 where it is not; empty where nobody has said.

In a batch they have the same names, and NaN where a cell is empty. A network's output for an attribute has the
attribute's own name: `details` learns from `score.details`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from piqa.errors import InputError
from piqa.system.csv_text import as_numbers_or_nothing, with_rows

SCORE, SCORE_STD, CLASS = "score.", "score_std.", "class."
PREFIXES = (SCORE, SCORE_STD, CLASS)


def is_more(name: object) -> bool:
    """Whether a column holds labels beside the score.

    Examples:
        >>> is_more("score.details"), is_more("class.diagonal"), is_more("score_std")
        (True, True, False)
    """
    return isinstance(name, str) and name.startswith(PREFIXES)


def more_of(columns: Iterable[object]) -> list[str]:
    """Return the columns that hold labels beside the score, in their order."""
    return [str(name) for name in columns if is_more(name)]


def attributes_of(columns: Iterable[object]) -> list[str]:
    """Return the attributes that have scores, in the order of their columns.

    Examples:
        >>> attributes_of(["image", "score", "score.details", "score_std.details", "score.exposure"])
        ['details', 'exposure']
    """
    return [name.removeprefix(SCORE) for name in more_of(columns) if name.startswith(SCORE)]


def can_be_compared(table: pd.DataFrame, column: str) -> bool:
    """Whether two images of one scene have different values in a column: nothing can be learnt of it otherwise.

    Examples:
        >>> table = pd.DataFrame({"scene": list("aab"), "score.details": [1.0, float("nan"), 2.0]})
        >>> can_be_compared(table, "score.details"), can_be_compared(table.assign(scene="a"), "score.details")
        (False, True)
    """
    return bool((table.groupby("scene")[column].nunique() > 1).any())


def more_numbers(table: pd.DataFrame, source: str | Path) -> dict[str, pd.Series[float]]:
    """Return the labels beside the score as numbers, NaN where a cell is empty; a column without any counts as absent.

    Args:
        table: The table; its index is the row in the label file.
        source: The label file, for the messages.

    Raises:
        InputError: If a column's name is no attribute's or class's, a cell is neither empty nor a finite number, a
            standard deviation is negative or without its score, or a class is neither 0 nor 1.
    """
    found = {}
    for name in more_of(table):
        prefix = next(prefix for prefix in PREFIXES if name.startswith(prefix))
        if not name.removeprefix(prefix).isidentifier():
            raise InputError(
                f"{source} has a column {name!r}; what follows {prefix!r} must be one word, such as "
                f"{prefix + 'details'!r}: rename it"
            )
        values = as_numbers_or_nothing(table[name], source)
        if prefix == CLASS:
            _check_class(table[name], values, source)
        if values.notna().any():
            found[name] = values
    for name in [name for name in found if name.startswith(SCORE_STD)]:
        _check_has_score(found, name, source)
    return found


def _check_class(cells: pd.Series[str], values: pd.Series[float], source: str | Path) -> None:
    bad = cells[values.notna() & ~values.isin((0, 1))]
    if len(bad):
        raise InputError(
            f"the {cells.name} in {source} must be 1 (of that class), 0 (not) or empty (unknown), found "
            f"{with_rows(bad.map(repr))}; correct or remove them"
        )


def _check_has_score(found: dict[str, pd.Series[float]], name: str, source: str | Path) -> None:
    score = found.get(SCORE + name.removeprefix(SCORE_STD))
    alone = found[name].notna() if score is None else found[name].notna() & score.isna()
    if alone.any():
        lone = found[name][alone].astype(str)
        raise InputError(
            f"{source} has a {name} without the score that it belongs to, found {with_rows(lone)}; add "
            f"{SCORE + name.removeprefix(SCORE_STD)} or remove them"
        )
