"""Why a shot is at its place in its moment, in words."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

from piqa.explanation.difference import FactorDifference, compare_factors
from piqa.factors.measure import PortraitFactors
from piqa.moments.aspects import ASPECTS, is_cut
from piqa.moments.measuring import Measured

SEEN = 1.0  # steps; what differs by less is not seen
MOST = 3  # differences that are told
SINGLE = "the only shot of its moment: it has no rival"
BRACKET = "an exposure bracket: its shots are no rivals and stay together"
ONLY_READ = "the only shot of its moment that could be read"
NO_DIFFERENCE = "nothing that is measured differs by what a viewer sees"
NO_FACE, CUT = "no face was found", "the edge of the image cuts the face"
# Factors whose advice is a fault of the shot, whatever the others of its moment are like.
FAULTS = {
    "over_face": "part of the face is white without detail",
    "eyes_against_nose": "the focus lies in front of the eyes",
    "motion": "the face is blurred or smeared by motion",
}
# How a shot differs that is better, or worse, in a factor which no aspect has.
WORDS = {
    "under_face": ("less of the face in the dark", "more of the face in the dark"),
    "clip_whole": ("less of the image lost in black or white", "more of the image lost in black or white"),
    "range_stops": ("more dynamic range", "less dynamic range"),
    "shadow_noise": ("less noise in the shadows", "more noise in the shadows"),
    "noise_60": ("less noise", "more noise"),
    "edge_width_relative": ("a sharper face", "a softer face"),
    "edge_width_60": ("a sharper face", "a softer face"),
    "blur_60": ("a sharper face", "a softer face"),
    "fineness_face": ("finer detail in the face", "less detail in the face"),
    "eyes_against_nose": ("the focus nearer to the eyes", "the focus farther from the eyes"),
    "sharpest_plane": ("the focus nearer to the eyes", "the focus farther from the eyes"),
    "halo": ("fewer halos of sharpening", "more halos of sharpening"),
    "levels_used": ("smoother shades", "coarser shades"),
    "eye_distance": ("a larger face", "a smaller face"),
    "megapixels": ("more pixels", "fewer pixels"),
} | {name: (one.better, one.worse) for one in ASPECTS.values() for name in one.factors}


def differences(first: Measured, second: Measured) -> list[FactorDifference]:
    """Return the factors in which one shot is better or worse than another, seen by a viewer, the most telling first.

    Those in which neither more nor less is better, such as colours, are left out.
    """
    found = compare_factors(_comparable(first), _comparable(second))
    return [one for one in found if one.factor.direction != "middle" and abs(one.telling) >= SEEN]


def in_words(found: Sequence[FactorDifference], better: bool) -> list[str]:
    """Return in words what is better in the first of two shots, or what is worse."""
    signed = [one for one in found if (one.steps > 0) == better and one.factor.name in WORDS]
    return list(dict.fromkeys(WORDS[one.factor.name][0 if better else 1] for one in signed))[:MOST]


def faults(measured: Measured) -> list[str]:
    """Return what is wrong with a shot by itself: no face, a cut face, and the like."""
    if measured.face_box is None:
        return [NO_FACE] if measured.looked else []
    told = [CUT] if is_cut(measured) else []
    advised = (name for name in FAULTS if (one := measured.readings.get(name)) is not None and one.advice)
    return told + [FAULTS[name] for name in advised]


def first_reason(first: Measured, second: Measured, close: str, by_model: bool) -> str:
    """Return why the first shot of a moment comes before the second.

    Args:
        first: What was measured of the first.
        second: Likewise.
        close: That it is too close to call, in words; empty where it is not.
        by_model: Whether a model ranked them, which may see more than what is measured.
    """
    found = differences(first, second)
    better, worse = in_words(found, better=True), in_words(found, better=False)
    if better:
        text = f"{_listed(better)} than the second"
    elif by_model and (worse or not first.readings):
        text = "the model prefers it"
    elif by_model:
        text = f"the model prefers it; {NO_DIFFERENCE}"
    else:
        text = NO_DIFFERENCE
    return _joined([close, text, f"but {_listed(worse)}" if worse else "", *faults(first)])


def later_reason(shot: Measured, first: Measured, close: str) -> str:
    """Return why a shot comes after the first of its moment; `close` as of `first_reason`."""
    found = differences(first, shot)
    # What is better in the first is worse in this one.
    worse = [WORDS[one.factor.name][1] for one in found if one.steps > 0 and one.factor.name in WORDS]
    text = f"{_listed(list(dict.fromkeys(worse))[:MOST])} than the first" if worse else ""
    nothing = NO_DIFFERENCE if first.readings else "the model prefers the first"
    return _joined([close, text, *faults(shot)]) or nothing


def _comparable(measured: Measured) -> PortraitFactors:
    """Return what was measured in the form in which images are compared."""
    points = None if measured.face_points is None else [tuple(point) for point in measured.face_points]
    size = {"width": measured.width, "height": measured.height, "face_points": points}
    return cast(PortraitFactors, SimpleNamespace(readings=measured.readings, **size))


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _joined(parts: Sequence[str]) -> str:
    return "; ".join(filter(None, parts))
