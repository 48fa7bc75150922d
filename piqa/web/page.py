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
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from piqa.web import charts
from piqa.web.text import breakable, first_upper, number, sentence

HERE = Path(__file__).parent
PACKAGE = HERE.parent
# The kinds of files of every part, in the order in which they enter a page.
PARTS = {
    "table": (".css", ".js"),
    "tooltip": (".css", ".js"),
    "face_box": (".css",),
    "overlay": (".css", ".js"),
    "factor": (".css",),
    "chart": (".css",),
    "viewer": (".css", ".js"),
}


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
    loader = FileSystemLoader([folder, HERE, PACKAGE])
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    environment.filters |= {"number": number, "breakable": breakable, "first_upper": first_upper, "sentence": sentence}

    def read(name: str) -> str:
        return loader.get_source(environment, name)[0]

    def style_of(parts: Iterable[str], own: Iterable[str]) -> Markup:
        return Markup("\n".join(map(read, ["parts/base.css", *_files(parts, ".css"), *own])))

    def script_of(parts: Iterable[str], own: Iterable[str]) -> Markup:
        scripts = [read(name) for name in [*_files(parts, ".js"), *own]]
        return Markup(joined_scripts(read("parts/elements.js"), scripts)) if scripts else Markup("")

    environment.globals |= {
        "charts": charts,
        "parts_of": parts_of,
        "style_of": style_of,
        "script_of": script_of,
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


def joined_scripts(shared: str, scripts: Iterable[str]) -> str:
    """Return one script: what all share, then every other one in a block, which keeps its names to itself."""
    return "\n".join(['"use strict";', shared, *(f"{{\n{script}}}\n" for script in scripts)])


def _files(parts: Iterable[str], ending: str) -> list[str]:
    return [f"parts/{part}{ending}" for part in parts if ending in PARTS[part]]
