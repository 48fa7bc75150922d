"""The job that measures and scores photos; each result is kept as soon as it is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, CancelledError, Future, wait
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm.exc import StaleDataError

from piqa.errors import InputError
from piqa.scoring.rows import COLUMNS, Row
from piqa.server.disk import is_full
from piqa.server.jobs import JobStoppedError, Running
from piqa.server.measured import ERROR, Task, measured_with
from piqa.server.records import Facts, Photo, Score
from piqa.system.phrases import Phrase

if TYPE_CHECKING:
    from piqa.server.app import Services

SCORE = "score"  # kind of the job
WAITING, MEASURED, FAILED = "waiting", "measured", "failed"
FORGOTTEN = Phrase("its original was not kept")
AHEAD = 8  # photos that are begun before the first of them is done, a worker and a model
TRIES = 5  # to write down what is done
PAUSE = 0.5  # seconds after which it is looked whether the job is to end


@dataclass
class _Work:
    """What is to be done for a photo: futures by the name of the model, `""` for what is measured."""

    photo: Photo
    futures: dict[str, Future[Any]] = field(default_factory=dict)


class PhotoJob:
    """Measures and scores the photos of a job.

    Args:
        services: Of the server.
    """

    def __init__(self, services: Services) -> None:
        self._services, self._database = services, services.database

    def __call__(self, job: Running) -> Facts:
        """Do what is left of a job; return how many photos could not be measured or scored."""
        photos: list[str] = list(job.arguments["photos"])
        left = self._left(photos)
        done = len(photos) - len(left)
        job.tell(done, len(photos))
        self._forget_done(photos, left)
        remaining = self._begun(left)
        most = AHEAD * (self._services.measuring.workers + len(self._services.models))
        working = list(islice(remaining, most))
        try:
            while working:
                pending = [future for work in working for future in work.futures.values()]
                wait(pending, timeout=PAUSE, return_when=FIRST_COMPLETED)
                self._keep(working)
                finished = [work for work in working if not work.futures]
                working = [work for work in working if work.futures]
                for work in finished:
                    self._forget(work.photo)
                done += len(finished)
                job.check()
                if finished:
                    job.tell(done)
                working += islice(remaining, most - len(working))
        except BaseException:
            for work in working:
                for future in work.futures.values():
                    future.cancel()
            raise
        return {"failed": self._failed(photos)}

    def _left(self, photos: Sequence[str]) -> list[str]:
        """Return the photos that are not measured or scored by each model, both as this is done today."""
        current = self._services.models.current
        left = []
        with self._database.session() as session:
            for at in range(0, len(photos), 500):
                some = photos[at : at + 500]
                states = session.execute(select(Photo.id, Photo.state, Photo.measured_with).where(Photo.id.in_(some)))
                current_values = {photo: state != WAITING and made == measured_with() for photo, state, made in states}
                rows = session.execute(
                    select(Score.photo_id, Score.model, Score.settings).where(Score.photo_id.in_(some))
                )
                kept = {(photo, model) for photo, model, settings in rows if current.get(model) == settings}
                left += [
                    photo
                    for photo in some
                    if photo in current_values
                    and (not current_values[photo] or any((photo, model) not in kept for model in current))
                ]
        return left

    def _begun(self, photos: Sequence[str]) -> Iterator[_Work]:
        """Begin with photos, one when it is asked for."""
        services = self._services
        for name in photos:
            with self._database.session() as session:
                photo = session.get(Photo, name)
                kept = session.execute(select(Score.model, Score.settings).where(Score.photo_id == name)).all()
            if photo is None:  # it was deleted
                continue
            scored = {model for model, settings in kept if services.models.current.get(model) == settings}
            work = _Work(photo)
            file = services.storage.original(photo, services.settings.root)
            outdated = photo.measured_with != measured_with() and file is not None  # else old values are all there is
            if photo.state == WAITING or outdated:
                folder = services.storage.folder(photo.project_id, photo.id)
                folder.mkdir(parents=True, exist_ok=True)
                task = Task(str(file), photo.name, str(folder))
                work.futures[""] = _failed_future() if file is None else services.measuring.submit(task)
            for model in services.models:
                if model.name not in scored:
                    work.futures[model.name] = _failed_future() if file is None else model.queue.submit_later(str(file))
            yield work

    def _keep(self, working: Sequence[_Work]) -> None:
        """Write down what is done."""
        ready = [(work, name, work.futures.pop(name)) for work in working for name in _done(work)]
        if not ready:
            return
        for tries_left in reversed(range(TRIES)):
            try:
                self._keep_ready(ready)
                return
            except (StaleDataError, IntegrityError):  # a photo was deleted between being looked up and written
                if not tries_left:
                    raise

    def _keep_ready(self, ready: Sequence[tuple[_Work, str, Future[Any]]]) -> None:
        with self._database.session() as session:
            for work, name, future in ready:
                photo = session.get(Photo, work.photo.id)
                if photo is None:
                    self._services.storage.remove(work.photo.project_id, work.photo.id)
                    continue
                if name == "":
                    photo.facts, photo.error = _result(future, {})
                    photo.error = photo.error or photo.facts.get(ERROR)
                    photo.state, photo.measured_with = FAILED if photo.error else MEASURED, measured_with()
                else:
                    session.merge(self._score(work.photo, name, *_result(future, {})))

    def _score(self, photo: Photo, model: str, row: Row, error: str | None) -> Score:
        """Return what is kept of a row, or of why there is none."""
        services = self._services
        said: dict[str, Any] = {"score": None, "error": error, "outputs": {}}
        if error is None:
            said = score_of(row, services.storage.original(photo, services.settings.root), photo.name)
        return Score(photo_id=photo.id, model=model, settings=services.models.current[model], **said)

    def _forget(self, photo: Photo) -> None:
        if self._services.settings.keep == "none" and photo.source is None:
            self._services.storage.forget(photo.project_id, photo.id)

    def _forget_done(self, photos: Sequence[str], left: Sequence[str]) -> None:
        """Forget the originals of what is done, which a server that was killed may have left."""
        done = [*{*photos} - {*left}]
        for at in range(0, len(done) if self._services.settings.keep == "none" else 0, 500):
            with self._database.session() as session:
                rows = session.scalars(select(Photo).where(Photo.id.in_(done[at : at + 500]))).all()
            for photo in rows:
                self._forget(photo)

    def _failed(self, photos: Sequence[str]) -> int:
        count = 0
        with self._database.session() as session:
            for at in range(0, len(photos), 500):
                failed = select(Photo.id).where(Photo.id.in_(photos[at : at + 500]), Photo.error.is_not(None))
                count += len(session.scalars(failed).all())
        return count


def score_of(row: Row, file: Path | None, name: str) -> dict[str, Any]:
    """Return score, error and other outputs of a row, in which the file is called by its name."""
    error = None if row["error"] is None else str(row["error"]).replace(str(file), name)
    outputs = {key: value for key, value in row.items() if key not in ("file", "error", "score")}
    known = {key: value for key, value in outputs.items() if key not in COLUMNS or value is not None}
    score = row["score"]
    return {"score": None if score is None else float(score), "error": error, "outputs": known}


def _done(work: _Work) -> list[str]:
    return [name for name, future in work.futures.items() if future.done()]


def _result(future: Future[Any], nothing: Any) -> tuple[Any, str | None]:
    """Return the result, or nothing and why; JobStoppedError where the server ends, or the disk is full."""
    try:
        return future.result(), None
    except CancelledError as error:
        raise JobStoppedError from error
    except InputError as error:
        if is_full(error):
            raise
        return nothing, str(error)
    except Exception as error:
        return nothing, f"{type(error).__name__}: {error}"


def _failed_future() -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(InputError(FORGOTTEN))
    return future
