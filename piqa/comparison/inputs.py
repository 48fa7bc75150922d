"""Read the shots of a comparison: from folders by name, CSV files of shots, predictions, or a table of labels."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from piqa.comparison.matching import WORDS, Match, match_scenes
from piqa.comparison.shots import Account, DataError, DeviceNames, Shot
from piqa.errors import InputError
from piqa.evaluation.inputs import named_paths
from piqa.scoring.file_list import expand
from piqa.system.csv_text import as_numbers, listed, read_csv, require_columns, row_list
from piqa.system.shown_paths import shown_path

if TYPE_CHECKING:
    import pandas as pd

LIST_COLUMNS = ("file", "scene", "device", "condition")
PREDICTION_COLUMNS = ("image", "scene", "device", "condition", "prediction", "score")


def read_sets(sets: Sequence[str], match: Match, account: Account, tell: Callable[[str], None]) -> list[Shot]:
    """Read named folders, and CSVs of shots: `A=shots/phone_a`, or `shots.csv` with `file, scene, device[, condition]`.

    Args:
        sets: As on the command line; a path without a name is called as its folder.
        match: How scenes of folders are matched.
        account: Gets the devices, and how scenes were matched.
        tell: Takes what was left out in the folders.

    Raises:
        InputError: If a path is not there, holds no image, two names mean one device, or a CSV lacks a column.
        DataError: If an image stands there twice.
    """
    folders: dict[str, tuple[str, list[str]]] = {}
    shots: list[Shot] = []
    for name, path in named_paths(sets).items():
        if not Path(path).is_dir():
            shots += _read_list(path, name, account.devices)
            continue
        known, key = set(folders), account.devices.key(name)
        if key in known:
            raise InputError(
                f"{name!r} and another name mean the same device ({key}); give names that differ in letters or digits"
            )
        folders[key] = (path, expand([path], tell=tell))
    if folders:
        way, scenes = match_scenes(folders, match)
        account.matched_by = WORDS[way]
        for key, (root, files) in folders.items():
            shots += [
                Shot(_name_in(root, file, account.devices.title(key)), scene, key, file=file)
                for file, scene in zip(files, scenes[key], strict=True)
            ]
    _check_files_once(shots)
    return shots


def _name_in(root: str, file: str, title: str) -> str:
    return f"{title}/{Path(os.path.relpath(file, root)).as_posix()}"


def _read_list(path: str, name: str, devices: DeviceNames) -> list[Shot]:
    frame = read_csv(path, names=LIST_COLUMNS)
    require_columns(frame, ("file", "scene"), path, "a list of shots has `file, scene, device`, and maybe `condition`")
    _check_filled(frame, ("file", "scene", *(["device"] if "device" in frame else [])), path)
    root, shots = Path(path).parent, []
    for row in frame.to_dict("records"):
        file = str(row["file"]).replace("\\", "/")
        key = devices.key(str(row.get("device", name)))
        shots.append(Shot(file, str(row["scene"]), key, str(row.get("condition", "")), str(root / file)))
    return shots


def _check_files_once(shots: Sequence[Shot]) -> None:
    seen: dict[str, Shot] = {}
    for shot in shots:
        place = os.path.abspath(shot.file)  # noqa: PTH100 -- of 50,000
        if place in seen:
            other = seen[place]
            raise DataError(
                f"{shown_path(shot.file)} stands there twice, as {other.image} of {other.device} and {shot.image} of "
                f"{shot.device}; keep one, and let no folder lie within another"
            )
        seen[place] = shot


def read_predictions(path: str, account: Account, labels: pd.DataFrame | None = None) -> list[Shot]:
    """Read scores of shots: a CSV with `image, scene, device, prediction`, or `score`, and maybe `condition`.

    Args:
        path: The CSV.
        account: Gets the devices, and images that the table does not know.
        labels: The table that knows scenes and devices by image, where the CSV names none.

    Raises:
        InputError: If a column is missing or a value is no number.
        DataError: If an image of a device stands there twice.
    """
    frame = read_csv(path, numbers=("prediction", "score"), names=PREDICTION_COLUMNS)
    value = "prediction" if "prediction" in frame else "score"
    needed = ("image", value) if labels is not None else ("image", "scene", "device", value)
    require_columns(frame, needed, path, "or name a table that knows scenes and devices by image, with `--table`")
    if labels is not None and ("scene" not in frame or "device" not in frame):
        frame = _joined(frame, labels, value, path, account)
    blank = frame[value] == ""
    account.unreadable |= {str(image): "it has no prediction" for image in frame.loc[blank, "image"]}
    account.shots = len(frame)
    return _shots(
        frame[~blank].assign(score=as_numbers(frame.loc[~blank, value], path)), path, account, str(Path(path).parent)
    )


def _joined(frame: pd.DataFrame, labels: pd.DataFrame, value: str, path: str, account: Account) -> pd.DataFrame:
    """Return the predictions with the scenes and devices of a table's images."""
    _require_devices(labels, path)
    wanted = [name for name in ("image", "scene", "device", "condition") if name in labels]
    known = labels[wanted].assign(image=labels["image"].astype(str))
    numbered = frame[["image", value]].assign(row=frame.index)
    found = numbered.merge(known, on="image", how="inner").set_index("row")
    lost = frame.loc[~frame["image"].isin(known["image"]), "image"]
    if not len(found):
        raise DataError(
            f"none of the images of {path} is in the table, such as {listed(list(lost))}; use the table's names"
        )
    account.unreadable |= {str(image): "the table does not know it" for image in lost}
    return found


