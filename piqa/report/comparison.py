"""What makes one image better than another: by factor, by the branches of a model, and by places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from piqa.explanation.difference import (
    FactorDifference,
    KeptFactors,
    ScoreDifference,
    compare_factors,
    difference_lines,
)
from piqa.factors.factor import Reading
from piqa.report.facts import Facts, MapPicture, score_pictures
from piqa.report.names import printable
from piqa.report.pages import Heading, value_words
from piqa.report.portraits import Portraits, ReportedImage
from piqa.web.page import render_page
from piqa.web.text import number

if TYPE_CHECKING:
    from piqa.explanation.explainer import Explainer  # networks are slow to import

COMPARISON = "comparison.html"
SEEN = 1.0  # steps; what differs by less is not seen
SAID = 5  # differences that the page begins with


@dataclass(frozen=True)
class Pair:
    """Two images and what tells them apart.

    Attributes:
        a: The first.
        b: The second.
        factors: Differences of factors, the most telling first.
        score: What the model says; None without one.
        maps: Of the score, of the first and of the second, with one scale of colours.
    """

    a: ReportedImage
    b: ReportedImage
    factors: Sequence[FactorDifference]
    score: ScoreDifference | None = None
    maps: tuple[list[MapPicture], list[MapPicture]] = ([], [])


def compare_pair(portraits: Portraits, explainer: Explainer | None = None, with_maps: bool = True) -> Pair:
    """Compare the two images of a report.

    Args:
        portraits: The two, both measured.
        explainer: Of a model, if there is one.
        with_maps: Whether maps of the score are made.
    """
    a, b = portraits[0], portraits[1]
    if explainer is None:
        return Pair(a, b, compare_factors(_measured(a), _measured(b)))
    found = explainer.compare(a.file, b.file, maps=with_maps)
    maps = (score_pictures(found.maps_a), score_pictures(found.maps_b))
    return Pair(a, b, found.factors, found, maps)


def compare_facts(a: Facts, b: Facts) -> list[FactorDifference]:
    """Return the factors by which two measured images differ, the most telling first."""
    return compare_factors(_as_measured(a, a.read()), _as_measured(b, b.read()))


def in_words(pair: Pair) -> list[str]:
    """Return what tells the images apart, for a terminal: a line a difference, the most telling first."""
    return difference_lines(printable(pair.a.name), printable(pair.b.name), pair.factors, pair.score)


def comparison_page(pair: Pair, head: Heading, portraits: Portraits) -> str:
    """Return the page of the comparison."""
    images = []
    for image, maps in zip((pair.a, pair.b), pair.maps, strict=True):
        pictures = portraits.parts.pictures(image.file)
        images.append(
            {
                "title": image.title,
                "page": image.page,
                "src": pictures.photo,
                "alt": image.title,
                "width": image.facts.width,
                "height": image.facts.height,
                "box": image.facts.face_box,
                "maps": [{"title": m.title, "src": m.picture, "legend": m.legend, "note": m.limits} for m in maps],
            }
        )
    rows, told = difference_rows(pair)
    return render_page("report/comparison.html", head=head, pair=pair, images=images, rows=rows, told=told)


def difference_rows(pair: Pair) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return a row of words for each factor that differs, and those rows that a page begins with."""
    rows: list[dict[str, Any]] = [
        {
            "factor": difference.factor,
            "a": _value(pair.a, difference),
            "b": _value(pair.b, difference),
            "steps": difference.steps,
            "words": _verdict(difference),
        }
        for difference in pair.factors
    ]
    told = [row for row, one in zip(rows, pair.factors, strict=True) if abs(one.telling) >= SEEN]
    return rows, told[:SAID]


def pair_of(a: ReportedImage, b: ReportedImage) -> Pair:
    """Return two measured images with the factors that tell them apart."""
    return Pair(a, b, compare_factors(_measured(a), _measured(b)))


def _measured(image: ReportedImage) -> KeptFactors:
    return _as_measured(image.facts, image.readings)


def _as_measured(facts: Facts, readings: Mapping[str, Reading]) -> KeptFactors:
    return KeptFactors(readings, facts.width, facts.height, facts.face_points)


def _value(image: ReportedImage, difference: FactorDifference) -> str:
    return value_words(image.readings[difference.factor.name])


def _verdict(difference: FactorDifference) -> str:
    """Return in words by how much the images differ."""
    steps = difference.steps
    size = f"{number(abs(steps), 1)} steps"
    which = "A" if steps > 0 else "B"
    words = (
        f"{which} is higher by {size}" if difference.factor.direction == "middle" else f"{which} is better by {size}"
    )
    if difference.comes_with is None or abs(difference.telling) >= abs(steps) / 2:
        return words
    return f"{words}, most of which comes with the {difference.comes_with.title}"
