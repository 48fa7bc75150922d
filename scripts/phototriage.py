"""PhotoTriage, series of unedited photographs with votes on pairs: its lists, and what may be said of a ranking.

Layout, under a root of its own::

    train_val/train_val_imgs/SSSSSS-NN.JPG     series and photograph, both from 1 on; NN has two digits
    train_pairlist.txt, val_pairlist.txt       a line a pair, separated by blanks:
        series, photograph i, photograph j, share of votes for i, rank of i, rank of j (1 is best in the series)

The two last columns are ranks in the series. They are no numbers of photographs, for which they have been mistaken:
then most "winners" are in neither picture of the pair, and whoever always answers "the first" looks right in seven of
ten. `read_pairs` checks what holds of ranks alone: a share above one half exactly where the rank of i is better.

Votes are divided: the majority of a pair has about three of four. No order can agree with more votes than that, which
is told beside every figure as the ceiling, as is what a random order reaches.

Reference: Chang et al., Automatic triage for a photo series, SIGGRAPH 2016, doi 10.1145/2897824.2925908.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from piqa.errors import InputError
from piqa.moments.choices import wilson

IMAGES = Path("train_val") / "train_val_imgs"
Photograph = tuple[int, int]  # series and number


@dataclass(frozen=True)
class Pair:
    """One pair: its two photographs, the share of votes for the first, and their ranks in the series."""

    first: Photograph
    second: Photograph
    share: float
    first_rank: int
    second_rank: int


@dataclass(frozen=True)
class PairList:
    """The pairs of a list."""

    pairs: tuple[Pair, ...]

    @property
    def ranks(self) -> dict[int, dict[Photograph, int]]:
        """The rank of each photograph, by series."""
        found: defaultdict[int, dict[Photograph, int]] = defaultdict(dict)
        for pair in self.pairs:
            found[pair.first[0]] |= {pair.first: pair.first_rank, pair.second: pair.second_rank}
        return dict(found)

    def files(self, root: Path) -> dict[Photograph, Path]:
        """Return the file of each photograph."""
        photographs = sorted({one for pair in self.pairs for one in (pair.first, pair.second)})
        return {(s, n): root / IMAGES / f"{s:06d}-{n:02d}.JPG" for s, n in photographs}


@dataclass(frozen=True)
class Judged:
    """What came of a ranking.

    Attributes:
        series, top: Series, and in how many the photograph that is ranked first has the best rank.
        chance: The share of series in which a random first would.
        votes: The share of all votes that agree with the ranking, pair by pair; a tie counts half.
        ceiling: The share that the majority of every pair has: no ranking agrees with more.
        pairs, majority: Pairs that are not tied, and the share of them in the order of the majority.
    """

    series: int
    top: int
    chance: float
    votes: float
    ceiling: float
    pairs: int
    majority: float

    def __str__(self) -> str:
        """Return a line for a terminal."""
        low, high = wilson(self.top, self.series)
        return (
            f"best first in {self.top} of {self.series} series: {self.top / self.series:.3f} [{low:.3f}, {high:.3f}], "
            f"chance {self.chance:.3f}; votes {self.votes:.3f}, chance 0.500, ceiling {self.ceiling:.3f}; "
            f"order of the majority {self.majority:.3f} of {self.pairs} pairs"
        )


def read_pairs(root: Path, split: Literal["train", "val"]) -> PairList:
    """Read a list of pairs.

    Raises:
        InputError: If the file is missing, a line has another form, or the ranks contradict the votes.
    """
    path = root / f"{split}_pairlist.txt"
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}; give the folder of PhotoTriage's files") from error
    pairs = tuple(_pair(line, f"line {number} of {path}") for number, line in enumerate(lines, 1) if line.strip())
    if not pairs:
        raise InputError(f"{path} holds no pairs")
    return PairList(pairs)


def _pair(line: str, where: str) -> Pair:
    try:
        series, first, second, share, first_rank, second_rank = (float(cell) for cell in line.split())
    except ValueError as error:
        raise InputError(f"{where} has not the six columns of a pair: {line!r}") from error
    if not 0 <= share <= 1 or first == second:
        raise InputError(f"{where} is no pair with a share of votes: {line!r}")
    if (share > 0.5) != (first_rank < second_rank) and share != 0.5:
        raise InputError(
            f"{where} has the ranks {first_rank:g} and {second_rank:g} with {share:g} of the votes; columns 5 and 6 "
            "are ranks in the series, 1 the best"
        )
    return Pair((int(series), int(first)), (int(series), int(second)), share, int(first_rank), int(second_rank))


def judged(listed: PairList, scores: Mapping[Photograph, float]) -> Judged:
    """Judge a ranking by the votes.

    Args:
        listed: The pairs.
        scores: Of each photograph, higher for better.
    """
    top, chances = 0, []
    for ranks in listed.ranks.values():
        best = [one for one, rank in ranks.items() if rank == min(ranks.values())]
        first = max(ranks, key=lambda one: (scores[one], one))
        top += first in best
        chances.append(len(best) / len(ranks))
    agreed, majority = [], []
    for pair in listed.pairs:
        ahead = 0.5 + 0.5 * float(np.sign(scores[pair.first] - scores[pair.second]))
        agreed.append(ahead * pair.share + (1 - ahead) * (1 - pair.share))
        if pair.share != 0.5:
            majority.append(ahead if pair.share > 0.5 else 1 - ahead)
    ceiling = float(np.mean([max(pair.share, 1 - pair.share) for pair in listed.pairs]))
    right = float(np.mean(majority)) if majority else float("nan")
    return Judged(len(chances), top, float(np.mean(chances)), float(np.mean(agreed)), ceiling, len(majority), right)
