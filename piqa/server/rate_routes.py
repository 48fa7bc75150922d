"""A rater's page and its requests. The link in the address is all that a rater needs and all that a rater can reach."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy import select

from piqa.server import rating_session
from piqa.server.judge_routes import question_of
from piqa.server.pages import language_of, page, translator
from piqa.server.rating_session import Conditions, GivenAnswer, change
from piqa.server.records import Photo, Project
from piqa.server.refusals import RequestError, not_found
from piqa.server.services import Services, services_of
from piqa.server.study_images import TYPES, shown_file
from piqa.server.study_records import Rater, StudyImage
from piqa.system.phrases import Phrase

Here = Annotated[Services, Depends(services_of)]
WORDS = ("progress", "training", "undone", "elsewhere", "not_saved", "gone", "no_image")
KEPT = {"Cache-Control": "private, max-age=86400, immutable"}
router = APIRouter(prefix="/rate", include_in_schema=False)


class Undo(BaseModel):
    """How many answers the rater's page knows of."""

    answers: int = Field(ge=0)


@router.get("/{link}", response_class=HTMLResponse)
def rate(link: str, request: Request, here: Here) -> HTMLResponse:
    """Show the rater's page."""
    t = translator(language_of(request))
    try:
        now, question, settings = change(
            here.database,
            link,
            lambda session, rater, content: (
                rating_session.state(session, rater, content),
                question_of(content, t),
                content.settings,
            ),
        )
    except RequestError as error:
        if error.status != 404:
            raise
        title, text = t("rate.unknown_link"), t("rate.unknown_link_text")
        return page(request, "notice.html", status=404, title=title, text=text, bare=True)
    words = {name: t(f"rate.{name}") for name in WORDS} | {
        "right": t("rate.right_answer"),
        "wrong": t("rate.wrong_answer"),
    }
    start = {"address": f"/rate/{link}", "state": now, "words": words}
    return page(request, "rate.html", start=start, question=question, mode=settings.mode, same=settings.same_allowed)


@router.get("/{link}/state")
def state(link: str, here: Here) -> dict[str, Any]:
    """Return what the rater's page shows now."""
    return {"state": change(here.database, link, rating_session.state)}


@router.post("/{link}/begin")
def begin(link: str, conditions: Conditions, here: Here) -> dict[str, Any]:
    """Note what the rater tells of the room."""
    return change(here.database, link, partial(rating_session.begin, conditions=conditions))


@router.post("/{link}/answers")
def answer(link: str, given: GivenAnswer, request: Request, here: Here) -> JSONResponse:
    """Save an answer; 409 where the question was answered before, with the question of now."""
    reply = change(here.database, link, partial(rating_session.answer, given=given))
    if told := reply["feedback"]:
        text = translator(language_of(request))(told["words"]) if told["words"] else ""
        reply["feedback"] = {"right": told["right"], "text": text}
    return JSONResponse(reply, status_code=200 if reply["counted"] else 409)


@router.post("/{link}/undo")
def undo(link: str, known: Undo, here: Here) -> JSONResponse:
    """Take the last answer back; 409 where others came in between."""
    reply = change(here.database, link, partial(rating_session.undo, answers=known.answers))
    return JSONResponse(reply, status_code=200 if reply["undone"] else 409)


@router.post("/{link}/continue")
def go_on(link: str, here: Here) -> dict[str, Any]:
    """End a break."""
    return change(here.database, link, rating_session.go_on)


@router.get("/{link}/images/{image}", response_class=FileResponse)
def image(link: str, image: str, here: Here) -> FileResponse:
    """Return an image of the rater's study, without metadata and under a name that tells nothing."""
    with here.database.session() as session:
        study = session.scalar(select(Rater.study_id).where(Rater.link == link))
        found = session.get(StudyImage, image)
        if study is None or found is None or found.study_id != study:
            raise not_found("image")
        photo = session.get(Photo, found.photo_id)
        assert photo is not None  # the database deletes the one with the other
    original = here.storage.original(photo, here.settings.root)
    if original is None:
        raise RequestError(410, Phrase("the server has forgotten this photo"))
    path = shown_file(original, here.storage.folder(photo.project_id, photo.id), found.spoiling)
    with here.database.session() as session:
        if session.get(Photo, photo.id) is None:  # it was deleted while its file was made, which must not stay
            is_whole = session.get(Project, photo.project_id) is None
            here.storage.remove(photo.project_id, None if is_whole else photo.id)
            raise not_found("image")
    return FileResponse(path, media_type=TYPES[path.suffix], headers=KEPT)
