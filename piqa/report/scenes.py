"""Which images of a report are compared with each other, and the place of each among them, factor by factor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from piqa.factors.factor import Reading
from piqa.factors.families import FACTORS
from piqa.factors.percentiles import ENOUGH_IMAGES, percentiles
from piqa.report.names import folder_of
from piqa.system.phrases import Phrase

ScenesFrom = Literal["auto", "folders", "all"]


class Scenes:
    """The images of a report in groups, the scenes, inside which they are compared.

    Args:
        names: What the images are called; a scene may be what comes before the last slash.
        readings: Of each image, in the same order; those that are not reliable are not compared.
        choice: `folders`: the images of a folder are a scene; `all`: all images are one; `auto`: folders where each
            of them holds enough images for percentiles, else all.

    Attributes:
        by_folder: Whether folders are the scenes.
    """

    def __init__(
        self, names: Sequence[str], readings: Iterable[Mapping[str, Reading]], choice: ScenesFrom = "auto"
    ) -> None:
        folders = [folder_of(name) for name in names]
        enough = min(Counter(folders).values(), default=0) >= ENOUGH_IMAGES
        self.by_folder = choice == "folders" or (choice == "auto" and enough and len(set(folders)) > 1)
        self._scene_of = folders if self.by_folder else [""] * len(names)
        self.members: dict[str, list[int]] = {}
        for position, scene in enumerate(self._scene_of):
            self.members.setdefault(scene, []).append(position)
        self._values = np.array([_values(of_image) for of_image in readings]).reshape(len(names), len(FACTORS))
        self._percentiles = np.full_like(self._values, np.nan)
        self._equal = np.zeros(self._values.shape, int)  # how many others of the scene have the same value
        self._counts: dict[str, list[int]] = {}  # of the images of a scene that have a value, factor by factor
        self._medians = {scene: self._place(scene, positions) for scene, positions in self.members.items()}

    def placed(self, position: int, reading: Reading) -> Reading:
        """Return a reading of an image with its place in the scene."""
        column = COLUMN[reading.factor.name]
        percentile = self._percentiles[position, column]
        if np.isnan(percentile):
            return reading
        counts, equal = self._counts[self._scene_of[position]], int(self._equal[position, column])
        return reading.among(round(float(percentile), 4), counts[column], equal)

    def steps(self, position: int, name: str) -> float | None:
        """Return how far an image's value lies from the scene's median, in steps that a viewer sees.

        None where the value is not known or reliable, or fewer than three images have one.
        """
        value = self._values[position, COLUMN[name]]
        median = self._medians[self._scene_of[position]][COLUMN[name]]
        return None if np.isnan(value - median) else float((value - median) / FACTORS[name].step)

    def scene(self, position: int) -> str:
        """Return the folder that an image is compared in; "" where all images are compared."""
        return self._scene_of[position]

    def words(self, position: int) -> str:
        """Return what an image is compared with, such as `the 12 images of the folder day 1`."""
        scene = self._scene_of[position]
        number = len(self.members[scene])
        return f"the {number} images of the folder {scene}" if scene else f"the {number} images of this report"

    def _place(self, scene: str, positions: list[int]) -> NDArray[np.float64]:
        """Fill in the percentiles of a scene, and return the median of each factor; NaN of fewer than three values."""
        values = self._values[positions]
        for column in range(len(FACTORS)):
            known = [None if np.isnan(value) else float(value) for value in values[:, column]]
            found = percentiles(known)
            self._percentiles[positions, column] = [np.nan if one is None else one for one in found]
            _, which, times = np.unique(values[:, column], return_inverse=True, return_counts=True)
            self._equal[positions, column] = times[which] - 1
        medians = np.full(len(FACTORS), np.nan)
        counts = np.count_nonzero(~np.isnan(values), axis=0)
        self._counts[scene] = counts.tolist()
        enough = counts >= 3
        medians[enough] = np.nanmedian(values[:, enough], axis=0)
        return medians


COLUMN = {name: column for column, name in enumerate(FACTORS)}


def _values(readings: Mapping[str, Reading]) -> list[float]:
    found = (readings.get(name) for name in FACTORS)
    return [
        reading.value if reading is not None and reading.value is not None and reading.reliable else np.nan
        for reading in found
    ]


def place_in_words(reading: Reading) -> str:
    """Return where a value lies among those of its scene; "" where that is not known.

    Examples:
        >>> from piqa.factors.families import FACTORS
        >>> place_in_words(Reading(FACTORS["megapixels"], 12.0, percentile=94.2, images=24))
        'higher than in 94 % of the other 23 images'
    """
    if reading.percentile is None:
        return ""
    images, others = reading.images, reading.images - 1
    if reading.percentile == 0:
        return Phrase("the lowest of {images} images", images=images)
    if reading.percentile == 100:
        return Phrase("the highest of {images} images", images=images)
    if reading.equal == others:
        return Phrase("the same in all {images} images", images=images)
    if round(reading.percentile) == 50:
        return Phrase("in the middle of {images} images", images=images)
    # a percentile counts equal values half, which no sentence may: they are neither lower nor higher
    same = 100 * reading.equal / others
    farther = max(reading.percentile, 100 - reading.percentile) - same / 2
    # of many images 99.6 % are not all
    numbers = {"share": min(farther, 99.0), "others": others, "same": same}
    if round(same) == 0:
        higher = "higher than in {share:.0f} % of the other {others} images"
        lower = "lower than in {share:.0f} % of the other {others} images"
        return Phrase(higher, **numbers) if reading.percentile > 50 else Phrase(lower, **numbers)
    higher = "higher than in {share:.0f} % of the other {others} images, the same in {same:.0f} %"
    lower = "lower than in {share:.0f} % of the other {others} images, the same in {same:.0f} %"
    return Phrase(higher, **numbers) if reading.percentile > 50 else Phrase(lower, **numbers)
