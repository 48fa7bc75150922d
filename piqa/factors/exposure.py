"""Exposure: how bright the face is, against its surroundings too, what is clipped, and how many stops an image spans.

There is no target: skin lies between zones IV and VI of the zone system, and low-key and high-key images are meant to
be dark or bright. OFIQ's luminance mean is not here, as it rates dark skin as a fault.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from piqa.factors.factor import Factor, Measurement, Words
from piqa.factors.measured_image import MeasuredImage, Values
from piqa.system.phrases import Phrase

MID_GREY = 0.18  # of white: zone V
LEAST_LIGHT = 1e-3  # of white, below which there is noise
UNDER, OVER = 25.5 / 255, 246.5 / 255  # OFIQ v1.0.3: luminance of at most 25, at least 247 of 255, rounded
CLIPPED = 254  # encoded value from which on a channel is taken to be at its end
LEAST_AREA = 0.1  # per cent; lamps, and the sun in an eye, are less
BACK_LIGHT = -1.0  # stops [own rule]
LOST = 1.0  # per cent of the face; OFIQ's scalar for over-exposure falls to half of its range there
NO_FACE = Phrase("no face was found")
CHANNELS = ("red", "green", "blue")


def _say_face(value: float) -> Words:
    if value >= 0:
        return Phrase("the face is {stops:.1f} stops above mid-grey", stops=abs(value)), ""
    return Phrase("the face is {stops:.1f} stops below mid-grey", stops=-value), ""


def _say_against_surroundings(value: float) -> Words:
    if abs(value) < 0.05:
        return Phrase("the face is as bright as its surroundings"), ""
    if value > 0:
        return Phrase("the face is {stops:.1f} stops over the level of its surroundings", stops=value), ""
    advice = Phrase("raise the exposure, add light, or turn to the light") if value <= BACK_LIGHT else ""
    return Phrase("the face is {stops:.1f} stops under the level of its surroundings", stops=-value), advice


def _say_under(value: float) -> Words:
    return Phrase("{percent:.0f} % of the face is darker than a tenth of white", percent=value), ""


def _say_over(value: float) -> Words:
    if value < LEAST_AREA:
        return Phrase("no part of the face is white without detail"), ""
    advice = Phrase("expose less: detail cannot be brought back") if value >= LOST else ""
    return Phrase("{share} of the face is white without detail", share=_percent(value)), advice


def _say_clipped_face(value: float) -> Words:
    if value < LEAST_AREA:
        return Phrase("in the face no colour channel is at its end"), ""
    return Phrase("in {share} of the face a colour channel is at its end", share=_percent(value)), ""


def _say_clipped(value: float) -> Words:
    if value < LEAST_AREA:
        return Phrase("no colour channel is at its end, but for spots"), ""
    return Phrase("in {share} of the image a colour channel is at its end", share=_percent(value)), ""


def _say_range(value: float) -> Words:
    return Phrase("the image spans {stops:.1f} stops, from its darkest to its brightest hundredth", stops=value), ""


def _percent(value: float) -> str:
    return f"{value:.1f} %" if value < 10 else f"{value:.0f} %"


def _channel(channel: str, step: float) -> Factor:
    def say(value: float) -> Words:
        if value < LEAST_AREA:
            return Phrase("{channel} is nowhere at its end, but for spots", channel=Phrase(channel)), ""
        share = _percent(value)
        return Phrase("{channel} is at its end in {share} of the image", channel=Phrase(channel), share=share), ""

    return Factor(
        *(f"clip_{channel}", f"clipped {channel}", "exposure", "%", "down", "whole"),
        step=step,
        say=say,
        digits=1,
        caveat="Strong colours are at the end of a channel in any light.",
        source="share of pixels with a value of at least 254",
    )


FACTORS = (
    Factor(
        *("face_stops", "brightness of the face", "exposure", "stops", "middle", "face"),
        step=0.4,
        say=_say_face,
        caveat="There is no target, as faces differ; compare images of the same person. Light from the side moves it.",
        source="log2 of the median luminance over 18 %",
    ),
    Factor(
        *("face_vs_surroundings", "face against its surroundings", "exposure", "stops", "middle", "face"),
        step=0.4,
        say=_say_against_surroundings,
        caveat="The surroundings hold the body and its clothes.",
        source="log2 of the ratio of mean luminances, each + 0.01",
    ),
    Factor(
        *("under_face", "dark share of the face", "exposure", "%", "down", "face"),
        step=11,
        say=_say_under,
        digits=1,
        caveat="What is dark by itself counts as well, such as hair; compare images of the same person.",
        source="OFIQ v1.0.3, UnderExposurePrevention, the share before its sigmoid",
    ),
    Factor(
        *("over_face", "white share of the face", "exposure", "%", "down", "face"),
        step=9,
        say=_say_over,
        digits=1,
        source="OFIQ v1.0.3, OverExposurePrevention, the share before its scalar",
    ),
    Factor(
        *("clip_face", "clipped share of the face", "exposure", "%", "down", "face"),
        step=14,
        say=_say_clipped_face,
        digits=1,
        caveat="Strong colours are at the end of a channel in any light.",
        source="share of pixels with a channel of at least 254",
    ),
    Factor(
        *("clip_whole", "clipped share of the image", "exposure", "%", "down", "whole"),
        step=8,
        say=_say_clipped,
        digits=1,
        caveat="Strong colours are at the end of a channel in any light; lamps and the sky are white for good reason.",
        source="share of pixels with a channel of at least 254",
    ),
    *(_channel(channel, step) for channel, step in zip(CHANNELS, (6.5, 4.3, 5), strict=True)),
    Factor(
        *("range_stops", "dynamic range", "exposure", "stops", "up", "whole"),
        step=1.2,
        say=_say_range,
        digits=1,
        caveat="Low-key and high-key images, and fog, span less and are meant to.",
        source="log2 of the 99th over the 1st percentile of luminance, each + 0.001",
    ),
)


def measure(image: MeasuredImage) -> dict[str, Measurement]:
    """Return a measurement for each of `FACTORS`, by name."""
    ends = image.counts[:, CLIPPED:].sum(axis=1) / image.counts.sum(axis=1)
    working = image.working
    found = {
        "clip_whole": Measurement(_share(at_end(working))),
        **{f"clip_{name}": Measurement(100 * float(end)) for name, end in zip(CHANNELS, ends, strict=True)},
        "range_stops": Measurement(range_stops(image.sampled(image.luminance))),
    }
    return found | _measure_face(image)


def _measure_face(image: MeasuredImage) -> dict[str, Measurement]:
    names = ("face_stops", "face_vs_surroundings", "under_face", "over_face", "clip_face")
    luminance = image.face_luminance
    if luminance is None or image.face_pixels is None:
        return dict.fromkeys(names, Measurement(None, NO_FACE))
    around = image.surroundings
    against = Measurement(None, Phrase("the face fills the image"))
    if around is not None and (rest := image.sampled(image.luminance)[image.sampled(around)]).size:
        against = Measurement(float(np.log2((luminance.mean() + 0.01) / (rest.mean() + 0.01))))
    return {
        "face_stops": Measurement(face_stops(luminance)),
        "face_vs_surroundings": against,
        "under_face": Measurement(_share(luminance < UNDER)),
        "over_face": Measurement(_share(luminance >= OVER)),
        "clip_face": Measurement(_share(at_end(image.face_pixels))),
    }


def face_stops(luminance: Values) -> float:
    """Return by how many stops the median of relative luminances lies above 18 per cent of white."""
    return math.log2(max(float(np.median(luminance)), LEAST_LIGHT) / MID_GREY)


def range_stops(luminance: Values) -> float:
    """Return how many stops lie between the 1st and the 99th percentile of relative luminances."""
    dark, bright = np.asarray(np.percentile(luminance, [1, 99]), np.float64) + LEAST_LIGHT
    return float(np.log2(bright / dark))


def at_end(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return whether any of the three channels is at its end; twenty times as fast as `any(axis=-1)`."""
    ends = pixels >= CLIPPED
    either: NDArray[np.bool_] = ends[..., 0] | ends[..., 1] | ends[..., 2]
    return either


def _share(mask: NDArray[np.bool_]) -> float:
    return 100 * float(np.count_nonzero(mask)) / mask.size
