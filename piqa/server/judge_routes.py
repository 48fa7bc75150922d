"""Pages of studies: their list, a new one, one study with its raters and scores, and its files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, File, Form, Request, UploadFile
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy import delete, func, select, update

from piqa.errors import InputError
from piqa.judgement.choice import Choice
from piqa.judgement.study import Mode
from piqa.server.names import plain_text
from piqa.server.pages import Translator, address_of, language_of, page, translator
from piqa.server.project_routes import csv_response
from piqa.server.records import Photo, Project
from piqa.server.refusals import RequestError, line_of, not_found
from piqa.server.services import Services, services_of
from piqa.server.studies import StudyContent, read_study
from piqa.server.study_creation import MOST_CSV, TRAINED_BY, Scenes, StudyRequest, create_study, photos_of
from piqa.server.study_moments import moments_of
from piqa.server.study_records import Answer, Rater, Study, StudyImage, new_link
from piqa.server.study_results import answers_csv, rater_rows, score_sections, scores_csv, study_results
from piqa.system.phrases import Phrase
from piqa.web.text import number

Here = Annotated[Services, Depends(services_of)]
QUESTIONS = tuple(kind for kind in TRAINED_BY if kind != "own")
NOTHING_GIVEN = {
    **{"name": "", "project": "", "scenes": "folders", "question": "overall", "words": "", "mode": "pairs"},
    **{"same": False, "choice": "active", "answers": 100, "training": 3, "repeats": 5, "break_every": 50},
}  # what the form of a new study shows first
router = APIRouter(prefix="/judge", include_in_schema=False)


@router.get("", response_class=HTMLResponse)
def studies(request: Request, here: Here) -> HTMLResponse:
    """Show all studies, and the form of a new one."""
    return _list(request, here)


@router.post("/studies", response_class=HTMLResponse)
def create(
    request: Request,
    here: Here,
    name: Annotated[str, Form(max_length=200)],
    project: Annotated[str, Form(max_length=64)],
    scenes: Annotated[Scenes, Form()] = "folders",
    question: Annotated[Literal["overall", "detail", "exposure", "own"], Form()] = "overall",
    words: Annotated[str, Form(max_length=300)] = "",
    mode: Annotated[Mode, Form()] = "pairs",
    same: Annotated[str, Form(max_length=8)] = "",
    choice: Annotated[Choice, Form()] = "active",
    answers: Annotated[int, Form(ge=1, le=5000)] = 100,
    training: Annotated[int, Form(ge=0, le=20)] = 3,
    repeats: Annotated[float, Form(ge=0, le=50)] = 5,
    break_every: Annotated[int, Form(ge=0, le=1000)] = 50,
    csv: Annotated[UploadFile | None, File()] = None,
) -> Response:
    """Make a study, and show it; or say why it cannot be made."""
    t = translator(language_of(request))
    moments = _moments(here, project) if scenes == "moments" else None
    wanted = StudyRequest(
        name=plain_text(name),
        project=project,
        scenes=scenes,
        question_kind=question,
        question=plain_text(words) if question == "own" else t(_question_key(question, mode)),
        mode=mode,
        same_allowed=bool(same) and mode == "pairs",
        choice=choice,
        answers=answers,
        break_every=break_every,
        training=training,
        repeats=repeats,
        table=csv.file.read(MOST_CSV + 1) if csv is not None else b"",
        moments=moments,
    )
    try:
        if here.settings.keep == "none":
            raise InputError(Phrase("this server forgets photos (`--keep none`); a study needs one that keeps them"))
        with here.database.session() as session:
            study = create_study(session, wanted)
    except InputError as error:
        given = asdict(wanted) | {"name": name, "question": question, "words": words, "same": bool(same)}
        return _list(request, here, line_of(error), getattr(error, "status", 400), given)
    return RedirectResponse(f"/judge/studies/{study.id}", status_code=303)


@router.get("/studies/{study}", response_class=HTMLResponse)
def show(study: str, request: Request, here: Here) -> HTMLResponse:
    """Show a study: its raters, its scores so far, its files."""
    return _study(request, here, study)


@router.post("/studies/{study}/raters", response_class=HTMLResponse)
def add_rater(study: str, request: Request, here: Here, name: Annotated[str, Form(max_length=100)]) -> Response:
    """Add a rater, who gets a link."""
    with here.database.session() as session:
        read_study(session, study)
        taken = set(session.scalars(select(Rater.name).where(Rater.study_id == study)))
        shown = plain_text(name)
        if shown and shown not in taken:
            session.add(Rater(study_id=study, name=shown))
    if not shown or shown in taken:
        taken_name = Phrase("there is a rater called {name} already; give another name", name=shown)
        reason = taken_name if shown else Phrase("a rater needs a name")
        return _study(request, here, study, reason, 409 if shown else 400)
    return RedirectResponse(f"/judge/studies/{study}", status_code=303)


@router.post("/studies/{study}/raters/{rater}/link", response_class=HTMLResponse)
def renew_link(study: str, rater: str, here: Here) -> Response:
    """Give a rater another link; the former one opens nothing any more, and the answers stay."""
    with here.database.session() as session:
        if session.scalar(select(Rater.id).where(Rater.id == rater, Rater.study_id == study)) is None:
            raise not_found("rater")
        # Not through the object: its version would have to be that of a rater who answers meanwhile.
        session.execute(update(Rater).where(Rater.id == rater).values(link=new_link()))
    return RedirectResponse(f"/judge/studies/{study}", status_code=303)


@router.post("/studies/{study}/delete", response_class=HTMLResponse)
def remove(study: str, request: Request, here: Here, confirm: Annotated[str, Form(max_length=200)]) -> Response:
    """Delete a study with its answers, if its name is given."""
    with here.database.session() as session:
        content = read_study(session, study)
        if plain_text(confirm) == plain_text(content.study.name):
            session.execute(delete(Study).where(Study.id == study))
            return RedirectResponse("/judge", status_code=303)
    return _study(request, here, study, translator(language_of(request))("study.delete_wrong"), 400)


@router.get("/studies/{study}/answers.csv")
def answers_file(study: str, here: Here) -> Response:
    """Return all answers of a study as CSV."""
    with here.database.session() as session:
        content = read_study(session, study)
        return csv_response(answers_csv(study_results(session, content)), "answers.csv")


@router.get("/studies/{study}/scores.csv")
def scores_file(study: str, here: Here) -> Response:
    """Return the scores of a study as CSV."""
    with here.database.session() as session:
        content = read_study(session, study)
        try:
            return csv_response(scores_csv(study_results(session, content)), "scores.csv")
        except InputError as error:
            raise RequestError(409, line_of(error)) from error


def _moments(here: Services, project: str) -> dict[str, str]:
    with here.database.session() as session:
        photos = photos_of(session, project, facts=True)
    found = {photo.id: here.storage.original(photo, here.settings.root) for photo in photos}
    return moments_of(photos, {photo: path for photo, path in found.items() if path is not None})


def _question_key(kind: str, mode: str) -> str:
    return f"question.{kind}" if mode == "pairs" else f"question.rate_{kind}"


def question_of(content: StudyContent, t: Any) -> str:
    """Return the question in the reader's language; one in own words as it was written."""
    kind = content.question_kind
    return content.settings.question if kind == "own" else t(_question_key(kind, content.settings.mode))


