"""The table of answers to pairs: who saw which two images of a scene, and which one was chosen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from piqa.errors import InputError
from piqa.system.csv_text import as_numbers, listed, read_csv, require_columns, row_list, with_rows
from piqa.system.files import digest_of

NEEDED = ("image_a", "image_b", "winner", "scene", "rater")
OPTIONAL = ("left", "seconds", "kind", "expected", "time")
COLUMNS = (*NEEDED, *OPTIONAL)
SIDES = ("a", "b")
SAME = "same"
KINDS = ("new", "repeat", "gold", "training")
SPELLINGS = {"a": "a", "b": "b", "image_a": "a", "image_b": "b", "same": SAME, "tie": SAME, "equal": SAME}


def answers_table(rows: Iterable[Mapping[str, object]] = (), source: str | Path = "the answers") -> pd.DataFrame:
    """Make the table of answers from rows, such as those of a database, in the order in which they were given.

    Args:
        rows: Mappings with the keys of `NEEDED`, and where known those of `OPTIONAL`.
        source: Where they come from, for messages; rows are counted from 1.

    Returns:
        The columns `COLUMNS`, one row an answer:

        - `image_a`, `image_b`, `scene`, `rater`: text,
        - `winner`: "a", "b" or "same",
        - `left`: which of the two was shown on the left, "a" or "b"; "" where it is not known,
        - `seconds`: from the showing to the answer, float; NaN where it is not known,
        - `kind`: "new", which alone make the scale; "repeat" of a pair of before; "gold", of known answer; "training",
        - `expected`: the known answer of "gold" and "training", else "",
        - `time`: when it was given, as text; "" where it is not known.

    Raises:
        InputError: If a row cannot be used.
    """
    listed_rows = list(rows)
    found = {name: ["" if row.get(name) is None else row[name] for row in listed_rows] for name in COLUMNS}
    frame = pd.DataFrame(found, index=pd.RangeIndex(1, len(listed_rows) + 1), columns=list(COLUMNS), dtype=object)
    return check_answers(frame, source)


def read_answers(
    csv: str | Path, columns: Mapping[str, str] | None = None, root: str | Path | None = None
) -> pd.DataFrame:
    """Read answers from a CSV with the columns `image_a, image_b, winner, scene, rater`.

    Args:
        csv: The file. `winner` is `a`, `b`, `same`, or the name of the image that was chosen. Optional columns are
            those of `answers_table`; `left` and `expected` are written like `winner`.
        columns: Names of the columns where they differ, ours to theirs: `{rater: observer}`.
        root: The folder of the images. Where it is given, two files with the same content are no pair.

    Returns:
        As of `answers_table`; the index is the row in the file.

    Raises:
        InputError: If the file or a row cannot be used.
    """
    frame = renamed(read_csv(csv, numbers=["seconds"], names=COLUMNS), columns, COLUMNS, csv)
    require_columns(frame, NEEDED, csv, "rename it, or map it in `columns`, such as {rater: observer}")
    answers = check_answers(frame, csv)
    if root is not None:
        if not Path(root).is_dir():
            raise InputError(f"`root` {root} is no folder; name the folder of the images")
        names = pd.unique(answers[["image_a", "image_b"]].to_numpy().ravel())
        files = {str(name): Path(root) / str(name) for name in names}
        if len(files) and not any(file.is_file() for file in files.values()):
            raise InputError(f"none of the images of {csv} lies in `root` {root}; name the folder that they lie in")
        same = identical_images(files)
        first = {name: group[0] for group in same for name in group}
        twins = answers["image_a"].map(first).notna() & (answers["image_a"].map(first) == answers["image_b"].map(first))
        if twins.any():
            shown = with_rows(answers["image_a"][twins] + " and " + answers["image_b"][twins])
            raise InputError(f"{csv} compares files with the same content: {shown}; remove these rows")
    return answers


def renamed(
    frame: pd.DataFrame, columns: Mapping[str, str] | None, known: Iterable[str], source: str | Path
) -> pd.DataFrame:
    """Return a table with our names of columns, as `columns` maps ours to theirs; raise InputError if it cannot."""
    mapping, names = dict(columns or {}), set(known)
    if unknown := [ours for ours in mapping if ours not in names]:
        raise InputError(f"`columns` maps {', '.join(unknown)}, which is none of {', '.join(known)}; correct it")
    require_columns(frame, mapping.values(), source, "correct `columns`")
    mapped = {ours: frame[theirs] for ours, theirs in mapping.items()}  # two of ours may be one of theirs, or swapped
    return frame.drop(columns=[*{*mapping.values()}]).assign(**mapped)


def check_answers(frame: pd.DataFrame, source: str | Path) -> pd.DataFrame:
    """Check a table of answers and give its columns their types; see `answers_table`.

    Args:
        frame: At least `NEEDED`; the index is the row that messages name.
        source: Where it comes from.

    Raises:
        InputError: At the first check that fails, naming the rows concerned.
    """
    table = pd.DataFrame(index=frame.index)
    for name in COLUMNS:
        column = frame[name] if name in frame else pd.Series("", frame.index, dtype=object)
        table[name] = column if name == "seconds" else column.fillna("").astype(str)
    for name in ("image_a", "image_b", "scene", "rater"):
        if (empty := table[name] == "").any():
            raise InputError(f"{source} has no {name} in {row_list(table.index[empty])}; fill it in or delete them")
    if (twins := table["image_a"] == table["image_b"]).any():
        shown = with_rows(table["image_a"][twins])
        raise InputError(f"{source} compares an image with itself: {shown}; remove these rows")
    table["winner"] = _choices(table, "winner", (*SIDES, SAME), source)
    table["left"] = _choices(table, "left", ("", *SIDES), source)
    table["expected"] = _choices(table, "expected", ("", *SIDES, SAME), source)
    table["kind"] = table["kind"].str.strip().str.lower().replace("", "new")
    if (unknown := ~table["kind"].isin(KINDS)).any():
        shown = with_rows(table["kind"][unknown].map(repr))
        raise InputError(f"the kind in {source} must be one of {', '.join(KINDS)}, found {shown}; correct them")
    table["seconds"] = optional_numbers(table["seconds"], source)
    return table


def optional_numbers(column: pd.Series[Any], source: str | Path) -> pd.Series[Any]:
    """Return a column of finite numbers whose empty cells are NaN; raise InputError that names the other rows."""
    given = column.map(lambda cell: not (cell is None or cell == "" or cell != cell)).astype(bool)
    numbers = pd.Series(np.nan, column.index, dtype=np.float64, name=column.name)
    if given.any():
        numbers.loc[given] = as_numbers(column[given], source).to_numpy()
    return numbers


def identical_images(paths: Mapping[str, str | Path]) -> list[list[str]]:
    """Return the names of images whose files have the same content, a list for each content that stands there twice.

    Args:
        paths: The file of each image; one that cannot be read counts as different from all others.
    """
    groups: dict[tuple[int, str], list[str]] = {}
    sizes: dict[int, list[str]] = {}
    for name, path in paths.items():
        if Path(path).is_file():
            sizes.setdefault(Path(path).stat().st_size, []).append(name)
    for size, names in sizes.items():
        for name in names if len(names) > 1 else ():
            groups.setdefault((size, digest_of(paths[name])), []).append(name)
    return [names for names in groups.values() if len(names) > 1]


def _choices(table: pd.DataFrame, column: str, allowed: tuple[str, ...], source: str | Path) -> pd.Series[str]:
    """Return a column whose cells name a side or an image as "a", "b", "same" or ""."""
    text = table[column].str.strip()
    word = text.str.lower().map({"": "", **SPELLINGS})
    named = pd.Series(None, text.index, dtype=object)
    named[text == table["image_b"]] = "b"
    named[text == table["image_a"]] = "a"
    doubtful = word.notna() & named.notna() & (word != named) & (text != "")
    if doubtful.any():  # an image that is called "a", say, and is image_b
        shown = with_rows(text[doubtful].map(repr))
        raise InputError(f"the {column} in {source} names an image and a side: {shown}; rename the images")
    found = named.fillna(word)
    if (bad := ~found.isin(allowed)).any():
        words = listed([repr(one) for one in allowed if one])
        empty = " or empty" if "" in allowed else ""
        raise InputError(
            f"the {column} in {source} must be {words}{empty}, or the name of one of the two images, found "
            f"{with_rows(text[bad].map(repr))}; correct them"
        )
    return found.astype(str)
