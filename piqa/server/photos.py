"""What is known of photos: entries for tables, pictures, a CSV, and the images of a report.

Pages and the REST interface both ask here, and own no logic.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

from sqlalchemy import func, select

from piqa.factors.families import FACTORS
from piqa.report.facts import Facts as ReportFacts
from piqa.report.facts import MapPicture, Pictures
from piqa.report.parts import Parts
from piqa.report.portraits import Portraits
from piqa.scoring.rows import COLUMNS
from piqa.server.measured import FULL, PICTURES, PREVIEW, THUMBNAIL, Task
from piqa.server.records import Facts, Photo, Score
from piqa.server.refusals import RequestError, not_found, told_when_full
from piqa.system.csv_cells import csv_line
from piqa.system.phrases import Phrase, unpacked

if TYPE_CHECKING:
    from piqa.server.app import Services

REPORT_FIELDS = {one.name for one in fields(ReportFacts)}
MOST_PORTRAITS = 4  # projects whose facts are kept in memory
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
            for at in range(0, len(photos), 500):
                some = select(Photo).where(Photo.id.in_(photos[at : at + 500]))
                rows |= {row.id: row for row in session.scalars(some)}
        return self._seen([rows[photo] for photo in photos if photo in rows])

    def count(self, project: str) -> int:
        """Return the number of photos of a project."""
        with self._database.session() as session:
            return session.scalar(select(func.count()).select_from(Photo).where(Photo.project_id == project)) or 0

    def all(self, project: str) -> list[PhotoSeen]:
        """Return all photos of a project by name."""
        with self._database.session() as session:
            rows = list(session.scalars(select(Photo).where(Photo.project_id == project).order_by(Photo.name)))
        return self._seen(rows)

    def kept_facts(self, project: str) -> list[tuple[str, Facts]]:
        """Return the name of each photo of a project, and all that was kept of it when it was measured."""
        with self._database.session() as session:
            rows = session.execute(select(Photo.name, Photo.facts).where(Photo.project_id == project))
            return [(name, facts or {}) for name, facts in rows]

    def csv(self, project: str, models: Sequence[str] | None = None) -> str:
        """Return a project as CSV, as `piqa predict` writes it: of one model `score`, of several `NAME.score`."""
        names = [model.name for model in self._services.models.chosen(None if models is None else [*models])]
        return csv_of([*lines_of(self.all(project))], names)

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

    def portraits(self, project: str) -> Portraits:
        """Return the photos of a project as images of a report: each with its place among the others, by name.

        `id_of(portraits, position)` is the photo's name in addresses; `parts.pictures(name)` has addresses in place of
        data. Photos that wait are left out.
        """
        return self._portraits(project, self._version(project))

    def printable(self, project: str) -> Portraits:
        """Return the same with pictures as data, for a document that is on its own."""
        photos = [photo for photo in self.all(project) if photo.state != "waiting"]
        return Portraits([photo.name for photo in photos], cast(Parts, _Measured(self, photos, as_data=True)))

    def _version(self, project: str) -> str:
        """Return what changes when a photo is added, deleted or measured."""
        with self._database.session() as session:
            rows = select(Photo.state, func.count(), func.max(Photo.added)).where(Photo.project_id == project)
            return str(session.execute(rows.group_by(Photo.state).order_by(Photo.state)).all())

    def _read_portraits(self, project: str, _: str) -> Portraits:
        photos = [photo for photo in self.all(project) if photo.state != "waiting"]
        return Portraits([photo.name for photo in photos], cast(Parts, _Measured(self, photos)))

    def _row(self, photo: str) -> Photo:
        with self._database.session() as session:
            found = session.get(Photo, photo)
        if found is None:
            raise not_found("photo")
        return found

    def _seen(self, rows: Sequence[Photo]) -> list[PhotoSeen]:
        current = self._services.models.current
        scores: dict[str, dict[str, ScoreSeen]] = {row.id: {} for row in rows}
        names = list(scores)
        with self._database.session() as session:
            for at in range(0, len(names), 500):
                for kept in session.scalars(select(Score).where(Score.photo_id.in_(names[at : at + 500]))):
                    if current.get(kept.model) == kept.settings:
                        scores[kept.photo_id][kept.model] = ScoreSeen(kept.score, kept.error, kept.outputs)
        return [
            PhotoSeen(
                row.id,
                row.project_id,
                row.name,
                row.state,
                row.error,
                row.size,
                report_facts(row.facts) if row.facts and row.error is None else None,
                {model: scores[row.id][model] for model in current if model in scores[row.id]},
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
    """What `Portraits` asks of the parts of a report, of photos in the database."""

    def __init__(self, photos: Photos, seen: Sequence[PhotoSeen], as_data: bool = False) -> None:
        self._photos, self._by_name, self._as_data = photos, {photo.name: photo for photo in seen}, as_data

    def id_of(self, name: str) -> str:
        return self._by_name[name].id

    def facts(self, name: str) -> ReportFacts:
        photo = self._by_name[name]
        return photo.facts or ReportFacts([0, 0], photo.error)

    def pictures(self, name: str) -> Pictures:
        photo = self._by_name[name].id
        address = f"/api/photos/{photo}"
        if self._as_data:
            maps = [replace(one, picture=self._data(photo, one.name, "png")) for one in self._photos.maps(photo)]
            return Pictures(self._data(photo, "preview", "jpeg"), self._data(photo, "thumbnail", "jpeg"), maps)
        return Pictures(f"{address}/preview", f"{address}/thumbnail", self._photos.maps(photo))

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


def report_facts(kept: Facts) -> ReportFacts:
    """Return facts as they were kept, without what is not for a report."""
    return ReportFacts(**{name: value for name, value in kept.items() if name in REPORT_FIELDS})


Line = tuple[str, str | None, Mapping[str, ScoreSeen], Mapping[str, float | None]]


def csv_of(lines: Sequence[Line], models: Sequence[str], factors: bool = True) -> str:
    """Return images as CSV: name, error, scores by model and factors of each; cells are safe in a spreadsheet."""
    outputs: dict[str, list[str]] = {}
    for model in models:
        seen = [line[2][model].outputs for line in lines if model in line[2]]
        more = dict.fromkeys(name for of_image in seen for name in of_image if name not in COLUMNS)
        outputs[model] = ["score", *more]
    prefix = {model: "" if len(models) == 1 else f"{model}." for model in models}
    header = ["file", *(f"{prefix[model]}{name}" for model in models for name in outputs[model])]
    header += [*FACTORS, "error"] if factors else ["error"]
    text = [csv_line(header)]
    for name, error, scores, values in lines:
        cells: list[object] = [name]
        for model in models:
            said = scores.get(model)
            cells += [
                None if said is None else {"score": said.score, **said.outputs}.get(one) for one in outputs[model]
            ]
        cells += [values.get(one) for one in FACTORS] if factors else []
        reasons = [error, *(one.error for one in scores.values())]
        cells.append(next((reason for reason in reasons if reason), None))
        text.append(csv_line(cells, spreadsheet_safe=True))
    return "".join(text)


def lines_of(photos: Sequence[PhotoSeen]) -> Iterator[Line]:
    """Yield photos as lines for `csv_of`."""
    return ((photo.name, photo.error, photo.scores, photo.factors) for photo in photos)
