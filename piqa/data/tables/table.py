"""What a table of scored images is, and the checks that every table passes before any work starts."""

import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from piqa.data.tables.more_labels import more_numbers
from piqa.errors import InputError
from piqa.system.csv_text import as_numbers, listed, require_columns, row_list, with_rows

REQUIRED_COLUMNS = ("image", "path", "score", "scene", "split")
OPTIONAL_COLUMNS = ("score_std", "condition", "device")
SPLITS = ("train", "val", "test")
SPELLINGS = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}  # understood too, in any case


class Table(ABC):
    """A dataset as a table of scored images; a config names a subclass by its `class_path`.

    Examples:
        >>> from piqa import CSVTable
        >>> issubclass(CSVTable, Table)
        True
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What a report calls the table: "PIQ23 overall, scene split"."""

    @abstractmethod
    def load(self) -> pd.DataFrame:
        """Read and check the labels.

        Returns:
            One row per image, index 0..n-1, with the columns

            - `image`: the name as it stands in the labels, with forward slashes; unique,
            - `path`: the file on disk,
            - `score`: float64, higher is better; comparable within a scene only,
            - `scene`, and `split` ("train", "val" or "test"),
            - where known `score_std` (float64, of the score), `condition` and `device`,
            - where known those of `piqa.data.tables.more_labels` (float64, NaN for an image without).

        Raises:
            InputError: If the labels or the files that they name cannot be used.
        """

    @property
    def attribute(self) -> str | None:
        """What was judged, where a dataset has scores of several attributes, such as PIQ23's `exposure`; else None."""
        return None

    @property
    def official_split(self) -> str | None:
        """The name of the dataset's published split that `load` gives, for its published results; else None."""
        return None

    @property
    def centred_score(self) -> float | None:
        """The mean score of every scene, where scores are centred by definition, as JODs are on 0; else None."""
        return None

    @property
    def std_of_ratings(self) -> bool:
        """Whether `score_std` is that of single people's ratings, which does not tell how noisy their mean is."""
        return False

    def rival_scores(self) -> dict[str, "pd.Series[float]"]:
        """Load other scores of the same images by name, each indexed by `image`, to be compared as predictions."""
        return {}


def require_choice(owner: str, setting: str, value: str, choices: Sequence[str]) -> None:
    """Raise an InputError that names the choices, if a setting is none of them."""
    if value not in choices:
        raise InputError(f"{owner} has no {setting} {value!r}; choose one of {', '.join(choices)}")


def validate(
    frame: pd.DataFrame,
    source: str | Path,
    *,
    rows: Sequence[int] | None = None,
    required_splits: Iterable[str] = ("train", "test"),
    check_files: bool = True,
) -> pd.DataFrame:
    """Check a table and give its columns their types; every adapter ends here.

    Args:
        frame: At least `image`, `path`, `score`, `scene` and `split`. Numbers may still be text and splits be spelled
            "Train" or "validation". An optional column without any value counts as absent; a missing condition or
            device becomes "unknown". Scores of attributes and classes may have empty cells.
        source: The label file, for the messages.
        rows: For each row of the frame its row in the label file; by default they follow the header (row 1) in order.
        required_splits: Splits that must hold images; `["test"]` for a table that is only evaluated.
        check_files: Whether every `path` must be a file.

    Returns:
        The table as `Table.load` describes it, in the order of `frame`.

    Raises:
        InputError: At the first check that fails, naming the rows concerned.
    """
    require_columns(frame, REQUIRED_COLUMNS, source, "tell which columns hold them with `columns`")
    if frame.empty:
        raise InputError(f"{source} has no rows below its header; it needs one row per image")
    optional = [name for name in OPTIONAL_COLUMNS if name in frame and not _is_empty(frame[name]).all()]
    table = frame[[*REQUIRED_COLUMNS, *optional]]
    table = table.set_axis(pd.Index(range(2, len(frame) + 2) if rows is None else rows))  # the checks name these rows
    _check_filled(table, source)
    more = more_numbers(frame.set_axis(table.index), source)
    table = _with_types(table, source).assign(**more)
    _check_duplicates(table, source)
    _check_splits(table, required_splits, source)
    _check_scenes(table, source)
    if check_files:
        _check_files(table, source)
    return table.reset_index(drop=True)


