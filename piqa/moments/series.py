"""Series: shots of one clock that follow each other and look alike, without chains."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from piqa.moments.likeness import similarities, stacked
from piqa.moments.looks import Look, Looks
from piqa.moments.moment import Shot
from piqa.moments.options import GroupingOptions

WINDOW = 1_000  # shots that are compared with each other at once, so that memory is bounded
TOO_FAR = 1e9  # a distance that no limit allows, also of one pair among all of a window


def runs(shots: Sequence[Shot], gap: float) -> list[list[Shot]]:
    """Split shots, which come in the order of time, wherever there is more than a gap of seconds between two."""
    found: list[list[Shot]] = []
    for shot in shots:
        if found and _apart(found[-1][-1], shot) <= gap:
            found[-1].append(shot)
        else:
            found.append([shot])
    return found


def find_series(shots: Sequence[Shot], options: GroupingOptions, looks: Looks) -> list[tuple[Shot, ...]]:
    """Return the series among shots of one clock, which come in the order of time; single shots are series of one.

    Average linkage: two groups are joined only if their shots are alike on average, and no two are further apart than
    the span, so that no chain of likenesses passes from one view to another. Shots of one burst by time count as alike
    however they look. Complete linkage was measured as well: it splits series by hand for the sake of a single shot.
    """
    windows = [window for run in runs(shots, options.gap) for window in _windows(run)]
    known = looks.of(shot.file for window in windows if len(window) > 1 for shot in window)
    series: list[tuple[Shot, ...]] = []
    for window in windows:
        series += _linked(window, options, known) if len(window) > 1 else [tuple(window)]
    return series


def _linked(window: Sequence[Shot], options: GroupingOptions, looks: dict[str, Look]) -> list[tuple[Shot, ...]]:
    distances = np.where(_times(window) > options.span, TOO_FAR, _unlike(window, options, looks))
    np.fill_diagonal(distances, 0)
    numbers = fcluster(linkage(squareform(distances, checks=False), "average"), 1.0, "distance")
    groups: dict[int, list[Shot]] = {}
    for shot, number in zip(window, numbers, strict=True):
        groups.setdefault(int(number), []).append(shot)
    return [tuple(group) for group in groups.values()]


def _unlike(window: Sequence[Shot], options: GroupingOptions, looks: dict[str, Look]) -> NDArray[np.float64]:
    """Return how unlike shots look, (shots, shots); at most 1 within the limit, 0 within one burst by time."""
    burst = np.cumsum([0] + [not is_quick(before, after, options) for before, after in pairwise(window)])
    known = [_look_of(number, window, burst, looks) for number in range(len(window))]
    unlike = np.full((len(window), len(window)), TOO_FAR)
    seen = [number for number, look in enumerate(known) if look is not None]
    if seen:
        own = stacked([look for look in known if look is not None])
        limit = max(1 - options.similarity, 1e-9)
        # Copies of an image may be alike by a little more than 1, as looks are rounded.
        unlike[np.ix_(seen, seen)] = np.maximum(1 - similarities(own, own), 0) / limit
    unlike[burst[:, None] == burst] = 0
    return unlike


def _look_of(number: int, window: Sequence[Shot], burst: NDArray[np.int_], looks: dict[str, Look]) -> Look | None:
    """Return how a shot looks, and one that cannot be read as the nearest of its burst; None where nothing tells.

    Without a look it would be unlike every shot of the series, and so take its burst out of it.
    """
    if (own := looks.get(window[number].file)) is not None:
        return own
    others = [at for at in np.flatnonzero(burst == burst[number]).tolist() if window[at].file in looks]
    if not others:
        return None
    return looks[window[min(others, key=lambda at: abs(at - number))].file]


def is_quick(before: Shot, after: Shot, options: GroupingOptions) -> bool:
    """Whether two shots follow each other as those of a burst do; times in whole seconds cannot tell."""
    return before.subseconds and after.subseconds and _apart(before, after) <= options.burst_gap


def _windows(run: list[Shot]) -> list[list[Shot]]:
    """Split a run that is too long at its longest pauses, and in the middle of equal ones."""
    if len(run) <= WINDOW:
        return [run]
    quarter = len(run) // 4
    pauses = [_apart(before, after) for before, after in pairwise(run)]
    places = range(quarter, len(run) - quarter)
    place = max(places, key=lambda at: (pauses[at], -abs(at - len(run) // 2))) + 1
    return _windows(run[:place]) + _windows(run[place:])


def _times(window: Sequence[Shot]) -> NDArray[np.float64]:
    seconds = np.array([shot.seconds for shot in window], np.float64)
    return np.abs(seconds[:, None] - seconds)


def _apart(before: Shot, after: Shot) -> float:
    assert before.seconds is not None and after.seconds is not None
    # Times in milliseconds since 1970 are exact to a fraction of a microsecond: 500 ms must not come out as more.
    return round(after.seconds - before.seconds, 5)
