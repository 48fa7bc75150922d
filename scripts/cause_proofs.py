"""Prove that the measured factors of two images name what spoilt one of them: nine spoilings, two portraits, grades.

What is compared are files, as cameras write them: JPEG of quality 95, or for the spoiling `jpeg` of its own quality.
The steps that go along with others (`piqa.explanation.cross_talk`) come from the same spoilings at full size; other
grades and a reduced size show whether they hold elsewhere.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from factor_proofs import portrait
from PIL import Image

from piqa.data.demo import SITTERS
from piqa.explanation.difference import FactorDifference, compare_factors
from piqa.factors.measure import PortraitFactors, factors_of
from piqa.factors.spoilings import QUALITIES, spoilt
from piqa.preparation.faces import Face, Found
from piqa.preparation.file_facts import file_facts

SHARPNESS = ("fineness_face", "edge_width_relative", "edge_width_face", "edge_width_eyes", "edge_width_60")
CAUSES: dict[str, tuple[str, ...]] = {
    "darker": ("face_stops", "under_face"),
    "brighter": ("face_stops", "over_face", "clip_face", "clip_whole"),
    "flatter": ("contrast_face", "contrast_range", "contrast_local", "range_stops"),
    "side_light": ("cheek_stops",),
    "cast_blue": ("cast_blue", "skin_b", "skin_hue"),
    "desat": ("colourfulness", "mean_chroma"),
    "noise": ("noise", "shadow_noise", "noise_60", "chroma_noise"),
    "blur": (*SHARPNESS, "blur_face", "blur_eyes", "blur_60"),
    "jpeg": ("blockiness", "jpeg_quality"),
}
GRADES, OTHER_GRADES = (2, 4, 6), (3, 5)
SIZES = (1.0, 0.75)


@lru_cache(maxsize=4)
def clean(sitter: str, size: float) -> PortraitFactors:
    """Return the factors of a portrait as it is."""
    return measured(sitter, size, "darker", 0)


def measured(sitter: str, size: float, spoiling: str, level: int) -> PortraitFactors:
    """Return the factors of the file of a spoilt portrait; its face is that of the clean one."""
    pixels, regions = portrait(sitter, size)
    lossy = spoiling == "jpeg" and level > 0
    bad = pixels if lossy else spoilt(pixels, spoiling, level, regions)
    buffer = io.BytesIO()
    options = {"quality": QUALITIES[level]} if lossy else {"quality": 95, "subsampling": 0}
    Image.fromarray(np.ascontiguousarray(bad)).save(buffer, "JPEG", **options)
    assert regions.face_box is not None
    found = Found(Face(regions.face_box, 1.0, regions.points), 0, 0)
    with Image.open(buffer) as image:
        return factors_of(image.convert("RGB"), found, file_facts(buffer.getvalue()))


def told(sitter: str, size: float, spoiling: str, level: int) -> list[FactorDifference]:
    """Return the factors in which the clean portrait differs from the spoilt one, the most telling first."""
    return compare_factors(clean(sitter, size), measured(sitter, size, spoiling, level))


def prove_causes(size: float = 1.0, grades: Sequence[int] = GRADES, least: float = 0.9) -> list[str]:
    """Print how often the first factor is a right one for each spoiling; return what fails."""
    right, wrong = 0, []
    for spoiling, causes in CAUSES.items():
        firsts = []
        for sitter in (one.name for one in SITTERS):
            for level in grades:
                first = told(sitter, size, spoiling, level)[0].factor.name
                right += first in causes
                firsts.append(first if first in causes else f"{first.upper()} ({sitter}, {level})")
        wrong += [first for first in firsts if "(" in first]
        print(f"{spoiling:<12} {', '.join(dict.fromkeys(firsts)):<90} right: {', '.join(causes)}")
    count = len(CAUSES) * len(SITTERS) * len(grades)
    line = f"the right factor comes first in {right} of {count} ({right / count:.0%}), size {size}, grades {grades}"
    print(line)
    return [] if right >= least * count else [line]
