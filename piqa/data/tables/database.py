"""What the public databases of scored images share: one scale of scores, splits by content, more columns."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd

from piqa.data.tables.more_labels import SCORE, more_of
from piqa.data.tables.paths import image_paths
from piqa.data.tables.table import Table, leave_out_missing, validate
from piqa.errors import InputError
from piqa.models.rating_distribution import RATING_LEVELS
from piqa.system.csv_text import read_csv, read_text, require_columns

VOTES = tuple(f"votes_{level}" for level in range(1, RATING_LEVELS + 1))  # how many people gave 1, 2, ... 10
TEXT_EXTRAS = ("reference", "distortion", "scene_tags", "theme", "reference_path")
EXIF = ("exif_focal_length", "exif_f_number", "exif_exposure_time", "exif_iso", "exif_brightness", "exif_flash")
EXTRAS = (*TEXT_EXTRAS, *VOTES, *EXIF)


class Database(Table):
    """A database whose scores all lie on one scale, so that it is one scene, named after the database.

    Beside the columns of every table, where known:

    - `reference`: the pristine image that an image was made from; no reference is in both training and test,
    - `distortion`: one of LIQE's eleven groups (`piqa.models.liqe.DISTORTIONS`),
    - `scene_tags`: one to three of LIQE's nine scenes (`piqa.models.liqe.SCENES`) as "human;indoor"; "" if unknown,
    - `theme`: a theme of TAD66K,
    - `reference_path`: the file of another picture of the same, such as an expert's edit,
    - `votes_1` .. `votes_10`: how many people gave each rating,
    - `exif_...`: what the camera noted, in SPAQ's units.

    Scores of attributes (`score.<attribute>`) lie on the scale of `score`.

    `score` is always higher for better images; every database says how it got there. `score_std`, where a database
    has it, is the standard deviation of the single ratings, on the scale of `score`.

    Args:
        images: Folder of the images.
        unit_range: Map `score_range` to 0..1, `score_std` with it; otherwise scores stay on the database's own scale.
        max_missing: Fraction of the images that may be missing; they are left out with a warning.
        check_files: Whether images must be on disk.

    Raises:
        InputError: If `max_missing` is not in [0, 1].
    """

    title: ClassVar[str]  # what reports call it, and its scene
    image_count: ClassVar[int | None]  # in the whole database, where known

    def __init__(self, images: Path, unit_range: bool, max_missing: float, check_files: bool) -> None:
        if not 0 <= max_missing <= 1:
            raise InputError(f"{self.title}: `max_missing` must lie in [0, 1], not {max_missing:g}")
        self.images, self.unit_range = images, unit_range
        self.max_missing, self.check_files = max_missing, check_files

    @property
    @abstractmethod
    def own_range(self) -> tuple[float, float]:
        """The worst and the best score on the database's own scale, reversed where it counts downwards."""

    @property
    def std_of_ratings(self) -> bool:
        """Whether `score_std` is that of single people's ratings: yes."""
        return True

    @property
    def score_range(self) -> tuple[float, float]:
        """The worst and the best possible `score`."""
        return (0.0, 1.0) if self.unit_range else self.own_range

    def finish(
        self, frame: pd.DataFrame, source: str | Path, required_splits: Sequence[str], whole: bool = True
    ) -> pd.DataFrame:
        """Find the images, leave out missing ones within `max_missing`, check, and count.

        Args:
            frame: `image` (below `images`), `score` on the database's own scale, `split`, and any extra columns; the
                index is the row in the label file.
            source: The label file, for the messages.
            required_splits: Splits that must hold images.
            whole: Whether the labels should name every image of the database; a warning tells where they do not.
        """
        if whole and self.image_count not in (None, len(frame)):
            warnings.warn(f"{source} lists {len(frame)} images; {self.title} has {self.image_count}", stacklevel=3)
        frame = frame.assign(scene=self.title, path=image_paths(self.images, frame["image"].tolist()))
        if self.check_files:
            frame = leave_out_missing(frame, source, self.max_missing)
        rows = frame.index.tolist()
        table = validate(frame, source, rows=rows, required_splits=required_splits, check_files=False)
        for name in [name for name in EXTRAS if name in frame]:
            table[name] = frame[name].to_numpy()
        _check_references(table, source)
        return self._to_scale(table, source)

    def _to_scale(self, table: pd.DataFrame, source: str | Path) -> pd.DataFrame:
        low, high = self.own_range
        scores = ["score", *(name for name in more_of(table) if name.startswith(SCORE))]
        for name in scores:
            beyond = table[name].notna() & ~table[name].between(low, high)
            if beyond.any():
                what = "scores" if name == "score" else f"values of {name}"
                warnings.warn(
                    f"{beyond.sum()} {what} of {source}, such as {table.loc[beyond, name].iloc[0]:g}, lie outside "
                    f"{low:g} .. {high:g}, the scale of {self.title}; is it the right file?",
                    stacklevel=4,
                )
        if self.unit_range:
            for name in scores:
                table[name] = (table[name] - low) / (high - low)
            for name in [name for name in ("score_std", *more_of(table)) if name in table and "score_std" in name]:
                table[name] /= high - low
        return table


