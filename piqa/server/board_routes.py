"""The page of evaluations and leaderboards that lie in the server's folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse

from piqa.server.pages import own_page, page
from piqa.server.refusals import not_found
from piqa.server.services import Services, services_of

Here = Annotated[Services, Depends(services_of)]
METRICS, BOARD, BOARD_PAGE = "metrics.json", "leaderboard.json", "leaderboard.html"
OWN_FOLDERS = {"photos", "incoming", "results"}  # hold no evaluations
DEPTH = 5
MOST_FOLDERS = 20_000
MOST_BYTES = 20_000_000
router = APIRouter(prefix="/board", include_in_schema=False)


@dataclass(frozen=True)
class BoardFile:
    """A leaderboard's page: its address, its name, and where it lies."""

    id: str
    name: str
    path: Path


@router.get("", response_class=HTMLResponse)
def board(request: Request, here: Here) -> HTMLResponse:
    """Show all evaluations, those of one table and split together."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for folder in _folders(here.settings.data):
        if (row := _evaluation(folder, here.settings.data)) is not None:
            groups.setdefault((row.pop("table"), row.pop("split"), row.pop("attribute")), []).append(row)
    shown = [
        {"table": table, "split": split, "attribute": attribute, "rows": [*sorted(rows, key=_place)]}
        for (table, split, attribute), rows in sorted(groups.items())
    ]
    return page(request, "board.html", groups=shown, boards=list(_boards(here.settings.data)))


@router.get("/pages/{name}", response_class=HTMLResponse)
def board_page(name: str, here: Here) -> HTMLResponse:
    """Show a leaderboard's own page, which needs nothing else."""
    for one in _boards(here.settings.data):
        if one.id == name:
            return own_page(one.path.read_text(encoding="utf-8"))
    raise not_found("leaderboard")


def _folders(data: Path) -> Iterator[Path]:
    """Yield folders in which evaluations may lie; links are not followed."""
    left = MOST_FOLDERS
    for place, folders, _ in os.walk(data):
        path = Path(place)
        left -= 1
        if left < 0:
            return
        yield path
        own = path == data
        folders[:] = sorted(name for name in folders if not (own and name in OWN_FOLDERS) and not name.startswith("."))
        if len(path.relative_to(data).parts) >= DEPTH:
            folders.clear()


def _boards(data: Path) -> Iterator[BoardFile]:
    for folder in _folders(data):
        if (folder / BOARD).is_file() and (folder / BOARD_PAGE).is_file():  # both, so that it is one of piqa's
            name = folder.relative_to(data).as_posix()
            digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
            yield BoardFile(digest, name, folder / BOARD_PAGE)


def _evaluation(folder: Path, data: Path) -> dict[str, Any] | None:
    """Return the row of an evaluation; None where there is none that can be read."""
    path = folder / METRICS
    try:
        if not path.is_file() or path.stat().st_size > MOST_BYTES:
            return None
        found = json.loads(path.read_text(encoding="utf-8"))
        official, facts = found["official"], found.get("facts") or {}
        values = {name: _number(official.get(name)) for name in ("srocc", "krocc", "plcc", "mae")}
        counts = {name: int(found[name]) for name in ("images", "scenes")}
        told = {name: str(facts.get(name) or "") for name in ("table", "split", "attribute", "selected_on")}
        accuracy = _number(found.get("pair_accuracy"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    return {**values, **counts, **told, "name": folder.relative_to(data).as_posix(), "pair_accuracy": accuracy}


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _place(row: dict[str, Any]) -> tuple[bool, float, str]:
    """Sort by falling SROCC; evaluations without one come last."""
    value = row["srocc"]
    unknown = value is None or value != value
    return unknown, 0.0 if unknown else -value, row["name"]
