"""Sharpness: widths of edges and blur at eyes, face and surroundings, and the smear of motion, in native pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from piqa.factors.edges import STRONG, edges_of
from piqa.factors.factor import Factor, Measurement, Words
from piqa.factors.flat_patches import Values
from piqa.factors.measured_image import MeasuredImage
from piqa.factors.native import COMMON_EYE_DISTANCE, Window
from piqa.factors.noise import missing_common
from piqa.system.phrases import Phrase

NO_FACE = Phrase("no face was found")
TOO_CLOSE = Phrase("the eyes are less than 40 px apart, so that few pixels show them")
NO_EDGES = Phrase("there are too few edges to judge sharpness")
CLOSEST_EYES = 40  # pixels between the eyes; in smaller faces the regions of the eyes hold too few pixels
MEAN_FILTER = 11  # pixels of Crete's low-pass filter
DIRECTED = 0.3  # anisotropy from which a direction is named: both portraits, which are sharp, have less [own rule]
LEVEL = 10  # degrees from level or plumb that words leave out


def blur_effect(windows: Sequence[Window]) -> float | None:
    """Return the blur of a region in [0, 1]: how little a further blur takes away; None where nothing varies.

    One less the fraction of the gradient that a mean over 11 pixels along it removes, of the two directions the more
    blurred one. The same as `skimage.metrics.blur_effect` for one window.

    Reference: Crete et al. 2007, The blur effect: perception and estimation with a new no-reference perceptual blur
    metric.
    """
    found = []
    for turned in (False, True):
        parts = [_before_and_removed(one.smoothed_columns.T if turned else one.smoothed_rows) for one in windows]
        before, removed = (sum(part[at] for part in parts) for at in (0, 1))
        if before > 0:
            found.append(1 - removed / before)
    return max(found, default=None)


def _before_and_removed(smoothed: Values) -> tuple[float, float]:
    """Return the sum of absolute gradients along rows, and how much of it the mean filter removes."""
    if smoothed.shape[1] < MEAN_FILTER:
        return 0.0, 0.0
    gradient, removed = gradient_and_removed(smoothed)
    return float(gradient.sum(dtype=np.float64)), float(removed.sum(dtype=np.float64))


def gradient_and_removed(smoothed: Values) -> tuple[Values, Values]:
    """Return absolute gradients along rows, and what a mean over 11 pixels along them removes of each.

    A gradient of means is a difference of two pairs of values, as all that lies between cancels.

    Args:
        smoothed: A region smoothed across its rows, (rows - 2, columns).

    Returns:
        Two arrays, (rows - 3, columns - 3): those that begin at the third pixel of the region in each direction.
    """
    wide = np.pad(smoothed, ((0, 0), (MEAN_FILTER // 2, MEAN_FILTER // 2)), "symmetric")
    pairs = wide[:, 1:] + wide[:, :-1]
    of_means = np.abs(pairs[:, MEAN_FILTER:] - pairs[:, :-MEAN_FILTER])[1:, 1:] / MEAN_FILTER
    gradient = np.abs(smoothed[1:, 3:] - smoothed[1:, 1:-2])
    return gradient, np.maximum(gradient - of_means, 0)


def fineness(windows: Sequence[Window]) -> float | None:
    """Return Tenengrad over the variance of grey values, which contrast does not change; None where nothing varies."""
    if not windows:
        return None
    energy = sum(float(np.square(one.gradient_x).sum() + np.square(one.gradient_y).sum()) for one in windows)
    number = sum(one.gradient_x.size for one in windows)
    variance = float(np.concatenate([one.grey.ravel() for one in windows]).var())
    return None if variance < 1e-6 else energy / number / variance


def anisotropy(windows: Sequence[Window]) -> tuple[float, float] | None:
    """Return how much all edges run one way, in [0, 1], and which: degrees from level, anticlockwise, in [0, 180).

    From the eigenvalues of the structure tensor: their difference over their sum, and the direction of the smaller
    gradients, along which motion smears. None where nothing varies.
    """
    xx = sum(float(np.vdot(one.gradient_x, one.gradient_x)) for one in windows)
    yy = sum(float(np.vdot(one.gradient_y, one.gradient_y)) for one in windows)
    xy = sum(float(np.vdot(one.gradient_x, one.gradient_y)) for one in windows)
    if xx + yy <= 0:
        return None
    across = np.degrees(np.arctan2(2 * xy, xx - yy)) / 2
    return float(np.hypot(xx - yy, 2 * xy) / (xx + yy)), float((90 - across) % 180)


def _say_width(where: Phrase) -> Callable[[float], Words]:
    return lambda value: (Phrase("edges {where} are {width:.1f} px wide", where=where, width=value), "")


def _say_blur(of: Phrase) -> Callable[[float], Words]:
    template = "blur of {of} is {blur:.2f}, from 0 for pixels that differ at random to 1"
    return lambda value: (Phrase(template, of=of, blur=value), "")


def _say_relative(value: float) -> Words:
    return Phrase("edges in the face are {percent:.1f} % of the distance of the eyes wide", percent=100 * value), ""


def _say_fineness(value: float) -> Words:
    return Phrase("fine detail of the face is {times:.1f} times its contrast", times=value), ""


def _say_motion(value: float) -> Words:
    if value < DIRECTED:
        return Phrase("edges of the face run in no one direction ({share:.2f} of 1)", share=value), ""
    said = Phrase("edges of the face run in one direction ({share:.2f} of 1), as motion smears them", share=value)
    return said, Phrase("use a shorter exposure")


def _say_angle(value: float) -> Words:
    if min(value, 180 - value) <= LEVEL:
        return Phrase("edges are smeared from side to side"), ""
    if abs(value - 90) <= LEVEL:
        return Phrase("edges are smeared up and down"), ""
    return Phrase("edges are smeared along {degrees:.0f} degrees, anticlockwise from level", degrees=value), ""


SIZE = "In pixels of the file: compare images whose eyes are equally far apart, or the value at the common size."
ENLARGED = "An enlarged image reads as a blurred one; strong sharpening reads as sharper."
MARZILIANO, CRETE = "Marziliano et al. 2002", "Crete et al. 2007; scikit-image, blur_effect"
AT_COMMON = f"Measured at {COMMON_EYE_DISTANCE} px between the eyes: blur that is finer than that does not count."

FACTORS = (
    Factor(
        *("edge_width_eyes", "width of edges at the eyes", "sharpness", "px", "down", "eyes"),
        step=1.7,
        say=_say_width(Phrase("at the eyes")),
        digits=1,
        caveat=f"{SIZE} {ENLARGED}",
        source=MARZILIANO,
    ),
    Factor(
        *("edge_width_face", "width of edges in the face", "sharpness", "px", "down", "face"),
        step=2.0,
        say=_say_width(Phrase("in the face")),
        digits=1,
        caveat=f"{SIZE} {ENLARGED}",
        source=MARZILIANO,
    ),
    Factor(
        *("edge_width_surroundings", "width of edges around", "sharpness", "px", "middle", "surroundings"),
        step=2.0,
        say=_say_width(Phrase("in the surroundings")),
        digits=1,
        caveat=f"{SIZE} {ENLARGED} The surroundings hold the body.",
        source=MARZILIANO,
    ),
    Factor(
        *("edge_width_relative", "width of edges for the face's size", "sharpness", "", "down", "face"),
        step=0.035,
        say=_say_relative,
        digits=3,
        caveat=ENLARGED,
        source=f"{MARZILIANO}, over the distance of the eyes",
    ),
    Factor(
        *("edge_width_60", "width of edges at the common size", "sharpness", "px", "down", "face"),
        step=1.5,
        say=_say_width(Phrase("in the face, at {distance} px between the eyes,", distance=COMMON_EYE_DISTANCE)),
        digits=1,
        caveat=AT_COMMON,
        source=MARZILIANO,
    ),
    Factor(
        *("blur_eyes", "blur at the eyes", "sharpness", "", "down", "eyes"),
        step=0.06,
        say=_say_blur(Phrase("the eyes")),
        caveat=f"{SIZE} {ENLARGED}",
        source=CRETE,
    ),
    Factor(
        *("blur_face", "blur of the face", "sharpness", "", "down", "face"),
        step=0.06,
        say=_say_blur(Phrase("the face")),
        caveat=f"{SIZE} {ENLARGED}",
        source=CRETE,
    ),
    Factor(
        *("blur_surroundings", "blur of the surroundings", "sharpness", "", "middle", "surroundings"),
        step=0.06,
        say=_say_blur(Phrase("the surroundings")),
        caveat=f"{SIZE} {ENLARGED} Noise reads as sharpness where the surroundings are even.",
        source=CRETE,
    ),
    Factor(
        *("blur_60", "blur of the face at the common size", "sharpness", "", "down", "face"),
        step=0.045,
        say=_say_blur(Phrase("the face, at {distance} px between the eyes,", distance=COMMON_EYE_DISTANCE)),
        caveat=AT_COMMON,
        source=CRETE,
    ),
    Factor(
        *("fineness_face", "fine detail of the face", "sharpness", "", "up", "face"),
        step=0.8,
        say=_say_fineness,
        digits=1,
        caveat=f"{SIZE} Sharpening moves it more than blur does: read it together with the halo.",
        source="Tenengrad over variance",
    ),
    Factor(
        *("motion", "smear in one direction", "sharpness", "", "down", "face"),
        step=0.09,
        say=_say_motion,
        caveat="Stripes, a wall of bricks or hair that runs one way reads as a smear, too.",
        source="structure tensor",
    ),
    Factor(
        *("motion_direction", "direction of the smear", "sharpness", "degrees", "middle", "face"),
        step=15,
        say=_say_angle,
        digits=0,
        source="structure tensor",
    ),
)


def measure(image: MeasuredImage) -> dict[str, Measurement]:
    """Return a measurement for each of `FACTORS`, by name."""
    native, edges, distance = image.native, image.edges, image.regions.eye_distance
    face_width = edges.face.width
    found = {
        "edge_width_eyes": _at_eyes(edges.eyes.width, image),
        "edge_width_face": _edges(face_width, native.face),
        "edge_width_surroundings": _edges(edges.surroundings.width, native.tiles),
        "edge_width_relative": _edges(face_width and distance and face_width / distance, native.face),
        "blur_eyes": _at_eyes(blur_effect(native.eyes), image),
        "blur_face": _edges(blur_effect(native.face), native.face),
        "blur_surroundings": _edges(blur_effect(native.tiles), native.tiles),
        "fineness_face": _edges(fineness(native.face), native.face),
    }
    return found | _at_common_size(image) | _motion(native.face)


def _at_common_size(image: MeasuredImage) -> dict[str, Measurement]:
    face = image.native.common_face
    if face is None:
        missing = Measurement(None, missing_common(image))
        return {"edge_width_60": missing, "blur_60": missing}
    # independent noise of pixels goes down with the side of the squares whose means are taken
    noise = (image.native.noise.luma or 0.0) * COMMON_EYE_DISTANCE / (image.regions.eye_distance or COMMON_EYE_DISTANCE)
    return {
        "edge_width_60": _edges(edges_of([face], STRONG, noise).width, [face]),
        "blur_60": _edges(blur_effect([face]), [face]),
    }


def _motion(face: Sequence[Window]) -> dict[str, Measurement]:
    found = anisotropy(face)
    if found is None:
        missing = Measurement(None, NO_EDGES if face else NO_FACE)
        return {"motion": missing, "motion_direction": missing}
    amount, direction = found
    towards = _say_angle(direction)[0] if amount >= DIRECTED else ""
    unsure = Measurement(None, Phrase("edges of the face have no common direction"))
    return {
        "motion": Measurement(amount, detail=towards),
        "motion_direction": Measurement(direction) if amount >= DIRECTED else unsure,
    }


def _at_eyes(value: float | None, image: MeasuredImage) -> Measurement:
    """Return a value of the regions of the eyes, with a note where they are too small to rely on it."""
    if value is not None and (image.regions.eye_distance or 0) < CLOSEST_EYES:
        return Measurement(value, TOO_CLOSE)
    return _edges(value, image.native.eyes)


def _edges(value: float | None, windows: Sequence[Window]) -> Measurement:
    return Measurement(value, "" if value is not None else NO_EDGES if windows else NO_FACE)
