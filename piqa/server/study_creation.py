"""A new study: its images with their scenes, and training examples made from them."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session, defer

from piqa.errors import InputError
from piqa.judgement.choice import Choice
from piqa.judgement.study import KnownPair, KnownRating, Mode, StudySettings
from piqa.server.records import Photo, Project, new_id
from piqa.server.refusals import not_found
from piqa.server.studies import QUESTION_KIND
from piqa.server.study_images import SPOILINGS
from piqa.server.study_records import Study, StudyImage
from piqa.system.phrases import Phrase

Scenes = Literal["folders", "moments", "one", "csv"]
# How training examples are spoilt, by the question; one in own words may ask for anything.
TRAINED_BY = {"overall": ("blurred", "darker"), "detail": ("blurred",), "exposure": ("darker",), "own": ("blurred",)}
SPOILT_RATING = 2.0  # expected of a spoilt copy; an answer at most 1 away is right
ONE_SCENE = "all"
MOST_CSV = 20_000_000  # bytes
MOST_IN_SCENE = 2000  # images of a scene of pairs: the choice of the next pair looks at all of them, in some seconds


@dataclass(frozen=True)
class StudyRequest:
    """What somebody asks for.

    Attributes:
        name: Of the study.
        project: Id of the project of its photos.
        scenes: Where the scenes come from.
        question_kind: A key of `TRAINED_BY`.
        question: In words.
        mode, same_allowed, choice, answers, break_every: As of `StudySettings`.
        training: Number of training examples.
        repeats: Percentage of hidden repeats.
        table: The content of a CSV with the columns `image` and `scene`.
        moments: The moment of each photo's name, where the scenes are moments.
    """

    name: str
    project: str
    scenes: Scenes
    question_kind: str
    question: str
    mode: Mode = "pairs"
    same_allowed: bool = False
    choice: Choice = "active"
    answers: int = 100
    break_every: int = 50
    training: int = 3
    repeats: float = 5.0
    table: bytes = b""
    moments: Mapping[str, str] | None = None


def photos_of(session: Session, project: str, facts: bool = False) -> list[Photo]:
    """Return the photos of a project that can be judged.

    Args:
        session: Of the database.
        project: The project.
        facts: Whether to read what was measured of them, too, which takes several times as long as all else.

    Raises:
        RequestError: If there is no such project.
    """
    if session.get(Project, project) is None:
        raise not_found("project")
    usable = select(Photo).where(Photo.project_id == project, Photo.state != "failed")
    options = [] if facts else [defer(Photo.facts, raiseload=True)]
    return list(session.scalars(usable.order_by(Photo.name).options(*options)))


def create_study(session: Session, request: StudyRequest) -> Study:
    """Make a study of a project's photos; those that could not be read, and equal copies, are left out.

    Raises:
        InputError: If the request cannot be met, such as without a scene of two images.
    """
    photos = photos_of(session, request.project)
    if not request.name.strip():
        raise InputError(Phrase("a study needs a name"))
    scenes = _usable(_scenes_of(photos, request), request.mode)
    study = Study(id=new_id(), project_id=request.project, name=request.name.strip())
    images = [
        StudyImage(id=new_id(), study_id=study.id, photo_id=photo.id, name=photo.name, scene=scene, digest=photo.digest)
        for scene, members in scenes.items()
        for photo in members
    ]
    spoilt = _spoilt_copies(images, request)
    known: tuple[KnownPair | KnownRating, ...] = tuple(_known(copy, request.mode) for copy in spoilt)
    settings = StudySettings(
        question=request.question,
        mode=request.mode,
        same_allowed=request.same_allowed,
        training=known,
        repeat_fraction=request.repeats / 100,
        gold_fraction=0,
        break_every=request.break_every,
        answers_per_rater=_answers_each(scenes, request),
        choice=request.choice,
    )
    study.settings = {**settings.to_dict(), QUESTION_KIND: request.question_kind}
    session.add(study)
    session.flush()  # images refer to it
    session.add_all(images)
    session.flush()
    session.add_all(spoilt)
    return study


def _scenes_of(photos: Sequence[Photo], request: StudyRequest) -> dict[str, list[Photo]]:
    """Return the photos of each scene; photos without a scene are left out."""
    if request.scenes == "csv":
        named = _of_table(request.table, [photo.name for photo in photos])
    elif request.scenes == "moments":
        named = dict(request.moments or {})
    else:
        folders = request.scenes == "folders"
        named = {photo.name: _folder(photo.name) if folders else ONE_SCENE for photo in photos}
    scenes: dict[str, list[Photo]] = {}
    for photo in photos:
        if scene := named.get(photo.name):
            scenes.setdefault(scene, []).append(photo)
    return scenes


def _folder(name: str) -> str:
    parent = PurePosixPath(name).parent
    return ONE_SCENE if parent == PurePosixPath(".") else parent.as_posix()


def _of_table(content: bytes, names: Sequence[str]) -> dict[str, str]:
    """Return the scene of each photo that a CSV names, by its whole name or by the file's alone if no other has it."""
    if not content.strip():
        raise InputError(Phrase("choose a CSV with the columns image and scene"))
    if len(content) > MOST_CSV:
        raise InputError(
            Phrase("the CSV of the scenes has more than {most} MB; leave other columns out", most=MOST_CSV // 10**6)
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(Phrase("the CSV of the scenes is no UTF-8 text; save it as UTF-8")) from error
    if "\0" in text:
        raise InputError(Phrase("the CSV of the scenes holds a NUL byte, which no text has; save it anew as UTF-8"))
    try:
        rows = list(csv.reader(io.StringIO(text), delimiter=_delimiter(text)))
    except csv.Error as error:
        raise InputError(Phrase("the CSV of the scenes cannot be read: {error}", error=str(error))) from error
    head = [cell.strip().lower() for cell in rows[0]]
    if missing := [name for name in ("image", "scene") if name not in head]:
        if len(missing) > 1:
            raise InputError(Phrase("the CSV of the scenes has no column image and no column scene"))
        raise InputError(Phrase("the CSV of the scenes has no column {column}", column=missing[0]))
    image, scene = head.index("image"), head.index("scene")
    whole = [row for row in rows[1:] if len(row) > max(image, scene)]
    given = dict.fromkeys((row[image].strip().replace("\\", "/"), row[scene].strip()) for row in whole)
    files: dict[str, list[str]] = {}
    for name in names:
        files.setdefault(PurePosixPath(name).name, []).append(name)
    found: dict[str, str] = {}
    for name, own in given:
        same_file = files.get(PurePosixPath(name).name, [])
        known = name if name in set(same_file) else same_file[0] if len(same_file) == 1 else None
        if known is not None and own and found.setdefault(known, own) != own:
            raise InputError(
                Phrase(
                    "the CSV of the scenes puts {image} into {one} and {other}; keep one of its rows",
                    image=known,
                    one=found[known],
                    other=own,
                )
            )
    if not found:
        raise InputError(
            Phrase("the CSV of the scenes names none of the project's photos; write their names as they are shown")
        )
    return found


def _delimiter(text: str) -> str:
    first = text.split("\n", 1)[0]
    return max(",;\t", key=first.count)


def _usable(scenes: Mapping[str, Sequence[Photo]], mode: Mode) -> dict[str, list[Photo]]:
    """Return the scenes without equal copies, and for pairs without scenes of one image."""
    distinct: dict[str, list[Photo]] = {}
    for scene, own in scenes.items():
        first: dict[str, Photo] = {}
        for photo in own:
            first.setdefault(photo.digest, photo)
        distinct[scene] = list(first.values())
    if mode == "pairs" and (large := [scene for scene, own in distinct.items() if len(own) > MOST_IN_SCENE]):
        count = len(distinct[large[0]])
        too_many = (
            "scene {scene} has {images} images, and {most} at most are compared; choose smaller scenes, or ratings"
        )
        raise InputError(Phrase(too_many, scene=large[0], images=count, most=MOST_IN_SCENE))
    least = 2 if mode == "pairs" else 1
    usable = {scene: own for scene, own in distinct.items() if len(own) >= least}
    if not usable:
        count = sum(map(len, distinct.values()))
        if count:
            one, several = Phrase("1 different image"), Phrase("{count} different images", count=count)
            told = one if count == 1 else several
        else:
            told = Phrase("no images")
        no_pair = (
            "there is no scene of two different images to be judged among {images}; choose other scenes or add photos"
        )
        if mode == "pairs":
            raise InputError(Phrase(no_pair, images=told))
        raise InputError(Phrase("there is no image to be judged among {images}; add photos", images=told))
    return usable


def _answers_each(scenes: Mapping[str, Sequence[Photo]], request: StudyRequest) -> int:
    """Return how many answers a rater gives: as many as are asked for, but no more than there are questions."""
    if request.mode == "pairs":
        every = sum(math.comb(len(own), 2) for own in scenes.values())
    else:
        every = sum(map(len, scenes.values()))
    return min(request.answers, every)


def _spoilt_copies(images: Sequence[StudyImage], request: StudyRequest) -> list[StudyImage]:
    """Return copies of as many images as there are training examples, of other images as long as there are some."""
    order = np.random.default_rng(0).permutation(len(images))
    kinds = TRAINED_BY[request.question_kind]
    copies = []
    for number in range(request.training):
        image = images[order[number % len(images)]]
        spoiling = kinds[(number + number // len(images)) % len(kinds)]
        copy = {"study_id": image.study_id, "photo_id": image.photo_id, "name": image.name, "scene": image.scene}
        copies.append(StudyImage(id=new_id(), **copy, digest=image.digest, original_id=image.id, spoiling=spoiling))
    return copies


def _known(copy: StudyImage, mode: Mode) -> KnownPair | KnownRating:
    """Return the training example of a spoilt copy; its words are the name of a string of the pages."""
    assert copy.spoiling in SPOILINGS and copy.original_id is not None
    if mode == "ratings":
        return KnownRating(copy.scene, copy.id, SPOILT_RATING, f"rate.rated_{copy.spoiling}")
    return KnownPair(copy.scene, copy.original_id, copy.id, "a", f"rate.spoilt_{copy.spoiling}")
