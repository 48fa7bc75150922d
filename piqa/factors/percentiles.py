"""The place of an image among those of its scene or folder, factor by factor."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ENOUGH_IMAGES = 8  # with fewer, one image more or less moves a percentile by more than ten points


def percentiles(values: Sequence[float | None]) -> list[float | None]:
    """Return for each value the per cent of the other values that are lower, ties counted half.

    Args:
        values: Of one factor, of all images of a scene or folder; None where it could not be measured.

    Returns:
        A percentile in [0, 100] for each value, None for None; None for all where fewer than `ENOUGH_IMAGES` have one.
    """
    known = np.array([value for value in values if value is not None], np.float64)
    if len(known) < ENOUGH_IMAGES:
        return [None] * len(values)
    ordered = np.sort(known)  # as a comparison of each value with each other one takes minutes for 20,000 images
    lower, not_higher = (np.searchsorted(ordered, known, side) for side in ("left", "right"))
    # the value itself counts half among all: what is left are the others
    found = iter((((lower + not_higher) * (50.0 / len(known)) * len(known) - 50) / (len(known) - 1)).tolist())
    return [None if value is None else next(found) for value in values]
