"""The row of an image in a table of scores: its columns, and what a network's outputs become in it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from piqa.errors import InputError
from piqa.scoring.engine import Values
from piqa.scoring.stated_std import STD

if TYPE_CHECKING:
    import pandas as pd

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


def as_table(rows: Sequence[Row], columns: Sequence[str], classes: Collection[str]) -> pd.DataFrame:
    """Return rows as a table, of which every column has the same type whatever the rows hold.

    Args:
        rows: With all of the columns.
        columns: Of the table, in their order.
        classes: Those columns that hold names of classes.
    """
    import pandas as pd  # `piqa predict` makes no table, and starts the faster without it

    texts = {"file", "error", "factors_error", *classes}
    types = dict.fromkeys((name for name in columns if name not in texts), "float64")
    types |= {"face_found": "boolean", "turned": "Int64"}
    # Column by column: of a single image, a table of objects that is converted takes another millisecond.
    index = pd.RangeIndex(len(rows))
    made = {name: pd.Series([row[name] for row in rows], index, types.get(name, "object")) for name in columns}
    return pd.DataFrame(made, index, copy=False)


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
