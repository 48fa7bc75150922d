"""Studies in the database: what they ask about which images, and all answers as the tables of `piqa.judgement`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pandas as pd
from sqlalchemy import select
from sqlalchemy.orm import Session

from piqa.judgement import answers as pair_answers
from piqa.judgement import ratings
from piqa.judgement.study import KnownPair, KnownRating, StudySettings
from piqa.server.records import Photo
from piqa.server.refusals import not_found
from piqa.server.study_records import Answer, Rater, Study, StudyImage

VIEWING = ("window_width", "window_height", "pixel_ratio", "zoom")  # columns of `Answer`
QUESTION_KIND = "question_kind"  # `overall`, `detail`, `exposure` or `own`


class ImageOfStudy(NamedTuple):
    """An image of a study, as of `StudyImage`; a tuple, as each request of a rater reads all of them."""

    id: str
    photo_id: str
    name: str
    scene: str
    spoiling: str | None


@dataclass(frozen=True)
class StudyContent:
    """A study with its images.

    Attributes:
        study: Its record.
        settings: What it asks, and how.
        images: All images by id, spoilt copies included.
        scenes: Ids of the images of each scene, without spoilt copies and what cannot be read.
        unreadable: Ids of images whose photo could not be read when it was measured, which may come out after the study
            was made; nobody is asked about them.
    """

    study: Study
    settings: StudySettings
    images: Mapping[str, ImageOfStudy]
    scenes: Mapping[str, Sequence[str]]
    unreadable: frozenset[str] = frozenset()

    @property
    def question_kind(self) -> str:
        """Which question it is; `own` for one in own words."""
        return str(self.study.settings[QUESTION_KIND])


def read_study(session: Session, study_id: str) -> StudyContent:
    """Return a study with its images.

    Raises:
        RequestError: If there is none of this id.
    """
    study = session.get(Study, study_id)
    if study is None:
        raise not_found("study")
    columns = [getattr(StudyImage, name) for name in ImageOfStudy._fields]
    rows = session.execute(select(*columns).where(StudyImage.study_id == study_id).order_by(StudyImage.name))
    images = {one.id: one for one in map(ImageOfStudy._make, rows)}
    of_failed = select(StudyImage.id).join(Photo, Photo.id == StudyImage.photo_id).where(Photo.state == "failed")
    unreadable = frozenset(session.scalars(of_failed.where(StudyImage.study_id == study_id)))
    scenes: dict[str, list[str]] = {}
    for one in images.values():
        if one.spoiling is None and one.id not in unreadable:
            scenes.setdefault(one.scene, []).append(one.id)
    settings = {name: value for name, value in study.settings.items() if name != QUESTION_KIND}
    found = StudySettings.from_dict(settings)
    seen = {*images} - unreadable  # a photo may have been deleted
    there = tuple(one for one in found.training if {*_images_of(one)} <= seen)
    return StudyContent(study, replace(found, training=there), images, scenes, unreadable)


def read_answers(session: Session, content: StudyContent, times: bool = False) -> pd.DataFrame:
    """Return all answers, with the ids of images and raters, as `answers_table` or `ratings_table` gives them.

    Args:
        session: Of the database.
        content: The study.
        times: Whether to tell when each was given, and in the columns `VIEWING` how it was seen; it takes as long as
            all else.
    """
    pairs = content.settings.mode == "pairs"
    chosen = (Answer.winner, Answer.left, Answer.expected) if pairs else (Answer.rating,)
    columns = (Answer.image_a, Answer.image_b, Answer.rater_id, Answer.kind, Answer.seconds, *chosen)
    seen = VIEWING if times else ()
    columns = (*columns, *(getattr(Answer, name) for name in seen), Answer.answered) if times else columns
    found = session.execute(select(*columns).where(Answer.study_id == content.study.id).order_by(Answer.id)).all()
    names = ["image_a" if pairs else "image", "image_b", "rater", "kind", "seconds"]
    names += [*(one.key for one in chosen), *seen]
    own: dict[str, Sequence[Any]] = {name: () for name in names} | dict(
        zip(names, zip(*found, strict=True), strict=False)
    )
    own["scene"] = [content.images[image].scene for image in own[names[0]]]
    own["time"] = [f"{row[-1].isoformat(timespec='seconds')}Z" for row in found] if times else [""] * len(found)
    if pairs:
        own["expected"] = [value or "" for value in own["expected"]]
    types = dict.fromkeys(("seconds", "rating", *seen), float) | dict.fromkeys(seen[:2], int)
    made = {
        name: pd.Series(own[name], dtype=types.get(name, str))
        for name in (*(pair_answers.COLUMNS if pairs else ratings.COLUMNS), *seen)
    }
    table = pd.DataFrame(made)
    table.index = pd.RangeIndex(1, len(table) + 1)
    return table


def with_names(table: pd.DataFrame, content: StudyContent, raters: Mapping[str, str]) -> pd.DataFrame:
    """Return a table of answers with the names of photos and raters in place of their ids."""
    names = {id_: _name(one) for id_, one in content.images.items()}
    own = {column: table[column].map(names) for column in ("image", "image_a", "image_b") if column in table}
    return table.assign(**own, rater=table["rater"].map(raters))


def raters_of(session: Session, study_id: str) -> list[Rater]:
    """Return the raters of a study in the order in which they were added."""
    return list(session.scalars(select(Rater).where(Rater.study_id == study_id).order_by(Rater.created, Rater.id)))


def faces_of(session: Session, images: Sequence[ImageOfStudy]) -> dict[str, list[float]]:
    """Return the face of each image that has a known one: left, top, right, bottom as fractions of the image."""
    photos = session.scalars(select(Photo).where(Photo.id.in_({one.photo_id for one in images})))
    boxes = {}
    for photo in photos:
        box, size = photo.facts.get("face_box"), (photo.facts.get("width"), photo.facts.get("height"))
        if box and all(size):
            boxes[photo.id] = [edge / size[place % 2] for place, edge in enumerate(box)]
    return {one.id: boxes[one.photo_id] for one in images if one.photo_id in boxes}


def _images_of(known: KnownPair | KnownRating) -> tuple[str, ...]:
    return (known.image_a, known.image_b) if isinstance(known, KnownPair) else (known.image,)


def _name(image: ImageOfStudy) -> str:
    return image.name if image.spoiling is None else f"{image.name} ({image.spoiling})"
