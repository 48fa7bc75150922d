"""The tables of the server: projects, their photos, the scores of these, and jobs."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any
from uuid import uuid4

from sqlalchemy import JSON, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from piqa.server.database import Base

Facts = dict[str, Any]  # as JSON can hold them


def new_id() -> str:
    """Return a random name, 32 hexadecimal digits, which nobody guesses."""
    return uuid4().hex


def now() -> datetime:
    """Return the time, UTC, without a zone, as both databases keep it."""
    return datetime.now(timezone.utc).replace(tzinfo=None)


class Project(Base):
    """A set of photos that belong together, and are deleted together."""

    __tablename__ = "projects"
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str]
    created: Mapped[datetime] = mapped_column(default=now)


class Photo(Base):
    """An uploaded photo, or one below the server's root.

    Attributes:
        name: What it is called, such as `day 1/IMG_0001.jpg`; never a path of the server.
        digest: Of its bytes; the same photo is uploaded once.
        source: Its path below the server's root; None where it was uploaded.
        state: `waiting`, `measured` or `failed`.
        error: Why it failed.
        facts: What was measured: `piqa.report.facts.Facts`, and facts of the capture without any location.
        measured_with: Digest of all that this depends on; another one makes it outdated. None before 0003.
    """

    __tablename__ = "photos"
    __table_args__ = (UniqueConstraint("project_id", "name"),)
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    digest: Mapped[str] = mapped_column(index=True)
    source: Mapped[str | None]
    size: Mapped[int]
    added: Mapped[datetime] = mapped_column(default=now)
    state: Mapped[str] = mapped_column(default="waiting", index=True)
    error: Mapped[str | None]
    facts: Mapped[Facts] = mapped_column(JSON, default=dict)
    measured_with: Mapped[str | None]


class Score(Base):
    """What a model says of a photo.

    Attributes:
        model: The name that clients see.
        settings: Digest of all that the score depends on; another one makes it outdated.
        score: Higher is better, comparable in a scene only; None where the model could not score the photo.
        outputs: The model's other outputs, by name, and the face that it saw.
        error: Why there is no score.
    """

    __tablename__ = "scores"
    photo_id: Mapped[str] = mapped_column(ForeignKey("photos.id", ondelete="CASCADE"), primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    settings: Mapped[str]
    score: Mapped[float | None]
    outputs: Mapped[Facts] = mapped_column(JSON, default=dict)
    error: Mapped[str | None]


class Job(Base):
    """Work that takes longer than a request.

    Attributes:
        kind: What is done, such as `score`, `explain`, `compare`, `moments` or `pdf`.
        state: `waiting`, `running`, `done`, `failed` or `stopped`.
        total, done: Its progress.
        arguments, result: As JSON.
        owner: The server that runs it.
        seen: When that server last said so; another one takes the job over after a while.
    """

    __tablename__ = "jobs"
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    project_id: Mapped[str | None] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str]
    state: Mapped[str] = mapped_column(default="waiting", index=True)
    total: Mapped[int] = mapped_column(default=0)
    done: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None]
    arguments: Mapped[Facts] = mapped_column(JSON, default=dict)
    result: Mapped[Facts] = mapped_column(JSON, default=dict)
    owner: Mapped[str | None]
    seen: Mapped[datetime | None]
    created: Mapped[datetime] = mapped_column(default=now)
    finished: Mapped[datetime | None]
