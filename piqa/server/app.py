"""The ASGI application: what a request meets before its route, all routes, and how faults are told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import piqa
from piqa.errors import InputError
from piqa.server import (
    board_routes,
    devices_routes,
    front_routes,
    judge_routes,
    once_routes,
    photo_routes,
    project_routes,
    rate_routes,
    two_routes,
)
from piqa.server.guard import HEADERS, POLICY, Guard
from piqa.server.pages import language_of, page, translator
from piqa.server.refusals import FULL, RequestError, is_no_room, line_of
from piqa.server.services import Services, services_of
from piqa.server.settings import ServerSettings
from piqa.system.phrases import Phrase

__all__ = ["Services", "create_app", "services_of"]
PAGES = (photo_routes, two_routes, devices_routes, judge_routes, rate_routes, board_routes)
ROUTERS = [one.router for one in (front_routes, project_routes, once_routes, *PAGES)]


def create_app(settings: ServerSettings) -> FastAPI:
    """Return the application, with its database opened and migrated, and its models loaded.

    Raises:
        InputError: As of `Services`.
    """
    services = Services(settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        services.start()
        try:
            yield
        finally:
            await run_in_threadpool(services.close)

    # Their pages of documentation fetch scripts from elsewhere.
    app = FastAPI(
        title="piqa",
        version=piqa.__version__,
        description="Scores and explains portraits.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        lifespan=lifespan,
    )
    app.state.services = services
    for router in ROUTERS:
        app.include_router(router)
    _tell_faults(app)
    app.add_middleware(Guard, settings=settings)
    return app


def _tell_faults(app: FastAPI) -> None:
    """Answer every fault with its status and one line."""

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, InputError)
        if is_no_room(error):
            return await answer(request, 507, FULL)
        if isinstance(error, RequestError):
            return await answer(request, error.status, line_of(error), error.headers)
        return await answer(request, 400, line_of(error))

    async def of_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        words = {404: Phrase("there is nothing here"), 405: Phrase("this cannot be done here")}
        return await answer(request, error.status_code, words.get(error.status_code, error.detail), error.headers)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:])
        return await answer(request, 422, " ".join(f"{place}: {first['msg']}".split()))

    async def of_database(request: Request, error: Exception) -> Response:
        if is_no_room(error):
            return await answer(request, 507, FULL)
        if isinstance(error, IntegrityError):
            return await answer(request, 409, Phrase("this changed meanwhile; look again"))
        return await answer(request, 503, Phrase("the database does not answer; try again"), {"Retry-After": "5"})

    async def of_machine(request: Request, error: Exception) -> Response:
        if is_no_room(error):
            return await answer(request, 507, FULL)
        line = Phrase("the server could not do this; its operator finds the reason in its log")
        return await answer(request, 500, line, {"Connection": "close"})  # uvicorn closes it after such a fault

    async def gone(request: Request, error: Exception) -> Response:
        return await answer(request, 400, Phrase("the client is gone"))

    app.add_exception_handler(InputError, refused)
    app.add_exception_handler(HTTPException, of_http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(SQLAlchemyError, of_database)
    app.add_exception_handler(OSError, of_machine)
    app.add_exception_handler(ClientDisconnect, gone)
    app.add_exception_handler(Exception, of_machine)


async def answer(request: Request, status: int, line: str, headers: object = None) -> Response:
    """Return a line as JSON, or as a page where a browser asks for one; in the reader's language where it has it."""
    more = dict(headers) if isinstance(headers, dict) else {}
    more |= HEADERS  # the answer to what nobody expected does not pass the guard
    if not request.url.path.startswith("/api") and "text/html" in request.headers.get("accept", ""):
        told = await run_in_threadpool(page, request, "error.html", status=status, line=line)
        told.headers.update(more)
        return told
    return JSONResponse(
        {"error": translator(language_of(request)).say(line)}, status, more | {"Content-Security-Policy": POLICY}
    )
