"""What the contact sheet says of a moment and of a shot, in words."""

from __future__ import annotations

from piqa.moments.pick import PickedMoment, RankedShot
from piqa.web.text import number


def verdict_words(picked: PickedMoment) -> str:
    """Return how sure the pick of a moment is."""
    shots = len(picked.ranked)
    if picked.moment.kind == "bracket":
        return f"Exposure bracket of {shots} shots, kept whole"
    if shots == 1:
        return "Single shot"
    sure = (
        "" if picked.probability is None else f"the first is better than the second with {percent(picked.probability)}"
    )
    if picked.close:
        return f"Too close to call: {sure}" if sure else "Too close to call"
    return sure[:1].upper() + sure[1:]


def rank_words(shot: RankedShot, shots: int) -> str:
    """Return a shot's place in its moment."""
    return "" if shot.rank is None or shots == 1 else f"{shot.rank} of {shots}"


def probability_words(shot: RankedShot) -> str:
    """Return how sure it is that a shot is better than the next one in rank."""
    return "" if shot.probability is None else f"better than the next with {percent(shot.probability)}"


def percentile_words(shot: RankedShot) -> str:
    """Return a shot's percentile within its moment."""
    return "" if shot.percentile is None else f"percentile {shot.percentile:.0f}"


def scores_words(picked: PickedMoment) -> str:
    """Return mean and spread of the scores in a moment of several shots."""
    if picked.mean is None or len(picked.ranked) == 1:
        return ""
    spread = "" if picked.std is None else f" ± {number(picked.std, 2)}"
    return f"scores {number(picked.mean, 2)}{spread}"


def percent(probability: float) -> str:
    """Return a probability in per cent that is never 0 or 100, as no model is that sure.

    Examples:
        >>> percent(0.784), percent(0.9971)
        ('78 %', 'over 99 %')
    """
    if probability > 0.99:
        return "over 99 %"
    return "below 1 %" if probability < 0.01 else f"{100 * probability:.0f} %"
