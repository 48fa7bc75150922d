"""What every request meets first: whose it is, from which site, how long it may take; and the headers of answers."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from piqa.server.settings import MIB, ServerSettings
from piqa.system.phrases import Phrase

COOKIE = "piqa_session"
SAFE = {"GET", "HEAD", "OPTIONS"}
LOCAL = {"localhost", "127.0.0.1", "::1"}
# What is answered without the token. Routes below `/rate/` check the rater's own link themselves.
OPEN_PATHS = ("/login", "/language/", "/rate/")
POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; sandbox"
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # without any, browsers would call the origin of a form `null`
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
# What takes images bounds them itself, as they come; the body of any other request is held in memory, or as a whole.
STREAMED = re.compile(r"/api/(score|explain|compare|projects/[^/]+/photos)|/login")
MOST_BYTES = (
    ("/rate/", MIB // 4),
    ("/judge/studies", 32 * MIB),
    ("/devices", 32 * MIB),
    ("", MIB),
)  # of a body, by how the path begins
GRACE = 30.0  # seconds beyond those that a request may take to arrive, to be answered


class Guard:
    """Lets through what may ask, and adds the headers of every answer.

    Where there is no token, only this machine can ask; then the `Host` must be this machine's, so that no foreign site
    reaches the server by a name of its own. What changes something is refused where a browser says that it comes from
    another site, and where a cookie is all it has, also where the browser does not say that it comes from this one.

    Args:
        app: What answers.
        settings: Of the server.
        open_paths: Beginnings of paths that need no token.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings, open_paths: Sequence[str] = OPEN_PATHS) -> None:
        self._app, self._open = app, tuple(open_paths)
        self._token, self._hosts = settings.token, LOCAL | {settings.host.lower()}
        self._seconds = settings.limits.request_seconds + GRACE
        self._session = None if settings.token is None else session_of(settings.token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let the application do it."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(raw=message["headers"])
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Content-Security-Policy", POLICY)
                headers.setdefault("Cache-Control", "no-store")
                message["headers"] = headers.raw
            await send(message)

        refused = self._refused(scope)
        if refused is not None:
            await _answer(send_with_headers, *refused)
            return
        try:
            await asyncio.wait_for(self._app(scope, _bounded(scope, receive), send_with_headers), self._seconds)
        except asyncio.TimeoutError:
            if not started:
                await _answer(send_with_headers, 503, "this took longer than a request may take; try again", {})

    def _refused(self, scope: Scope) -> tuple[int, str, dict[str, str]] | None:
        """Return status, line and headers of the answer to a request that is not let through; else None."""
        headers, path = Headers(scope=scope), scope["path"]
        host = _host(headers.get("host", ""))
        if self._token is None and host not in self._hosts:
            return 421, "this server answers to its own address alone, such as http://localhost", {}
        if "\0" in path or b"%00" in scope["query_string"]:
            return 400, "an address holds no NUL", {}  # PostgreSQL takes none in a text
        unsafe = scope["method"] not in SAFE
        if unsafe and _is_foreign(headers):
            return 403, "this request comes from another site", {}
        if self._token is None or path.startswith(self._open):
            return None
        if self._has_bearer(headers):
            return None
        if self._has_cookie(headers):
            if unsafe and not _is_same_site(headers):
                return 403, "a request with a cookie must say that it comes from this site; send the token instead", {}
            return None
        if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
            query = scope["query_string"].decode("latin-1")
            return 303, "log in first", {"Location": f"/login?next={quote(f'{path}?{query}' if query else path)}"}
        return (
            401,
            "the token is missing or wrong; send it as `Authorization: Bearer TOKEN`",
            {"WWW-Authenticate": "Bearer"},
        )

    def _has_bearer(self, headers: Headers) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and self._token is not None and same_secret(given.strip(), self._token)

    def _has_cookie(self, headers: Headers) -> bool:
        given = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        return self._session is not None and same_secret(given, self._session)


def _bounded(scope: Scope, receive: Receive) -> Receive:
    """Return what receives the body of a request; it raises HTTPException where that is longer than is taken."""
    path, read = scope["path"], 0
    if STREAMED.fullmatch(path):
        return receive
    most = next(bound for beginning, bound in MOST_BYTES if path.startswith(beginning))

    async def receive_bounded() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > most:
            taken = "the request has more than the {most:g} MiB that are taken here"
            raise HTTPException(413, Phrase(taken, most=most / MIB))
        return message

    return receive_bounded


def same_secret(given: str, known: str) -> bool:
    """Whether two secrets are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), known.encode("utf-8", "surrogateescape"))


def session_of(token: str) -> str:
    """Return the cookie of those who know the token; it does not tell the token."""
    return hmac.new(token.encode("utf-8", "surrogateescape"), b"piqa session", hashlib.sha256).hexdigest()


def _host(header: str) -> str:
    """Return the name in a `Host` header, without the port."""
    try:
        return (urlsplit(f"//{header}").hostname or "").lower()
    except ValueError:
        return ""


def _is_foreign(headers: Headers) -> bool:
    """Whether a browser says that a request comes from another site."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site in ("cross-site", "same-site"):
        return True
    return origin is not None and _place(origin) != headers.get("host", "").lower()


def _is_same_site(headers: Headers) -> bool:
    """Whether a browser says that a request comes from this site."""
    return headers.get("sec-fetch-site") in ("same-origin", "none") or headers.get("origin") is not None


def _place(origin: str) -> str:
    """Return host and port of an origin; nothing of one that is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


async def _answer(send: Send, status: int, line: str, headers: dict[str, str]) -> None:
    body = json.dumps({"error": line}).encode()
    told = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close", **headers}
    raw = [(name.lower().encode(), value.encode()) for name, value in told.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
