"""What the REST interface returns, as its description (OpenAPI) tells it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from piqa.factors.factor import Reading
from piqa.report.facts import MapPicture
from piqa.report.portraits import ScoreSaid
from piqa.server.comparing import Compared
from piqa.server.once import Given
from piqa.server.photos import PhotoSeen, ScoreSeen
from piqa.server.projects import Added
from piqa.server.records import Job, Project
from piqa.system.phrases import unpacked


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


class ScoredOut(BaseModel):
    """An image that was scored, and forgotten."""

    name: str
    error: str | None
    scores: dict[str, ScoreOut] = Field(description="By model.")
    factors: dict[str, float | None] = Field(description="By name; empty unless asked for.")

    @classmethod
    def of(cls, image: Given) -> ScoredOut:
        """Return an image as it is told."""
        scores = {model: ScoreOut.of(score) for model, score in image.scores.items()}
        return cls(name=image.name, error=image.error, scores=scores, factors={**image.factors})


class ReadingOut(BaseModel):
    """A measured factor."""

    value: float | None
    unit: str
    better: str = Field(description="`up`, `down`, or `middle` where neither more nor less is better.")
    sentence: str
    advice: str
    note: str

    @classmethod
    def of(cls, reading: Reading) -> ReadingOut:
        """Return a reading as it is told."""
        factor = reading.factor
        return cls(
            value=reading.value,
            unit=factor.unit,
            better=factor.direction,
            sentence=reading.sentence,
            advice=reading.advice or "",
            note=reading.note,
        )


class MapOut(BaseModel):
    """A transparent picture to lay over an image."""

    name: str
    title: str
    legend: list[tuple[str, str]] = Field(description="Words and colours.")
    limits: str
    picture: str = Field(description="A PNG as data URI.")

    @classmethod
    def of(cls, shown: MapPicture) -> MapOut:
        """Return a map as it is told."""
        return cls(name=shown.name, title=shown.title, legend=shown.legend, limits=shown.limits, picture=shown.picture)


class ExplanationOut(BaseModel):
    """Why an image has its score."""

    score: float | None
    error: str | None
    reference: float | None = Field(description="Mean score of the other images of the request.")
    shares: dict[str, float] = Field(description="What each branch adds to the difference from it.")
    notes: list[str]
    maps: list[MapOut]

    @classmethod
    def of(cls, score: ScoreSeen, said: ScoreSaid | None) -> ExplanationOut:
        """Return an explanation as it is told."""
        if said is None:
            return cls(score=None, error=score.error, reference=None, shares={}, notes=[], maps=[])
        maps = [MapOut.of(shown) for shown in said.maps]
        return cls(
            score=said.score, error=None, reference=said.reference, shares=said.shares, notes=said.notes, maps=maps
        )


class ExplainedOut(BaseModel):
    """An image that was measured and explained, and forgotten."""

    name: str
    error: str | None
    width: int | None
    height: int | None
    face_box: list[float] | None
    readings: dict[str, ReadingOut] = Field(description="By factor.")
    maps: list[MapOut] = Field(description="Of factors, where asked for.")
    explanations: dict[str, ExplanationOut] = Field(description="By model.")

    @classmethod
    def of(cls, image: Given) -> ExplainedOut:
        """Return an image as it is told."""
        facts = image.facts
        return cls(
            name=image.name,
            error=image.error,
            width=facts.width if facts else None,
            height=facts.height if facts else None,
            face_box=facts.face_box if facts else None,
            readings={name: ReadingOut.of(one) for name, one in facts.read().items()} if facts else {},
            maps=[MapOut.of(shown) for shown in image.maps],
            explanations={
                model: ExplanationOut.of(score, image.said.get(model)) for model, score in image.scores.items()
            },
        )


class DifferenceOut(BaseModel):
    """A factor in which two images differ."""

    factor: str
    title: str
    unit: str
    a: float
    b: float
    steps: float = Field(description="Steps that a viewer sees by which A is better; A less B where neither is.")
    telling: float = Field(description="Those that do not come with the difference of another factor.")


class ScoresComparedOut(BaseModel):
    """What a model says of two images."""

    a: float | None
    b: float | None
    p_a_better: float | None = Field(description="Nothing where the model's card states no preference.")


class ComparedOut(BaseModel):
    """Two images compared."""

    a: str
    b: str
    errors: dict[str, str] = Field(description="Why an image could not be measured, by its name.")
    scores: dict[str, ScoresComparedOut] = Field(description="By model.")
    factors: list[DifferenceOut] = Field(description="The most telling first.")

    @classmethod
    def of(cls, images: tuple[Given, Given], found: Compared) -> ComparedOut:
        """Return a comparison as it is told."""
        scores = {name: ScoresComparedOut(**asdict(one)) for name, one in found.scores.items()}
        factors = [
            DifferenceOut(
                factor=one.factor.name,
                title=one.factor.title,
                unit=one.factor.unit,
                a=one.a,
                b=one.b,
                steps=one.steps,
                telling=one.telling,
            )
            for one in found.factors
        ]
        errors = {image.name: image.error for image in images if image.error is not None}
        return cls(a=images[0].name, b=images[1].name, errors=errors, scores=scores, factors=factors)


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
    def of(cls, added: Added, seen: list[PhotoSeen], say: Callable[[str], str]) -> AddedOut:
        """Return it as it is told; `say` gives a line in the client's language."""
        refused = [RefusedOut(name=one.name, error=say(one.error)) for one in added.refused]
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
            result=unpacked(job.result),
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
