r"""Tables of predictions on disk: read from any CSV, joined to labels by image name, written whole or not at all.

Files from different sources rarely write a name alike: `Overall\66_Indoor_Scene_0.JPG` and `66_Indoor_Scene_0.jpg` are
the same image. Names are matched only where that is unambiguous: a name that fits two images matches neither, and
unmatched names are counted.
"""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import pandas as pd

from piqa.errors import InputError
from piqa.system.csv_text import as_numbers, listed, read_csv, require_columns, row_list

NUMBERS = ("prediction", "prediction_std", "score", "score_std")
LABELS = ("scene", "score", "score_std", "split", "condition", "device")  # what a table of labels may bring
OF_PREDICT = ("file", "score", "face_found")  # the first columns of the scores that `piqa.predict` writes
SAME_SCORE = 1e-6  # published label files are rounded to nine decimals


def read_predictions(
    csv: str | Path, table: pd.DataFrame | None = None, *, split: str | None = None, max_missing: float = 0.0
) -> pd.DataFrame:
    """Read predictions from a CSV file, with their labels from the file itself or from a table.

    The CSV needs `image` and `prediction`; without a table also `scene` and `score`. Case and spaces in the header do
    not matter. What `piqa.predict` writes is taken as it is, with a table: `file` is the image, `score` the prediction,
    `score_std` its standard deviation (`prediction_std`), and an image with an error has none.

    With a table, rows are joined to it by image name: exactly, or by the absolute path; else with slashes, backslashes,
    the spellings of accents and the case of the extension taken as equal, where one path is the end of the other; else
    with any case taken as equal; else, if none is, by file name alone.

    Args:
        csv: The file, one row an image.
        table: Labels with columns `image`, `scene`, `score`, optionally `score_std`, `split`, `condition`, `device`;
            only the rows that are to be evaluated, or all of them and `split`.
        split: The split of the table that is to be evaluated. Its images should be predicted; those of other splits may
            be, and are kept.
        max_missing: The fraction of the images to be evaluated that may have no prediction, in [0, 1).

    Returns:
        One row an image, in the order of the file, index 0..n-1: `image`, `scene`, `score`, `prediction` and whatever
        else is known. With a table, `attrs` holds `missing`, the names of the images to be evaluated that have no
        prediction, and `unmatched`, those of the file's rows that are not in the table and were left out.

    Raises:
        InputError: If the file cannot be read or lacks a column, a cell is empty, an image has two rows, a number
            is not finite, the file's labels contradict the table's, or too many images are missing.
    """
    if not 0 <= max_missing < 1:
        raise InputError(f"`max_missing` is {max_missing}; a fraction of at least 0 and below 1 is needed")
    csv = Path(csv)
    frame = read_csv(csv, numbers=NUMBERS, names=("image", "prediction", "prediction_std", *LABELS, *OF_PREDICT))
    if frame.empty:
        raise InputError(f"{csv} has a header and no rows; it needs one row an image")
    if of_predict := _is_of_predict(frame):
        frame = _from_predict(frame, csv)
    mend = "add it or rename one; in the scores of piqa.predict `file` is `image`, and `score` is `prediction`"
    _require(frame, ["image", "prediction"], csv, mend)
    if table is None:
        what = "it holds scores by piqa.predict; name the table that has the experts' labels (`--table`)"
        _require(
            frame,
            ["scene", "score"],
            csv,
            what if of_predict else "add it or evaluate with a table that has the labels",
        )
    _refuse_repeats(frame["image"], csv)
    for name in NUMBERS:
        if name in frame:
            frame[name] = as_numbers(frame[name], csv)
    if table is not None:
        frame = _join(frame, table, csv)
        wanted = table["image"] if split is None else table.loc[table["split"] == split, "image"]
        frame.attrs["missing"] = wanted[~wanted.isin(frame["image"])].to_list()
        _refuse_missing(frame, len(wanted), csv, max_missing)
    first = ["image", "scene", "score", "prediction"]
    ordered = frame[[*first, *(name for name in frame if name not in first)]].reset_index(drop=True)
    ordered.attrs = dict(frame.attrs)
    return ordered


def _is_of_predict(frame: pd.DataFrame) -> bool:
    """Whether a table is what `piqa.predict` writes: its columns have names of their own, and more may follow."""
    return set(OF_PREDICT) <= set(frame) and not {"image", "prediction"} & set(frame)


def _from_predict(frame: pd.DataFrame, csv: Path) -> pd.DataFrame:
    """Return images and predictions of a table by `piqa.predict`; images that could not be scored are left out."""
    scored = frame[frame["error"] == ""] if "error" in frame else frame[frame["score"] != ""]
    if scored.empty:
        raise InputError(f"{csv} has no image with a score; see its column `error`")
    taken = {"file": "image", "score": "prediction"}
    if "score_std" in scored and (scored["score_std"] != "").all():
        taken["score_std"] = "prediction_std"  # of the model; viewers' is in the table
    return scored[list(taken)].rename(columns=taken)


def _require(frame: pd.DataFrame, columns: list[str], csv: Path, mend: str) -> None:
    require_columns(frame, columns, csv, mend)
    for name in columns:
        empty = frame.index[frame[name] == ""]
        if len(empty):
            raise InputError(f"{csv}: `{name}` is empty in {row_list(empty)}; every image needs it")


