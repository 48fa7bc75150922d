"""A scene without scale: discs of all sizes over one another, the model of natural images whose edges are all sharp."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from piqa.factors.regions import Regions


def dead_leaves(width, height, discs=4000, smallest=8.0, seed=0):
    """Discs whose radii follow r ** -3, as in Lee, Mumford and Huang 2001; edges as soft as a camera makes them."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (width, height), (120, 110, 100))
    draw = ImageDraw.Draw(image)
    part = rng.random(discs)
    radii = 1 / np.sqrt(part / smallest**2 + (1 - part) / (width / 8) ** 2)
    for x, y, radius, colour in zip(
        rng.random(discs) * width, rng.random(discs) * height, radii, rng.integers(30, 225, (discs, 3)), strict=True
    ):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tuple(colour.tolist()))
    return image.filter(ImageFilter.GaussianBlur(0.7))


def regions_of(width, height, eye_distance):
    """A face in the middle, its eyes so far apart as a part of the width."""
    d, x, y = eye_distance * width, width / 2, height * 0.45
    points = ((x - d / 2, y), (x + d / 2, y), (x, y + 0.6 * d), (x - 0.4 * d, y + 1.1 * d), (x + 0.4 * d, y + 1.1 * d))
    return Regions(width, height, (x - 1.05 * d, y - 1.3 * d, x + 1.05 * d, y + 1.7 * d), points)
