"""The measures of one entry: of every scene on its images as they are, and summed up on every bootstrap resample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from piqa.evaluation import measures
from piqa.evaluation.measures import Array, all_measures, concordance, pair_accuracy
from piqa.evaluation.metrics import fit_logistic
from piqa.evaluation.pair_counts import PairCounter
from piqa.evaluation.pairs import PairBands
from piqa.evaluation.statistics.bootstrap import Resamples, mean, median
from piqa.evaluation.statistics.calibration import ScoreMapping

TINY = 4  # images of a scene whose resamples are few enough to measure each possible one once
ERRORS = ("plcc", "mae", "rmse")  # measures that depend on the scale of the predictions


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
    """An entry's measures scene by scene, and their summaries on every resample.

    Attributes:
        scenes: Indexed by `scene`, all scenes of the truth: the columns of `metrics.per_scene` (`images` are those with
            a prediction, and may be 0), `pair_accuracy`, `mapped_plcc`, `mapped_mae`, `mapped_rmse` (NaN without a
            mapping), and for each kind of pairs `<kind>_pairs` and `<kind>_concordance` (concordant minus discordant).
        resamples: Each value of the board on every resample, shape (bootstrap samples,).
        pooled: For each kind of pairs, the sum over scenes of `<kind>_concordance` and of `<kind>_pairs` on every
            resample, likewise.
    """

    scenes: pd.DataFrame
    resamples: dict[BoardValue, Array]
    pooled: dict[str, tuple[Array, Array]]

    def value(self, of: BoardValue) -> float:
        """Return the value on all images; NaN where it is not defined."""
        return float(of.summary(self.scenes[of.column].to_numpy(np.float64)))

    def resampled(self, of: BoardValue) -> Array:
        """Return the value on every resample, shape (bootstrap samples,)."""
        return self.resamples[of]

    def accuracy(self, kind: str) -> tuple[float, Array]:
        """Return the fraction of the pooled pairs of a kind in the experts' order, on all images and on resamples."""
        names = f"{kind}_concordance", f"{kind}_pairs"
        once = (np.nansum(self.scenes[name].to_numpy(np.float64)) for name in names)
        return float(pair_accuracy(*once)), pair_accuracy(*self.pooled[kind])


def measure_predictions(
    truth: pd.DataFrame,
    prediction: Array,
    mapping: ScoreMapping | None,
    drawn: Resamples,
    bands: PairBands,
    advance: Callable[[int], object] = lambda scenes: None,
) -> EntryMeasures:
    """Measure predictions scene by scene.

    The logistic of the authors' protocol is fitted once in every scene, on its images as they are, and is held fixed in
    the resamples. So is the mapping. Their intervals therefore do not include the uncertainty of the curve.

    `truth` has the columns `scene` and `score`. Predictions are in its order, NaN where there is none. Resamples are
    of its scenes, in sorted order, and of their images, in its order. `advance` is told how many scenes were measured
    since it was called last, those of the truth and those of every resample.
    """
    frame = truth[["scene", "score"]].assign(prediction=prediction)
    by_scene = frame.groupby("scene", sort=True)
    scenes = []
    for _, rows in by_scene:
        score, raw = rows[["score", "prediction"]].to_numpy(np.float64).T
        scenes.append(_Scene(score, raw, mapping, bands))
        advance(1)
    once = pd.DataFrame([scene.once() for scene in scenes], index=pd.Index(by_scene.groups, name="scene"))
    names = _names(bands)
    values: dict[BoardValue, list[Array]] = {one: [] for one in BOARD_VALUES}
    pooled: dict[str, list[tuple[Array, Array]]] = {kind: [] for kind in bands.limits()}
    for block in drawn.blocks():
        measured = np.empty((len(names), block.slots.size))
        for number, places, counts in block.draws():
            measured[:, places] = scenes[number].resampled(counts)
            advance(len(places))
        found = dict(zip(names, measured.reshape(len(names), *block.slots.shape), strict=True))
        for one, parts in values.items():
            parts.append(one.summary(found[one.column]))
        for kind, sums in pooled.items():
            ordered, pairs = (np.nansum(found[f"{kind}_{what}"], axis=1) for what in ("concordance", "pairs"))
            sums.append((ordered, pairs))
    return EntryMeasures(
        once,
        {one: np.concatenate(parts) for one, parts in values.items()},
        {
            kind: (np.concatenate([a for a, _ in sums]), np.concatenate([b for _, b in sums]))
            for kind, sums in pooled.items()
        },
    )


