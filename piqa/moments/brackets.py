"""Exposure brackets: shots in a quick series whose exposures are the even rungs of a ladder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from piqa.moments.moment import Shot
from piqa.moments.options import GroupingOptions

MOST_FRAMES = 9  # of a bracket: no camera takes more


def find_brackets(shots: Sequence[Shot], options: GroupingOptions) -> Iterator[tuple[Shot, ...]]:
    """Yield the brackets among shots of one clock, which come in the order of time; no shot is in two.

    Of several brackets that begin with one shot the longest counts. Visual likeness is not asked for: a perceptual hash
    of the same view 2 EV brighter shares no more with it than another view does.
    """
    start = 0
    while start < len(shots):
        length = _longest(shots[start : start + MOST_FRAMES], options)
        if length:
            yield tuple(shots[start : start + length])
        start += length or 1


def _longest(shots: Sequence[Shot], options: GroupingOptions) -> int:
    """Return how many of the first shots are a bracket, 0 for none."""
    quick = 1
    while quick < len(shots) and pause(shots[quick - 1], shots[quick]) <= options.bracket_gap:
        quick += 1
    lengths = range(quick, options.bracket_frames - 1, -1)
    return next((length for length in lengths if _is_ladder(shots[:length], options)), 0)


def pause(before: Shot, after: Shot) -> float:
    """Return the seconds from the end of one exposure to the begin of the next; both shots tell their time."""
    assert before.seconds is not None and after.seconds is not None
    return max(0.0, after.seconds - before.seconds - (before.exposure or 0))


def _is_ladder(shots: Sequence[Shot], options: GroupingOptions) -> bool:
    """Whether the compensations, or else the exposure values, are even steps."""
    biases, values = [shot.bias for shot in shots], [shot.ev for shot in shots]
    return any(
        None not in levels and _are_even([level for level in levels if level is not None], options)
        for levels in (biases, values)
    )


def _are_even(levels: Sequence[float], options: GroupingOptions) -> bool:
    ordered = sorted(levels)
    steps = [above - below for below, above in pairwise(ordered)]
    even = max(steps) - min(steps) <= options.bracket_evenness
    return min(steps) >= options.bracket_step and even and ordered[-1] - ordered[0] >= options.bracket_span
