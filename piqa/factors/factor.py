"""What a factor is, and what was measured of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from piqa.system.phrases import Phrase, as_phrase, joined

Family = Literal[
    "exposure",
    "contrast",
    "colour",
    "noise",
    "sharpness",
    "focus",
    "artefacts",
    "composition",
    "resolution",
]
Direction = Literal["up", "down", "middle"]  # more is better, less is better, neither: it depends on what is meant
Region = Literal["face", "cheeks", "eyes", "surroundings", "whole", "file"]
Words = tuple[str, str]  # a sentence on the value, and advice or "", as phrases that pages say in other languages


@dataclass(frozen=True)
class Measurement:
    """What a family measured of one factor.

    Attributes:
        value: In the factor's unit; None where it cannot be measured.
        note: Why there is no value, or why it is not reliable; "" where it is.
        detail: What else was found, in words, such as the hues of a colourful image.
    """

    value: float | None
    note: str = ""
    detail: str = ""

    @property
    def reliable(self) -> bool:
        """Whether the value can be relied on."""
        return self.value is not None and not self.note


@dataclass(frozen=True)
class Factor:
    """One measure of an image.

    Attributes:
        name: Its column, such as `face_stops`.
        title: What people call it, such as `brightness of the face`.
        family: Where it belongs.
        unit: Of its values, such as `stops`; "" for plain ratios.
        direction: `up` where more is better, `down` where less is, `middle` where neither holds.
        region: Where it is measured.
        step: A difference between two images that a viewer sees: about one grade of the factor's own spoiling, of the
            six in `spoilings`. Differences of factors are compared in steps.
        say: Returns a sentence on a value, and advice: what to do about it, or "". Its thresholds have a source.
        digits: Decimal places that are shown.
        caveat: What else moves it, where it cannot be kept apart; a sentence.
        source: Paper or program.
    """

    name: str
    title: str
    family: Family
    unit: str
    direction: Direction
    region: Region
    step: float
    say: Callable[[float], Words]
    digits: int = 2
    caveat: str = ""
    source: str = ""


@dataclass(frozen=True)
class Reading:
    """The value of a factor in one image.

    Attributes:
        factor: What was measured.
        value: In the factor's unit; None where it cannot be measured.
        note: Why there is no value, or why it is not reliable.
        percentile: Per cent of the other images of its scene or folder with a lower value, ties counted half; None
            where there are too few.
        images: The number of images that `percentile` is taken from.
        detail: What else was found, in words.
        equal: How many of the others have the same value.
    """

    factor: Factor
    value: float | None
    note: str = ""
    percentile: float | None = None
    images: int = 0
    detail: str = ""
    equal: int = 0

    @property
    def reliable(self) -> bool:
        """Whether the value can be relied on."""
        return self.value is not None and not self.note

    @property
    def sentence(self) -> str:
        """What the value means, in words; why there is none."""
        if self.value is None:
            return self.note
        said = joined((self.factor.say(self.value)[0], self.detail))
        return Phrase("{said} ({note})", said=said, note=as_phrase(self.note)) if self.note else said

    @property
    def advice(self) -> str:
        """What to do about it; "" where there is nothing to do, or the value is not reliable."""
        return self.factor.say(self.value)[1] if self.value is not None and self.reliable else ""

    def among(self, percentile: float | None, images: int, equal: int) -> Reading:
        """Return the reading with its place among the images of a scene or folder."""
        return replace(self, percentile=percentile, images=images, equal=equal)
