"""What routes and jobs work with."""

from __future__ import annotations

from contextlib import ExitStack, suppress

from fastapi import Request
from sqlalchemy.exc import SQLAlchemyError

from piqa.server.database import Database
from piqa.server.devices import COMPARE, DevicesJob
from piqa.server.jobs import Handler, Jobs, Running
from piqa.server.measured import MeasuringPool
from piqa.server.models import Models
from piqa.server.once import Once
from piqa.server.pdf_job import PRINT, PrintJob
from piqa.server.photo_job import SCORE, PhotoJob
from piqa.server.photos import Photos
from piqa.server.picks import MOMENTS, MomentsJob
from piqa.server.projects import Projects
from piqa.server.records import Facts, Photo, Project
from piqa.server.settings import ServerSettings
from piqa.server.storage import Storage
from piqa.system.files import make_folder
from piqa.system.ownership import locked


class Services:
    """What routes and jobs work with; other rooms' services are added by `Services.__init__`.

    Attributes:
        settings: Of the server.
        database: Its database.
        storage: Its files.
        models: Its models.
        measuring: The processes that measure photos.
        jobs: Its jobs; `jobs.register` adds a kind.
        projects: Projects, and how photos are added.
        photos: What is known of photos.
        once: Images that are scored or explained for one answer.

    Raises:
        InputError: If the folder is not a server's, another server without a database to share uses it, the database
            cannot be used, or a model cannot be loaded.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        make_folder(settings.data, mode=0o700)  # it holds photos of people, and raters' links
        self._held = ExitStack()
        if settings.database is None:
            self._held.enter_context(locked(settings.data, folder=True))
        with ExitStack() as undo:
            undo.callback(self._held.close)
            self.storage = Storage(settings.data, settings.limits.free_bytes)
            self.database = Database(settings.database_url)
            self.storage.settle(self._is_kept)
            self.models = Models(settings)
            undo.pop_all()
        self.measuring = MeasuringPool(settings.scoring.workers or None, settings.limits.waiting_images)
        self.jobs = Jobs(self.database)
        self.projects, self.photos, self.once = Projects(self), Photos(self), Once(self)
        kinds: dict[str, Handler] = {
            SCORE: PhotoJob(self),
            MOMENTS: MomentsJob(self),
            PRINT: PrintJob(self),
            COMPARE: DevicesJob(self),
        }
        for kind, handler in kinds.items():
            self.jobs.register(kind, self._tidied(handler))

    def _tidied(self, handler: Handler) -> Handler:
        """Return what does a job, and leaves no file of a project that was deleted meanwhile."""

        def handle(job: Running) -> Facts:
            try:
                return handler(job)
            finally:
                with suppress(SQLAlchemyError):
                    if job.project is not None and not self._is_kept(job.project, None):
                        self.storage.remove(job.project)

        return handle

    def _is_kept(self, project: str, photo: str | None) -> bool:
        with self.database.session() as session:
            return (session.get(Project, project) if photo is None else session.get(Photo, photo)) is not None

    def start(self) -> None:
        """Start what works in the background."""
        self.models.start()
        self.measuring.start()
        self.jobs.start()

    def close(self) -> None:
        """End what works in the background, and close the database."""
        self.jobs.close()
        self.models.close()
        self.measuring.close()
        self.database.close()
        self._held.close()


def services_of(request: Request) -> Services:
    """Return the services of the application that answers a request; for `Depends`."""
    services: Services = request.app.state.services
    return services
