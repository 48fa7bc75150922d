"""What makes one image better than another: by factor, by the branches of a model, and by places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from piqa.explanation.difference import FactorDifference, compare_factors
from piqa.factors.measure import PortraitFactors
from piqa.report.facts import MapPicture, score_pictures
from piqa.report.pages import Heading, value_words
from piqa.report.portraits import Portraits, ReportedImage
from piqa.web.page import render_page
from piqa.web.text import number

if TYPE_CHECKING:
    from piqa.explanation.explainer import Explainer  # networks are slow to import

COMPARISON = "comparison.html"
SEEN = 1.0  # steps; what differs by less is not seen
SAID = 5  # differences that are printed


@dataclass(frozen=True)
class Pair:
    """Two images and what tells them apart.

    Attributes:
        a: The first.
        b: The second.
        factors: Differences of factors, the most telling first.
        shares: By how much each branch of the model lifts the first over the second; empty without a model.
        maps: Of the score, of the first and of the second, with one scale of colours.
    """

    a: ReportedImage
    b: ReportedImage
    factors: Sequence[FactorDifference]
    scores: tuple[float, float] | None = None
    shares: dict[str, float] = field(default_factory=dict)
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
    return Pair(a, b, found.factors, (found.score_a, found.score_b), dict(found.shares), maps)


def in_words(pair: Pair) -> list[str]:
    """Return what tells the images apart, a line a difference, the most telling first."""
    lines = []
    if pair.scores is not None:
        score_a, score_b = (number(score, 3) for score in pair.scores)
        lines.append(f"score {score_a} against {score_b}: {number(pair.scores[0] - pair.scores[1], 3, sign=True)}")
        ordered = sorted(pair.shares.items(), key=lambda item: -abs(item[1]))
        lines += [f"  {number(share, 3, sign=True)} by the {branch} branch" for branch, share in ordered]
    told = [difference for difference in pair.factors if abs(difference.steps) >= SEEN]
    lines += [f"{_factor_line(difference)}" for difference in told[:SAID]]
    if not told:
        lines.append("no factor differs by as much as a viewer sees")
    return lines


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
    rows = [
        {
            "factor": difference.factor,
            "a": _value(pair.a, difference),
            "b": _value(pair.b, difference),
            "steps": difference.steps,
            "words": _verdict(difference),
        }
        for difference in pair.factors
    ]
    told = [row for row in rows if abs(float(cast(float, row["steps"]))) >= SEEN][:SAID]
    return render_page("report/comparison.html", head=head, pair=pair, images=images, rows=rows, told=told)


def _measured(image: ReportedImage) -> PortraitFactors:
    """Return the readings of an image in the form in which they are compared."""
    return cast(PortraitFactors, SimpleNamespace(readings=image.readings))


def _value(image: ReportedImage, difference: FactorDifference) -> str:
    return value_words(image.readings[difference.factor.name])


def _factor_line(difference: FactorDifference) -> str:
    factor = difference.factor
    values = f"{number(difference.a, factor.digits)} against {number(difference.b, factor.digits)} {factor.unit}"
    return f"{factor.title}: {values.strip()}; {_verdict(difference)}"


def _verdict(difference: FactorDifference) -> str:
    """Return in words by how much the images differ."""
    steps = difference.steps
    size = f"{number(abs(steps), 1)} steps"
    if difference.factor.direction == "middle":
        return f"A is higher by {size}" if steps > 0 else f"B is higher by {size}"
    return f"better in A by {size}" if steps > 0 else f"better in B by {size}"
