"""REST: projects, their photos, and jobs. `piqa.server.projects` and `piqa.server.photos` do the work."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, PlainTextResponse

from piqa.server.pages import language_of, translator
from piqa.server.projects import Refused
from piqa.server.refusals import RequestError
from piqa.server.schemas import ERRORS, AddedOut, JobOut, ModelOut, PhotoOut, ProjectIn, ProjectOut
from piqa.server.services import Services, services_of
from piqa.server.uploads import receive
from piqa.system.phrases import Phrase

Here = Annotated[Services, Depends(services_of)]
Format = Annotated[Literal["json", "csv"], Query(alias="format", description="`json` or `csv`.")]
ModelNames = Annotated[list[str] | None, Query(description="Which models; all by default.")]
router = APIRouter(prefix="/api", responses=ERRORS)
IMAGES_BODY: dict[str, Any] = {  # the body is read as it comes, so that FastAPI does not know it
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"images": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                    "required": ["images"],
                }
            },
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "names": {
                            "type": "array",
                            "items": {"type": "string"},
                            "description": "Images by their paths below the server's `--root`.",
                        }
                    },
                    "required": ["names"],
                }
            },
        },
    }
}


@router.get("/models")
def models(here: Here) -> list[ModelOut]:
    """Return the models of this server."""
    return [
        ModelOut(name=model.name, outputs=model.queue.scorer.numbers, licence=model.licence) for model in here.models
    ]


@router.get("/projects")
def projects(here: Here) -> list[ProjectOut]:
    """Return all projects, the newest first."""
    return [ProjectOut.of(project, photos) for project, photos in here.projects.all()]


@router.post("/projects", status_code=201)
def create_project(wanted: ProjectIn, here: Here) -> ProjectOut:
    """Make a project."""
    return ProjectOut.of(here.projects.create(wanted.name))


@router.get("/projects/{project}")
def project(project: str, here: Here) -> ProjectOut:
    """Return a project."""
    return ProjectOut.of(here.projects.get(project), here.photos.count(project))


@router.delete("/projects/{project}", status_code=204)
def delete_project(project: str, here: Here) -> Response:
    """Delete a project whole, with its photos, scores and files."""
    here.projects.delete(project)
    return Response(status_code=204)


@router.post("/projects/{project}/photos", status_code=202, openapi_extra=IMAGES_BODY)
async def add_photos(project: str, request: Request, here: Here) -> AddedOut:
    """Add photos: multipart, or as JSON their `names` below the server's root. They are measured and scored by a job.

    A file's name may hold folders, as a page that uploads a folder sends it. Photos that cannot be taken are in
    `refused`; the others are added all the same.
    """
    await run_in_threadpool(here.projects.get, project)
    async with here.storage.incoming() as folder:
        received = await receive(request, folder, here.settings.limits)
        if received.names:
            added = await run_in_threadpool(here.projects.add_named, project, received.names)
        else:
            refused = [Refused(name, error) for name, error in received.refused]
            added = await run_in_threadpool(here.projects.add, project, received.uploads, refused)
    if not added.photos and not added.refused:
        raise RequestError(400, Phrase("the request holds no image"))
    seen = await run_in_threadpool(here.photos.these, [photo.id for photo in added.photos])
    return AddedOut.of(added, seen, translator(language_of(request)).say)


@router.get(
    "/projects/{project}/photos",
    response_model=list[PhotoOut],
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
)
def photos(project: str, here: Here, kind: Format = "json", model: ModelNames = None) -> Any:
    """Return the photos of a project by name, with scores and factors, as JSON or as CSV."""
    here.projects.get(project)
    if kind == "csv":
        return csv_response(here.photos.csv(project, model), f"{project}.csv")
    return [PhotoOut.of(photo) for photo in here.photos.all(project)]


@router.get("/projects/{project}/jobs")
def jobs_of_project(project: str, here: Here) -> list[JobOut]:
    """Return the jobs of a project, the newest first."""
    here.projects.get(project)
    return [JobOut.of(job) for job in here.jobs.of_project(project)]


@router.post("/projects/{project}/score", status_code=202)
def score_project(project: str, here: Here) -> JobOut | None:
    """Score what the models of today have not, and measure anew what another version has measured.

    Nothing is returned where a project is empty.
    """
    job = here.projects.score_again(project)
    return None if job is None else JobOut.of(here.jobs.get(job))


@router.get("/photos/{photo}")
def photo(photo: str, here: Here) -> PhotoOut:
    """Return a photo."""
    return PhotoOut.of(here.photos.get(photo))


@router.delete("/photos/{photo}", status_code=204)
def delete_photo(photo: str, here: Here) -> Response:
    """Delete a photo, with its scores and files."""
    here.projects.delete_photo(photo)
    return Response(status_code=204)


@router.get("/photos/{photo}/maps/{name}", response_class=FileResponse)
def photo_map(photo: str, name: str, here: Here) -> FileResponse:
    """Return a map of a photo, such as `exposure`, as a transparent PNG to lay over it."""
    return FileResponse(here.photos.picture(photo, name), media_type="image/png", headers=KEPT)


@router.get("/photos/{photo}/{kind}", response_class=FileResponse)
def picture(photo: str, kind: Literal["preview", "thumbnail", "full"], here: Here) -> FileResponse:
    """Return a photo as JPEG, upright, in sRGB, without metadata: 1000 pixels, 144, or as many as it has."""
    return FileResponse(here.photos.picture(photo, kind), media_type="image/jpeg", headers=KEPT)


@router.get("/jobs/{job}")
def job(job: str, here: Here) -> JobOut:
    """Return a job: its state and progress."""
    return JobOut.of(here.jobs.get(job))


@router.post("/jobs/{job}/stop")
def stop_job(job: str, here: Here) -> JobOut:
    """Stop a job; what it has done is kept."""
    return JobOut.of(here.jobs.stop(job))


KEPT = {"Cache-Control": "private, max-age=3600"}


def csv_response(text: str, name: str) -> Response:
    """Return a CSV as a file to save."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return PlainTextResponse(text, media_type="text/csv", headers=headers)
