"""What is said of a moment: the order of its shots, which are the keepers, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

from piqa.moments.moment import Moment, Shot

COLUMNS = ["file", "moment", "rank", "pick", "probability", "percentile", "reason"]  # of `picks.csv`


@dataclass(frozen=True)
class RankedShot:
    """A shot in its moment.

    Attributes:
        shot: The shot.
        rank: 1 is the best; None of the shots of a bracket, which are no rivals, and of one that could not be scored.
        pick: Whether it is a keeper.
        score: What it was ranked by; None where it could not be scored.
        probability: That it is better than the next one in rank; None of the last, of factors without probabilities.
        percentile: Its place within the moment, 0 to 100; None of a single shot.
        reason: In words: why it is at its place, that it is too close to call, or why it could not be scored.
        thumbnail: JPEG for the page; empty where the file could not be read.
        behind_first: Probability that the first of the moment is better than this one; None of the first, and where
            it is not known.
    """

    shot: Shot
    rank: int | None
    pick: bool
    score: float | None
    probability: float | None
    percentile: float | None
    reason: str
    thumbnail: bytes = b""
    behind_first: float | None = None


@dataclass(frozen=True)
class PickedMoment:
    """A moment with its shots in the order of their ranks, those without a rank last.

    Attributes:
        moment: The moment.
        ranked: Its shots.
        probability: That the first is better than the second; None of one shot, or without a model's preference.
        close: Whether the first two are too close to call.
        mean, std: Of the scores in the moment; None where nothing was scored.
    """

    moment: Moment
    ranked: tuple[RankedShot, ...]
    probability: float | None
    close: bool
    mean: float | None = None
    std: float | None = None
