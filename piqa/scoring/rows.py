"""The row of an image in a table of scores: its columns, and what a network's outputs become in it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

from piqa.errors import InputError
from piqa.scoring.engine import Values
from piqa.scoring.stated_std import STD

BOX = ["face_x1", "face_y1", "face_x2", "face_y2"]
Cell = str | float | bool | None
Row = dict[str, Cell]  # by column
COLUMNS = ["file", "score", "face_found", *BOX, "turned", "error"]


def by_image(outputs: Mapping[str, Values], classes: Mapping[str, Sequence[str]], std_factor: float = 1.0) -> list[Row]:
    """Return the outputs of each image.

    Args:
        outputs: One value an image each, by name.
        classes: The classes' names of the outputs that hold class indices, for which these stand in the rows.
        std_factor: Of `score_std`.
    """
    columns: dict[str, list[Cell]] = {}
    for name, values in outputs.items():
        columns[name] = [classes[name][int(index)] for index in values] if name in classes else [*values]
    if STD in columns and std_factor != 1:
        columns[STD] = [std_factor * cast(float, value) for value in columns[STD]]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def is_finite(value: Cell) -> bool:
    """Whether a cell is anything but NaN or an infinity."""
    return not isinstance(value, float) or math.isfinite(value)


def factor_module() -> Any:
    """Return the module of the factors' columns, which needs SciPy; a run without factors starts the faster."""
    try:
        from piqa.scoring import factor_columns
    except ImportError as error:
        raise InputError(f"`factors` need {error.name}, which is not installed: `pip install {error.name}`") from error
    return factor_columns