def _list(
    request: Request, here: Services, error: str = "", status: int = 200, given: Mapping[str, Any] = NOTHING_GIVEN
) -> HTMLResponse:
    with here.database.session() as session:
        counts = {
            table: dict(session.execute(select(table.study_id, func.count()).group_by(table.study_id)).all())  # type: ignore[arg-type]
            for table in (Rater, Answer)
        }
        images = select(StudyImage.study_id, func.count()).where(StudyImage.spoiling.is_(None))
        shown = dict(session.execute(images.group_by(StudyImage.study_id)).all())  # type: ignore[arg-type]
        found = session.execute(
            select(Study, Project.name).join(Project, Project.id == Study.project_id).order_by(Study.created.desc())
        ).all()
        photos = select(Photo.project_id, func.count()).where(Photo.state != "failed").group_by(Photo.project_id)
        in_project = dict(session.execute(photos).all())  # type: ignore[arg-type]
        projects = [
            one for one in session.scalars(select(Project).order_by(Project.created.desc())) if one.id in in_project
        ]
    rows = [
        {
            "id": study.id,
            "name": study.name,
            "project": project,
            "images": shown.get(study.id, 0),
            "raters": counts[Rater].get(study.id, 0),
            "answers": counts[Answer].get(study.id, 0),
        }
        for study, project in found
    ]
    shown_projects = [{"id": one.id, "name": one.name, "images": in_project[one.id]} for one in projects]
    return page(
        request,
        "judge.html",
        status=status,
        home="/judge",
        studies=rows,
        projects=shown_projects,
        questions=QUESTIONS,
        error=error,
        given=given,
    )


def _study(request: Request, here: Services, study: str, error: str = "", status: int = 200) -> HTMLResponse:
    t = translator(language_of(request))
    with here.database.session() as session:
        content = read_study(session, study)
        results = study_results(session, content)
        raters = rater_rows(session, content, results, t, address_of(request))
        pairs = content.settings.mode == "pairs"
        sections = score_sections(results, t, t("study.unit_jod") if pairs else "")
        return page(
            request,
            "study.html",
            status=status,
            home=f"/judge/studies/{study}",
            study=content.study,
            settings=content.settings,
            question=question_of(content, t),
            images=sum(map(len, content.scenes.values())),
            scenes=len(content.scenes),
            notes=[error] if error else [],
            raters=raters,
            scores=sections,
            score_notes=[t("study.jod_note" if pairs else "study.mos_note"), *map(t.line, results.notes)],
            why_no_scores=_why(results.why, t),
            agreement="" if results.agreement is None else t("study.split_half", value=number(results.agreement, 2)),
        )


def _why(reason: str, t: Translator) -> str:
    return str(t("study.no_scores", reason=t.say(reason)) if reason else t("study.no_answers"))
