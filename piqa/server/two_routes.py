"""The page of two photos side by side: one zoom, a slider, what tells them apart, and which is better."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from piqa.report.comparison import Pair, difference_rows, pair_of
from piqa.report.portraits import ReportedImage
from piqa.server.comparing import compare_two
from piqa.server.pages import Translator, language_of, page, translator
from piqa.server.photo_job import MEASURED
from piqa.server.photo_table import factor_title
from piqa.server.photo_view import legend_words
from piqa.server.photos import PhotoSeen
from piqa.server.refusals import RequestError
from piqa.server.services import Services, services_of
from piqa.system.phrases import Phrase, as_phrase

Here = Annotated[Services, Depends(services_of)]
MOST = 2000  # photos of a project that a list offers
router = APIRouter(prefix="/two", include_in_schema=False)


@router.get("", response_class=HTMLResponse)
def two(request: Request, here: Here, project: str = "", a: str = "", b: str = "") -> HTMLResponse:
    """Let two photos be chosen; show them where they are."""
    chosen = [here.photos.get(photo) for photo in (a, b) if photo]
    projects = [(one, count) for one, count in here.projects.all() if count]
    if chosen:
        project = chosen[0].project
    elif project:
        here.projects.get(project)
    elif projects:
        project = projects[0][0].id
    measured = here.photos.named(project, MEASURED, MOST) if project else {}
    offered = {one.id: one.name for one in chosen} | measured
    values: dict[str, Any] = {"projects": projects, "project": project, "offered": offered, "a": a, "b": b}
    if not (a and b):
        there = here.photos.states(project).get(MEASURED, 0) if project else 0
        return page(request, "two_choice.html", more=max(0, there - MOST), **values)
    without = next((photo for photo in chosen if photo.facts is None), None)
    if without is not None:
        why = as_phrase(without.error or Phrase("this photo is not measured yet; try again soon"))
        raise RequestError(409, Phrase("{name}: {reason}", name=without.name, reason=why))
    first, second = chosen
    shown = (_reported(here, first), _reported(here, second))
    pair = pair_of(*shown)
    t = translator(language_of(request))
    rows, told = difference_rows(pair)
    words = _in_words(pair, t)
    for row, said in zip(rows, words, strict=True):
        row["title"], row["words"] = factor_title(row["factor"], t), said
        row["a"], row["b"] = t.say(row["a"]), t.say(row["b"])
    found = compare_two(here.models, (first.facts, second.facts), (first.scores, second.scores))
    images = [_image(here, photo) for photo in (first, second)]
    return page(
        request,
        "two.html",
        images=images,
        pair=pair,
        rows=rows,
        told=told,
        scores=found.scores,
        maps=_maps(here, first, second, t),
        previews=not all(image["whole"] for image in images),
        **values,
    )


def _reported(here: Services, photo: PhotoSeen) -> ReportedImage:
    """Return a photo with its place among those of its project."""
    portraits = here.photos.portraits(photo.project)
    return portraits[portraits.files.index(photo.name)]


def _image(here: Services, photo: PhotoSeen) -> dict[str, Any]:
    """Return what the viewer shows of a photo: all its pixels, or its preview where the original is gone."""
    facts = photo.facts
    assert facts is not None
    whole = here.photos.has_full(photo.id)
    address = f"/api/photos/{photo.id}"
    return {
        "id": photo.id,
        "project": photo.project,
        "title": photo.name,
        "alt": photo.name,
        "src": f"{address}/{'full' if whole else 'preview'}",
        "preview": f"{address}/preview",
        "width": facts.width,
        "height": facts.height,
        "box": facts.face_box,
        "whole": whole,
    }


def _maps(here: Services, first: PhotoSeen, second: PhotoSeen, t: Translator) -> list[dict[str, Any]]:
    """Return the maps that both have, each with the two pictures, in the reader's language."""
    of_second = {one.name: one for one in here.photos.maps(second.id)}
    both = [(one, of_second[one.name]) for one in here.photos.maps(first.id) if one.name in of_second]
    return [
        {
            "name": one.name,
            "maps": [
                replace(shown, legend=legend_words(shown.legend, t), limits=t.say(shown.limits))
                for shown in (one, other)
            ],
        }
        for one, other in both
    ]


def _in_words(pair: Pair, t: Translator) -> list[str]:
    """Return in the reader's language by how much the photos differ in each factor."""
    found = []
    for one in pair.factors:
        kind = "higher" if one.factor.direction == "middle" else "better"
        words = t(f"two.{kind}", which="A" if one.steps > 0 else "B", steps=f"{abs(one.steps):.1f}")
        if one.comes_with is not None and abs(one.telling) < abs(one.steps) / 2:
            words = t("two.comes_with", words=words, factor=factor_title(one.comes_with, t))
        found.append(words)
    return found