def read_columns(path: Path, columns: dict[str, str], mend: str = "restore the database's own file") -> pd.DataFrame:
    """Read columns of a CSV file, named ours to theirs, as text; `mend` tells what to do if one is not there."""
    labels = read_csv(path, names=columns.values())
    require_columns(labels, columns.values(), path, mend)
    return pd.DataFrame({name: labels[theirs] for name, theirs in columns.items()})


def read_lines(path: Path, columns: Sequence[str], separator: str | None = None) -> pd.DataFrame:
    """Read a label file without a header as text; the index is the row in the file.

    Args:
        path: Text in UTF-8; blank lines are skipped.
        columns: What the cells of a line are.
        separator: What stands between them; by default any number of blanks.

    Raises:
        InputError: If the file cannot be read, is empty, or a line has another number of cells.
    """
    lines = enumerate(read_text(path).splitlines(), start=1)
    cells = {row: line.strip().split(separator) for row, line in lines if line.strip()}
    for row, found in cells.items():
        if len(found) != len(columns):
            raise InputError(
                f"row {row} of {path} has {len(found)} cells, not the {len(columns)} that it needs "
                f"({columns[0]} ... {columns[-1]}); restore the database's own file"
            )
    if not cells:
        raise InputError(f"{path} is empty; restore the database's own file")
    return pd.DataFrame(list(cells.values()), columns=list(columns), index=list(cells), dtype=object)


def read_mat(path: Path, *names: str) -> list[np.ndarray]:
    """Read vectors of a MATLAB file (version 7.2 or older); cells of text come as text."""
    from scipy.io import loadmat

    try:
        content = loadmat(path, chars_as_strings=True)
    except OSError as error:
        raise InputError(f"cannot read the labels {path}: {error.strerror}; check the path") from error
    except Exception as error:  # scipy raises whatever the bytes lead it to
        raise InputError(f"{path} is not a MATLAB file that can be read; restore the database's own") from error
    absent = [name for name in names if name not in content]
    if absent:
        raise InputError(f"{path} lacks the variable {', '.join(absent)}; restore the database's own file")
    return [_flat(content[name]) for name in names]


def _flat(values: np.ndarray) -> np.ndarray:
    flat = values.ravel()
    return np.array([str(np.ravel(cell)[0]) for cell in flat]) if flat.dtype == object else flat


def _check_references(table: pd.DataFrame, source: str | Path) -> None:
    """Check that no reference image is in both training and test."""
    if "reference" not in table:
        return
    learnt = set(table.loc[table["split"] == "train", "reference"])
    shared = sorted(learnt & set(table.loc[table["split"] == "test", "reference"]))
    if shared:
        raise InputError(
            f"{source} has {len(shared)} reference(s), such as {shared[0]}, in both train and test; restore the "
            "lists, or draw a split"
        )
