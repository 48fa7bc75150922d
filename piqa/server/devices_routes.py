"""The page that compares devices: what tells them apart is chosen, a job compares them, and its verdicts are shown."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, File, Form, Request, UploadFile
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from piqa.comparison.factor_table import factor_named
from piqa.errors import InputError
from piqa.factors.families import FACTORS
from piqa.server.devices import COLUMNS, COMPARE, places_in
from piqa.server.jobs import DONE, ENDED
from piqa.server.pages import Translator, language_of, own_page, page, shown_time, translator, words_of
from piqa.server.photo_table import factor_title
from piqa.server.records import Job
from piqa.server.refusals import RequestError, line_of, not_found
from piqa.server.services import Services, services_of
from piqa.system.phrases import Phrase, unpacked

Here = Annotated[Services, Depends(services_of)]
MOST_CSV = 20_000_000  # bytes
SHOWN = 20  # comparisons of a project
router = APIRouter(prefix="/devices", include_in_schema=False)


@router.get("", response_class=HTMLResponse)
def devices(request: Request, here: Here, project: str = "") -> HTMLResponse:
    """Show the form of a comparison, and those of the project that were made."""
    return _form(request, here, project)


@router.post("", response_class=HTMLResponse)
def compare(
    request: Request,
    here: Here,
    project: Annotated[str, Form(max_length=64)],
    column: Annotated[Literal["first", "last", "camera", "csv"], Form()] = "first",
    judge: Annotated[str, Form(max_length=100)] = "",
    csv: Annotated[UploadFile | None, File()] = None,
) -> Response:
    """Begin to compare, and show how far it is; or say why it cannot be done."""
    here.projects.get(project)
    kind, _, name = judge.partition(":")
    arguments: dict[str, Any] = {"column": column, kind: name}
    try:
        if kind == "model":
            here.models.chosen([name])
        else:
            arguments["factor"] = factor_named(name).name
        if column == "csv":
            content = b"" if csv is None else csv.file.read(MOST_CSV + 1)
            if not content or len(content) > MOST_CSV:
                raise RequestError(400, translator(language_of(request))("devices.no_csv"))
            arguments["places"] = places = places_in(content)
            if not any(name in places for name in here.photos.named(project).values()):
                raise InputError(
                    Phrase("the CSV names none of the project's photos; write their names as they are shown")
                )
    except InputError as error:
        return _form(request, here, project, line_of(error), getattr(error, "status", 400))
    job = here.jobs.add(COMPARE, arguments, project)
    return RedirectResponse(f"/devices/{job}", 303)


@router.get("/{job}", response_class=HTMLResponse)
def show(job: str, request: Request, here: Here) -> HTMLResponse:
    """Show a comparison: how far it is, or its verdicts."""
    found = _job(here, job)
    language = language_of(request)
    t = translator(language)
    return page(
        request,
        "devices_verdict.html",
        job=found,
        project=here.projects.get(found.project_id or ""),
        column=t(f"devices.by_{found.arguments['column']}"),
        judge=_judge(found, t),
        result=unpacked(found.result),
        page_of_it=found.state == DONE and _path(here, found).is_file(),
        data={"jobs": [] if found.state in ENDED else [job], "kinds": words_of(language, "job"), "words": {}},
    )


@router.get("/{job}/page", response_class=HTMLResponse)
def own(job: str, here: Here) -> HTMLResponse:
    """Show the page of a comparison, which needs nothing else."""
    path = _path(here, _job(here, job))
    if not path.is_file():
        raise not_found("page of a comparison")
    return own_page(path.read_text(encoding="utf-8"))


def _job(here: Services, job: str) -> Job:
    found = here.jobs.get(job)
    if found.kind != COMPARE or found.project_id is None:
        raise not_found("comparison")
    return found


def _judge(job: Job, t: Translator) -> str:
    """Return what photos are judged by: a model's name, or the title of a factor."""
    return job.arguments.get("model") or t(f"factor.{job.arguments.get('factor')}")


def _path(here: Services, job: Job) -> Any:
    return here.storage.results(str(job.project_id)) / f"{job.id}.html"


def _form(request: Request, here: Services, project: str, error: str = "", status: int = 200) -> HTMLResponse:
    t = translator(language_of(request))
    projects = [(one, count) for one, count in here.projects.all() if count]
    if project:
        here.projects.get(project)
    elif projects:
        project = projects[0][0].id
    made = here.jobs.newest(project, COMPARE, most=SHOWN) if project else []
    factors = [(name, factor_title(one, t)) for name, one in FACTORS.items() if one.direction != "middle"]
    return page(
        request,
        "devices.html",
        status=status,
        home="/devices",
        projects=projects,
        project=project,
        columns=COLUMNS,
        models=here.models.names,
        factors=factors,
        made=[
            {
                "id": job.id,
                "created": shown_time(job.created),
                "state": t(f"job.{job.state}"),
                "judge": _judge(job, t),
                "verdict": next(iter(unpacked(job.result.get("verdicts", []))), job.error or ""),
            }
            for job in made
        ],
        error=error,
    )
