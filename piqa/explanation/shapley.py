"""What each input of a network adds to a score, against reference images: exact Shapley values.

With n inputs there are 2^n sets of inputs that are the image's own while the others are those of a reference image. An
input's share is the mean, over all orders in which the inputs could be exchanged one by one, of what its exchange
changes. The shares add up to the score less the mean score of the references. Shapley 1953; Strumbelj and Kononenko
2010. Inputs that see the same, as the face lies in the whole image, too, divide what both see.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor

from piqa.explanation.parts import GOES_WITH, Parts, PartsScorer

Names = frozenset[str]
AT_ONCE = 32  # references in one pass through the head


def shapley_shares(names: Sequence[str], value: Mapping[Names, float]) -> dict[str, float]:
    """Return the share of each player of a game.

    Args:
        names: The players.
        value: What each set of players is worth, the empty one and that of all among them.

    Examples:
        >>> worth = {"": 1.0, "a": 2.0, "b": 3.0, "ab": 6.0}
        >>> shapley_shares("ab", {frozenset(names): value for names, value in worth.items()})
        {'a': 2.0, 'b': 3.0}
    """
    shares = {}
    for name in names:
        others = [other for other in names if other != name]
        shares[name] = sum(
            _weight(len(own), len(names)) * (value[own | {name}] - value[own]) for own in subsets(others)
        )
    return shares


def _weight(before: int, players: int) -> float:
    """Return the fraction of all orders in which just these players come before one."""
    return math.factorial(before) * math.factorial(players - before - 1) / math.factorial(players)


def subsets(names: Sequence[str]) -> Iterator[Names]:
    """Yield all sets of names, the empty one first."""
    for size in range(len(names) + 1):
        yield from map(frozenset, combinations(names, size))


def values_of_sets(scorer: PartsScorer, own: Parts, references: Sequence[Parts]) -> dict[Names, float]:
    """Return the mean score over references for every set of inputs that are the image's own."""
    names = [name for name in own if name not in GOES_WITH]
    mean_of = _mean_of_features if scorer.separable else _mean_of_inputs
    found = {one: mean_of(scorer, own, references, one) for one in subsets(names) if len(one) < len(names)}
    return found | {frozenset(names): scorer.score(own)}


def _mean_of_features(scorer: PartsScorer, own: Parts, references: Sequence[Parts], kept: Names) -> float:
    """Return the mean score where the features of `kept` are the image's own; many references at a time."""
    total = 0.0
    for start in range(0, len(references), AT_ONCE):
        some = references[start : start + AT_ONCE]
        crops = max(len(values) for values in own.values())
        mixed = [_exchanged(own, one, kept) for one in some]
        rows = {name: torch.cat([_rows(one[name], crops) for one in mixed]) for name in own}
        total += float(scorer.crop_scores(rows).sum(dtype=torch.float64)) / crops
    return total / len(references)


def _rows(values: Tensor, crops: int) -> Tensor:
    """Return as many rows as there are crops; what is an image's own, or has fewer windows, is repeated."""
    return values[torch.arange(crops) % len(values)]


def _mean_of_inputs(scorer: PartsScorer, own: Parts, references: Sequence[Parts], kept: Names) -> float:
    scores = [scorer.score(_exchanged(own, one, kept)) for one in references]
    return math.fsum(scores) / len(scores)


def _exchanged(own: Parts, other: Parts, kept: Names) -> Parts:
    """Return the parts of an image with those that are not kept, and what goes with these, replaced by another's."""
    return {name: (own if GOES_WITH.get(name, name) in kept else other)[name] for name in own}
