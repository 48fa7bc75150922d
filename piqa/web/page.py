"""Pages that are one file and need no network: templates filled in, with the styles and scripts of the widgets in them.

A template extends `base.html`, imports the macros of `widgets.html`, and fills the blocks `title` and `body`. Which
parts (`parts/NAME.css`, `parts/NAME.js`) a page needs is read from its body: every widget's element names its part in
`data-widget`. At its top a template may set:

* `styles`, `scripts`: its own files, which lie beside it,
* `parts`: further parts, such as `tooltip` for a script that shows one,
* `data`: what its script reads from `#data`, as JSON,
* `image_sources`: from where images may come; `data:` unless it says otherwise.

Everything is escaped. A content security policy lets no other script run and nothing be fetched, whatever a file or a
model is called.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from piqa.web import charts
from piqa.web.text import breakable, first_upper, number, sentence

HERE = Path(__file__).parent
PACKAGE = HERE.parent
# In the order in which their styles and scripts enter a page.
PARTS = ("table", "tooltip", "face_box", "overlay", "factor", "chart", "viewer")


def render_page(template: str | Path, **values: object) -> str:
    """Return a page as HTML text that holds all it needs.

    Args:
        template: Its path, absolute or below `piqa/`, such as `report/portrait.html`.
        **values: What the template names; a missing one raises jinja2.UndefinedError.

    Examples:
        >>> _ = Path("page.html").write_text("{% extends 'base.html' %}{% block body %}<p>{{ name }}</p>{% endblock %}")
        >>> "<p>&lt;b&gt;</p>" in render_page(Path("page.html").absolute(), name="<b>")
        True
    """
    path = PACKAGE / template
    return _environment(path.parent).get_template(path.name).render(values)


@cache
def _environment(folder: Path) -> Environment:
    loader = FileSystemLoader([folder, HERE])
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters |= {"number": number, "breakable": breakable, "first_upper": first_upper, "sentence": sentence}

    def read(name: str) -> str:
        return loader.get_source(environment, name)[0]

    environment.globals |= {
        "charts": charts,
        "parts_of": parts_of,
        "style_of": _joined(read, ".css", ("base",)),
        "script_of": _joined(read, ".js", ()),
        "digest_of": digest_of,
    }
    return environment


def parts_of(body: str, more: Iterable[str] = ()) -> list[str]:
    """Return the parts that the widgets in the body need, and those that are asked for by name."""
    named = {*re.findall(r'data-widget="(\w+)"', body), *more}
    if unknown := named - {*PARTS}:
        raise ValueError(f"no widget is called {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    return [part for part in PARTS if part in named]


def digest_of(script: str) -> str:
    """Return the script's digest as a content security policy names it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _joined(
    read: Callable[[str], str], ending: str, always: tuple[str, ...]
) -> Callable[[list[str], Iterable[str]], Markup]:
    """Return a function that joins the files of parts and those of a page."""

    def joined(parts: list[str], own: Iterable[str]) -> Markup:
        names = [*(f"parts/{part}{ending}" for part in (*always, *parts)), *own]
        names = [name for name in names if name in own or (HERE / name).is_file()]
        if ending == ".css":
            return Markup("\n".join(map(read, names)))
        return Markup(_script(read("parts/elements.js"), [read(name) for name in names]))

    return joined


def _script(helpers: str, scripts: list[str]) -> str:
    """Return one script: the helpers that all share, then every other file with names of its own."""
    return "\n".join(['"use strict";', helpers, *(f"{{\n{script}}}\n" for script in scripts)]) if scripts else ""
