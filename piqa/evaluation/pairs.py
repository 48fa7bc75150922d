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
from numpy.typing import NDArray
from scipy.special import ndtr

from piqa.errors import InputError
from piqa.evaluation.measures import Array, concordance, concordance_of_kinds, pair_accuracy, srocc
from piqa.system.progress import progress

BINS = 10
WORST = 24
FEWEST = 5  # images of a group in a scene; a correlation of fewer is mostly chance
PAIRS_AT_ONCE = 1_000_000  # pairs of a large scene in memory at a time
MEMBERS_AT_ONCE = 2_000_000  # groups times images in memory at a time
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
    limits = (bands or PairBands()).limits()
    counted = [concordance_of_kinds(*scene, None, list(limits.values())) for scene in _scenes(frame)]
    lost, number = dict.fromkeys(limits, 0.0), dict.fromkeys(limits, 0)
    for apart, difference in _differences(frame):
        squares = np.square(1 - ndtr(difference))
        for kind, (above, below) in limits.items():
            inside = (apart > above) & (apart < below)
            lost[kind] += float(squares[inside].sum())
            number[kind] += int(inside.sum())
    rows = []
    for kind, own in zip(limits, zip(*counted, strict=True), strict=True):
        ordered, pairs = np.sum(own, axis=0)
        brier = lost[kind] / number[kind] if number[kind] else np.nan
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
    sums = np.zeros((3, bins))
    for _, difference in _differences(frame):
        sure, right = ndtr(np.abs(difference)), (1 + np.sign(difference)) / 2
        place = np.minimum(((sure - 0.5) * 2 * bins).astype(int), bins - 1)
        sums += [np.bincount(place, weights, minlength=bins) for weights in (sure, right, np.ones(len(place)))]
    there = np.flatnonzero(sums[2])
    predicted, observed, pairs = sums[:, there]
    return pd.DataFrame(
        {"bin": there, "predicted": predicted / pairs, "observed": observed / pairs, "pairs": pairs.astype(np.int64)}
    )


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
        step = max(MEMBERS_AT_ONCE // len(labels), 1)
        parts = [_of_groups(score, prediction, labels, names[at : at + step], by) for at in range(0, len(names), step)]
        ordered, pairs, correlation = np.concatenate(parts, axis=1)
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


def _of_groups(score: Array, prediction: Array, labels: NDArray[np.object_], names: list[object], by: str) -> Array:
    """Return agreement of pairs, pairs and SROCC of some groups in one scene, shape (3, groups)."""
    members = np.array([labels == name for name in names], dtype=np.float64)
    ordered, pairs = concordance(score, prediction, members)
    if by != "condition":  # all pairs but those of two other images
        every, others = concordance(score, prediction), concordance(score, prediction, 1 - members)
        ordered, pairs = every[0] - others[0], every[1] - others[1]
    correlation = np.where(members.sum(axis=1) >= FEWEST, srocc(score, prediction, members), np.nan)
    return np.stack([ordered, pairs, correlation])


def _scenes(frame: pd.DataFrame) -> Iterator[tuple[Array, Array]]:
    """Yield score and prediction of each scene."""
    for _, rows in frame.groupby("scene", sort=True):
        yield rows["score"].to_numpy(np.float64), rows["prediction"].to_numpy(np.float64)


def _differences(frame: pd.DataFrame) -> Iterator[tuple[Array, Array]]:
    """Yield the pairs of each scene, block by block: the better image's score and prediction, less the other's."""
    number = sum(len(score) * (len(score) - 1) // 2 for score, _ in _scenes(frame))
    with progress(number, task="pairs", unit="pairs") as advance:
        for score, prediction in _scenes(frame):
            step = max(PAIRS_AT_ONCE // len(score), 1)
            for start in range(0, len(score), step):
                block = slice(start, start + step)
                pairs = np.triu(np.ones((len(score[block]), len(score) - start), dtype=bool), k=1)
                apart = (score[block, None] - score[start:])[pairs]
                difference = (prediction[block, None] - prediction[start:])[pairs]
                untied = apart != 0
                yield np.abs(apart[untied]), (np.sign(apart) * difference)[untied]
                advance(len(apart))


def _wrong_pairs(score: Array, prediction: Array, count: int) -> list[tuple[int, int]]:
    """Return the better and the worse image of the wrongly ordered pairs that differ most, no image in two of them.

    Of pairs that differ as much, the one whose better image comes first is taken, then whose worse image does.
    """
    order = np.argsort(prediction, kind="stable")
    beyond = np.searchsorted(prediction[order], prediction, side="right")  # where the higher predictions begin
    worse, better = score.copy(), score.copy()
    chosen: list[tuple[int, int]] = []
    while len(chosen) < count:
        lowest = np.append(
            np.minimum.accumulate(worse[order][::-1])[::-1], np.inf
        )  # of this and all higher predictions
        apart = better - lowest[beyond]
        a = int(np.argmax(apart))
        if not apart[a] > 0:
            break
        b = int(np.argmax((prediction > prediction[a]) & (score[a] - worse == apart[a])))
        chosen.append((a, b))
        worse[[a, b]], better[[a, b]] = np.inf, -np.inf
    return chosen


def _named(row: pd.Series[Any], side: str) -> dict[str, Any]:
    path = row.get("path")
    there = path if isinstance(path, str) and Path(path).is_file() else None
    return {f"{name}_{side}": row[name] for name in ("image", "score", "prediction")} | {f"path_{side}": there}
