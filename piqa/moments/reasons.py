"""Why a shot is at its place in its moment, in words."""

from __future__ import annotations

from collections.abc import Sequence

from piqa.explanation.difference import FactorDifference, KeptFactors, compare_factors
from piqa.moments.aspects import ASPECTS, is_cut
from piqa.moments.measuring import Measured
from piqa.system.phrases import Phrase, joined, listed

SEEN = 1.0  # steps; what differs by less is not seen
MOST = 3  # differences that are told
SINGLE = Phrase("the only shot of its moment: it has no rival")
BRACKET = Phrase("an exposure bracket: its shots are no rivals and stay together")
ONLY_READ = Phrase("the only shot of its moment that could be read")
NO_DIFFERENCE = Phrase("nothing that is measured differs by what a viewer sees")
NO_FACE, CUT = Phrase("no face was found"), Phrase("the edge of the image cuts the face")
# Factors whose advice is a fault of the shot, whatever the others of its moment are like.
FAULTS = {
    "over_face": Phrase("part of the face is white without detail"),
    "eyes_against_nose": Phrase("the focus lies in front of the eyes"),
    "motion": Phrase("the face is blurred or smeared by motion"),
}
SHARPER = (Phrase("a sharper face"), Phrase("a softer face"))
FOCUS_NEARER = (Phrase("the focus nearer to the eyes"), Phrase("the focus farther from the eyes"))
# How a shot differs that is better, or worse, in a factor which no aspect has.
WORDS = {
    "under_face": (Phrase("less of the face in the dark"), Phrase("more of the face in the dark")),
    "clip_whole": (
        Phrase("less of the image lost in black or white"),
        Phrase("more of the image lost in black or white"),
    ),
    "range_stops": (Phrase("more dynamic range"), Phrase("less dynamic range")),
    "shadow_noise": (Phrase("less noise in the shadows"), Phrase("more noise in the shadows")),
    "noise_60": (Phrase("less noise"), Phrase("more noise")),
    "edge_width_relative": SHARPER,
    "edge_width_60": SHARPER,
    "blur_60": SHARPER,
    "fineness_face": (Phrase("finer detail in the face"), Phrase("less detail in the face")),
    "eyes_against_nose": FOCUS_NEARER,
    "sharpest_plane": FOCUS_NEARER,
    "halo": (Phrase("fewer halos of sharpening"), Phrase("more halos of sharpening")),
    "levels_used": (Phrase("smoother shades"), Phrase("coarser shades")),
    "eye_distance": (Phrase("a larger face"), Phrase("a smaller face")),
    "megapixels": (Phrase("more pixels"), Phrase("fewer pixels")),
} | {name: (one.better, one.worse) for one in ASPECTS.values() for name in one.factors}


def differences(first: Measured, second: Measured) -> list[FactorDifference]:
    """Return the factors in which one shot is better or worse than another, seen by a viewer, the most telling first.

    Those in which neither more nor less is better, such as colours, are left out.
    """
    found = compare_factors(_comparable(first), _comparable(second))
    return [one for one in found if one.factor.direction != "middle" and abs(one.telling) >= SEEN]


def in_words(found: Sequence[FactorDifference], better: bool) -> list[Phrase]:
    """Return in words what is better in the first of two shots, or what is worse."""
    signed = [one for one in found if (one.steps > 0) == better and one.factor.name in WORDS]
    return list(dict.fromkeys(WORDS[one.factor.name][0 if better else 1] for one in signed))[:MOST]


def faults(measured: Measured) -> list[Phrase]:
    """Return what is wrong with a shot by itself: no face, a cut face, and the like."""
    if measured.face_box is None:
        return [NO_FACE] if measured.looked else []
    told = [CUT] if is_cut(measured) else []
    advised = (name for name in FAULTS if (one := measured.readings.get(name)) is not None and one.advice)
    return told + [FAULTS[name] for name in advised]


def first_reason(first: Measured, second: Measured, close: str, by_model: bool, tied: bool = False) -> str:
    """Return why the first shot of a moment comes before the second.

    Args:
        first: What was measured of the first.
        second: Likewise.
        close: That it is too close to call, in words; empty where it is not.
        by_model: Whether a model ranked them, which may see more than what is measured.
        tied: Whether both have the same score, as copies have.
    """
    found = differences(first, second)
    better, worse = in_words(found, better=True), in_words(found, better=False)
    opinion = Phrase("the model scores both alike") if tied else Phrase("the model prefers it")
    if better:
        text = Phrase("{better} than the second", better=listed(better))
    elif by_model and (worse or not first.readings):
        text = opinion
    elif by_model:
        text = Phrase("{first}; {second}", first=opinion, second=NO_DIFFERENCE)
    else:
        text = NO_DIFFERENCE
    return joined([close, text, Phrase("but {worse}", worse=listed(worse)) if worse else "", *faults(first)])


def later_reason(shot: Measured, first: Measured, close: str) -> str:
    """Return why a shot comes after the first of its moment; `close` as of `first_reason`."""
    found = differences(first, shot)
    # What is better in the first is worse in this one.
    worse = [WORDS[one.factor.name][1] for one in found if one.steps > 0 and one.factor.name in WORDS]
    text = Phrase("{worse} than the first", worse=listed(list(dict.fromkeys(worse))[:MOST])) if worse else ""
    nothing = NO_DIFFERENCE if first.readings else Phrase("the model prefers the first")
    return joined([close, text, *faults(shot)]) or nothing


def _comparable(measured: Measured) -> KeptFactors:
    return KeptFactors(measured.readings, measured.width, measured.height, measured.face_points)
