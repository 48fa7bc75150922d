"""The folder of what is measured, image by image, from which an interrupted report goes on.

    report/.parts/<image>.json           facts, small
    report/.parts/<image>.pictures.json  pictures
    report/.parts/<image>.score.json     of a model, where one is given: score and shares
    report/.parts/<image>.score_maps.json

A part appears whole or not at all. It counts for the file as it was read, by its stamp, and for the settings that it
was made with. Parts stay when the report is done, so that one with more images measures these alone.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from piqa.factors.families import FACTORS, MAPS, VERSION
from piqa.factors.measure import PREPARATION
from piqa.preparation.portrait import PREPARATION_VERSION
from piqa.report.facts import Facts, MapPicture, Pictures
from piqa.scoring.image_batches import stamp_of
from piqa.system.json_text import plain, write_json
from piqa.system.ownership import new_mark

FOLDER = ".parts"
FORMAT = 1  # to be raised where a part changes within a version


def part_id(file: str) -> str:
    """Return the name of an image's parts; it does not tell where the image lies."""
    return hashlib.blake2b(os.path.abspath(file).encode("utf-8", "surrogateescape"), digest_size=12).hexdigest()  # noqa: PTH100


def measures() -> dict[str, object]:
    """Return all that measured values and maps depend on, apart from the image."""
    preparation = asdict(PREPARATION) | {"version": PREPARATION_VERSION}
    factors = {"factors": list(FACTORS), "factors_version": VERSION}
    return {**factors, "maps": [make.__name__ for make in MAPS], "preparation": preparation}


def settings() -> dict[str, object]:
    """Return all that the parts of a report depend on, apart from the image."""
    return {"format": FORMAT, "version": new_mark("")["version"], **measures()}


class Parts:
    """The parts of a report.

    Args:
        report: Its folder, claimed before.
    """

    def __init__(self, report: str | Path) -> None:
        self.folder = Path(report) / FOLDER
        self._settings = plain(settings())

    def write(self, file: str, facts: Facts, pictures: Pictures | None = None) -> None:
        """Keep what was measured of an image; the pictures first, so that where there are facts there are pictures.

        Raises:
            InputError: If they cannot be written.
        """
        if pictures is not None:
            write_json(asdict(pictures), self._path(file, ".pictures"), indent=None)
        write_json({"settings": self._settings, "facts": asdict(facts)}, self._path(file), indent=None)

    def is_current(self, file: str) -> bool:
        """Whether an image was measured with these settings and has not changed since; one that is gone counts.

        One that failed does not: another try takes little, and whatever stood in the way may be gone.
        """
        facts = self.facts(file)
        if facts is None or facts.stamp is None or facts.error is not None:
            return False
        now = stamp_of(file)
        return now is None or now == facts.stamp

    def facts(self, file: str) -> Facts | None:
        """Return what was measured of an image with these settings; None where nothing was."""
        content = _read(self._path(file))
        try:
            return Facts(**content["facts"]) if content.get("settings") == self._settings else None
        except (TypeError, KeyError):
            return None

    def pictures(self, file: str) -> Pictures:
        """Return the pictures of an image; empty ones where they are gone."""
        content = _read(self._path(file, ".pictures"))
        try:
            maps = [map_from(entry) for entry in content.get("maps", [])]
            return Pictures(content["photo"], content["thumbnail"], maps)
        except (TypeError, KeyError):
            return Pictures()

    def thumbnail(self, file: str) -> str:
        """Return the smallest picture of an image; "" where it is gone."""
        return self.pictures(file).thumbnail

    def write_said(self, file: str, kind: str, said: Mapping[str, object], made_with: Mapping[str, object]) -> None:
        """Keep what a model says of an image, and all that this depends on."""
        write_json({"settings": made_with, "said": said}, self._path(file, f".{kind}"), indent=None)

    def said(self, file: str, kind: str, made_with: Mapping[str, object]) -> dict[str, Any] | None:
        """Return what a model said of an image; None where that depended on something else."""
        content = _read(self._path(file, f".{kind}"))
        said = content.get("said")
        return said if content.get("settings") == plain(made_with) and isinstance(said, dict) else None

    def _path(self, file: str, kind: str = "") -> Path:
        return self.folder / f"{part_id(file)}{kind}.json"


def map_from(entry: Mapping[str, Any]) -> MapPicture:
    """Return a map's picture as it was kept."""
    return MapPicture(**{**entry, "legend": [(str(text), str(colour)) for text, colour in entry["legend"]]})


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
