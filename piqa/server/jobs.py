"""Work that takes longer than a request: kept in the database, so that a server which is killed loses none of it.

A server claims a job, and says every few seconds that it is still at it. Where it does not say so any more, another
server, or itself after it was started again, takes the job over. So a job must be able to go on from what is done.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.engine import CursorResult
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session, defer

from piqa.errors import InputError
from piqa.server.database import Database
from piqa.server.records import Facts, Job, new_id, now
from piqa.server.refusals import is_no_room, not_found
from piqa.server.storage import process_is_gone
from piqa.system.files import HERE
from piqa.system.phrases import Phrase

WAITING, RUNNING, DONE, FAILED, STOPPED = "waiting", "running", "done", "failed", "stopped"
DISK = Phrase("the server's disk is full")
TRIES = 6  # of a job that the database refuses each time: after a minute and a half it has failed
FORGIVEN = 600.0  # seconds after which a try in vain does not count any more
REFUSED = Phrase("the database takes neither the result of this job nor why it failed")
LONGEST = 300  # characters of a reason
AWAY = (OperationalError, InterfaceError)  # what a database says that does not answer for a moment
ENDED = (DONE, FAILED, STOPPED)


class JobStoppedError(Exception):
    """A job is to end: it was stopped, another server has taken it over, or this server ends."""


@dataclass(frozen=True)
class Running:
    """A job that runs here.

    Attributes:
        id: Its name.
        kind: What is done.
        project: The project that it belongs to, if any.
        arguments: What it was asked for.
    """

    id: str
    kind: str
    project: str | None
    arguments: Mapping[str, Any]
    _jobs: Jobs

    def tell(self, done: int, total: int | None = None) -> None:
        """Keep how much is done.

        Raises:
            JobStoppedError: If the job is to end.
        """
        values: dict[str, object] = {"done": done, "seen": now()} | ({} if total is None else {"total": total})
        if not self._jobs.update_own(self.id, values):
            raise JobStoppedError

    def check(self) -> None:
        """Raise JobStoppedError if the job is to end."""
        if self._jobs.is_to_end(self.id):
            raise JobStoppedError


Handler = Callable[[Running], Facts]


class Jobs:
    """The jobs of a server, and the threads that run them.

    Args:
        database: Where they are kept.
        threads: Jobs that run at once.
        heartbeat: Seconds between two signs of life.
        patience: Seconds without one after which a job is taken over.
    """

    def __init__(self, database: Database, threads: int = 2, heartbeat: float = 3.0, patience: float = 20.0) -> None:
        self._database, self._heartbeat, self._patience = database, heartbeat, patience
        self.owner = f"{HERE}.{os.getpid()}.{new_id()}"
        self._handlers: dict[str, Handler] = {}
        self._wake, self._end = threading.Event(), threading.Event()
        self._active: set[str] = set()  # jobs that run here
        self._to_end: set[str] = set()  # those of them that are to end
        self._seen: dict[str, tuple[datetime | None, float]] = {}  # of jobs elsewhere: the last sign, and since when
        self._refused: dict[str, tuple[int, float]] = {}  # jobs' tries in vain, and until when each rests
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, name=f"jobs-{at}") for at in range(threads)]
        self._threads.append(threading.Thread(target=self._live, name="jobs-life"))

    def register(self, kind: str, handler: Handler) -> None:
        """Say what does the jobs of a kind; it is given the job, and returns the result.

        The handler must go on from what is done when it is called anew, and call `tell` or `check` now and then. An
        InputError of its fails the job, with its one line.
        """
        self._handlers[kind] = handler

    def add(self, kind: str, arguments: Facts, project: str | None = None, total: int = 0) -> str:
        """Add a job; return its name."""
        with self._database.session() as session:
            job = self.add_to(session, kind, arguments, project, total)
        self.wake()
        return job

    def add_to(self, session: Session, kind: str, arguments: Facts, project: str | None = None, total: int = 0) -> str:
        """Add a job to a session, with what else it keeps; `wake` is for the caller, when that is committed."""
        if kind not in self._handlers:
            raise KeyError(kind)
        job = Job(id=new_id(), kind=kind, arguments=arguments, project_id=project, total=total)
        session.add(job)
        return job.id

    def wake(self) -> None:
        """Look for jobs at once."""
        self._wake.set()

    def get(self, job: str) -> Job:
        """Return a job; RequestError if there is none of this name."""
        with self._database.session() as session:
            found = session.get(Job, job)
        if found is None:
            raise not_found("job")
        return found

    def of_project(self, project: str) -> list[Job]:
        """Return the jobs of a project, the newest first, without their arguments, which may name all photos."""
        found = select(Job).where(Job.project_id == project).order_by(Job.created.desc())
        with self._database.session() as session:
            return list(session.scalars(found.options(defer(Job.arguments, raiseload=True))))

    def newest(self, project: str, kind: str, state: str | None = None, most: int = 1) -> list[Job]:
        """Return the newest jobs of a kind of a project, the newest first; of those in a state, if one is given."""
        of_kind = select(Job).where(Job.project_id == project, Job.kind == kind).order_by(Job.created.desc())
        with self._database.session() as session:
            return list(session.scalars((of_kind if state is None else of_kind.where(Job.state == state)).limit(most)))

    def unended(self, project: str) -> list[str]:
        """Return the names of a project's jobs that wait or run, the newest first."""
        wanted = select(Job.id).where(Job.project_id == project, Job.state.not_in(ENDED))
        with self._database.session() as session:
            return list(session.scalars(wanted.order_by(Job.created.desc())))

    def stop(self, job: str) -> Job:
        """Stop a job; what it has done is kept. One that has ended stays as it is."""
        with self._database.session() as session:
            values = {"state": STOPPED, "finished": now()}
            session.execute(update(Job).where(Job.id == job, Job.state.not_in(ENDED)).values(values))
        self._to_end.add(job)
        return self.get(job)

    def start(self) -> None:
        """Start to run jobs; those that a killed server of this machine has left are taken over at once."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End; jobs that run here wait for the next server."""
        self._end.set()
        self._wake.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        with suppress(SQLAlchemyError), self._database.session() as session:
            own = (Job.owner == self.owner, Job.state == RUNNING)
            session.execute(update(Job).where(*own).values(state=WAITING, owner=None))

    @property
    def ending(self) -> bool:
        """Whether the server ends."""
        return self._end.is_set()

    def is_to_end(self, job: str) -> bool:
        """Whether a job that runs here is to end."""
        return self.ending or job in self._to_end

    def update_own(self, job: str, values: Mapping[str, object]) -> bool:
        """Change a job that runs here; return whether it still does."""
        if self.is_to_end(job):
            return False
        with self._database.session() as session:
            mine = (Job.id == job, Job.owner == self.owner, Job.state == RUNNING)
            return _changed(session.execute(update(Job).where(*mine).values(dict(values))))

    def claim(self) -> Running | None:
        """Claim the oldest job that waits, or whose server is gone; None where there is none."""
        with self._lock:  # of this server's threads: what one has claimed, the next one knows
            running = self._claimed()
            if running is not None:
                self._active.add(running.id)
        return running

    def _claimed(self) -> Running | None:
        with self._database.session() as session:
            resting = {job for job, (_, until) in self._refused.copy().items() if until > time.monotonic()}
            gone = [
                job
                for job, (owner, seen) in self._running(session).items()
                if job not in resting and (owner == self.owner or self._is_gone(job, owner, seen))
            ]
            free = select(Job).where(Job.kind.in_(self._handlers), or_(Job.state == WAITING, Job.id.in_(gone)))
            job = session.scalars(free.order_by(Job.created).limit(1).with_for_update(skip_locked=True)).first()
            if job is None:
                return None
            before = (Job.id == job.id, Job.state == job.state, _same(Job.owner, job.owner), _same(Job.seen, job.seen))
            claim = update(Job).where(*before).values(state=RUNNING, owner=self.owner, seen=now())
            if not _changed(session.execute(claim.execution_options(synchronize_session=False))):
                return None  # another server was faster, where the database cannot lock rows
            self._to_end.discard(job.id)
            return Running(job.id, job.kind, job.project_id, dict(job.arguments), self)

    def _running(self, session: Any) -> dict[str, tuple[str | None, datetime | None]]:
        """Return owner and last sign of life of each job that runs, but for those that run here."""
        rows = session.execute(select(Job.id, Job.owner, Job.seen).where(Job.state == RUNNING))
        found = {job: (owner, seen) for job, owner, seen in rows if job not in self._active}
        self._seen = {job: sign for job, sign in self._seen.items() if job in found}
        return found

    def _is_gone(self, job: str, owner: str | None, seen: datetime | None) -> bool:
        """Whether a job's server is gone, by its process on this machine, or as it gives no sign of life.

        Not the time in the database counts, as clocks of two machines differ, but for how long it has not changed.
        """
        here = re.match(rf"{HERE}\.(\d+)\.", owner or "")
        if here is not None and process_is_gone(int(here[1])):
            return True
        before, since = self._seen.get(job, (None, 0.0))
        if job not in self._seen or before != seen:
            self._seen[job] = (seen, time.monotonic())
            return False
        return time.monotonic() - since > self._patience

    def _work(self) -> None:
        while not self.ending:
            try:
                running = self.claim()
            except SQLAlchemyError:  # the database is away for a moment
                running = None
            if running is None:
                self._wake.wait(self._heartbeat)
                self._wake.clear()
                continue
            self._run(running)

    def _run(self, running: Running) -> None:
        """Run a job, and keep how it ended; one that ends as the database is away, or refuses it, is claimed anew."""
        try:
            result = self._handlers[running.kind](running)
            self._finish(running, {"state": DONE, "result": result})
        except (JobStoppedError, DBAPIError) as error:
            if isinstance(error, JobStoppedError):
                self._refused.pop(running.id, None)
            elif is_no_room(error):
                self._finish(running, {"state": FAILED, "error": DISK})
            else:
                self._rest(running, error)
        except Exception as error:
            if not self.ending:
                line = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
                line = DISK if is_no_room(error) else " ".join(line.split())
                self._finish(running, {"state": FAILED, "error": line})
        finally:
            self._active.discard(running.id)

    def _rest(self, running: Running, error: DBAPIError) -> None:
        """Let a job that the database refused rest before it is claimed anew, longer each time; at last it has failed.

        Where the database is away, no job can be claimed, so that its absence counts as one try, however long it is.
        """
        tries, until = self._refused.get(running.id, (0, 0.0))
        tries = 1 if time.monotonic() - until > FORGIVEN else tries + 1
        self._refused[running.id] = (tries, time.monotonic() + self._heartbeat * 2 ** (tries - 1))
        if tries >= TRIES:
            reason = " ".join(str(error.orig).split())[:LONGEST]
            self._finish(running, {"state": FAILED, "error": f"the database refused this {tries} times: {reason}"})

    def _finish(self, running: Running, values: dict[str, object]) -> None:
        """Keep how a job ended, as soon as the database can be written.

        Raises:
            DBAPIError: If the database is there, and refuses a result.
        """
        while not self.ending:
            try:
                self.update_own(running.id, {**values, "finished": now()})
            except AWAY:
                self._end.wait(self._heartbeat)
            except DBAPIError:
                if values["state"] == DONE:
                    raise
                if values["error"] == REFUSED:
                    return
                values = {**values, "error": REFUSED}
            else:
                self._refused.pop(running.id, None)
                return

    def _live(self) -> None:
        """Say now and then that this server lives, and hear which of its jobs are to end."""
        while not self._end.wait(self._heartbeat):
            with suppress(SQLAlchemyError), self._database.session() as session:
                own = select(Job.id).where(Job.owner == self.owner, Job.state == STOPPED)
                self._to_end |= set(session.scalars(own))
                mine = (Job.id.in_([*self._active]), Job.owner == self.owner, Job.state == RUNNING)
                session.execute(update(Job).where(*mine).values(seen=now()))


def _same(column: Any, value: object) -> Any:
    return column.is_(None) if value is None else column == value


def _changed(result: Any) -> bool:
    """Whether a statement changed a row."""
    return isinstance(result, CursorResult) and result.rowcount == 1
