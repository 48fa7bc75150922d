"""Pages of photos: the projects, the photos of one with what is to be done with them, and one photo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from piqa.errors import InputError
from piqa.report.pages import PDF, portrait_view
from piqa.server.jobs import DONE
from piqa.server.pages import language_of, page, shown_time, translator, words_of
from piqa.server.pdf_job import PRINT
from piqa.server.photo_job import FAILED, WAITING
from piqa.server.photo_table import factor_columns, families, group_of, photo_rows, place_words
from piqa.server.photo_view import translated_view
from piqa.server.photos import PhotoSeen, id_of, is_there
from piqa.server.picks import MOMENTS, Place, places
from piqa.server.refusals import line_of, not_found
from piqa.server.services import Services, services_of

Here = Annotated[Services, Depends(services_of)]
ROWS = 1000  # of a table at once: a browser sorts and filters them all
TOLD = 200  # photos that could not be measured
router = APIRouter(prefix="/photos", include_in_schema=False)


@router.get("", response_class=HTMLResponse)
def all_projects(request: Request, here: Here) -> HTMLResponse:
    """Show all projects, and the form of a new one."""
    return _projects(request, here)


@router.post("", response_class=HTMLResponse)
def create(request: Request, here: Here, name: Annotated[str, Form(max_length=1000)]) -> Response:
    """Make a project, and show it; or say why it cannot be made."""
    try:
        made = here.projects.create(name)
    except InputError as error:
        return _projects(request, here, line_of(error), getattr(error, "status", 400))
    return RedirectResponse(f"/photos/{made.id}", 303)


@router.get("/{project}", response_class=HTMLResponse)
def show(project: str, request: Request, here: Here, part: int = 1) -> HTMLResponse:
    """Show the photos of a project; of many a part at once."""
    return _project(request, here, project, part)


@router.post("/{project}/delete", response_class=HTMLResponse)
def remove(project: str, request: Request, here: Here, confirm: Annotated[str, Form(max_length=1000)]) -> Response:
    """Delete a project whole, if its name is given."""
    if " ".join(confirm.split()) == " ".join(here.projects.get(project).name.split()):
        here.projects.delete(project)
        return RedirectResponse("/photos", 303)
    return _project(request, here, project, 1, translator(language_of(request))("photos.delete_wrong"), 400)


@router.post("/{project}/moments")
def find_moments(project: str, here: Here, model: Annotated[str, Form(max_length=64)] = "") -> Response:
    """Begin to find moments and their keepers."""
    here.projects.get(project)
    if model:
        here.models.chosen([model])
    here.jobs.add(MOMENTS, {"model": model or None}, project)
    return _back(project)


@router.post("/{project}/pdf")
def print_project(project: str, here: Here) -> Response:
    """Begin to print the photos."""
    here.projects.get(project)
    here.jobs.add(PRINT, {}, project)
    return _back(project)


@router.post("/{project}/score")
def score(project: str, here: Here) -> Response:
    """Begin to score what the models of today have not, and to measure anew what another version has measured."""
    here.projects.score_again(project)
    return _back(project)


@router.get("/{project}/report.pdf")
def printed(project: str, here: Here) -> FileResponse:
    """Return the PDF that was printed last."""
    here.projects.get(project)
    path = here.storage.results(project) / PDF
    if not path.is_file():
        raise not_found("PDF of this project")
    return FileResponse(path, media_type="application/pdf", filename=f"{project}.pdf")


@router.get("/{project}/{photo}", response_class=HTMLResponse)
def show_photo(project: str, photo: str, request: Request, here: Here) -> HTMLResponse:
    """Show a photo: its factors with their places, its maps, and its scores."""
    seen = here.photos.get(photo)
    if seen.project != project:
        raise not_found("photo")
    found = here.projects.get(project)
    if seen.facts is None:
        return page(request, "photo_without.html", photo=seen, project=found)
    t = translator(language_of(request))
    portraits = here.photos.portraits(project)
    measured = portraits.measured()
    position = portraits.files.index(seen.name)
    at = measured.index(position)
    return page(
        request,
        "photo.html",
        photo=seen,
        project=found,
        before=id_of(portraits, measured[at - 1]) if at else "",
        after=id_of(portraits, measured[at + 1]) if at + 1 < len(measured) else "",
        count=len(portraits),
        portrait=translated_view(portrait_view(portraits, portraits[position]), t),
        moment=place_words(_places(here, project, [photo]).get(photo), t),
        scores=_scores(here, seen),
        data={"photo": photo, "project": project, "question": t("photos.delete_photo_question")},
    )


def _back(project: str) -> Response:
    return RedirectResponse(f"/photos/{project}", 303)


def _scores(here: Services, seen: PhotoSeen) -> list[dict[str, Any]]:
    """Return what each model says of a photo; of a model that has not said anything yet, that."""
    found = []
    for model in here.models:
        said = seen.scores.get(model.name)
        outputs = (
            {}
            if said is None
            else {
                name: value
                for name, value in said.outputs.items()
                if isinstance(value, int | float) and not isinstance(value, bool) and name in model.queue.scorer.numbers
            }
        )
        found.append({"name": model.name, "licence": model.licence, "said": said, "outputs": outputs})
    return found


def _projects(request: Request, here: Services, error: str = "", status: int = 200) -> HTMLResponse:
    rows = [
        {"id": one.id, "name": one.name, "photos": count, "created": shown_time(one.created)}
        for one, count in here.projects.all()
    ]
    return page(request, "projects.html", status=status, home="/photos", projects=rows, error=error)


def _project(
    request: Request, here: Services, project: str, part: int, error: str = "", status: int = 200
) -> HTMLResponse:
    found = here.projects.get(project)
    language = language_of(request)
    t = translator(language)
    portraits = here.photos.portraits(project, ROWS)
    measured = portraits.measured()
    parts = max(1, -(-len(measured) // ROWS))
    part = min(max(part, 1), parts)
    positions = [at for at in measured[(part - 1) * ROWS : part * ROWS] if is_there(portraits, at)]
    shown = [id_of(portraits, at) for at in positions]
    states = here.photos.states(project)
    newest = {job.kind: job for kind in (MOMENTS, PRINT) for job in here.jobs.newest(project, kind)}
    moments = _places(here, project, shown)
    models = here.models.names
    failed = here.photos.failures(project, TOLD) if states.get(FAILED) else []
    address = f"/api/projects/{project}"
    return page(
        request,
        "project.html",
        status=status,
        home=f"/photos/{project}",
        project=found,
        error=error,
        photos=sum(states.values()),
        waiting=states.get(WAITING, 0),
        failed=[(photo, name, error.replace("{file}", name)) for photo, name, error in failed],
        failures=states.get(FAILED, 0),
        by_folder=len(portraits.scenes.members) if portraits.scenes.by_folder else 0,
        rows=photo_rows(portraits, positions, here.photos.scores(shown), moments, t),
        part=part,
        part_count=parts,
        models=models,
        unscored=here.photos.unscored(project),
        outdated=here.photos.outdated(project),
        factor_columns=factor_columns(t),
        groups=[group_of(family, t) for family in families()],
        moments=bool(moments),
        left_out=newest[MOMENTS].result.get("left_out", 0) if MOMENTS in newest else 0,
        faults=[
            t(f"photos.failed_{kind}", reason=t.say(job.error or ""))
            for kind, job in newest.items()
            if job.state == FAILED
        ],
        pdf=PRINT in newest and (here.storage.results(project) / PDF).is_file(),
        address=f"{address}/photos",
        data={
            "project": project,
            "address": f"{address}/photos",
            "jobs": here.jobs.unended(project),
            "most": {"bytes": here.settings.limits.request_bytes, "files": here.settings.limits.request_files},
            "words": words_of(language, "upload"),
            "kinds": words_of(language, "job"),
        },
    )


def _places(here: Services, project: str, photos: Sequence[str]) -> dict[str, Place]:
    """Return the place of each of these photos in its moment, as the newest job that found moments says."""
    done = here.jobs.newest(project, MOMENTS, DONE)
    return places(done[0].result, frozenset(photos)) if done else {}
