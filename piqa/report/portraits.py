"""The images of a report, read one by one from the parts, each with its place among the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from piqa.factors.factor import Reading
from piqa.report.facts import Facts, MapPicture
from piqa.report.learned import Learned, LearnedReading
from piqa.report.names import PLACE, page_names, printable, shown_names
from piqa.report.parts import Parts, map_from
from piqa.report.scenes import Scenes, ScenesFrom
from piqa.report.standouts import StandOut, stand_outs

PORTRAITS = "portraits"  # the folder of the pages


@dataclass(frozen=True)
class ScoreSaid:
    """What a model says of an image.

    Attributes:
        score: Higher is better, comparable in one scene only.
        reference: The mean score of the images that it is compared with; None without any.
        shares: By how much each branch lifts the score over that of the reference.
        notes: What limits this.
        maps: Where in the image the score comes from.
    """

    score: float
    reference: float | None = None
    shares: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    maps: list[MapPicture] = field(default_factory=list)


@dataclass(frozen=True)
class ReportedImage:
    """An image of the report.

    Attributes:
        position: Its row.
        file: Where it lies; never shown.
        name: What it is called.
        page: Its page's file, from the report's folder; "" where it has none, as it could not be measured.
        error: Why it could not be measured; "" where it was.
        facts: What was measured.
        readings: Each factor with its place among the others.
        stand_outs: What stands out.
        compared_with: Such as `the 12 images of the folder day 1`.
        said: What the model says; None without one, or where it could not say anything.
        learned: What learned factor models say, by the family of factors.
    """

    position: int
    file: str
    name: str
    page: str
    error: str
    facts: Facts
    readings: dict[str, Reading]
    stand_outs: list[StandOut]
    compared_with: str
    said: ScoreSaid | None
    learned: dict[str, LearnedReading] = field(default_factory=dict)

    @property
    def score(self) -> float | None:
        """The model's score; None without one."""
        return None if self.said is None else self.said.score

    @property
    def title(self) -> str:
        """The file's own name, as it can be shown."""
        return printable(self.name.rpartition("/")[2])


class Portraits:
    """All images of a report, in their order; each is read when it is asked for.

    Args:
        files: The images.
        parts: What was measured of them.
        choice: Which images are compared, as of `Scenes`.
    """

    def __init__(
        self,
        files: Sequence[str],
        parts: Parts,
        choice: ScenesFrom = "auto",
    ) -> None:
        self.files, self.parts = list(files), parts
        self.names = shown_names(self.files)
        self._pages = page_names(self.names)
        self.said: Callable[[str], ScoreSaid | None] = lambda file: None  # what a model says, where there is one
        self.learned = Learned()  # what learned factor models say, where there are any
        self.errors: dict[int, str] = {}
        self.refused = 0  # images that the machine did not let us read
        # One after the other: the readings of many thousand images do not fit into memory at once.
        self.scenes = Scenes(self.names, (self._first_read(position) for position in range(len(files))), choice)

    def with_parts(self, parts: Parts) -> Portraits:
        """Return the same images, whose places are known, with facts and pictures of other parts."""
        same = copy(self)
        same.parts = parts
        return same

    def __len__(self) -> int:
        """The number of images, those that could not be measured included."""
        return len(self.files)

    def __iter__(self) -> Iterator[ReportedImage]:
        """Yield the images in their order."""
        return (self[position] for position in range(len(self)))

    def measured(self) -> list[int]:
        """Return the positions of the images that were measured."""
        return [position for position in range(len(self)) if position not in self.errors]

    @property
    def all_failed(self) -> bool:
        """Whether there is no image that was measured."""
        return len(self.errors) == len(self)

    def page(self, position: int) -> str:
        """Return the file of an image's page, from the report's folder; "" where it has none."""
        return "" if position in self.errors else f"{PORTRAITS}/{self._pages[position]}"

    def __getitem__(self, position: int) -> ReportedImage:
        """Return an image."""
        facts = self._facts(position)
        readings = {name: self.scenes.placed(position, reading) for name, reading in facts.read().items()}
        outs = stand_outs((reading, self.scenes.steps(position, name)) for name, reading in readings.items())
        return ReportedImage(
            position,
            self.files[position],
            self.names[position],
            self.page(position),
            self.errors.get(position, ""),
            facts,
            readings,
            outs,
            self.scenes.words(position),
            None if position in self.errors else self.said(self.files[position]),
            {} if position in self.errors else self.learned.readings(position, self.files[position]),
        )

    def _first_read(self, position: int) -> dict[str, Reading]:
        facts = self._facts(position)
        if facts.error is not None:
            self.errors[position] = facts.error.replace(PLACE, self.names[position])
            self.refused += facts.stamp is None
        return facts.read()

    def _facts(self, position: int) -> Facts:
        found = self.parts.facts(self.files[position])
        return found or Facts(None, f"{PLACE} is not measured yet; give the command again")


def said_from(kept: Mapping[str, Any]) -> ScoreSaid:
    """Return what a model said, as it was kept."""
    return ScoreSaid(**{**kept, "maps": [map_from(entry) for entry in kept["maps"]]})
