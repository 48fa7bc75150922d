"""Which shots are the keepers: so many of each moment, or a share of all images, never two of a moment unasked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from piqa.errors import InputError
from piqa.moments.pick import PickedMoment, RankedShot


@dataclass(frozen=True)
class Choosing:
    """How picks are chosen.

    Args:
        keep: Picks of a moment whose shots are rivals.
        share: Picks among all images, 0 to 1; None for no limit. The best shot of each moment comes before the second
            of any: with a model in the order of the scores, without one the moments with the most shots first.
        probability: The first alone is picked only where it is better than the others with at least this probability;
            else those that come closer are picked, too. None for the first in any case.
    """

    keep: int = 1
    share: float | None = None
    probability: float | None = None

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise InputError(f"`keep` is {self.keep}; at least 1 shot of a moment is kept")
        if self.share is not None and not 0 < self.share <= 1:
            raise InputError(f"`share` is {self.share:g}; a share above 0 and up to 1 is needed, such as 0.1")
        if self.probability is not None and not 0.5 < self.probability < 1:
            raise InputError(f"`probability` is {self.probability:g}; a value between 0.5 and 1 is needed, such as 0.7")


@dataclass(frozen=True)
class _Candidate:
    """Shots of a moment that are picked together: one and those that are too close to it, or a whole bracket."""

    moment: int
    round: int
    files: tuple[str, ...]
    score: float


def choose(picked: Sequence[PickedMoment], choosing: Choosing, by_model: bool) -> list[PickedMoment]:
    """Return the moments with their picks.

    Args:
        picked: As `Ranker.rank` returns them.
        choosing: How picks are chosen.
        by_model: Whether the scores are those of a model, which may be compared between moments, if with care.

    Raises:
        InputError: If probabilities are asked for and none are known.
    """
    candidates = [one for at, moment in enumerate(picked) for one in _candidates(at, moment, choosing)]
    if choosing.share is not None:
        total = sum(shot.score is not None for moment in picked for shot in moment.ranked)
        candidates = _limited(candidates, picked, max(1, round(choosing.share * total)), by_model)
    kept: dict[int, set[str]] = {}
    for one in candidates:
        kept.setdefault(one.moment, set()).update(one.files)
    return [_with_picks(moment, kept.get(at, set())) for at, moment in enumerate(picked)]


def _candidates(at: int, moment: PickedMoment, choosing: Choosing) -> list[_Candidate]:
    scored = [shot for shot in moment.ranked if shot.score is not None]
    if not scored:
        return []
    if moment.moment.kind == "bracket":
        return [_Candidate(at, 0, _files(scored), max(shot.score or 0.0 for shot in scored))]
    found = [_Candidate(at, place, _files([shot]), shot.score or 0.0) for place, shot in enumerate(scored)]
    found = found[: choosing.keep]
    if choosing.probability is not None and len(scored) > 1:
        close = [shot for shot in scored[1:] if _chance_ahead(shot) < choosing.probability]
        found[0] = replace(found[0], files=_files([scored[0], *close]))
    return found


def _chance_ahead(shot: RankedShot) -> float:
    """Return the probability that the first of a moment is better than a shot."""
    if shot.behind_first is None:
        raise InputError("`probability` needs a model that knows probabilities; `piqa evaluate` fits them")
    return shot.behind_first


def _limited(
    candidates: Sequence[_Candidate], picked: Sequence[PickedMoment], most: int, by_model: bool
) -> list[_Candidate]:
    """Return the candidates that come first, so many images at most, but one in any case."""

    def order(one: _Candidate) -> tuple[float, ...]:
        first = -one.score if by_model else -len(picked[one.moment].ranked)
        return one.round, first, one.moment

    chosen: list[_Candidate] = []
    room = most
    for one in sorted(candidates, key=order):
        if len(one.files) <= room or not chosen:
            chosen.append(one)
            room -= len(one.files)
        if room <= 0:
            break
    return chosen


def _with_picks(moment: PickedMoment, kept: set[str]) -> PickedMoment:
    return replace(moment, ranked=tuple(replace(shot, pick=shot.shot.file in kept) for shot in moment.ranked))


def _files(shots: Sequence[RankedShot]) -> tuple[str, ...]:
    return tuple(shot.shot.file for shot in shots)
