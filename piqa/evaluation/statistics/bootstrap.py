"""Bootstrap of measures that are computed inside scenes and summed up over them.

A value of the board would differ with other scenes, and with other images of the same scenes. The two-level bootstrap
resamples both with replacement: scenes, and for each time that a scene is drawn, images of that scene. Measures differ
between scenes already because scenes have few images; resampling images too counts that part twice, so the intervals
are slightly too wide. Where the scenes are not a sample, as on PIQ23's device split, whose test scenes are also
training scenes, resampling `images` alone may be the better choice.

All entries are measured on the same resamples, so that their common variation cancels in differences. Resamples are
never in memory all together: they are drawn block by block, anew for every entry. One generator chooses scenes and each
scene has one for its images, so that a seed gives the same resamples in blocks of any size.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from piqa.evaluation.measures import Array

Levels = Literal["both", "scenes", "images"]

CONFIDENCE = 0.95
COUNTS_AT_ONCE = 1_000_000  # counts of images in memory at a time, times a dozen intermediate arrays
VALUES_AT_ONCE = 2_000_000  # values of a measure in memory at a time, times all measures


class ResampleBlock:
    """Some of the resamples.

    Attributes:
        slots: The scene in each place of each resample, shape (resamples, scenes).
    """

    def __init__(
        self, slots: NDArray[np.int64], resamples: Resamples, generators: Sequence[np.random.Generator]
    ) -> None:
        self.slots, self._resamples, self._generators = slots, resamples, generators

    def draws(self) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
        """Draw the images of each scene each time that the scene stands in a slot; can be done once.

        Yields:
            A scene; places in the slots, read row by row, in which it stands; and for each place how often each of its
            images was drawn, shape (places, images). Scenes come in order, a large one in several parts.
        """
        images_drawn = self._resamples.levels != "scenes"
        order = np.argsort(self.slots, axis=None, kind="stable")
        ends = np.cumsum(np.bincount(self.slots.ravel(), minlength=len(self._resamples.sizes)))
        for scene, (size, end) in enumerate(zip(self._resamples.sizes, ends.tolist(), strict=True)):
            evenly, step = np.full(size, 1 / size), max(COUNTS_AT_ONCE // size, 1)
            begin = 0 if scene == 0 else int(ends[scene - 1])
            for start in range(begin, end, step):
                places = order[start : min(start + step, end)]
                if images_drawn:
                    yield scene, places, self._generators[scene].multinomial(size, evenly, size=len(places))
                else:
                    yield scene, places, np.ones((len(places), size), np.int64)


@dataclass(frozen=True)
class Resamples:
    """The scenes and images of every resample, drawn when they are needed: the same ones each time.

    Args:
        sizes: Images of each scene.
        bootstrap_samples, seed, levels: As in `StatisticsOptions`.
    """

    sizes: Sequence[int]
    bootstrap_samples: int
    seed: int
    levels: Levels = "both"

    @property
    def total(self) -> int:
        """Scenes of all resamples together."""
        return self.bootstrap_samples * len(self.sizes)

    def blocks(self, at_once: int | None = None) -> Iterator[ResampleBlock]:
        """Yield all resamples, so many at a time; by default as many as `VALUES_AT_ONCE` allows."""
        scenes = len(self.sizes)
        choosing, *drawing = map(np.random.default_rng, np.random.SeedSequence(self.seed).spawn(scenes + 1))
        step = at_once or max(VALUES_AT_ONCE // scenes, 1)
        for start in range(0, self.bootstrap_samples, step):
            rows = min(step, self.bootstrap_samples - start)
            if self.levels == "images":
                slots = np.tile(np.arange(scenes), (rows, 1))
            else:
                slots = choosing.integers(scenes, size=(rows, scenes))
            yield ResampleBlock(slots, self, drawing)


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
