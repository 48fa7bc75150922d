"""Images with a face where the test puts it, so that measures can be computed by hand."""

import numpy as np

from piqa.factors.measured_image import MeasuredImage
from piqa.factors.regions import Regions

SIDE = 400
BOX = (100.0, 80.0, 300.0, 320.0)
# eyes 100 px apart, mouth 100 px below them, nose in the middle
POINTS = ((150.0, 150.0), (250.0, 150.0), (200.0, 200.0), (160.0, 250.0), (240.0, 250.0))
REGIONS = Regions(SIDE, SIDE, BOX, POINTS)
# The largest part of each half of the picture that holds one zone
LEFT, RIGHT = np.s_[:, :200], np.s_[:, 200:]
FACE = REGIONS.ellipse(SIDE, SIDE)


def encoded(light):
    """The nearest 8-bit value of linear light."""
    light = np.asarray(light, float)
    return np.rint(255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)).astype(int)


def plain(value):
    return np.full((SIDE, SIDE, 3), value, np.uint8)


def image_of(pixels, regions=REGIONS):
    return MeasuredImage(pixels, regions)


def with_nose(x, y=200.0):
    return Regions(SIDE, SIDE, BOX, (*POINTS[:2], (x, y), *POINTS[3:]))
