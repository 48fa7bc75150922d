"""Measures of pairs: how many pairs of a scene are in the experts' order, and how sure the model was of each.

A pair is two images of one scene with different scores. The pairs of all scenes are pooled, so large scenes weigh more.
A predicted tie counts half.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import ndtr

from piqa.errors import InputError
from piqa.evaluation.measures import Array, concordance, pair_accuracy, srocc

BINS = 10
WORST = 24
FEWEST = 5  # images of a group in a scene; a correlation of fewer is mostly chance
GROUP_COLUMNS = ["by", "group", "images", "pairs", "pair_accuracy", "srocc"]


@dataclass(frozen=True)
class PairBands:
    """Which pairs are clear and which are near ties, in units of the score.

    Args:
        clear: A pair is clear if its scores differ by more. At 1 JOD, three in four experts prefer the better image.
        near: A pair is a near tie if its scores differ by less.

    Raises:
        InputError: If a difference is negative.
    """

    clear: float = 1.0
    near: float = 0.25

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value >= 0:
                raise InputError(f"`{name}` is {value}; a difference of scores of at least 0 is needed")

    def limits(self) -> dict[str, tuple[float, float]]:
        """Return the range of score differences of each kind of pairs, both ends excluded."""
        return {"all": (0.0, np.inf), "clear": (self.clear, np.inf), "near": (0.0, self.near)}


def preferences(frame: pd.DataFrame, bands: PairBands | None = None) -> pd.DataFrame:
    """Return pair accuracy and Brier score of each kind of pairs.

    The predicted probability that A beats B is Phi(prediction of A - prediction of B) on raw predictions: Thurstone's
    model, as in the fidelity loss. The outcome is 1 if the experts' score of A is higher, else 0. The Brier score of a
    constant prediction is 0.25, that of a perfect and certain one 0.

    Args:
        frame: One row an image with columns `scene`, `score` and `prediction`.
        bands: What clear pairs and near ties are.

    Returns:
        One row a kind: `kind`, `pairs`, `accuracy` and `brier`, NaN without pairs.
    """
    differences = list(_differences(frame))
    apart = np.concatenate([score for score, _ in differences])
    lost = np.square(1 - ndtr(np.concatenate([prediction for _, prediction in differences])))
    rows = []
    for kind, limits in (bands or PairBands()).limits().items():
        counted = (apart > limits[0]) & (apart < limits[1])
        ordered, pairs = np.sum([concordance(*scene, None, *limits) for scene in _scenes(frame)], axis=0)
        brier = float(lost[counted].mean()) if counted.any() else np.nan
        rows.append((kind, int(pairs), float(pair_accuracy(ordered, pairs)), brier))
    return pd.DataFrame(rows, columns=["kind", "pairs", "accuracy", "brier"])


def reliability(frame: pd.DataFrame, bins: int = BINS) -> pd.DataFrame:
    """Return how often the experts agree with the model's preferred image, by its predicted probability.

    Args:
        frame: As for `preferences`, whose predicted probability this is.
        bins: Number of equal steps from 0.5, no preference, to 1.

    Returns:
        One row a bin that holds pairs: `bin`, `predicted` (mean probability of the preferred image), `observed`
        (fraction of pairs whose preferred image has the higher score), `pairs`. A calibrated model has both equal.
    """
    differences = np.concatenate([prediction for _, prediction in _differences(frame)])
    sure, right = ndtr(np.abs(differences)), (1 + np.sign(differences)) / 2
    place = np.minimum(((sure - 0.5) * 2 * bins).astype(int), bins - 1)
    grouped = pd.DataFrame({"bin": place, "predicted": sure, "observed": right}).groupby("bin")
    return grouped.mean().assign(pairs=grouped.size()).reset_index()


def worst_pairs(frame: pd.DataFrame, count: int = WORST) -> pd.DataFrame:
    """Return the wrongly ordered pairs whose scores differ most; each image is in one of them at most.

    Args:
        frame: As for `preferences`, with `image`, and `path` where known.
        count: Largest number of pairs.

    Returns:
        The largest difference first: `scene`, `image_a`, `image_b`, `score_a`, `score_b`, `prediction_a`,
        `prediction_b`, `path_a`, `path_b`. A has the higher score; a path is None where there is no such file.
    """
    found = []
    for scene, rows in frame.groupby("scene", sort=True):
        pairs = _wrong_pairs(rows["score"].to_numpy(np.float64), rows["prediction"].to_numpy(np.float64), count)
        found += [{"scene": scene, **_named(rows.iloc[a], "a"), **_named(rows.iloc[b], "b")} for a, b in pairs]
    found = sorted(found, key=lambda pair: pair["score_b"] - pair["score_a"])[:count]
    fields = [f"{field}_{side}" for field in ("image", "score", "prediction", "path") for side in "ab"]
    return pd.DataFrame(found, columns=["scene", *fields])


def by_group(frame: pd.DataFrame, by: str) -> pd.DataFrame:
    """Return the measures of the images of each condition or device.

    Args:
        frame: One row an image with columns `scene`, `score`, `prediction` and the one that `by` names.
        by: `condition` takes pairs of two images of the group. Other columns, such as `device`, take pairs with at
            least one image of the group, because a device has few images of a scene and is compared with others.

    Returns:
        One row a group: `by`, `group`, `images`, `pairs`, `pair_accuracy` (NaN without pairs) and `srocc` (mean over
        the scenes in which the group has at least five images and it is defined; NaN without).
    """
    sums: dict[str, list[list[float]]] = {}
    for (score, prediction), (_, rows) in zip(_scenes(frame), frame.groupby("scene", sort=True), strict=True):
        labels = rows[by].to_numpy()
        names = list(dict.fromkeys(labels))
        members = np.array([labels == name for name in names], dtype=np.float64)
        ordered, pairs = concordance(score, prediction, members)
        if by != "condition":  # all pairs but those of two other images
            every, others = concordance(score, prediction), concordance(score, prediction, 1 - members)
            ordered, pairs = every[0] - others[0], every[1] - others[1]
        correlation = np.where(members.sum(axis=1) >= FEWEST, srocc(score, prediction, members), np.nan)
        for name, *numbers in zip(names, ordered, pairs, correlation, strict=True):
            sums.setdefault(str(name), []).append(numbers)
    images = frame[by].astype(str).value_counts()
    found = []
    for group in sorted(sums):
        ordered, pairs, _ = np.sum(sums[group], axis=0)
        defined = [value for *_, value in sums[group] if not np.isnan(value)]
        mean = float(np.mean(defined)) if defined else np.nan
        found.append((by, group, int(images[group]), int(pairs), float(pair_accuracy(ordered, pairs)), mean))
    return pd.DataFrame(found, columns=GROUP_COLUMNS)


def _scenes(frame: pd.DataFrame) -> Iterator[tuple[Array, Array]]:
    """Yield score and prediction of each scene."""
    for _, rows in frame.groupby("scene", sort=True):
        yield rows["score"].to_numpy(np.float64), rows["prediction"].to_numpy(np.float64)


def _differences(frame: pd.DataFrame) -> Iterator[tuple[Array, Array]]:
    """Yield the pairs of each scene: the better image's score and prediction, less the other's."""
    for score, prediction in _scenes(frame):
        first, second = np.triu_indices(len(score), k=1)
        apart, difference = score[first] - score[second], prediction[first] - prediction[second]
        untied = apart != 0
        yield np.abs(apart[untied]), (np.sign(apart) * difference)[untied]


def _wrong_pairs(score: Array, prediction: Array, count: int) -> list[tuple[int, int]]:
    """Return the better and the worse image of the wrongly ordered pairs that differ most, no image in two of them."""
    better, worse = np.nonzero((score[:, None] > score) & (prediction[:, None] < prediction))
    chosen: list[tuple[int, int]] = []
    used: set[int] = set()
    for place in np.argsort(score[worse] - score[better], kind="stable"):
        a, b = int(better[place]), int(worse[place])
        if not used & {a, b}:
            used |= {a, b}
            chosen.append((a, b))
        if len(chosen) == count:
            break
    return chosen


def _named(row: pd.Series[Any], side: str) -> dict[str, Any]:
    path = row.get("path")
    there = path if isinstance(path, str) and Path(path).is_file() else None
    return {f"{name}_{side}": row[name] for name in ("image", "score", "prediction")} | {f"path_{side}": there}
