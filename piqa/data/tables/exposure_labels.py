"""Scores of exposure by an expert's picture of the same, measured once and kept in a CSV file."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from piqa.errors import InputError
from piqa.factors.measured_image import LINEAR, LUMINANCE
from piqa.preparation.image_file import open_image
from piqa.system.csv_text import read_csv, write_csv
from piqa.system.progress import progress

COLUMNS = ["image", "expert", "bytes", "expert_bytes", "score"]  # of the file of kept scores
SIDE = 256  # pixels of the longer side of the copies that are compared
DARK = 1 / 255  # of white: added, so that black has a logarithm
STOPS = 4.0  # a departure counts as at most this
SAME_SHAPE = 0.02  # by which the two ratios of width to height may differ
SAVE_EVERY = 500  # pictures


def departure(picture: Image.Image, expert: Image.Image) -> NDArray[np.float32]:
    """Return by how many stops each place of a picture is brighter than in an expert's picture of the same.

    Both are reduced to 256 px on the longer side, as light, and compared place by place: log2((Y + e) / (Y' + e)) with
    e = 1/255, within 4 stops either way.

    Args:
        picture: RGB, encoded as sRGB.
        expert: Likewise, of the same shape up to its size.

    Returns:
        float32, (rows, columns).

    Raises:
        ValueError: If they have different shapes.

    Examples:
        >>> dark, light = (Image.new("RGB", (40, 30), (grey,) * 3) for grey in (92, 128))
        >>> round(float(departure(dark, light).mean()), 1)
        -1.0
    """
    ratio, other = picture.width / picture.height, expert.width / expert.height
    if abs(ratio / other - 1) > SAME_SHAPE:
        raise ValueError(f"{picture.width} x {picture.height} px against {expert.width} x {expert.height}")
    scale = min(1.0, SIDE / max(expert.size), SIDE / max(picture.size))
    size = (max(1, round(expert.width * scale)), max(1, round(expert.height * scale)))
    own, best = _luminance(picture, size), _luminance(expert, size)
    stops: NDArray[np.float32] = np.log2((own + DARK) / (best + DARK)).clip(-STOPS, STOPS)
    return stops


def _luminance(picture: Image.Image, size: tuple[int, int]) -> NDArray[np.float32]:
    luminance = LINEAR[np.asarray(picture.convert("RGB"))] @ LUMINANCE
    reduced = Image.fromarray(luminance).resize(size, Image.Resampling.BOX)
    return np.asarray(reduced, dtype=np.float32)


def exposure_labels(pairs: Sequence[tuple[str, str]], kept: Path) -> list[float]:
    """Return minus the mean absolute departure in stops of each picture from the expert's.

    Args:
        pairs: The file of each picture, and of the expert's.
        kept: CSV file of scores that were measured before. Those of files whose sizes are the same are taken from it;
            the others are measured and put into it. Where it cannot be written, a warning tells so.

    Raises:
        InputError: If the file is there and is another's, or a picture cannot be read or shows something else.
    """
    known = _read_kept(kept)
    stamps = {pair: (Path(pair[0]).stat().st_size, Path(pair[1]).stat().st_size) for pair in pairs}
    rows = {pair: known.get(_key(pair, stamps[pair])) for pair in pairs}
    new = [pair for pair, score in rows.items() if score is None]
    with progress(len(new), task="measuring exposure", unit="pictures") as advance:
        for count, pair in enumerate(new, start=1):
            rows[pair] = _measured(*pair)
            if count % SAVE_EVERY == 0 or count == len(new):
                _keep(kept, known, rows, stamps)
            advance(1)
    return [score for score in rows.values() if score is not None]


Key = tuple[str, str, str, str]


def _key(pair: tuple[str, str], sizes: tuple[int, int]) -> Key:
    return (Path(pair[0]).name, Path(pair[1]).name, str(sizes[0]), str(sizes[1]))


def _measured(picture: str, expert: str) -> float:
    opened = [open_image(path, "srgb") for path in (picture, expert)]
    try:
        return round(-float(np.abs(departure(*opened)).mean()), 6)
    except ValueError as error:
        raise InputError(f"{picture} and {expert} show different things ({error}); check the two folders") from error


def _read_kept(kept: Path) -> dict[Key, float]:
    if not kept.exists():
        return {}
    frame = read_csv(kept)
    if list(frame) != COLUMNS:
        raise InputError(f"{kept} is no file of measured exposure; move it, or name another in `labels`")
    found = {}
    for *key, score in frame.to_numpy().tolist():
        try:
            value = float(score)
        except ValueError:
            value = math.nan
        if math.isfinite(value):
            found[(str(key[0]), str(key[1]), str(key[2]), str(key[3]))] = value
    return found


def _keep(
    kept: Path,
    known: dict[Key, float],
    rows: dict[tuple[str, str], float | None],
    stamps: dict[tuple[str, str], tuple[int, int]],
) -> None:
    ours = {_key(pair, stamps[pair]): score for pair, score in rows.items() if score is not None}
    lines = [(*key, score) for key, score in {**known, **ours}.items()]
    try:
        write_csv(pd.DataFrame(lines, columns=COLUMNS), kept)
    except InputError as error:
        warnings.warn(f"measured exposure is not kept: {error}", stacklevel=4)