def _join(frame: pd.DataFrame, table: pd.DataFrame, csv: Path) -> pd.DataFrame:
    """Return the rows of `frame` that are in `table`, under the table's names and labels."""
    position = _match(frame["image"], table["image"], table["path"] if "path" in table else None)
    unmatched, position = frame["image"][position == -1], position[position != -1]
    labels = table.iloc[position.to_list()][["image", *(name for name in LABELS if name in table)]]
    labels = labels.set_index(position.index)
    _refuse_repeats(labels["image"], csv)
    matched = frame.loc[position.index]
    _refuse_other_labels(matched, labels, csv)
    joined = labels.join(matched.drop(columns=labels.columns, errors="ignore"))
    joined.attrs = {"unmatched": unmatched.to_list()}
    return joined


def _refuse_missing(frame: pd.DataFrame, wanted: int, csv: Path, max_missing: float) -> None:
    missing, unmatched = frame.attrs["missing"], frame.attrs["unmatched"]
    if len(missing) <= max_missing * wanted and len(missing) < wanted:
        return
    strangers = f"; rows that fit no image: {listed(unmatched)}" if unmatched else ""
    raise InputError(
        f"{csv} predicts {wanted - len(missing)} of the {wanted} images to be evaluated, without {listed(missing)}"
        f"{strangers}; add them, or raise `max_missing` (now {max_missing:g})"
    )


def _match(images: pd.Series[str], known: pd.Series[str], paths: pd.Series[str] | None = None) -> pd.Series[int]:
    """Return the position of every image's name in `known`, -1 where there is none or more than one.

    `paths` are the files of the known images: an absolute name that is one of them is that image, and no other name.
    """
    exact = _positions(known)
    on_disk = {} if paths is None else _positions(path and os.path.abspath(path) for path in paths)  # noqa: PTH100
    certain = [exact.get(name, on_disk.get(os.path.normpath(name), -1)) for name in images]
    taken, places = set(certain), list(certain)
    for normalised in (_normalised, _folded):
        if -1 not in places:
            break
        whole = _positions(map(normalised, known))
        ends = _positions_by_end(map(normalised, known))
        for row in [row for row, place in enumerate(places) if place == -1]:
            key = normalised(images.iloc[row])
            shared = next((end for end in _ends(key) if end in whole), None)
            place = ends.get(key, -1) if shared is None else whole[shared]
            places[row] = -1 if place in taken else place
    found = pd.Series(places, images.index, dtype="int64")
    names, known_names = images.map(_file_name), known.map(_file_name)
    if (found == -1).all() and names.is_unique and known_names.is_unique:
        lookup = _positions(known_names)  # the folders have nothing in common, the file names alone identify
        return names.map(lambda name: lookup.get(name, -1)).astype("int64")
    return found


def _normalised(name: str) -> str:
    """Return the path with forward slashes, without `./`, in Unicode's composed form, its extension in lower case."""
    path = PurePosixPath(unicodedata.normalize("NFC", name.replace("\\", "/")))
    return str(path).removesuffix(path.suffix) + path.suffix.lower()


def _folded(name: str) -> str:
    return _normalised(name).casefold()


def _file_name(name: str) -> str:
    return PurePosixPath(_normalised(name)).name


def _ends(path: str) -> list[str]:
    """Return the path and all its shorter ends, longest first: a/b/c.jpg, b/c.jpg, c.jpg."""
    parts = path.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _positions(names: Iterable[str]) -> dict[str, int]:
    """Return the position of each name; repeated names are left out."""
    listed_names = list(names)
    times = Counter(listed_names)
    return {name: position for position, name in enumerate(listed_names) if times[name] == 1}


def _positions_by_end(paths: Iterable[str]) -> dict[str, int]:
    """Return the position of the path with each end; ends that several paths share are left out."""
    ends = [(end, position) for position, path in enumerate(paths) for end in _ends(path)]
    return {end: ends[row][1] for end, row in _positions(end for end, _ in ends).items()}


def _refuse_repeats(images: pd.Series[str], csv: Path) -> None:
    repeated = images[images.duplicated(keep=False)]
    if len(repeated):
        rows = repeated.index[repeated == repeated.iloc[0]]
        raise InputError(
            f"{csv}: images with several rows: {repeated.nunique()} (first: {repeated.iloc[0]} in {row_list(rows)}); "
            "keep one row an image"
        )


def _refuse_other_labels(matched: pd.DataFrame, labels: pd.DataFrame, csv: Path) -> None:
    """Refuse labels that differ from the table's: the file then belongs to another attribute or dataset."""
    for name in ("scene", "score"):
        if name not in matched:
            continue
        ours, theirs = labels[name], matched[name]
        differs = (ours - theirs).abs() > SAME_SCORE if name == "score" else ours != theirs
        if differs.any():
            rows = matched.index[differs]
            raise InputError(
                f"{csv}: `{name}` is not the table's in {row_list(rows)} ({theirs[rows[0]]} where the table has "
                f"{ours[rows[0]]}); take the table that belongs to the file or leave the column out"
            )