def read_table(frame: pd.DataFrame, source: str, account: Account, scored: bool) -> list[Shot]:
    """Return the images of a table as shots, with their labels as scores, or where a model scores them without any."""
    _require_devices(frame, source)
    shots = _shots(frame, source, account, "")
    if scored:
        return shots
    return [Shot(s.image, s.scene, s.device, s.condition, s.file) for s in shots]


def _require_devices(frame: pd.DataFrame, source: str) -> None:
    if "device" not in frame:
        raise InputError(
            f"the table {source} does not know the devices; give a column `device`, or for PIQ23 the file "
            f"Image Metadata.csv of its repository"
        )


def _shots(frame: pd.DataFrame, source: str, account: Account, root: str) -> list[Shot]:
    _check_filled(frame, ("image", "scene", "device"), source)
    keys = [account.devices.key(str(device)) for device in frame["device"]]
    again = frame.assign(key=keys)[["image", "key"]].duplicated(keep=False)
    if again.any():
        rows = frame.index[again]
        raise DataError(
            f"{source} lists {frame['image'][rows[0]]} of one device twice ({row_list(rows)}); keep one row of each"
        )
    shots = []
    for row, key in zip(frame.to_dict("records"), keys, strict=True):
        image = str(row["image"]).replace("\\", "/")
        place = str(row["path"]) if row.get("path") else os.path.join(root, image)  # noqa: PTH118 -- of 50,000
        condition = str(row.get("condition") or "")
        shots.append(Shot(image, str(row["scene"]), key, condition, place, float(row["score"])))
    return shots


def _check_filled(frame: pd.DataFrame, columns: Sequence[str], source: str) -> None:
    for column in columns:
        empty = frame[column].astype(str).str.strip() == ""
        if empty.any():
            raise InputError(f"{source} has no {column} in {row_list(frame.index[empty])}; fill it in")


def read_conditions(path: str, shots: Sequence[Shot]) -> list[Shot]:
    """Return the shots with the conditions that a CSV with `scene, condition` names; InputError if it knows none."""
    frame = read_csv(path, names=("scene", "condition"))
    require_columns(frame, ("scene", "condition"), path, "it names the condition of each scene")
    known = dict(zip(frame["scene"].astype(str), frame["condition"].astype(str), strict=True))
    if not {shot.scene for shot in shots} & known.keys():
        raise InputError(f"{path} names no scene of the comparison; its scenes are called {listed(list(known))}")
    return [Shot(s.image, s.scene, s.device, known.get(s.scene, s.condition), s.file, s.score) for s in shots]
