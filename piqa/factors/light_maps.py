"""Maps of light and colour: exposure in stops over the whole image, and the hue of the skin over the face."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image

from piqa.factors.cielab import lab
from piqa.factors.exposure import MID_GREY, at_end
from piqa.factors.maps import ImageMap
from piqa.factors.measured_image import LINEAR, MeasuredImage, Values
from piqa.factors.skin import LEAST_CHROMA, cheek_colour
from piqa.system.phrases import Phrase

MAP_SIDE = 400  # most values on a side
DARKEST = 1e-4  # of white
SMOOTHING = 1 / 60  # of the shorter side, sigma
SKIN_SMOOTHING = 1 / 30  # of the face's side, likewise
STOPS = 4.0  # at the ends of the colours
DEGREES = 40.0  # of hue, likewise

EXPOSURE_LEGEND = (
    (-4.0, Phrase("too dark for detail: 4 stops or more below mid-grey")),
    (-2.0, Phrase("dark: 2 stops below")),
    (0.0, Phrase("right for a mid-tone: 18 % grey")),
    (2.0, Phrase("bright: 2 stops above")),
    (4.0, Phrase("clipped: a colour channel at its end, so that its light is unknown")),
)
SKIN_LEGEND = (
    (-DEGREES, Phrase("more magenta than the cheeks")),
    (0.0, Phrase("the hue of the cheeks")),
    (DEGREES, Phrase("more yellow or green than the cheeks")),
)


def exposure_map(image: MeasuredImage) -> ImageMap:
    """Return how many stops each place lies above mid-grey, smoothed; clipped places lie at the upper end.

    The light of the scene is not known: the map shows the tone of the picture, not what is wrong with it.
    """
    from scipy import ndimage

    light = _reduced(image.luminance)
    smooth = ndimage.gaussian_filter(light, SMOOTHING * min(light.shape))
    stops = np.log2(np.maximum(smooth, DARKEST) / MID_GREY).astype(np.float32)
    clipped = _reduced(at_end(image.working).astype(np.float32)) > 0.5
    return ImageMap(
        name="exposure",
        title="exposure: tone of each place, not whether it is right",
        unit="stops",
        values=np.where(clipped, np.float32(STOPS), np.minimum(stops, np.float32(STOPS))),
        palette="diverging",
        limits=(-STOPS, STOPS),
        legend=EXPOSURE_LEGEND,
    )


def skin_map(image: MeasuredImage) -> ImageMap | None:
    """Return by how many degrees the hue of each place of the face differs from that of the cheeks.

    Two sides of different hue show light of two colours. There is no value outside of the face, nor where there is
    hardly any colour; no map without a face, or of a grey image.
    """
    colour, note = cheek_colour(image)
    if colour is None or note or image.face is None or math.hypot(colour[1], colour[2]) < LEAST_CHROMA:
        return None
    from scipy import ndimage

    small = np.asarray(Image.fromarray(image.working).reduce(_by(image.working.shape[:2])))
    sigma = SKIN_SMOOTHING * math.sqrt(np.count_nonzero(image.face)) / _by(image.working.shape[:2])
    a, b = (ndimage.gaussian_filter(one, sigma) for one in np.moveaxis(lab(LINEAR[small]), -1, 0)[1:])
    away = np.degrees(np.arctan2(b, a) - math.atan2(colour[2], colour[1]))
    inside = _reduced(image.face.astype(np.float32)) > 0.5
    known = inside & (np.hypot(a, b) >= LEAST_CHROMA)
    return ImageMap(
        name="skin_hue",
        title="hue of the face against that of the cheeks",
        unit="degrees",
        values=np.where(known, (away + 180) % 360 - 180, np.nan).astype(np.float32),
        palette="diverging",
        limits=(-DEGREES, DEGREES),
        legend=SKIN_LEGEND,
    )


def _by(shape: tuple[int, ...]) -> int:
    return math.ceil(max(shape) / MAP_SIDE)


def _reduced(values: Values) -> Values:
    """Return means of squares of a copy's values, at most 400 on a side."""
    return np.asarray(Image.fromarray(values).reduce(_by(values.shape)))
