"""What tells two images apart: by their measured factors, by the branches of a model, and by places."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from piqa.explanation.cross_talk import CROSS_TALK, SAME_SIZE, SAME_SIZE_ONLY, beyond
from piqa.factors.factor import Factor, Reading
from piqa.factors.maps import ImageMap
from piqa.factors.measure import PortraitFactors


@dataclass(frozen=True)
class FactorDifference:
    """How far two images differ in one factor.

    Attributes:
        factor: What was measured.
        a: Value of the first image, in the factor's unit.
        b: Value of the second.
        steps: By how many steps of the factor the first is better; where no direction is better, by how many they
            differ, a less b.
        telling: Those of the steps that do not come with the difference of another factor.
        comes_with: The factor that the others of them come with; None if there are none.
    """

    factor: Factor
    a: float
    b: float
    steps: float
    telling: float
    comes_with: Factor | None = None


@dataclass(frozen=True, eq=False)
class ScoreDifference:
    """What makes the score of one image differ from another's.

    Attributes:
        score_a: Score of the first.
        score_b: Score of the second.
        shares: What each branch adds to the difference: they sum to `score_a` less `score_b`; empty for a network with
            one input.
        factors: Measured factors that differ, the most telling first. The model knows nothing of them.
        maps_a: Maps of the first, as of an explanation.
        maps_b: Those of the second, with the same colours.
    """

    score_a: float
    score_b: float
    shares: Mapping[str, float]
    factors: Sequence[FactorDifference]
    maps_a: Mapping[str, ImageMap]
    maps_b: Mapping[str, ImageMap]


@dataclass(frozen=True)
class KeptFactors:
    """Of an image that was measured before: its readings, and what tells how large its face is.

    Attributes:
        readings: A reading for each factor, by name.
        width: Of the upright image, in pixels.
        height: Likewise.
        face_points: Eyes, nose and corners of the mouth, likewise; None without a face.
    """

    readings: Mapping[str, Reading]
    width: int
    height: int
    face_points: Sequence[Sequence[float]] | None


def compare_factors(a: PortraitFactors | KeptFactors, b: PortraitFactors | KeptFactors) -> list[FactorDifference]:
    """Return the factors by which two images differ, the most telling first; needs no model.

    A difference tells the more, the more steps of it are left beyond what comes with another difference: a darker face
    has paler colours and less contrast, too, and these come after it. A factor counts if both images have a value that
    can be relied on; those in pixels of the image, only where the faces are about as large.

    Examples:
        >>> from piqa import measure_factors
        >>> compare_factors(measure_factors("a.jpg"), measure_factors("a.jpg"))[0].steps
        0.0
    """
    found = {}
    same_size = _same_size(a, b)
    for name, reading in a.readings.items():
        other = b.readings[name]
        if not (reading.reliable and other.reliable) or reading.value is None or other.value is None:
            continue
        if same_size or name not in SAME_SIZE_ONLY:
            found[name] = _difference(reading.factor, reading.value, other.value)
    return ranked(found)


def ranked(differences: Mapping[str, FactorDifference]) -> list[FactorDifference]:
    """Return differences by factor in the order of what they tell, with what is left of each."""
    steps = {name: one.steps for name, one in differences.items()}
    told = []
    for name, one in differences.items():
        left, cause = beyond(one.steps, steps, CROSS_TALK.get(name, {}))
        told.append(replace(one, telling=left, comes_with=differences[cause].factor if cause else None))
    return sorted(told, key=lambda one: (-abs(one.telling), -abs(one.steps)))


def _difference(factor: Factor, a: float, b: float) -> FactorDifference:
    steps = (a - b) / factor.step
    steps = 0.0 - steps if factor.direction == "down" else steps
    return FactorDifference(factor, a, b, steps, steps)


def _same_size(a: PortraitFactors | KeptFactors, b: PortraitFactors | KeptFactors) -> bool:
    """Whether the faces of two images are about as large; without faces, the images."""
    sizes = [_size(one) for one in (a, b)]
    return max(sizes) <= SAME_SIZE * min(sizes)


def _size(image: PortraitFactors | KeptFactors) -> float:
    if image.face_points is None:
        return float(max(image.width, image.height))
    return math.dist(image.face_points[0], image.face_points[1])


def difference_lines(
    name_a: str,
    name_b: str,
    factors: Sequence[FactorDifference],
    score: ScoreDifference | None = None,
    most: int = 8,
    called: tuple[str, str] = ("A", "B"),
) -> list[str]:
    """Return the difference of two images as lines of text for a terminal.

    Args:
        name_a: What the first image is called.
        name_b: Likewise the second.
        factors: As `compare_factors` returns them.
        score: What a model says of them, if there is one.
        most: Factors that are named; those that differ by less than half a step are not.
        called: What both are called in the lines.
    """
    first, second = called
    lines = [f"{first}: {name_a}", f"{second}: {name_b}"]
    if score is not None:
        gap = score.score_a - score.score_b
        higher = (
            "both are alike" if abs(gap) < 0.0005 else f"{first if gap > 0 else second} is higher by {abs(gap):.3f}"
        )
        lines.append(f"Score: {first} {score.score_a:.3f}, {second} {score.score_b:.3f}; {higher}")
        lines += [f"  of it by the branch {branch}: {share:+.3f}" for branch, share in score.shares.items()]
    named = [one for one in factors if abs(one.steps) >= 0.5][:most]
    if not named:
        return [*lines, "No measured factor differs by half a step or more."]
    lines.append("Measured differences, the most telling first (in steps that a viewer sees):")
    return lines + [f"  {_line(one, first, second)}" for one in named]


def _line(one: FactorDifference, a: str, b: str) -> str:
    factor = one.factor
    values = f"{a} {one.a:.{factor.digits}f}, {b} {one.b:.{factor.digits}f} {factor.unit}".rstrip()
    better = f"{a if one.steps > 0 else b} is better by" if factor.direction != "middle" else "they differ by"
    comes = ""
    if one.comes_with is not None and abs(one.telling) < abs(one.steps) / 2:
        comes = f", most of which comes with the {one.comes_with.title}"
    return f"{factor.title}: {values}; {better} {abs(one.steps):.1f} steps{comes}"
