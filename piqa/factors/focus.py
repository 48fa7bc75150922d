"""Focus: which of eyes, nose and surroundings is the sharpest, and how much sharper the face is than what is around."""

from __future__ import annotations

import math
import statistics

from piqa.factors.edges import ImageEdges
from piqa.factors.factor import Factor, Measurement, Words
from piqa.factors.measured_image import MeasuredImage
from piqa.factors.sharpness import CLOSEST_EYES, NO_EDGES, NO_FACE
from piqa.system.phrases import Phrase

EYES, NOSE, SURROUNDINGS = 0, 1, 2
PLANES = (
    Phrase("the sharpest edges lie in the eyes"),
    Phrase("the sharpest edges lie in the nose"),
    Phrase("the sharpest edges lie in the surroundings"),
)
ON_THE_EYE = Phrase("focus on the nearer eye")
AS_SHARP = 1.3  # eyes are sharp where their edges are at most so many times as wide as the sharpest [own rule]
SHALLOW_GAP, SHALLOW_WIDTH = 1.0, 0.1  # log2, and parts of the distance of the eyes [own rule]

TOO_SMALL = Phrase(f"the eyes are less than {CLOSEST_EYES} px apart: too near to compare them with the nose")


def _say_gap(value: float) -> Words:
    times = 2 ** abs(value)
    if abs(value) < math.log2(AS_SHARP):
        return Phrase("the face is about as sharp as its surroundings"), ""
    if value < 0:
        return Phrase("edges of the face are {times:.1f} times as wide as those around it", times=times), ON_THE_EYE
    return Phrase("edges around the face are {times:.1f} times as wide as those in it", times=times), ""


def _say_eyes_nose(value: float) -> Words:
    times = 2**value
    if value <= math.log2(AS_SHARP):
        return Phrase("the eyes are about as sharp as the nose, or sharper"), ""
    in_front = "edges at the eyes are {times:.1f} times as wide as at the nose: focus lies in front"
    return Phrase(in_front, times=times), ON_THE_EYE


def _say_plane(value: float) -> Words:
    return PLANES[round(value)], "" if round(value) == EYES else ON_THE_EYE


def _say_depth(value: float) -> Words:
    if value > 0.5:
        return Phrase("depth of field is shallow: the surroundings are blurred and the face is not"), ""
    return Phrase("the surroundings are not much more blurred than the face"), ""


def _say_blur_around(value: float) -> Words:
    wide = "edges of the surroundings are {percent:.0f} % of the distance of the eyes wide"
    return Phrase(wide, percent=100 * value), ""


FACTORS = (
    Factor(
        *("focus_gap", "face against surroundings", "focus", "log2", "middle", "face"),
        step=0.37,
        say=_say_gap,
        caveat="The surroundings hold the body, which is about as sharp as the face.",
        source="widths of edges, Marziliano et al. 2002",
    ),
    Factor(
        *("surroundings_blur", "blur of the surroundings for the face's size", "focus", "", "middle", "surroundings"),
        step=0.055,
        say=_say_blur_around,
        digits=3,
        caveat="Blur of the whole image moves it, too.",
        source="widths of edges, Marziliano et al. 2002, over the distance of the eyes",
    ),
    Factor(
        *("shallow_depth", "shallow depth of field", "focus", "1: yes", "middle", "surroundings"),
        step=1,
        say=_say_depth,
        digits=0,
        caveat="Motion of the surroundings reads as depth of field.",
        source=f"gap above {SHALLOW_GAP:.0f}, edges around wider than {SHALLOW_WIDTH:.0%} of the eyes' distance",
    ),
    Factor(
        *("eyes_against_nose", "eyes against nose", "focus", "log2", "down", "eyes"),
        step=0.3,
        say=_say_eyes_nose,
        caveat="Eyes have finer edges than a nose: even where both are in focus the value is about -0.5.",
        source="widths of edges, Marziliano et al. 2002",
    ),
    Factor(
        *("sharpest_plane", "sharpest plane", "focus", "0: eyes, 1: nose, 2: around", "down", "whole"),
        step=1,
        say=_say_plane,
        digits=0,
        caveat=f"Another plane is named only where its edges are {AS_SHARP} times as narrow as those of the eyes.",
        source="widths of edges, Marziliano et al. 2002",
    ),
)


def measure(image: MeasuredImage) -> dict[str, Measurement]:
    """Return a measurement for each of `FACTORS`, by name."""
    edges, distance = image.edges, image.regions.eye_distance
    if distance is None:
        return {factor.name: Measurement(None, NO_FACE) for factor in FACTORS}
    face, around = edges.face.width, edges.surroundings.width
    missing = Measurement(None, NO_EDGES)
    found = dict.fromkeys(("focus_gap", "surroundings_blur", "shallow_depth"), missing)
    if around is not None:
        found["surroundings_blur"] = Measurement(around / distance)
        if face is not None:
            gap = math.log2(around / face)
            shallow = gap > SHALLOW_GAP and around / distance > SHALLOW_WIDTH
            found |= {"focus_gap": Measurement(gap), "shallow_depth": Measurement(float(shallow))}
    return found | _planes(edges, distance)


def _planes(edges: ImageEdges, distance: float) -> dict[str, Measurement]:
    """Return how eyes, nose and surroundings compare."""
    names = ("eyes_against_nose", "sharpest_plane")
    eyes, nose, around = edges.eyes.width, edges.nose.width, _around(edges)
    if distance < CLOSEST_EYES:
        return dict.fromkeys(names, Measurement(None, TOO_SMALL))
    if eyes is None:
        return dict.fromkeys(names, Measurement(None, NO_EDGES))
    against_nose = Measurement(None, NO_EDGES) if nose is None else Measurement(math.log2(eyes / nose))
    widths = [eyes / AS_SHARP, nose or math.inf, around or math.inf]
    return {"eyes_against_nose": against_nose, "sharpest_plane": Measurement(float(widths.index(min(widths))))}


def _around(edges: ImageEdges) -> float | None:
    """Return how wide edges around the face are, by their tiles and taken together; None where there are too few.

    The sharpest tile alone would nearly always win: letters and stars have finer edges than eyes. The median of the
    tiles alone wins where most of them are smooth: their only edges are grain and traces of compression, two pixels
    wide. So the surroundings are only as sharp as the blunter of the median and of all their strong edges.
    """
    widths = [width for width in (tile.width for tile in edges.tiles) if width is not None]
    together = edges.surroundings.width
    return None if together is None or not widths else max(statistics.median(widths), together)
