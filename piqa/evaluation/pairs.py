"""The pairwise view: which pairs of a scene are ordered as the experts order them, and how sure the model was.

A user who compares two shots cares for the pair, not for a correlation. Pairs are those of two images of one scene with
different scores; all pairs of all scenes are pooled, so large scenes weigh more. A predicted tie is half right.
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

from piqa.evaluation.metrics import srocc
from piqa.evaluation.statistics import bootstrap_metrics
from piqa.evaluation.statistics.bootstrap import Array

BINS = 10
WORST = 24
FEWEST = 5  # images of a group in a scene; a correlation of fewer is mostly chance


@dataclass(frozen=True)
class Bands:
    """Which pairs are clear and which are near ties, in units of the score.

    Attributes:
        clear: Experts separate a pair clearly above this difference; of 1 JOD, three in four prefer the better one.
        near: A pair is a near tie below this difference.
    """

    clear: float = 1.0
    near: float = 0.25

    def limits(self) -> dict[str, tuple[float, float]]:
        """For each kind of pairs, the differences between which (both excluded) its pairs lie."""
        return {"all": (0.0, np.inf), "clear": (self.clear, np.inf), "near": (0.0, self.near)}


def preferences(frame: pd.DataFrame, bands: Bands | None = None) -> pd.DataFrame:
    """Calibration of the predicted preference: the Brier score of each kind of pairs.

    The predicted probability that A beats B is Phi(prediction of A - prediction of B), Thurstone's model as the
    fidelity loss has it, on raw predictions; the outcome is 1 if the experts' score of A is higher, else 0. A constant
    model scores 0.25, a perfect and certain one 0.

    Args:
        frame: One row an image with columns `scene`, `score` and `prediction`.
        bands: What clear and near pairs are.

    Returns:
        One row a kind: `kind`, `pairs`, `accuracy` and `brier`, NaN without pairs.
    """
    pairs = list(_pairs(frame))
    apart = np.concatenate([score for score, _ in pairs])
    difference = np.concatenate([prediction for _, prediction in pairs])
    rows = []
    for kind, (above, below) in (bands or Bands()).limits().items():
        counted = (apart > above) & (apart < below)
        right, lost = (1 + np.sign(difference[counted])) / 2, np.square(1 - ndtr(difference[counted]))
        empty = not counted.any()
        rows.append(
            {
                "kind": kind,
                "pairs": int(counted.sum()),
                "accuracy": float("nan") if empty else float(right.mean()),
                "brier": float("nan") if empty else float(lost.mean()),
            }
        )
    return pd.DataFrame(rows)


def reliability(frame: pd.DataFrame, bins: int = BINS) -> pd.DataFrame:
    """How often the experts agree with the model's preferred image, by how sure the model is of it.

    Args:
        frame: As for `preferences`, whose probability this is.
        bins: Number of equal steps from 0.5, no preference, to 1.

    Returns:
        One row a bin that holds pairs: `bin`, `predicted` (mean probability of the preferred image), `observed` (share
        of the pairs whose preferred image has the higher score) and `pairs`. On a calibrated model both are equal.
    """
    differences = np.concatenate([prediction for _, prediction in _pairs(frame)])
    sure, right = ndtr(np.abs(differences)), (1 + np.sign(differences)) / 2
    place = np.minimum(((sure - 0.5) * 2 * bins).astype(int), bins - 1)
    table = pd.DataFrame({"bin": place, "predicted": sure, "observed": right})
    grouped = table.groupby("bin")
    return grouped.mean().assign(pairs=grouped.size()).reset_index()


def worst_pairs(frame: pd.DataFrame, count: int = WORST) -> pd.DataFrame:
    """The pairs in the wrong order that experts separate most; every image stands in one of them at most.

    Args:
        frame: One row an image with columns `image`, `scene`, `score`, `prediction`, and `path` where known.
        count: How many pairs at most.

    Returns:
        Worst first: `scene`, `image_a`, `image_b`, `score_a`, `score_b`, `prediction_a`, `prediction_b`, `path_a`,
        `path_b`. A is the better one by the experts; a path is None where there is no such file.
    """
    found = []
    for scene, rows in frame.groupby("scene", sort=True):
        pairs = _wrong_pairs(rows["score"].to_numpy(np.float64), rows["prediction"].to_numpy(np.float64), count)
        found += [{"scene": scene, **_named(rows.iloc[a], "a"), **_named(rows.iloc[b], "b")} for a, b in pairs]
    found = sorted(found, key=lambda pair: pair["score_b"] - pair["score_a"])[:count]
    fields = [f"{field}_{side}" for field in ("image", "score", "prediction", "path") for side in "ab"]
    return pd.DataFrame(found, columns=["scene", *fields])


def by_group(frame: pd.DataFrame, by: str) -> pd.DataFrame:
    """Measures of the images of each condition or device, so that a weakness shows.

    Args:
        frame: One row an image with columns `scene`, `score`, `prediction` and the one that `by` names.
        by: `condition`: pairs of two images of the group. Any other column, such as `device`: pairs of which at least
            one is, because a device has few images of a scene and is compared with other devices.

    Returns:
        One row a group: `by`, `group`, `images`, `pairs`, `pair_accuracy` (NaN without pairs) and `srocc` (mean over
        the scenes in which the group has at least five images and it is defined; NaN without).
    """
    sums: dict[str, list[tuple[float, float, float]]] = {}
    for _, rows in frame.groupby("scene", sort=True):
        score, prediction = rows["score"].to_numpy(np.float64), rows["prediction"].to_numpy(np.float64)
        labels = rows[by].to_numpy()
        for group in dict.fromkeys(labels):
            members = labels == group
            surplus, pairs = _ordered(score[members], prediction[members])
            if by != "condition":
                others_surplus, others = _ordered_across(score, prediction, members)
                surplus, pairs = surplus + others_surplus, pairs + others
            enough = members.sum() >= FEWEST
            correlation = srocc(score[members], prediction[members]) if enough else float("nan")
            sums.setdefault(str(group), []).append((surplus, pairs, correlation))
    images = frame[by].astype(str).value_counts()
    rows_out = []
    for group in sorted(sums):
        surplus, pairs, _ = np.sum(sums[group], axis=0)
        defined = [correlation for *_, correlation in sums[group] if not np.isnan(correlation)]
        rows_out.append(
            {
                "by": by,
                "group": group,
                "images": int(images[group]),
                "pairs": int(pairs),
                "pair_accuracy": float((1 + surplus / pairs) / 2) if pairs else float("nan"),
                "srocc": float(np.mean(defined)) if defined else float("nan"),
            }
        )
    return pd.DataFrame(rows_out)


def _pairs(frame: pd.DataFrame) -> Iterator[tuple[Array, Array]]:
    """For the pairs of each scene how far the better one is ahead: in score, above 0, and in prediction."""
    for _, rows in frame.groupby("scene", sort=True):
        score, prediction = rows["score"].to_numpy(np.float64), rows["prediction"].to_numpy(np.float64)
        first, second = np.triu_indices(len(score), k=1)
        apart, difference = score[first] - score[second], prediction[first] - prediction[second]
        told = apart != 0
        yield np.abs(apart[told]), (np.sign(apart) * difference)[told]


def _ordered(score: Array, prediction: Array) -> tuple[float, float]:
    surplus, pairs = bootstrap_metrics.ordered_pairs(score, prediction, np.ones((1, len(score))))
    return float(surplus[0]), float(pairs[0])


def _ordered_across(score: Array, prediction: Array, members: NDArray[np.bool_]) -> tuple[float, float]:
    """Right less wrong pairs, and pairs, of one member and one other."""
    order = np.sign(score[members, None] - score[~members])
    return float((order * np.sign(prediction[members, None] - prediction[~members])).sum()), float(np.abs(order).sum())


def _wrong_pairs(score: Array, prediction: Array, count: int) -> list[tuple[int, int]]:
    """The better and the worse one of the wrongly ordered pairs that lie farthest apart, no image in two of them."""
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
    on_disk = isinstance(path, str) and Path(path).is_file()
    named = {name: row[name] for name in ("image", "score", "prediction")} | {"path": path if on_disk else None}
    return {f"{name}_{side}": value for name, value in named.items()}
