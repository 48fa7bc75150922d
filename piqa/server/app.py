"""The ASGI application: what a request meets before its route, and all routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request

import piqa
from piqa.server.database import Database
from piqa.server.settings import ServerSettings


class Services:
    """What routes work with.

    Attributes:
        settings: Of the server.
        database: Its database.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        settings.data.mkdir(parents=True, exist_ok=True)
        self.database = Database(settings.database_url)

    def start(self) -> None:
        """Start what works in the background."""

    def close(self) -> None:
        """End what works in the background, and close the database."""
        self.database.close()


def services_of(request: Request) -> Services:
    """Return the services of the application that answers a request; for `Depends`."""
    services: Services = request.app.state.services
    return services


def create_app(settings: ServerSettings) -> FastAPI:
    """Return the application, with its database opened and migrated.

    Raises:
        InputError: If the database cannot be used.
    """
    services = Services(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        services.start()
        try:
            yield
        finally:
            services.close()

    # Their pages of documentation fetch scripts from elsewhere.
    app = FastAPI(title="piqa", version=piqa.__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.services = services
    return app
