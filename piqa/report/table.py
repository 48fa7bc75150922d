"""The table of a report: `factors.csv`, a row an image."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from piqa.factors.families import FACTORS
from piqa.report.portraits import ReportedImage
from piqa.system.csv_cells import csv_line

Cell = str | float | int | bool | None


def columns(scored: bool) -> list[str]:
    """Return the columns; `score` only where there is a model."""
    of_factors = [column for name in FACTORS for column in (name, f"{name}_percentile")]
    return ["file", "face_found", "other_faces", "turned", *(["score"] if scored else []), *of_factors, "error"]


def write_table(images: Iterable[ReportedImage], path: Path, scored: bool) -> None:
    """Write the table; a value that is not known is an empty cell."""
    names = columns(scored)
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:  # names may be any bytes
        file.write(csv_line(names))
        for image in images:
            row = _row(image)
            file.write(csv_line(row.get(name) for name in names))


def _row(image: ReportedImage) -> dict[str, Cell]:
    row: dict[str, Cell] = {"file": image.name, "error": image.error or None}
    if image.error:
        return row
    facts = image.facts
    row |= {"face_found": facts.face_box is not None, "other_faces": facts.other_faces, "turned": facts.turned}
    row["score"] = image.score
    for name, reading in image.readings.items():
        row |= {name: reading.value, f"{name}_percentile": reading.percentile}
    return row