class _Scene:
    """One scene of an entry: what is measured of it again on every resample."""

    def __init__(self, score: Array, prediction: Array, mapping: ScoreMapping | None, bands: PairBands) -> None:
        self._known = ~np.isnan(prediction)
        self._score, self._raw, self._bands = score[self._known], prediction[self._known], bands
        self._curves = {
            "fitted": fit_logistic(self._raw, self._score),
            "mapped": None if mapping is None else mapping(self._raw),
        }
        large = len(self._score) >= measures.LARGE
        self._counter = PairCounter(self._score, self._raw, list(bands.limits().values())) if large else None
        tiny = len(self._known) <= TINY and self._known.all()
        self._tabulated = self._measured(_all_counts(len(self._score))) if tiny else None

    def once(self) -> dict[str, float | int | bool]:
        """Return all measures of the images as they are."""
        found = self.resampled(np.ones((1, len(self._known)), np.int64))[:, 0].tolist()
        numbers = dict(zip(_names(self._bands), found, strict=True))
        return {"images": len(self._score), **numbers, "fit_converged": self._curves["fitted"] is not None}

    def resampled(self, counts: NDArray[np.int64]) -> Array:
        """Return all measures on resamples of all images, shape (measures, resamples).

        A measure is NaN where no image with a prediction is drawn.
        """
        if self._tabulated is not None:
            return self._tabulated[:, _place_in_all_counts(counts)]
        counts = counts if self._known.all() else counts[:, self._known]
        drawn = counts.any(axis=1)
        if drawn.all():
            return self._measured(counts)
        found = np.full((len(_names(self._bands)), len(counts)), np.nan)
        if drawn.any():
            found[:, drawn] = self._measured(counts[drawn])
        return found

    def _measured(self, whole_counts: NDArray[np.int64]) -> Array:
        counts = whole_counts.astype(np.float64)
        pairs = self._pairs(counts)
        found = all_measures(self._score, self._raw, counts, pairs["all"])
        for curve, mapped in self._curves.items():
            for name in ERRORS:
                unknown = np.full(len(counts), np.nan)
                measure = getattr(measures, name)
                found[f"{curve}_{name}"] = unknown if mapped is None else measure(self._score, mapped, counts)
        for kind, (ordered, number) in pairs.items():
            found |= {f"{kind}_concordance": ordered, f"{kind}_pairs": number}
        return np.stack([found[name] for name in _names(self._bands)])

    def _pairs(self, counts: Array) -> dict[str, tuple[Array, Array]]:
        """Return concordant minus discordant pairs and all pairs, of each kind."""
        limits = self._bands.limits()
        if self._counter is not None:
            return dict(zip(limits, self._counter.count(counts), strict=True))
        return {kind: concordance(self._score, self._raw, counts, *ends) for kind, ends in limits.items()}


@cache
def _all_counts(images: int) -> NDArray[np.int64]:
    """Return how often each of a few images can be drawn in as many draws, one way a row."""
    every = np.indices((images + 1,) * images).reshape(images, -1).T
    return np.asarray(every[every.sum(axis=1) == images], np.int64)


def _place_in_all_counts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the row of `_all_counts` that each row is."""
    images = counts.shape[1]
    digits = (images + 1) ** np.arange(images)[::-1]  # rows stand in the order of these numbers
    return np.asarray(np.searchsorted(_all_counts(images) @ digits, counts @ digits), np.int64)


def _names(bands: PairBands) -> list[str]:
    mapped = [f"{curve}_{name}" for curve in ("fitted", "mapped") for name in ERRORS]
    counted = [f"{kind}_{what}" for kind in bands.limits() for what in ("concordance", "pairs")]
    return ["srocc", "krocc", *ERRORS, *mapped, *counted, "pair_accuracy"]
