"""Images that look alike, told by nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from piqa.moments.likeness import similarities
from piqa.moments.looks import Look, Looks
from piqa.moments.moment import Shot

ROWS = 256  # images that are compared with all others at a time
NEIGHBOURS = 64  # of an image, those most like it, from which groups are made
Pairs = NDArray[np.intp]


def find_alike(shots: Sequence[Shot], limit: float, looks: Looks) -> list[tuple[Shot, ...]]:
    """Return groups of shots of which any two are at least this similar; all others are groups of one.

    The most similar groups are joined first, and only where each image of one is similar to each of the other
    (complete linkage). Only the most similar neighbours of an image are candidates, so that memory grows with the
    number of images, not with its square.
    """
    known = looks.of(shot.file for shot in shots)
    seen = [shot for shot in shots if shot.file in known]
    own = [known[shot.file] for shot in seen]
    groups: dict[int, list[int]] = {number: [number] for number in range(len(seen))}
    group_of = list(range(len(seen)))
    for one, other in _candidates(own, limit):
        first, second = sorted((group_of[one], group_of[other]))
        if first == second:
            continue
        cross = similarities([own[number] for number in groups[first]], [own[number] for number in groups[second]])
        if cross.min() >= limit:
            groups[first] += groups.pop(second)
            for number in groups[first]:
                group_of[number] = first
    found = [tuple(seen[number] for number in sorted(members)) for members in groups.values()]
    return found + [(shot,) for shot in shots if shot.file not in known]


def _candidates(looks: Sequence[Look], limit: float) -> Iterator[tuple[int, int]]:
    """Yield pairs of similar images, the most similar first."""
    pairs, strengths = [], []
    for start in range(0, len(looks), ROWS):
        rows = similarities(looks[start : start + ROWS], looks)
        for row, values in enumerate(rows, start):
            near = np.flatnonzero(values[row + 1 :] >= limit) + row + 1
            near = near[np.argsort(-values[near], kind="stable")[:NEIGHBOURS]]
            pairs += [(row, int(other)) for other in near]
            strengths += values[near].tolist()
    for number in np.argsort(-np.array(strengths), kind="stable"):
        yield pairs[number]
