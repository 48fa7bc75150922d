"""The place of an image among those of its scene or folder, factor by factor."""

from __future__ import annotations

from collections.abc import Sequence

from scipy.stats import percentileofscore

ENOUGH_IMAGES = 8  # with fewer, one image more or less moves a percentile by more than ten points


def percentiles(values: Sequence[float | None]) -> list[float | None]:
    """Return for each value the per cent of the other values that are lower, ties counted half.

    Args:
        values: Of one factor, of all images of a scene or folder; None where it could not be measured.

    Returns:
        A percentile in [0, 100] for each value, None for None; None for all where fewer than `ENOUGH_IMAGES` have one.
    """
    known = [value for value in values if value is not None]
    if len(known) < ENOUGH_IMAGES:
        return [None] * len(values)
    others = len(known) - 1
    # the value itself counts half among all: what is left are the others
    return [
        None if value is None else float(percentileofscore(known, value, "mean") * len(known) - 50) / others
        for value in values
    ]
