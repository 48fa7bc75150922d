"""What the REST interface returns, as its description (OpenAPI) tells it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from piqa.server.photos import PhotoSeen, ScoreSeen
from piqa.server.projects import Added
from piqa.server.records import Job, Project


class ErrorOut(BaseModel):
    """Why a request was not answered."""

    error: str = Field(description="One line: what is wrong, and how to mend it.")


class ModelOut(BaseModel):
    """A model of this server."""

    name: str
    outputs: list[str] = Field(description="Names of its outputs; `score` is the first.")
    licence: str | None


class ProjectIn(BaseModel):
    """A project to be made."""

    name: str


class ProjectOut(BaseModel):
    """A set of photos that belong together."""

    id: str
    name: str
    created: datetime
    photos: int

    @classmethod
    def of(cls, project: Project, photos: int = 0) -> ProjectOut:
        """Return a project as it is told."""
        return cls(id=project.id, name=project.name, created=project.created, photos=photos)


class ScoreOut(BaseModel):
    """What a model says of an image."""

    score: float | None = Field(description="Higher is better; comparable among images of one scene.")
    error: str | None = None
    outputs: dict[str, float | bool | str | None] = Field(description="Other outputs, and the face that the model saw.")

    @classmethod
    def of(cls, seen: ScoreSeen) -> ScoreOut:
        """Return a score as it is told."""
        return cls(score=seen.score, error=seen.error, outputs=seen.outputs)


class PhotoOut(BaseModel):
    """A photo of a project."""

    id: str
    project: str
    name: str
    state: str = Field(description="`waiting`, `measured` or `failed`.")
    error: str | None
    size: int = Field(description="Bytes.")
    width: int | None = Field(description="Of the upright image, in pixels.")
    height: int | None
    face_box: list[float] | None = Field(description="x1, y1, x2, y2 in pixels.")
    scores: dict[str, ScoreOut] = Field(description="By model.")
    factors: dict[str, float | None] = Field(description="By name.")

    @classmethod
    def of(cls, seen: PhotoSeen) -> PhotoOut:
        """Return a photo as it is told."""
        return cls(
            id=seen.id,
            project=seen.project,
            name=seen.name,
            state=seen.state,
            error=seen.error,
            size=seen.size,
            width=seen.facts.width if seen.facts else None,
            height=seen.facts.height if seen.facts else None,
            face_box=seen.facts.face_box if seen.facts else None,
            scores={model: ScoreOut.of(score) for model, score in seen.scores.items()},
            factors=seen.factors,
        )


class RefusedOut(BaseModel):
    """An image that was not taken."""

    name: str
    error: str


class AddedOut(BaseModel):
    """What became of images that were to be added."""

    photos: list[PhotoOut]
    refused: list[RefusedOut]
    job: str | None = Field(description="The job that measures and scores the new photos.")

    @classmethod
    def of(cls, added: Added, seen: list[PhotoSeen]) -> AddedOut:
        """Return it as it is told."""
        refused = [RefusedOut(name=one.name, error=one.error) for one in added.refused]
        return cls(photos=[PhotoOut.of(one) for one in seen], refused=refused, job=added.job)


class JobOut(BaseModel):
    """Work that takes longer than a request."""

    id: str
    project: str | None
    kind: str
    state: str = Field(description="`waiting`, `running`, `done`, `failed` or `stopped`.")
    total: int
    done: int
    error: str | None
    result: dict[str, Any]

    @classmethod
    def of(cls, job: Job) -> JobOut:
        """Return a job as it is told."""
        return cls(
            id=job.id,
            project=job.project_id,
            kind=job.kind,
            state=job.state,
            total=job.total,
            done=job.done,
            error=job.error,
            result=job.result,
        )


class JobStarted(BaseModel):
    """A job that was begun; its results are the photos of the project."""

    job: str | None
    project: str
    refused: list[RefusedOut] = []


ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"model": ErrorOut, "description": text}
    for code, text in {
        400: "The request cannot be read.",
        401: "The token is missing or wrong.",
        403: "The request comes from another site.",
        404: "There is no such thing.",
        408: "The request took too long.",
        409: "There are too many of them, or something changed meanwhile.",
        413: "The request is too large.",
        415: "The request is of another type.",
        422: "A value is not possible.",
        503: "Too many images wait; `Retry-After` says when another try may succeed.",
        507: "The server's disk is full.",
    }.items()
}
