"""All answers of a study, as the next step of a rater needs them: a table, or small numbers that are quick to add."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from piqa.judgement.answers import KINDS, SAME, SIDES
from piqa.judgement.thurstone import Array
from piqa.judgement.wins import wins_of

# One answer. `first`, `second`: numbers of the images, second -1 for a rating; `kind` and `left`: places in KINDS and
# SIDES; `halves`: of a win that the first image has.
CODES = np.dtype([("first", "i4"), ("second", "i4"), ("kind", "i1"), ("left", "i1"), ("halves", "i1")])
HALVES = {"a": 2, SAME: 1, "b": 0, None: 0}
KIND = {kind: at for at, kind in enumerate(KINDS)}
SIDE = {"a": 0, "b": 1, None: 0}
NOTHING = np.zeros(0, CODES)
Codes = NDArray[np.void]
# Images, the second one None for a rating; the kind; which stood on the left; which won.
OneAnswer = tuple[str, str | None, str, str | None, str | None]


class Answered(Protocol):
    """What a step is drawn from."""

    def own(self, rater: str) -> pd.DataFrame:
        """Return a rater's answers in their order, with scene, image or images, `kind`, and of pairs `left`."""

    def in_scenes(self) -> Mapping[str, int]:
        """Return how many answers are new, by scene."""

    def of_images(self) -> Mapping[tuple[str, str], int]:
        """Return how many ratings are new, by scene and image."""

    def wins(self, scene: str, images: Sequence[str]) -> Array:
        """Return the wins in new answers, as of `wins_of`, shape (images, images)."""


class AnswerTable:
    """A table of `piqa.judgement.answers` or `piqa.judgement.ratings` as `Answered`."""

    def __init__(self, table: pd.DataFrame) -> None:
        self._table = table

    @cached_property
    def _new(self) -> pd.DataFrame:
        return self._table[(self._table["kind"] == "new").to_numpy(bool)]

    def own(self, rater: str) -> pd.DataFrame:
        """Return a rater's answers; see `Answered`."""
        return self._table[(self._table["rater"] == rater).to_numpy(bool)]

    def in_scenes(self) -> Mapping[str, int]:
        """Return how many answers are new; see `Answered`."""
        return {str(scene): int(count) for scene, count in self._new["scene"].value_counts().items()}

    def of_images(self) -> Mapping[tuple[str, str], int]:
        """Return how many ratings are new; see `Answered`."""
        counts: dict[tuple[str, str], int] = self._new.groupby(["scene", "image"]).size().to_dict()  # type: ignore[assignment]
        return counts

    def wins(self, scene: str, images: Sequence[str]) -> Array:
        """Return the wins in new answers; see `Answered`."""
        return wins_of(self._new, scene, images)


@dataclass(frozen=True)
class CompactAnswers:
    """Answers as small numbers, 11 bytes each, as `Answered`: 40,000 of them are counted in a millisecond.

    Attributes:
        images: Names of all images, each of one scene.
        scenes: The scene of each.
        numbers: The place of each in `images`, by name.
        raters: Answers of each rater in their order, by the rater's name.
    """

    images: Sequence[str]
    scenes: Sequence[str]
    numbers: Mapping[str, int]
    raters: Mapping[str, Codes]

    @classmethod
    def of(cls, scene_of: Mapping[str, str]) -> CompactAnswers:
        """Return no answers to images, whose scenes are given by name."""
        return cls(list(scene_of), list(scene_of.values()), {name: at for at, name in enumerate(scene_of)}, {})

    def __len__(self) -> int:
        """The number of answers."""
        return sum(map(len, self.raters.values()))

    def codes(self, answers: Iterable[OneAnswer]) -> Codes:
        """Return answers as numbers; KeyError for an image that is none of the study."""
        number = self.numbers
        found = [
            (number[first], -1 if second is None else number[second], KIND[kind], SIDE[left], HALVES[winner])
            for first, second, kind, left, winner in answers
        ]
        return np.array(found, CODES)

    def with_raters(self, raters: Mapping[str, Codes]) -> CompactAnswers:
        """Return the same with the answers of these raters alone."""
        return replace(self, raters=dict(raters))

    def plus(self, rater: str, answers: Iterable[OneAnswer]) -> CompactAnswers:
        """Return the same and later answers of a rater; errors as of `codes`."""
        more = np.concatenate([self.raters.get(rater, NOTHING), self.codes(answers)])
        return self.with_raters({**self.raters, rater: more})

    def without_last(self, rater: str) -> CompactAnswers:
        """Return the same without the last answer of a rater."""
        return self.with_raters({**self.raters, rater: self.raters.get(rater, NOTHING)[:-1]})

    def among(self, images: Mapping[str, Any]) -> CompactAnswers:
        """Return the same without answers on images that are not among these."""
        there = np.array([name in images for name in self.images], bool)
        if there.all():
            return self
        there = np.append(there, True)  # -1, of a rating, is the last place
        kept = {rater: rows[there[rows["first"]] & there[rows["second"]]] for rater, rows in self.raters.items()}
        return self.with_raters(kept)

    def count_of(self, rater: str) -> tuple[int, int]:
        """Return how many answers a rater has given, without training and in training."""
        rows = self.raters.get(rater, NOTHING)
        trained = int((rows["kind"] == KIND["training"]).sum())
        return len(rows) - trained, trained

    def own(self, rater: str) -> pd.DataFrame:
        """Return a rater's answers; see `Answered`."""
        rows = self.raters.get(rater, NOTHING)
        names, scenes = np.array([*self.images, ""], object), np.array([*self.scenes, ""], object)
        columns = {"scene": scenes[rows["first"]], "kind": np.array(KINDS, object)[rows["kind"]]}
        columns |= {"image": names[rows["first"]], "image_a": names[rows["first"]], "image_b": names[rows["second"]]}
        return pd.DataFrame(columns | {"left": np.array(SIDES, object)[rows["left"]]}, dtype=object)

    def in_scenes(self) -> Mapping[str, int]:
        """Return how many answers are new; see `Answered`."""
        found: dict[str, int] = {}
        for (scene, _), count in self.of_images().items():
            found[scene] = found.get(scene, 0) + count
        return found

    def of_images(self) -> Mapping[tuple[str, str], int]:
        """Return how many answers are new, by the scene and the first image; of ratings as of `Answered`."""
        counts = np.bincount(self._new["first"], minlength=len(self.images)).tolist()
        return {(self.scenes[at], self.images[at]): count for at, count in enumerate(counts) if count}

    def wins(self, scene: str, images: Sequence[str]) -> Array:
        """Return the wins in new answers; see `Answered`."""
        size, new = len(images), self._new
        place = np.full(len(self.images) + 1, -1, np.intp)
        place[[self.numbers[image] for image in images]] = np.arange(size)
        first, second = place[new["first"]], place[new["second"]]
        known = (first >= 0) & (second >= 0)
        first, second, share = first[known], second[known], new["halves"][known] / 2
        cells = np.concatenate([first * size + second, second * size + first])
        wins = np.bincount(cells, np.concatenate([share, 1 - share]), size**2)
        return np.asarray(wins, np.float64).reshape(size, size)

    @cached_property
    def _new(self) -> Codes:
        rows = np.concatenate([NOTHING, *self.raters.values()])
        new: Codes = rows[rows["kind"] == KIND["new"]]
        return new
