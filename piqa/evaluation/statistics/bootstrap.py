"""Bootstrap of measures that are computed inside scenes and summed up over them.

A value of the board would differ with other scenes, and with other images of the same scenes. The two-level bootstrap
resamples both with replacement: scenes, and for each time that a scene is drawn, images of that scene. Measures differ
between scenes already because scenes have few images; resampling images too counts that part twice, so the intervals
are slightly too wide. Where the scenes are not a sample, as on PIQ23's device split, whose test scenes are also
training scenes, resampling `images` alone may be the better choice.

All entries are measured on the same resamples, so that their common variation cancels in differences.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from piqa.evaluation.measures import Array

Levels = Literal["both", "scenes", "images"]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Resamples:
    """The scenes and images of every resample.

    Attributes:
        slots: The scene in each place of each resample, shape (bootstrap samples, scenes).
        counts: For each scene how often each of its images was drawn, shape (times the scene was drawn, images), in the
            order in which the scene occurs in `slots`, row by row.
    """

    slots: NDArray[np.int64]
    counts: list[NDArray[np.int32]]

    def in_slots(self, values: Sequence[Array]) -> Array:
        """Place one number for each row of each scene's `counts` where the scene was drawn; shape of `slots`."""
        placed = np.empty(self.slots.size)
        placed[self._places] = np.concatenate(values)
        return placed.reshape(self.slots.shape)

    @cached_property
    def _places(self) -> NDArray[np.int64]:
        """The positions of the first scene in the slots, read row by row, then those of the second, ..."""
        return np.argsort(self.slots, axis=None, kind="stable")


def resample(sizes: Sequence[int], bootstrap_samples: int, seed: int, levels: Levels = "both") -> Resamples:
    """Draw scenes, and images within scenes, of which there are `sizes`; the settings are as in `StatisticsOptions`."""
    scenes = len(sizes)
    choosing, *drawing = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(scenes + 1))
    slots = np.tile(np.arange(scenes), (bootstrap_samples, 1))
    if levels != "images":
        slots = choosing.integers(scenes, size=(bootstrap_samples, scenes))
    counts = []
    for scene, size in enumerate(sizes):
        times = int((slots == scene).sum())
        drawn = drawing[scene].multinomial(size, np.full(size, 1 / size), size=times)
        counts.append(np.ones_like(drawn, np.int32) if levels == "scenes" else drawn.astype(np.int32))
    return Resamples(slots, counts)


def median(values: Array) -> Array:
    """Return the median over the last axis of all defined values; NaN where there are none."""
    if not np.isnan(values).any():
        return np.asarray(np.median(values, axis=-1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of rows without a defined value, whose median is NaN
        return np.asarray(np.nanmedian(values, axis=-1))


def mean(values: Array) -> Array:
    """Return the mean over the last axis of all defined values; NaN where there are none."""
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(defined, values, 0).sum(axis=-1) / defined.sum(axis=-1))


def interval(resampled: Array) -> tuple[float, float]:
    """Return the 95 % percentile interval of a value's resamples, shape (bootstrap samples,).

    Resamples in which the value is not defined are left out; the interval is NaN where none is left.
    """
    defined = resampled[~np.isnan(resampled)]
    if not defined.size:
        return float("nan"), float("nan")
    low, high = np.quantile(defined, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
