"""Write results as standard JSON: a value that is not a number is null, other types become text."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from piqa.system.files import replacing


def json_text(value: object, indent: int | None = 2) -> str:
    """Return the value as JSON text with a line end; see `plain` for what becomes of its parts."""
    return json.dumps(plain(value), indent=indent, allow_nan=False) + "\n"


def write_json(value: object, path: str | Path, indent: int | None = 2) -> None:
    """Write the value as JSON text, whole or not at all; raise InputError if the file cannot be written."""
    with replacing(path) as temporary:
        temporary.write_text(json_text(value, indent), encoding="utf-8")


def plain(value: object) -> Any:
    """Return the value in JSON's own types: NaN and infinity as None, a frame as its records, other types as text."""
    value = _without_pandas(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | np.ndarray):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None:
        return None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, bool | int | str) else str(value)


def _without_pandas(value: object) -> object:
    """Return a frame as its records, a column as a list, a missing value as None, and any other value as it is."""
    pandas = sys.modules.get("pandas")  # there already where a value is of its kind; slow to import where none is
    if pandas is None:
        return value
    if isinstance(value, pandas.DataFrame):
        return value.to_dict("records")
    if isinstance(value, pandas.Series | pandas.Index):
        return list(value)
    return None if value is pandas.NA or value is pandas.NaT else value
