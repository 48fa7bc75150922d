"""Projects, and the photos that are added to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from piqa.errors import InputError
from piqa.server.names import below_root, display_name, numbered
from piqa.server.photo_job import SCORE
from piqa.server.records import Photo, Project, new_id
from piqa.server.refusals import RequestError, line_of, not_found, told_when_full
from piqa.server.uploads import Upload
from piqa.system.files import digest_of
from piqa.system.phrases import Phrase

if TYPE_CHECKING:
    from piqa.server.app import Services

AT_ONCE = 512  # names that one statement looks up at most; databases bound their number


@dataclass(frozen=True)
class Refused:
    """An image that was not taken: what it is called, and why."""

    name: str
    error: str


@dataclass
class Added:
    """What became of images that were to be added.

    Attributes:
        photos: Those that are in the project now; one that was there before is not added twice.
        refused: Those that were not taken.
        job: What measures and scores the new ones; None where there is none.
    """

    photos: list[Photo] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    job: str | None = None


class Projects:
    """All projects of a server.

    Args:
        services: Of the server.
    """

    def __init__(self, services: Services) -> None:
        self._services, self._database = services, services.database

    def create(self, name: str) -> Project:
        """Make a project, which holds no photo yet.

        Raises:
            RequestError: If there are too many, or the name is empty.
            InputError: If the name is too long.
        """
        shown = display_name(name) if name.strip() else ""
        if not shown:
            raise RequestError(400, Phrase("a project needs a name"))
        with told_when_full(), self._database.session() as session:
            if (
                session.scalar(select(func.count()).select_from(Project)) or 0
            ) >= self._services.settings.limits.projects:
                raise RequestError(409, Phrase("there are as many projects as this server keeps; delete one"))
            project = Project(id=new_id(), name=shown)
            session.add(project)
        return project

    def all(self) -> list[tuple[Project, int]]:
        """Return all projects, the newest first, each with the number of its photos."""
        with self._database.session() as session:
            counts = select(Photo.project_id, func.count().label("photos")).group_by(Photo.project_id).subquery()
            rows = select(Project, counts.c.photos).outerjoin(counts, counts.c.project_id == Project.id)
            found = session.execute(rows.order_by(Project.created.desc(), Project.id)).all()
        return [(project, count or 0) for project, count in found]

    def get(self, project: str) -> Project:
        """Return a project; RequestError if there is none of this name."""
        with self._database.session() as session:
            found = session.get(Project, project)
        if found is None:
            raise not_found("project")
        return found

    def delete(self, project: str) -> None:
        """Delete a project whole, with its photos, scores, jobs and files; its jobs stop."""
        self.get(project)
        with self._services.storage.unsettled() as note:
            note(project, None)
            with self._database.session() as session:
                session.execute(delete(Project).where(Project.id == project))
            self._services.storage.remove(project)

    def delete_photo(self, photo: str) -> None:
        """Delete a photo with its scores and files; RequestError if there is none of this name."""
        with self._services.storage.unsettled() as note:
            with self._database.session() as session:
                found = session.get(Photo, photo)
                if found is None:
                    raise not_found("photo")
                note(found.project_id, found.id)
                session.execute(delete(Photo).where(Photo.id == photo))
            self._services.storage.remove(found.project_id, found.id)

    def add(self, project: str, uploads: Sequence[Upload], refused: Sequence[Refused] = ()) -> Added:
        """Add images that were uploaded, and begin to measure and to score them.

        Raises:
            RequestError: If there is no such project, it has too many photos, or the disk is full: then nothing is
                added.
        """
        self.get(project)
        added, made = Added(refused=[*refused]), []
        with told_when_full(), self._services.storage.unsettled() as note:
            try:
                with self._database.session() as session:
                    adding = self._adding(session, project)
                    for upload in uploads:
                        photo = adding.photo(upload.name, upload.digest, upload.size, None)
                        added.photos.append(photo)
                        if photo in session.new:
                            note(project, photo.id)
                            self._services.storage.adopt(upload.path, project, photo.id)
                            made.append(photo.id)
                            session.flush()
                    added.job = self._begin(session, project, made)
            except BaseException:
                for name in made:
                    self._services.storage.remove(project, name)
                raise
        self._services.jobs.wake()
        return added

    def add_named(self, project: str, names: Sequence[str]) -> Added:
        """Add images below the server's root by their paths from there, likewise; they stay where they are."""
        self.get(project)
        added, found, root = Added(), [], self._services.settings.root
        for name in names:  # they are read before anything is written, as others could not write meanwhile
            try:
                path = below_root(root, name)
                assert root is not None
                source = _as_text(path.relative_to(root.resolve()))
                size, digest = _looked_at(path, name, self._services.settings.limits.image_bytes)
            except InputError as error:
                added.refused.append(Refused(display_name(name[:250]), line_of(error)))
                continue
            found.append((display_name(name), digest, size, source))
        made: list[str] = []
        with told_when_full(), self._database.session() as session:
            adding = self._adding(session, project)
            for one in found:
                photo = adding.photo(*one)
                added.photos.append(photo)
                if photo in session.new:
                    made.append(photo.id)
                    session.flush()
            added.job = self._begin(session, project, made)
        self._services.jobs.wake()
        return added

    def score_again(self, project: str) -> str | None:
        """Begin to score what the models of today have not, and to measure anew what another version has measured.

        Returns:
            The job; None where there is no photo.
        """
        self.get(project)
        with self._database.session() as session:
            photos = list(session.scalars(select(Photo.id).where(Photo.project_id == project).order_by(Photo.added)))
        with self._database.session() as session:
            job = self._begin(session, project, photos)
        self._services.jobs.wake()
        return job

    def _begin(self, session: Session, project: str, photos: list[str]) -> str | None:
        """Add the job of photos to the session that adds these: a server that is killed keeps both, or neither."""
        if not photos:
            return None
        return self._services.jobs.add_to(session, SCORE, {"photos": photos}, project, len(photos))

    def _adding(self, session: Session, project: str) -> _Adding:
        return _Adding(session, project, self._services.settings.limits.project_photos)


