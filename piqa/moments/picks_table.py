"""The table of picks, `picks.csv`, and the numbers that are told of a whole folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TextIO

from piqa.moments.pick import COLUMNS, PickedMoment, RankedShot
from piqa.system.csv_cells import csv_line

YES, NO = "true", "false"


@dataclass(frozen=True)
class Counts:
    """What a folder holds.

    Attributes:
        images: Shots that were looked at.
        moments: All of them.
        rivals: Moments with several shots that are rivals.
        brackets: Exposure brackets.
        picks: Shots that are picked.
        close: Moments whose first two are too close to call.
        failed: Shots that could not be scored.
    """

    images: int
    moments: int
    rivals: int
    brackets: int
    picks: int
    close: int
    failed: int


def counts_of(picked: Sequence[PickedMoment]) -> Counts:
    """Count what a folder holds."""
    shots = [shot for moment in picked for shot in moment.ranked]
    return Counts(
        images=len(shots),
        moments=len(picked),
        rivals=sum(has_rivals(moment) for moment in picked),
        brackets=sum(moment.moment.kind == "bracket" for moment in picked),
        picks=sum(shot.pick for shot in shots),
        close=sum(moment.close for moment in picked),
        failed=sum(shot.score is None for shot in shots),
    )


def has_rivals(moment: PickedMoment) -> bool:
    """Whether several shots of a moment were ranked."""
    return sum(shot.rank is not None for shot in moment.ranked) > 1


def write_rows(file: TextIO, picked: Iterable[PickedMoment], name_of: Callable[[str], str]) -> None:
    """Write the table, moment by moment in their order, each from its first shot on.

    Args:
        file: Open for writing.
        picked: The moments.
        name_of: Returns what a file is called in the table.
    """
    file.write(csv_line(COLUMNS))
    for moment in picked:
        for shot in moment.ranked:
            file.write(csv_line(_cells(moment, shot, name_of), spreadsheet_safe=True))


def _cells(moment: PickedMoment, shot: RankedShot, name_of: Callable[[str], str]) -> list[object]:
    numbers = [_rounded(shot.probability, 4), _rounded(shot.percentile, 1)]
    pick = YES if shot.pick else NO
    return [name_of(shot.shot.file), moment.moment.name, shot.rank, pick, *numbers, shot.reason]


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
