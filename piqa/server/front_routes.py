"""The way in: logging in with the token, and the language of the pages."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse
from python_multipart.multipart import parse_options_header

from piqa.server.guard import COOKIE, same_secret, session_of
from piqa.server.pages import LANGUAGE_COOKIE, LANGUAGES, is_secure, page
from piqa.server.refusals import RequestError, not_found
from piqa.server.services import Services, services_of
from piqa.system.phrases import Phrase

MOST = 4096  # bytes of the form
A_YEAR = 365 * 24 * 3600  # seconds
Here = Annotated[Services, Depends(services_of)]
router = APIRouter(include_in_schema=False)


@router.get("/")
def start() -> RedirectResponse:
    """Lead to the first page."""
    return RedirectResponse("/photos", 303)


@router.get("/login")
def login_page(request: Request, next: str = "/") -> HTMLResponse:
    """Ask for the token."""
    return page(request, "login.html", next=local(next), wrong=False)


@router.post("/login")
async def log_in(request: Request, here: Here) -> Response:
    """Set the cookie of those who know the token, and lead to where they wanted to go."""
    kind, _ = parse_options_header(request.headers.get("content-type", ""))
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST:
            raise RequestError(413, Phrase("this is no token"))
    form = parse_qs(body.decode("utf-8", "replace")) if kind == b"application/x-www-form-urlencoded" else {}
    target, token = local(form.get("next", ["/"])[0]), here.settings.token
    if token is None:
        return RedirectResponse(target, 303)
    if not same_secret(form.get("token", [""])[0].strip(), token):
        return await run_in_threadpool(page, request, "login.html", status=401, home="/login", next=target, wrong=True)
    answer = RedirectResponse(target, 303)
    answer.set_cookie(COOKIE, session_of(token), httponly=True, samesite="strict", secure=is_secure(request))
    return answer


@router.post("/logout")
def log_out() -> RedirectResponse:
    """Forget the cookie."""
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


@router.get("/language/{code}")
def choose_language(code: str, next: str = "/") -> RedirectResponse:
    """Keep the reader's language, and lead back."""
    if code not in LANGUAGES:
        raise not_found("language")
    answer = RedirectResponse(local(next), 303)
    answer.set_cookie(LANGUAGE_COOKIE, code, max_age=A_YEAR, samesite="lax")
    return answer


def local(address: str) -> str:
    """Return an address on this server; its first page for any other.

    Examples:
        >>> local("/photos?sort=name"), local("//example.org/"), local("https://example.org/")
        ('/photos?sort=name', '/', '/')
    """
    inside = address.startswith("/") and not address.startswith("//") and "\\" not in address
    return address if inside and address.isprintable() else "/"
