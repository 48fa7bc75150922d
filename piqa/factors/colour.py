"""Colour of the whole image: casts, how colourful it is, and how its hues lie on the circle."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from piqa.factors.cielab import chroma, lab
from piqa.factors.exposure import CHANNELS
from piqa.factors.factor import Factor, Measurement, Words
from piqa.factors.harmony import distances, hue_histogram, smallest
from piqa.factors.hue import hue_shares, hue_type
from piqa.factors.measured_image import LINEAR, MeasuredImage
from piqa.factors.skin import GREY
from piqa.preparation.image_file import Pixels
from piqa.system.phrases import Phrase

DARKEST = 1e-4  # of white, added to mean channels
HARDLY = Phrase("there is hardly any colour in the image")
# Hasler and Süsstrunk 2003, table 2
COLOURFUL = (
    *((0, Phrase("not")), (15, Phrase("slightly")), (33, Phrase("moderately")), (45, Phrase("averagely"))),
    *((59, Phrase("quite")), (82, Phrase("highly"))),
)
MOST_COLOURFUL = (109, Phrase("extremely"))


def _say_blue(value: float) -> Words:
    if abs(value) < 0.05:
        return Phrase("over the whole image, blue and red are equal"), ""
    if value > 0:
        return Phrase("over the whole image, blue is {stops:.1f} stops over red", stops=value), ""
    return Phrase("over the whole image, blue is {stops:.1f} stops under red", stops=-value), ""


def _say_green(value: float) -> Words:
    if abs(value) < 0.05:
        return Phrase("over the whole image, green lies between red and blue"), ""
    if value > 0:
        over = "over the whole image, green is {stops:.1f} stops over the middle of red and blue"
        return Phrase(over, stops=value), ""
    under = "over the whole image, green is {stops:.1f} stops under the middle of red and blue"
    return Phrase(under, stops=-value), ""


def _say_colourfulness(value: float) -> Words:
    words = (*COLOURFUL, MOST_COLOURFUL)
    if value >= MOST_COLOURFUL[0]:
        extremely = "the image is extremely colourful ({value:.0f}) in the words of Hasler and Süsstrunk"
        return Phrase(extremely, value=value), ""
    (low, less), (high, more) = next(pair for pair in pairwise(words) if value < pair[1][0])
    between = "the image is between {less} ({low}) and {more} ({high}) colourful: {value:.0f}"
    return Phrase(between, less=less, low=low, more=more, high=high, value=value), ""


def _say_chroma(value: float) -> Words:
    return Phrase("colours are {chroma:.0f} away from grey on average (C*)", chroma=value), ""


def _say_harmony(value: float) -> Words:
    if value < 0.05:
        return Phrase("all hues lie within half of the hue circle, or in two opposite quarters"), ""
    beyond = "hues reach {degrees:.1f} degrees on average beyond half of the hue circle or two opposite quarters"
    return Phrase(beyond, degrees=value), ""


CONTENT = "Content decides as much as light: compare images of the same scene."
FACTORS = (
    Factor(
        *("cast_blue", "cast, red to blue", "colour", "stops", "middle", "whole"),
        step=0.23,
        say=_say_blue,
        caveat=f"{CONTENT} Stronger or weaker colours move it.",
        source="grey world: log2 of mean blue over mean red in linear light",
    ),
    Factor(
        *("cast_green", "cast, magenta to green", "colour", "stops", "middle", "whole"),
        step=0.11,
        say=_say_green,
        caveat=f"{CONTENT} Stronger or weaker colours move it.",
        source="grey world: log2 of mean green over the geometric mean of mean red and blue in linear light",
    ),
    Factor(
        *("colourfulness", "colourfulness", "colour", "", "middle", "whole"),
        step=10.5,
        say=_say_colourfulness,
        digits=0,
        caveat="Flattening and darkening lower it.",
        source="Hasler and Süsstrunk 2003, M3, of a copy of 256 px",
    ),
    Factor(
        *("mean_chroma", "strength of colours", "colour", "C*", "middle", "whole"),
        step=3.2,
        say=_say_chroma,
        digits=0,
        caveat="Flattening and darkening lower it.",
        source="mean C* in CIELAB under D50, of a copy of 64 px",
    ),
    Factor(
        *("harmony_distance", "distance from harmony of hues", "colour", "degrees", "middle", "whole"),
        step=0.15,
        say=_say_harmony,
        caveat="Any cast moves it. It has no proven link to what people prefer.",
        source="Cohen-Or et al. 2006, least F of all templates, hues of CIELAB in a copy of 64 px",
    ),
)


def measure(image: MeasuredImage) -> dict[str, Measurement]:
    """Return a measurement for each of `FACTORS`, by name."""
    if image.is_grey:
        return dict.fromkeys((factor.name for factor in FACTORS), Measurement(None, GREY))
    blue, green = grey_world(image)
    shares = hue_shares(image.thumbnail)
    strength = float(chroma(lab(LINEAR[image.thumbnail])).mean())
    return {
        "cast_blue": Measurement(blue),
        "cast_green": Measurement(green),
        "colourfulness": Measurement(colourfulness(image.small)),
        "mean_chroma": Measurement(strength, detail="" if shares is None else hue_type(shares)),
        "harmony_distance": _harmony(image.thumbnail),
    }


def grey_world(image: MeasuredImage) -> tuple[float, float]:
    """Return in stops mean blue over mean red, and mean green over the geometric mean of both, in linear light."""
    means = image.counts @ LINEAR / image.counts.sum(axis=1) + DARKEST
    logs = dict(zip(CHANNELS, np.log2(means).tolist(), strict=True))
    return logs["blue"] - logs["red"], logs["green"] - (logs["red"] + logs["blue"]) / 2


def colourfulness(pixels: Pixels) -> float:
    """Return M3 of uint8 RGB pixels, (..., 3): 0 for grey, 109 for extremely colourful."""
    red, green, blue = np.moveaxis(pixels.astype(np.float32), -1, 0)
    opponent = red - green, (red + green) / 2 - blue
    spread = np.hypot(*(one.std(dtype=np.float64) for one in opponent))
    return float(spread + 0.3 * np.hypot(*(one.mean(dtype=np.float64) for one in opponent)))


def _harmony(pixels: Pixels) -> Measurement:
    hues = hue_histogram(pixels)
    if hues is None:
        return Measurement(None, HARDLY)
    found = distances(hues)
    fits = smallest(found)
    if fits is None:
        return Measurement(min(found), detail=Phrase("they fit no template"))
    fitted = Phrase("the smallest template that they fit is {name}: {words}", name=fits.name, words=fits.words)
    return Measurement(min(found), detail=fitted)
