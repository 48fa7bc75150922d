"""Images as a table: name, scores by model, factors, and why there is none of these."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from piqa.factors.families import FACTORS
from piqa.scoring.rows import COLUMNS
from piqa.system.csv_cells import csv_line

if TYPE_CHECKING:
    from piqa.server.photos import PhotoSeen, ScoreSeen

Line = tuple[str, "str | None", "Mapping[str, ScoreSeen]", "Mapping[str, float | None]"]


def csv_of(lines: Sequence[Line], models: Sequence[str], factors: bool = True) -> str:
    """Return images as CSV: name, error, scores by model and factors of each; cells are safe in a spreadsheet."""
    outputs: dict[str, list[str]] = {}
    for model in models:
        seen = [line[2][model].outputs for line in lines if model in line[2]]
        more = dict.fromkeys(name for of_image in seen for name in of_image if name not in COLUMNS)
        outputs[model] = ["score", *more]
    prefix = {model: "" if len(models) == 1 else f"{model}." for model in models}
    header = ["file", *(f"{prefix[model]}{name}" for model in models for name in outputs[model])]
    header += [*FACTORS, "error"] if factors else ["error"]
    text = [csv_line(header)]
    for name, error, scores, values in lines:
        cells: list[object] = [name]
        for model in models:
            said = scores.get(model)
            cells += [
                None if said is None else {"score": said.score, **said.outputs}.get(one) for one in outputs[model]
            ]
        cells += [values.get(one) for one in FACTORS] if factors else []
        reasons = [error, *(one.error for one in scores.values())]
        cells.append(next((reason for reason in reasons if reason), None))
        text.append(csv_line(cells, spreadsheet_safe=True))
    return "".join(text)


def lines_of(photos: Iterable[PhotoSeen]) -> Iterator[Line]:
    """Yield photos as lines for `csv_of`."""
    return ((photo.name, photo.error, photo.scores, photo.factors) for photo in photos)