def leave_out_missing(frame: pd.DataFrame, source: str | Path, max_missing: float) -> pd.DataFrame:
    """Leave out the rows whose file (`path`) is not on disk, with a warning that counts them.

    Raises:
        InputError: If more than the fraction `max_missing` of the rows are missing.
    """
    missing = frame[(frame["path"] != "") & ~frame["path"].map(os.path.isfile)]
    if missing.empty:
        return frame
    found = f"{len(missing)} of {len(frame)} files named in {source} are missing: {with_rows(missing['image'])}"
    if len(missing) > max_missing * len(frame):
        raise InputError(
            f"{found}; the first should be {missing['path'].iloc[0]}; check `root`, or raise `max_missing` "
            f"(now {max_missing:g}) to go on without them"
        )
    warnings.warn(f"{found}; they are left out", stacklevel=2)
    return frame.drop(index=missing.index)


def _with_types(table: pd.DataFrame, source: str | Path) -> pd.DataFrame:
    typed = table.copy()
    for column in table.columns:
        if column in ("score", "score_std"):
            typed[column] = as_numbers(table[column], source)
        elif column == "split":
            typed[column] = _as_splits(table[column], source)
        else:
            typed[column] = table[column].mask(_is_empty(table[column]), "unknown").astype(str)
    return typed


def _as_splits(column: "pd.Series[str]", source: str | Path) -> "pd.Series[str]":
    splits = column.astype(str).str.strip().str.lower().replace(SPELLINGS)
    unknown = ~splits.isin(SPLITS)
    if unknown.any():
        bad = with_rows(column[unknown].map(repr))
        raise InputError(f"the split in {source} must be train, val or test, found {bad}; correct them")
    return splits


def _check_filled(table: pd.DataFrame, source: str | Path) -> None:
    for column in REQUIRED_COLUMNS:
        empty = _is_empty(table[column])
        if empty.any():
            raise InputError(f"{source} has no {column} in {row_list(table.index[empty])}; fill it in or delete them")


def _check_duplicates(table: pd.DataFrame, source: str | Path) -> None:
    for key in (table["image"], table["path"].map(os.path.normpath)):
        twice = table[key.duplicated(keep=False)].groupby(key, sort=False)
        if twice.ngroups:
            shown = listed([f"{image} in {row_list(group.index)}" for image, group in twice], separator="; ")
            raise InputError(f"{source} lists {twice.ngroups} image(s) more than once: {shown}; keep one row of each")


def _check_splits(table: pd.DataFrame, required_splits: Iterable[str], source: str | Path) -> None:
    counts = table["split"].value_counts()
    missing = [split for split in required_splits if split not in counts.index]
    if missing:
        found = ", ".join(f"{count} {split}" for split, count in counts.items())
        raise InputError(
            f"{source} has no image in the split {', '.join(missing)} (found: {found}); "
            "check its split column, or name the splits that you need in `required_splits`"
        )


def _check_scenes(table: pd.DataFrame, source: str | Path) -> None:
    alone = table[~table.duplicated(["split", "scene"], keep=False)]
    if len(alone):
        shown = with_rows(alone["split"] + " scene " + alone["scene"])
        raise InputError(
            f"{source} has {len(alone)} scene(s) with a single image in a split, which cannot be ranked: {shown}; "
            "add images, merge scenes or remove them"
        )


def _check_files(table: pd.DataFrame, source: str | Path) -> None:
    missing = table[~table["path"].map(os.path.isfile)]
    if len(missing):
        folders = missing["path"].map(os.path.dirname).unique().tolist()
        place = f"{folders[0] or '.'}" + (f" and {len(folders) - 1} more folder(s)" if len(folders) > 1 else "")
        absent = "" if Path(folders[0] or ".").is_dir() else ", which does not exist"
        raise InputError(
            f"{len(missing)} of {len(table)} images named in {source} are missing, looked for in {place}{absent}: "
            f"{with_rows(missing['image'])}; check `root`"
        )


def _is_empty(column: "pd.Series[str]") -> "pd.Series[bool]":
    return column.isna() | (column.astype(str).str.strip() == "")
