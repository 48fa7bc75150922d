"""The tables of studies: their images, their raters, and each answer."""

from __future__ import annotations

from datetime import datetime
from secrets import token_urlsafe

from sqlalchemy import JSON, ForeignKey, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from piqa.server.database import Base
from piqa.server.records import Facts, new_id, now


def new_link() -> str:
    """Return a secret for a rater's address: 144 random bits."""
    return token_urlsafe(18)


class Study(Base):
    """A question that people answer about the photos of a project.

    Attributes:
        name: What the people who run it call it.
        settings: `piqa.judgement.session.StudySettings`, as JSON, and `question_kind`.
    """

    __tablename__ = "studies"
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    settings: Mapped[Facts] = mapped_column(JSON, default=dict)
    created: Mapped[datetime] = mapped_column(default=now)


class StudyImage(Base):
    """A photo in a study, or a copy of one that was spoilt for the training examples.

    Attributes:
        id: Its name in the addresses that raters see; it tells nothing of the photo.
        name: The photo's name, which the exports hold.
        digest: Of the photo's bytes; two equal photos are never compared.
        original_id: Of a spoilt copy: the image that it was made of.
        spoiling: Of a spoilt copy: how it was spoilt, a name in `piqa.server.study_images.SPOILINGS`.
    """

    __tablename__ = "study_images"
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    study_id: Mapped[str] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"), index=True)
    photo_id: Mapped[str] = mapped_column(ForeignKey("photos.id", ondelete="CASCADE"), index=True)
    name: Mapped[str]
    scene: Mapped[str]
    digest: Mapped[str]
    original_id: Mapped[str | None] = mapped_column(ForeignKey("study_images.id", ondelete="CASCADE"), index=True)
    spoiling: Mapped[str | None]


class Rater(Base):
    """A person who answers, known by a link alone.

    Attributes:
        link: The secret in the address of the rater's page.
        name: As it stands in the exports.
        state: The questions that come next; the first one is shown now.
        conditions: What the rater told of the room and the screen.
        version: Counts changes: two requests at once cannot both change the state.
        seen: When the last request came.
    """

    __tablename__ = "raters"
    __table_args__ = (UniqueConstraint("study_id", "name"),)
    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    study_id: Mapped[str] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"), index=True)
    link: Mapped[str] = mapped_column(unique=True, default=new_link)
    name: Mapped[str]
    state: Mapped[Facts] = mapped_column(JSON, default=dict)
    conditions: Mapped[Facts] = mapped_column(JSON, default=dict)
    version: Mapped[int] = mapped_column()
    created: Mapped[datetime] = mapped_column(default=now)
    seen: Mapped[datetime | None]
    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012 -- as SQLAlchemy declares it


class Answer(Base):
    """One answer of a rater.

    Attributes:
        question: The id of the question, so that a repeated request does not count twice.
        number: Its place among the rater's answers, from 0.
        kind: As of `piqa.judgement.answers`: `new`, `repeat`, `gold` or `training`.
        image_a, image_b: The images; `image_b` is None for a rating.
        left: Which of them stood on the left, `a` or `b`; None for a rating.
        winner: `a`, `b` or `same`; None for a rating.
        expected: The known answer of a training example, else None.
        rating: 1 to 5; None for a pair.
        seconds: From the moment when the images were seen until the answer, without the time when the page was hidden.
        window_width, window_height: Of the window, CSS pixels.
        pixel_ratio: Pixels of the screen for a CSS pixel.
        zoom: Pixels of the screen for a pixel of the left image, when the answer was given.
    """

    __tablename__ = "answers"
    __table_args__ = (UniqueConstraint("rater_id", "number"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[str] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"), index=True)
    rater_id: Mapped[str] = mapped_column(ForeignKey("raters.id", ondelete="CASCADE"), index=True)
    question: Mapped[str] = mapped_column(unique=True)
    number: Mapped[int]
    kind: Mapped[str]
    image_a: Mapped[str] = mapped_column(ForeignKey("study_images.id", ondelete="CASCADE"), index=True)
    image_b: Mapped[str | None] = mapped_column(ForeignKey("study_images.id", ondelete="CASCADE"), index=True)
    left: Mapped[str | None]
    winner: Mapped[str | None]
    expected: Mapped[str | None]
    rating: Mapped[int | None]
    seconds: Mapped[float]
    window_width: Mapped[int]
    window_height: Mapped[int]
    pixel_ratio: Mapped[float]
    zoom: Mapped[float | None]
    answered: Mapped[datetime] = mapped_column(default=now)
