"""The measures of one entry in every scene: on its images as they are, and on every bootstrap resample of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from piqa.evaluation import measures
from piqa.evaluation.measures import Array, all_measures, concordance, pair_accuracy
from piqa.evaluation.metrics import fit_logistic
from piqa.evaluation.pairs import PairBands
from piqa.evaluation.statistics.bootstrap import Resamples, mean, median
from piqa.evaluation.statistics.calibration import ScoreMapping

ERRORS = ("plcc", "mae", "rmse")  # measures that depend on the scale of the predictions
AT_ONCE = 2_000_000  # counts in memory at a time, times a dozen intermediate arrays


@dataclass(frozen=True)
class BoardValue:
    """A value that the board shows of every entry: a column of `EntryMeasures.scenes`, summed up over the last axis."""

    protocol: str
    measure: str
    column: str
    summary: Callable[[Array], Array]


BOARD_VALUES = (
    *(BoardValue("official", name, name, median) for name in ("srocc", "krocc", *ERRORS, "pair_accuracy")),
    *(BoardValue("authors", name, name, mean) for name in ("srocc", "krocc")),
    *(BoardValue("authors", name, f"fitted_{name}", mean) for name in ERRORS),
    *(BoardValue("calibrated", name, f"mapped_{name}", median) for name in ERRORS),
)


@dataclass(frozen=True)
class EntryMeasures:
    """An entry's measures scene by scene.

    Attributes:
        scenes: Indexed by `scene`, all scenes of the truth: the columns of `metrics.per_scene` (`images` are those with
            a prediction, and may be 0), `pair_accuracy`, `mapped_plcc`, `mapped_mae`, `mapped_rmse` (NaN without a
            mapping), and for each kind of pairs `<kind>_pairs` and `<kind>_concordance` (concordant minus discordant).
        resamples: The measures of the same names on every resample, shape (bootstrap samples, scenes).
    """

    scenes: pd.DataFrame
    resamples: dict[str, Array]

    def value(self, of: BoardValue) -> float:
        """Return the value on all images; NaN where it is not defined."""
        return float(of.summary(self.scenes[of.column].to_numpy(np.float64)))

    def resampled(self, of: BoardValue) -> Array:
        """Return the value on every resample, shape (bootstrap samples,)."""
        return of.summary(self.resamples[of.column])

    def accuracy(self, kind: str) -> tuple[float, Array]:
        """Return the fraction of the pooled pairs of a kind in the experts' order, on all images and on resamples."""
        names = f"{kind}_concordance", f"{kind}_pairs"
        once = (np.nansum(self.scenes[name].to_numpy(np.float64)) for name in names)
        resampled = (np.nansum(self.resamples[name], axis=1) for name in names)
        return float(pair_accuracy(*once)), pair_accuracy(*resampled)


def measure_predictions(
    truth: pd.DataFrame, prediction: Array, mapping: ScoreMapping | None, drawn: Resamples, bands: PairBands
) -> EntryMeasures:
    """Measure predictions scene by scene.

    The logistic of the authors' protocol is fitted once in every scene, on its images as they are, and is held fixed in
    the resamples. So is the mapping. Their intervals therefore do not include the uncertainty of the curve.

    `truth` has the columns `scene` and `score`. Predictions are in its order, NaN where there is none. Resamples are
    of its scenes, in sorted order, and of their images, in its order.
    """
    frame = truth[["scene", "score"]].assign(prediction=prediction)
    names = sorted(frame["scene"].unique())
    rows, resampled = [], []
    for scene, counts in zip(names, drawn.counts, strict=True):
        images = frame[frame["scene"] == scene]
        known = images["prediction"].notna().to_numpy()
        score, raw = images.loc[known, ["score", "prediction"]].to_numpy(np.float64).T
        curves = {"fitted": fit_logistic(raw, score), "mapped": None if mapping is None else mapping(raw)}
        once = _measures(score, raw, curves, np.ones((1, len(score)), np.int32), bands)
        numbers = {name: float(values[0]) for name, values in once.items()}
        rows.append({"images": len(score), **numbers, "fit_converged": curves["fitted"] is not None})
        resampled.append(_measures(score, raw, curves, counts[:, known], bands))
    resamples = {name: drawn.in_slots([values[name] for values in resampled]) for name in resampled[0]}
    return EntryMeasures(pd.DataFrame(rows, index=pd.Index(names, name="scene")), resamples)


def _measures(
    score: Array, raw: Array, curves: dict[str, Array | None], counts: NDArray[np.int32], bands: PairBands
) -> dict[str, Array]:
    """Return all measures of one scene on resamples, shape (resamples, images); NaN where no image was drawn."""
    drawn = np.flatnonzero(counts.sum(axis=1))
    size = max(AT_ONCE // max(len(score), 1), 1)
    blocks = [drawn[start : start + size] for start in range(0, len(drawn), size)]
    parts = [_of_block(score, raw, curves, counts[block].astype(np.float64), bands) for block in blocks]
    found = {}
    for name in _names(bands):
        found[name] = np.full(len(counts), np.nan)
        if parts:
            found[name][drawn] = np.concatenate([part[name] for part in parts])
    return found


def _of_block(
    score: Array, raw: Array, curves: dict[str, Array | None], counts: Array, bands: PairBands
) -> dict[str, Array]:
    found = all_measures(score, raw, counts)
    for curve, mapped in curves.items():
        for name in ERRORS:
            unknown = np.full(len(counts), np.nan)
            found[f"{curve}_{name}"] = unknown if mapped is None else getattr(measures, name)(score, mapped, counts)
    for kind, limits in bands.limits().items():
        every = found["concordance"], found["pairs"]
        ordered, pairs = every if kind == "all" else concordance(score, raw, counts, *limits)
        found |= {f"{kind}_concordance": ordered, f"{kind}_pairs": pairs}
    return found


def _names(bands: PairBands) -> list[str]:
    mapped = [f"{curve}_{name}" for curve in ("fitted", "mapped") for name in ERRORS]
    counted = [f"{kind}_{what}" for kind in bands.limits() for what in ("concordance", "pairs")]
    return ["srocc", "krocc", *ERRORS, *mapped, *counted, "pair_accuracy"]
