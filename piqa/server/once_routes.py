"""REST: score, explain or compare images for one answer. `piqa.server.once` does the work."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from piqa.server.comparing import compare_two
from piqa.server.photo_csv import csv_of
from piqa.server.project_routes import IMAGES_BODY, Format, Here, ModelNames, csv_response
from piqa.server.projects import Added, Refused
from piqa.server.refusals import RequestError
from piqa.server.schemas import ERRORS, ComparedOut, ExplainedOut, JobStarted, RefusedOut, ScoredOut
from piqa.server.uploads import receive
from piqa.system.csv_cells import csv_line
from piqa.system.phrases import Phrase

router = APIRouter(prefix="/api", responses=ERRORS)
Maps = Annotated[bool, Query(description="Whether maps are made, as data URIs.")]
CSV: dict[str, Any] = {"content": {"text/csv": {"schema": {"type": "string"}}}}
OR_CSV: dict[int | str, dict[str, Any]] = {200: CSV}
OR_JOB: dict[int | str, dict[str, Any]] = {200: CSV, 202: {"model": JobStarted, "description": "A job was begun."}}


@router.post("/score", openapi_extra=IMAGES_BODY, response_model=list[ScoredOut], responses=OR_JOB)
async def score(
    request: Request,
    here: Here,
    model: ModelNames = None,
    factors: Annotated[bool | None, Query(description="By default where no model scores.")] = None,
    kind: Format = "json",
    wait: Annotated[bool, Query(description="Whether the answer has the scores; else a job is begun.")] = True,
) -> Any:
    """Score images: multipart, or as JSON their `names` below the server's root. A bad image costs its own row.

    They are forgotten then. With `wait=false` a job begins, whose progress is at `/api/jobs/JOB`, and whose results are
    the photos of a new project, `/api/projects/PROJECT/photos`, which is there until it is deleted.
    """
    models = here.models.chosen(model)
    if not wait:
        return await _begun(request, here)
    async with here.once.given(request) as images:
        await here.once.score(request, images, models)
        if factors or (factors is None and not models):
            await here.once.measure(request, images)
    if kind == "csv":
        lines = [(image.name, image.error, image.scores, image.factors) for image in images]
        with_factors = any(image.facts is not None for image in images)
        return csv_response(csv_of(lines, [one.name for one in models], with_factors), "scores.csv")
    return [ScoredOut.of(image) for image in images]


@router.post("/explain", openapi_extra=IMAGES_BODY, response_model=list[ExplainedOut], responses=OR_CSV)
async def explain(
    request: Request, here: Here, model: ModelNames = None, maps: Maps = False, kind: Format = "json"
) -> Any:
    """Measure images, and explain the score that each model gives each against the others of the request."""
    models = here.models.chosen(model)
    async with here.once.given(request) as images:
        await here.once.measure(request, images, maps)
        await here.once.explain(request, images, models, maps)
    explained = [ExplainedOut.of(image) for image in images]
    if kind == "json":
        return explained
    text = [csv_line(["file", "factor", "value", "unit", "sentence", "error"])]
    for image in explained:
        rows = [
            [image.name, name, one.value, one.unit, one.sentence, None] for name, one in image.readings.items()
        ] or [[image.name, None, None, None, None, image.error]]
        text += [csv_line(row, spreadsheet_safe=True) for row in rows]
    return csv_response("".join(text), "explained.csv")


@router.post("/compare", openapi_extra=IMAGES_BODY, response_model=ComparedOut, responses=OR_CSV)
async def compare(request: Request, here: Here, model: ModelNames = None, kind: Format = "json") -> Any:
    """Compare two images, the first A and the second B: by factors, and by what each model says."""
    models = here.models.chosen(model)
    async with here.once.given(request) as images:
        if len(images) != 2:
            raise RequestError(
                400, Phrase("two images are compared, and the request holds {images}", images=len(images))
            )
        await here.once.measure(request, images)
        await here.once.score(request, images, models)
    a, b = images
    found = ComparedOut.of((a, b), compare_two(here.models, (a.facts, b.facts), (a.scores, b.scores)))
    if kind == "json":
        return found
    text = [csv_line(["what", "a", "b", "difference"])]
    text += [csv_line(["file", found.a, found.b, None], spreadsheet_safe=True)]
    text += [csv_line([f"score {name}", one.a, one.b, one.p_a_better]) for name, one in found.scores.items()]
    text += [csv_line([one.factor, one.a, one.b, one.steps]) for one in found.factors]
    return csv_response("".join(text), "comparison.csv")


async def _begun(request: Request, here: Here) -> JSONResponse:
    """Begin a job on a project of its own; that project is gone where nothing was added to it."""
    name = f"scored {datetime.now().astimezone():%Y-%m-%d %H.%M.%S}"
    project = await run_in_threadpool(here.projects.create, name)
    added = Added()
    try:
        async with here.storage.incoming() as folder:
            received = await receive(request, folder, here.settings.limits)
            if received.names:
                added = await run_in_threadpool(here.projects.add_named, project.id, received.names)
            else:
                refused = [Refused(one, error) for one, error in received.refused]
                added = await run_in_threadpool(here.projects.add, project.id, received.uploads, refused)
    finally:
        if not added.photos:
            await run_in_threadpool(here.projects.delete, project.id)
    lines = [RefusedOut(name=one.name, error=one.error) for one in added.refused]
    if not added.photos:
        raise RequestError(400, lines[0].error if lines else Phrase("the request holds no image"))
    started = JobStarted(job=added.job, project=project.id, refused=lines)
    return JSONResponse(started.model_dump(), 202)
