"""What is known of photos: entries for tables, pictures, a CSV, and the images of a report.

Pages and the REST interface both ask here, and own no logic.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

from sqlalchemy import and_, func, or_, select

from piqa.factors.families import FACTORS
from piqa.report.facts import Facts as ReportFacts
from piqa.report.facts import MapPicture, Pictures
from piqa.report.parts import Parts
from piqa.report.portraits import Portraits
from piqa.server.measured import FULL, PICTURES, PREVIEW, THUMBNAIL, Task, measured_with
from piqa.server.photo_csv import csv_of, lines_of
from piqa.server.records import Facts, Photo, Score
from piqa.server.refusals import RequestError, not_found, told_when_full
from piqa.system.phrases import Phrase, unpacked

if TYPE_CHECKING:
    from piqa.server.app import Services

REPORT_FIELDS = {one.name for one in fields(ReportFacts)}
MOST_PORTRAITS = 4  # projects whose photos' places are kept in memory
AT_ONCE = 500  # photos of one statement, as databases bound their number; and that are in memory at once
_NOT_YET = Phrase("an earlier version of piqa did not measure it; measure the photo anew")
_GONE = ReportFacts([0, 0], Phrase("it was deleted meanwhile"))
COPIES = {"preview": PREVIEW, "thumbnail": THUMBNAIL, "full": FULL}


@dataclass(frozen=True)
class ScoreSeen:
    """What a model says of a photo: a score, or why there is none; other outputs, and the face that it saw."""

    score: float | None
    error: str | None = None
    outputs: Facts = field(default_factory=dict)


@dataclass(frozen=True)
class PhotoSeen:
    """A photo with all that is known of it.

    Attributes:
        id: Its name in addresses.
        project: The project that it belongs to.
        name: What it is called.
        state: `waiting`, `measured` or `failed`.
        error: Why it could not be measured.
        size: Bytes.
        facts: What was measured; None where nothing was, or it failed.
        scores: By model; of models of today alone, as they are today.
    """

    id: str
    project: str
    name: str
    state: str
    error: str | None
    size: int
    facts: ReportFacts | None
    scores: Mapping[str, ScoreSeen]

    @property
    def factors(self) -> dict[str, float | None]:
        """The value of each factor; empty where the photo is not measured."""
        return {} if self.facts is None else self.facts.values


class Photos:
    """The photos of all projects.

    Args:
        services: Of the server.
    """

    def __init__(self, services: Services) -> None:
        self._services, self._database = services, services.database
        self._portraits = lru_cache(MOST_PORTRAITS)(self._read_portraits)

    def get(self, photo: str) -> PhotoSeen:
        """Return a photo; RequestError if there is none of this name."""
        row = self._row(photo)
        return self._seen([row])[0]

    def these(self, photos: Sequence[str]) -> list[PhotoSeen]:
        """Return photos by their names in addresses, in this order; those that are not there are left out."""
        rows: dict[str, Photo] = {}
        with self._database.session() as session:
            for at in range(0, len(photos), AT_ONCE):
                some = select(Photo).where(Photo.id.in_(photos[at : at + AT_ONCE]))
                rows |= {row.id: row for row in session.scalars(some)}
        return self._seen([rows[photo] for photo in photos if photo in rows])

    def count(self, project: str) -> int:
        """Return the number of photos of a project."""
        with self._database.session() as session:
            return session.scalar(select(func.count()).select_from(Photo).where(Photo.project_id == project)) or 0

    def states(self, project: str) -> dict[str, int]:
        """Return how many photos of a project wait, are measured, or failed, by state."""
        with self._database.session() as session:
            counts = select(Photo.state, func.count()).where(Photo.project_id == project).group_by(Photo.state)
            return {state: count for state, count in session.execute(counts)}

    def named(self, project: str, state: str | None = None, most: int | None = None) -> dict[str, str]:
        """Return the name of each photo of a project, by its name in addresses, in the order of names.

        Args:
            project: The project.
            state: Of these photos alone.
            most: So many of them at most.
        """
        wanted = select(Photo.id, Photo.name).where(Photo.project_id == project).order_by(Photo.name).limit(most)
        with self._database.session() as session:
            rows = session.execute(wanted if state is None else wanted.where(Photo.state == state))
            return {photo: name for photo, name in rows}

    def failures(self, project: str, most: int) -> list[tuple[str, str, str]]:
        """Return name in addresses, name, and reason of the first photos by name that could not be measured."""
        failed = select(Photo.id, Photo.name, Photo.error).where(Photo.project_id == project, Photo.state == "failed")
        with self._database.session() as session:
            rows = session.execute(failed.order_by(Photo.name).limit(most))
            return [(photo, name, error or "") for photo, name, error in rows]

    def unscored(self, project: str) -> int:
        """Return how many measured photos of a project lack a score of a model as it is today."""
        current = self._services.models.current
        if not current:
            return 0
        known = or_(*(and_(Score.model == model, Score.settings == known) for model, known in current.items()))
        scores = select(func.count()).where(Score.photo_id == Photo.id, known).scalar_subquery()
        lacking = (Photo.project_id == project, Photo.state == "measured", scores < len(current))
        with self._database.session() as session:
            return session.scalar(select(func.count()).select_from(Photo).where(*lacking)) or 0

    def outdated(self, project: str) -> int:
        """Return how many photos of a project were measured in another way than today, and can be measured anew."""
        of_before = func.coalesce(Photo.measured_with, "") != measured_with()
        lacking = [Photo.project_id == project, Photo.state != "waiting", of_before]
        if self._services.settings.keep == "none":
            lacking.append(Photo.source.is_not(None))
        with self._database.session() as session:
            return session.scalar(select(func.count()).select_from(Photo).where(*lacking)) or 0

    def each(self, project: str) -> Iterator[PhotoSeen]:
        """Yield all photos of a project by name, of which some are in memory at once."""
        photos = [*self.named(project)]
        for at in range(0, len(photos), AT_ONCE):
            yield from self.these(photos[at : at + AT_ONCE])

    def all(self, project: str) -> list[PhotoSeen]:
        """Return all photos of a project by name."""
        return [*self.each(project)]

    def scores(self, photos: Sequence[str]) -> dict[str, dict[str, ScoreSeen]]:
        """Return what each model of today, as it is today, says of photos, by their names in addresses and by model."""
        current = self._services.models.current
        found: dict[str, dict[str, ScoreSeen]] = {photo: {} for photo in photos}
        with self._database.session() as session:
            for at in range(0, len(photos), AT_ONCE):
                for kept in session.scalars(select(Score).where(Score.photo_id.in_(photos[at : at + AT_ONCE]))):
                    if current.get(kept.model) == kept.settings:
                        found[kept.photo_id][kept.model] = ScoreSeen(kept.score, kept.error, kept.outputs)
        return {photo: {model: own[model] for model in current if model in own} for photo, own in found.items()}

    def kept_facts(self, project: str) -> list[tuple[str, Facts]]:
        """Return the name of each photo of a project, and all that was kept of it when it was measured."""
        with self._database.session() as session:
            rows = session.execute(select(Photo.name, Photo.facts).where(Photo.project_id == project))
            return [(name, facts or {}) for name, facts in rows]

    def csv(self, project: str, models: Sequence[str] | None = None) -> str:
        """Return a project as CSV, as `piqa predict` writes it: of one model `score`, of several `NAME.score`."""
        names = [model.name for model in self._services.models.chosen(None if models is None else [*models])]
        return csv_of([*lines_of(self.each(project))], names)

    def picture(self, photo: str, kind: str) -> Path:
        """Return a picture of a photo as a file, without any metadata; JPEG, but maps are PNG.

        Args:
            photo: Its name in addresses.
            kind: `preview` (1000 pixels), `thumbnail`, `full` (as many pixels as it has, upright, in sRGB), or the name
                of a map, such as `exposure`.

        Raises:
            RequestError: If there is no such photo or map, it is not measured yet, or its original is not kept.
        """
        row = self._row(photo)
        folder = self._services.storage.folder(row.project_id, row.id)
        path = folder / COPIES.get(kind, f"map_{kind}.png")
        if kind not in COPIES and kind not in [shown.name for shown in self.maps(photo)]:
            raise not_found("map")
        if kind == "full" and not path.exists():
            self._make_full(row, folder)
        if not path.exists():
            raise RequestError(404, row.error or Phrase("this photo is not measured yet; ask again soon"))
        return path

    def has_full(self, photo: str) -> bool:
        """Whether all pixels of a photo can be had: a copy of them is there, or the original is."""
        row = self._row(photo)
        if self._is_forgotten(row):
            return False
        original = self._services.storage.original(row, self._services.settings.root)
        copied = (self._services.storage.folder(row.project_id, row.id) / FULL).exists()
        return copied or (original is not None and original.is_file())

    def maps(self, photo: str) -> list[MapPicture]:
        """Return the maps of a photo; their `picture` is an address of this server."""
        row = self._row(photo)
        path = self._services.storage.folder(row.project_id, row.id) / PICTURES
        return maps_in(path, lambda name: f"/api/photos/{photo}/maps/{name}")

    def portraits(self, project: str, ahead: int = 1, as_data: bool = False) -> Portraits:
        """Return the photos of a project as images of a report: each with its place among the others, by name.

        `id_of(portraits, position)` is the photo's name in addresses. Photos that wait are left out. The places are
        kept in memory, and what was measured of a photo is read when it is asked for.

        Args:
            project: The project.
            ahead: How many photos are read at once, from the one that is asked for.
            as_data: Whether pictures are data, for a document that is on its own, and not addresses.
        """
        known = self._portraits(project, self._version(project))
        return known.with_parts(cast(Parts, cast(_Measured, known.parts).reading(ahead, as_data)))

    def facts(self, photos: Mapping[str, str]) -> dict[str, ReportFacts]:
        """Return what was measured of photos, or why nothing was, by name; of those that are still there.

        Args:
            photos: Names, by the names in addresses.
        """
        found, wanted = {}, [*photos]
        with self._database.session() as session:
            for at in range(0, len(wanted), AT_ONCE):
                some = select(Photo.id, Photo.facts, Photo.error).where(Photo.id.in_(wanted[at : at + AT_ONCE]))
                for photo, facts, error in session.execute(some):
                    kept = report_facts(facts) if facts and error is None else ReportFacts([0, 0], error)
                    found[photos[photo]] = kept
        return found

    def _version(self, project: str) -> str:
        """Return what changes when a photo is added, deleted or measured."""
        with self._database.session() as session:
            by = (Photo.state, Photo.measured_with)
            rows = select(*by, func.count(), func.max(Photo.added)).where(Photo.project_id == project)
            return str(session.execute(rows.group_by(*by).order_by(*by)).all())

    def _read_portraits(self, project: str, _: str) -> Portraits:
        listed = select(Photo.id, Photo.name).where(Photo.project_id == project, Photo.state != "waiting")
        with self._database.session() as session:
            photos = {name: photo for photo, name in session.execute(listed.order_by(Photo.name))}
        return Portraits([*photos], cast(Parts, _Measured(self, photos, AT_ONCE)))

    def _row(self, photo: str) -> Photo:
        with self._database.session() as session:
            found = session.get(Photo, photo)
        if found is None:
            raise not_found("photo")
        return found

    def _seen(self, rows: Sequence[Photo]) -> list[PhotoSeen]:
        scores = self.scores([row.id for row in rows])
        return [
            PhotoSeen(
                row.id,
                row.project_id,
                row.name,
                row.state,
                row.error,
                row.size,
                report_facts(row.facts) if row.facts and row.error is None else None,
                scores[row.id],
            )
            for row in rows
        ]

    def _is_forgotten(self, row: Photo) -> bool:
        """Whether the original of a photo is forgotten, or will be as soon as it is scored."""
        return self._services.settings.keep == "none" and row.source is None

    def _make_full(self, row: Photo, folder: Path) -> None:
        file = self._services.storage.original(row, self._services.settings.root)
        if file is None or self._is_forgotten(row):
            raise RequestError(404, Phrase("the original of this photo is not kept; its preview is"))
        folder.mkdir(parents=True, exist_ok=True)
        task = Task(str(file), row.name, str(folder), full=True)
        with told_when_full():
            done = self._services.measuring.submit(task, urgent=True)
            error = done.result(self._services.settings.limits.request_seconds)["error"]
        if error is not None:
            raise RequestError(404, error)


class _Measured:
    """What `Portraits` asks of the parts of a report, of photos in the database.

    What was measured of all photos of a large project takes gigabytes: no more is held than was read at once.

    Args:
        photos: Of all projects.
        ids: Names in addresses, by name.
        ahead, as_data: As of `Photos.portraits`.
    """

    def __init__(self, photos: Photos, ids: Mapping[str, str], ahead: int, as_data: bool = False) -> None:
        self._photos, self._ids, self._ahead, self._as_data = photos, ids, ahead, as_data
        self._names, self._places = [*ids], {name: place for place, name in enumerate(ids)}
        self._held: dict[str, ReportFacts] = {}

    def reading(self, ahead: int, as_data: bool) -> _Measured:
        """Return the same for another reader, who holds nothing yet."""
        same = copy(self)
        same._ahead, same._as_data, same._held = ahead, as_data, {}
        return same

    def id_of(self, name: str) -> str:
        return self._ids[name]

    def facts(self, name: str) -> ReportFacts:
        if name not in self._held:
            place = self._places[name]
            names = self._names[place : place + self._ahead]
            self._held = dict.fromkeys(names, _GONE) | self._photos.facts({self._ids[one]: one for one in names})
        return self._held[name]

    def thumbnail(self, name: str) -> str:
        photo = self._ids[name]
        return self._data(photo, "thumbnail", "jpeg") if self._as_data else f"/api/photos/{photo}/thumbnail"

    def pictures(self, name: str) -> Pictures:
        photo = self._ids[name]
        if self._as_data:
            maps = [replace(one, picture=self._data(photo, one.name, "png")) for one in self._photos.maps(photo)]
            return Pictures(self._data(photo, "preview", "jpeg"), self.thumbnail(name), maps)
        return Pictures(f"/api/photos/{photo}/preview", self.thumbnail(name), self._photos.maps(photo))

    def _data(self, photo: str, kind: str, encoding: str) -> str:
        content = self._photos.picture(photo, kind).read_bytes()
        return f"data:image/{encoding};base64,{base64.b64encode(content).decode()}"


def maps_in(path: Path, picture: Callable[[str], str]) -> list[MapPicture]:
    """Return the maps that a list of pictures names; `picture` gives address or data of each by its name."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))["maps"]
    except (OSError, ValueError, KeyError):
        return []
    return [
        MapPicture(
            one["name"],
            one["title"],
            [(str(text), str(colour)) for text, colour in one["legend"]],
            picture(one["name"]),
            unpacked(one["limits"]),
        )
        for one in kept
    ]


def id_of(portraits: Portraits, position: int) -> str:
    """Return the name in addresses of a photo among those that `Photos.portraits` returned."""
    measured = cast(_Measured, portraits.parts)
    return measured.id_of(portraits.files[position])


def is_there(portraits: Portraits, position: int) -> bool:
    """Whether a photo among those that `Photos.portraits` returned has not been deleted meanwhile."""
    return portraits.parts.facts(portraits.files[position]) is not _GONE


def report_facts(kept: Facts) -> ReportFacts:
    """Return facts as they were kept, without what is not for a report; another version may have had other factors."""
    found = ReportFacts(**{name: value for name, value in kept.items() if name in REPORT_FIELDS})
    return replace(found, readings={name: found.readings.get(name, [None, _NOT_YET]) for name in FACTORS})
