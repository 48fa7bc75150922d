"""Images that look alike, told by nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from piqa.moments.likeness import Stack, similarities, stacked, whole_similarities
from piqa.moments.looks import Looks
from piqa.moments.moment import Shot

ROWS = 256  # images that are compared with all others at a time
SLACK = 0.35  # by which the correlation of whole images may be below their similarity
COMPARED = 1_000  # images, the most correlated ones, whose similarity with an image is computed
NEIGHBOURS = 64  # of an image, the most similar ones, from which groups are made
Numbers = NDArray[np.intp]


def find_alike(shots: Sequence[Shot], limit: float, looks: Looks) -> list[tuple[Shot, ...]]:
    """Return groups of shots of which any two are at least this similar; all others are groups of one.

    The most similar groups are joined first, and only where each image of one is similar to each of the other
    (complete linkage). Only the most similar neighbours of an image are candidates, so that memory grows with the
    number of images, not with its square.
    """
    known = looks.of(shot.file for shot in shots)
    seen = [shot for shot in shots if shot.file in known]
    own = stacked([known[shot.file] for shot in seen]) if seen else np.empty((0, 1, 1), np.float32)
    groups: dict[int, list[int]] = {number: [number] for number in range(len(seen))}
    group_of = list(range(len(seen)))
    for one, other in _candidates(own, limit):
        first, second = sorted((group_of[one], group_of[other]))
        if first != second and similarities(own[groups[first]], own[groups[second]]).min() >= limit:
            groups[first] += groups.pop(second)
            for number in groups[first]:
                group_of[number] = first
    found = [tuple(seen[number] for number in sorted(members)) for members in groups.values()]
    return found + [(shot,) for shot in shots if shot.file not in known]


def _candidates(looks: Stack, limit: float) -> Iterator[tuple[int, int]]:
    """Yield pairs of similar images, the most similar first."""
    pairs: list[tuple[int, int]] = []
    strengths: list[float] = []
    for start in range(0, len(looks), ROWS):
        rows = whole_similarities(looks[start : start + ROWS], looks)
        for row, values in enumerate(rows, start):
            near = _highest(values, np.arange(row + 1, len(looks)), limit - SLACK, COMPARED)
            if len(near):
                exact = np.zeros(len(looks), np.float32)
                exact[near] = similarities(looks[row : row + 1], looks[near])[0]
                near = _highest(exact, near, limit, NEIGHBOURS)
                pairs += [(row, int(other)) for other in near]
                strengths += exact[near].tolist()
    for number in np.argsort(-np.array(strengths), kind="stable"):
        yield pairs[number]


def _highest(values: NDArray[np.float32], among: Numbers, least: float, most: int) -> Numbers:
    """Return the numbers among these of the highest values, those below `least` left out."""
    enough = among[values[among] >= least]
    result: Numbers = enough[np.argsort(-values[enough], kind="stable")[:most]]
    return result
