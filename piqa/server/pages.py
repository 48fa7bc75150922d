"""The server's pages: templates with the styles and widgets of the report, in the reader's language."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from datetime import datetime, timezone
from functools import cache
from html import unescape
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from markupsafe import Markup, escape

from piqa.server.guard import COOKIE
from piqa.web.page import render_page
from piqa.web.text import sentence
from piqa.web.translation import is_known, translated

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).parent
LANGUAGES = {"en": "English", "zh": "中文"}
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)"')
LANGUAGE_COOKIE = "piqa_language"
NAVIGATION = ("photos", "two", "devices", "judge", "board")  # pages by their address; `nav.NAME` is their title


@cache
def strings(language: str) -> Mapping[str, str]:
    """Return all strings of a language by their name, such as `photos.title`."""
    content = tomllib.loads((HERE / "strings" / f"{language}.toml").read_text(encoding="utf-8"))
    return {f"{table}.{name}": text for table, entries in content.items() for name, text in entries.items()}


def language_of(request: Request) -> str:
    """Return the language that the reader chose, or else one that the browser asks for, or else English."""
    chosen = request.cookies.get(LANGUAGE_COOKIE, "")
    if chosen in LANGUAGES:
        return chosen
    for wanted in request.headers.get("accept-language", "").split(","):
        if (code := wanted.split(";")[0].strip().lower().partition("-")[0]) in LANGUAGES:
            return code
    return "en"


def shown_time(time: datetime) -> str:
    """Return a time of the database, which is UTC, as the clocks beside the server show it."""
    return time.replace(tzinfo=timezone.utc).astimezone().strftime("%Y-%m-%d %H:%M")


def is_secure(request: Request) -> bool:
    """Whether the browser speaks HTTPS, to this server or to the proxy in front of it, if that says so."""
    told = request.headers.get("x-forwarded-proto", "").partition(",")[0]
    return "https" in (request.url.scheme, told.strip().lower())


def address_of(request: Request) -> str:
    """Return the address of this server as the browser knows it, without a final slash."""
    address = str(request.base_url.replace(scheme="https") if is_secure(request) else request.base_url)
    return address.rstrip("/")


def words_of(language: str, table: str) -> dict[str, str]:
    """Return all strings of a table of a language, such as `upload`, for a script; values are not filled in."""
    return {name.partition(".")[2]: text for name, text in strings(language).items() if name.startswith(f"{table}.")}


class Translator:
    """Says things in a language: the strings of the pages by their names, and the phrases of all rooms.

    Args:
        language: A key of `LANGUAGES`.
    """

    def __init__(self, language: str) -> None:
        self._language, self._known = language, strings(language)

    def __call__(self, name: str, /, **values: object) -> str:
        """Return a string by its name; values in braces are filled in."""
        return self._known[name].format(**values) if values else self._known[name]

    def say(self, text: str) -> str:
        """Return a phrase, or a text that is one without values; in English where it is not known."""
        return translated(text, self._language)

    def knows(self, text: str) -> bool:
        """Whether a phrase can be said; what is not known, as of a library, stays English."""
        return is_known(text, self._language)

    def sentence(self, text: str) -> str:
        """Return the same as a sentence, with a capital and a full stop; nothing of nothing."""
        return sentence(self.say(text), self("common.full_stop")) if text else ""

    def line(self, text: str | None) -> Markup:
        """Return the same for HTML; what is not known, as of a library, is marked as English, with a remark."""
        if not text:
            return Markup("")
        said = escape(self.sentence(text))
        if self.knows(text):
            return said
        return Markup('<span lang="en">{}</span> {}').format(said, self("common.in_english"))


def translator(language: str) -> Translator:
    """Return what says things in a language."""
    return Translator(language)


def page(request: Request, template: str, *, status: int = 200, home: str = "/", **values: Any) -> HTMLResponse:
    """Return a page.

    Args:
        request: What was asked.
        template: A file of `templates/`, which extends `frame.html`.
        status: Of HTTP.
        home: Address of the page that has the form which this page answers, as nobody can go to that of an answer.
        **values: What the template names, besides `t` (strings), `lang`, `languages`, `navigation`, `here`,
            `address_here` (with the query) and `logged_in` (by a cookie, which can be ended).
    """
    language = language_of(request)
    here, query = (request.url.path, request.url.query) if request.method in ("GET", "HEAD") else (home, "")
    text = render_page(
        HERE / "templates" / template,
        t=translator(language),
        lang=language,
        languages=LANGUAGES,
        navigation=NAVIGATION,
        here=here,
        address_here=f"{here}?{query}" if query else here,
        logged_in=COOKIE in request.cookies and request.app.state.services.settings.token is not None,
        **values,
    )
    return own_page(text, status)


def own_page(text: str, status: int = 200) -> HTMLResponse:
    """Return a page that one of piqa's templates made, with the policy that stands in it as a header, too.

    As a header it also keeps other sites from framing the page. A page without a policy gets the server's own, which
    lets nothing run.
    """
    policies = POLICY.findall(text)
    headers = {"Content-Security-Policy": f"{unescape(policies[0])}; frame-ancestors 'none'"} if policies else {}
    return HTMLResponse(text, status_code=status, headers=headers)