class _Adding:
    """Adds photos to a project in one transaction, at a cost that does not depend on how many are there.

    Args:
        session: Of the database.
        project: The project.
        most: Photos that it may hold.
    """

    def __init__(self, session: Session, project: str, most: int) -> None:
        self._session, self._project, self._most = session, project, most
        self._count = session.scalar(select(func.count()).select_from(Photo).where(Photo.project_id == project)) or 0
        self._numbers: dict[str, int] = {}  # the next number to be tried of names that are taken

    def photo(self, name: str, digest: str, size: int, source: str | None) -> Photo:
        """Return the photo of this name and content, which is there already or is added to the session.

        Raises:
            RequestError: If the project is full.
        """
        # One by one, as another request may have added its name since the one before.
        of_name = select(Photo).where(Photo.project_id == self._project, Photo.name == name)
        known = self._session.scalars(of_name).first()
        if known is not None and known.digest == digest:
            return known
        if self._count >= self._most:
            full = Phrase("a project holds at most {most} photos; begin another one", most=self._most)
            raise RequestError(409, full)
        free = name if known is None else self._free(name)
        photo = Photo(
            id=new_id(), project_id=self._project, name=free, digest=digest, size=size, source=source, facts={}
        )
        self._session.add(photo)
        self._count += 1
        return photo

    def _free(self, name: str) -> str:
        """Return a name that is taken with the first number that is not."""
        start, some = self._numbers.get(name, 2), 8
        while True:
            tried = [numbered(name, number) for number in range(start, start + some)]
            named = select(Photo.name).where(Photo.project_id == self._project, Photo.name.in_(tried))
            taken = set(self._session.scalars(named))
            for number, free in enumerate(tried, start):
                if free not in taken:
                    self._numbers[name] = number + 1
                    return free
            start, some = start + some, min(2 * some, AT_ONCE)


def _as_text(path: Path) -> str:
    """Return a path as databases keep it."""
    text = path.as_posix()
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            Phrase("the name of {name} is no UTF-8; rename it, or upload the file", name=display_name(text))
        ) from error
    return text


def _looked_at(path: Path, name: str, most: int) -> tuple[int, str]:
    """Return size and digest of a file below the root."""
    shown = display_name(name)
    if not path.is_file():
        raise InputError(Phrase("{name} is no file below the server's `--root`", name=shown))
    try:
        size = path.stat().st_size
        if size > most:
            raise InputError(
                Phrase("{name} has {size} bytes; {most} at most are taken", name=shown, size=size, most=most)
            )
        return size, digest_of(path)
    except OSError as error:
        raise InputError(Phrase("{name} cannot be read: {error}", name=shown, error=error.strerror)) from error
