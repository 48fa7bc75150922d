"""The table of a report: `factors.csv`, a row an image."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from piqa.factors.families import FACTORS
from piqa.report.learned import Learned
from piqa.report.portraits import ReportedImage
from piqa.system.csv_cells import csv_line

Cell = str | float | int | bool | None


def columns(scored: bool, learned: Learned | None = None) -> list[str]:
    """Return the columns: `score` only where there is a model; those of factor models behind their family's factors."""
    of_factors = []
    for family in dict.fromkeys(factor.family for factor in FACTORS.values()):
        names = [name for name, factor in FACTORS.items() if factor.family == family]
        of_factors += [column for name in names for column in (name, f"{name}_percentile")]
        for model in learned.of_family(family) if learned is not None else ():
            name = model.factor.name
            of_factors += [name, f"{name}_percentile", *(f"{name}_{output}" for output in model.outputs)]
    return ["file", "face_found", "other_faces", "turned", *(["score"] if scored else []), *of_factors, "error"]


def write_table(images: Iterable[ReportedImage], path: Path, scored: bool, learned: Learned | None = None) -> None:
    """Write the table; a value that is not known is an empty cell."""
    names = columns(scored, learned)
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
    for family, said in image.learned.items():
        name = f"learned_{family}"
        row |= {name: said.reading.value, f"{name}_percentile": said.reading.percentile}
        row |= {f"{name}_{output}": value for output, value in said.classes.items()}
    return row
