"""Prove the factors on graded spoilings of the two public-domain portraits, and write the tables of docs/factors.md.

    python scripts/factor_proofs.py                          all factors, at three sizes; takes minutes
    python scripts/factor_proofs.py face_stops noise         some of them
    python scripts/factor_proofs.py --write docs/factors.md  all, into the page

A factor must rank each spoiling of its own: Spearman's correlation of value and level is at least 0.95, with the sign
that is stated, on each portrait. Under others it must stay: over levels 0 to 3 it changes by no more than the stated
fraction of its own range, which is its change from level 0 to 6 of its own spoiling. That fraction holds for the
portraits at their own size; reduced ones may change by as much more as spoilings in pixels are larger on them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy.stats import spearmanr

from piqa.data.demo import SITTERS
from piqa.factors.families import FACTORS, measure_all
from piqa.factors.measured_image import MeasuredImage
from piqa.factors.regions import Regions
from piqa.factors.spoilings import LEVELS, SPOILINGS, spoilt
from piqa.preparation.image_file import Pixels
from piqa.preparation.mtcnn import MTCNNDetector

SIZES = (1.0, 0.75, 0.5)  # of the portraits, reduced by Lanczos
RANK, MILD = 0.95, 3
DIGITS = 2  # of bounds
# On a portrait of half the size the same blur, noise or block covers twice as much of the face: so does its bound.
IN_PIXELS = {"noise", "chroma_noise", "blur", "motion", "bg_blur", "jpeg", "sharpen", "upscaled"}
REACTS = 0.25  # of the own range; what another spoiling moves by more says so in its caveat


@dataclass(frozen=True)
class Proof:
    """What a factor must show.

    Attributes:
        own: The spoilings that it must rank, each with the sign of the correlation.
        flat: At least three others, each with the largest change, as a fraction of the own range.
        eye_distance: Least pixels between the eyes at which it is measured at all.
        sizes: Of the portraits; without 1 for what a source that was a JPEG file before cannot show.
    """

    own: dict[str, int]
    flat: dict[str, float]
    eye_distance: float = 0
    sizes: tuple[float, ...] = SIZES


# Widths and blur stay under changes of light, colour and contrast; their caveats name sharpening and enlarging.
_SHARP = {"darker": 0.03, "flatter": 0.03, "desat": 0.03, "jpeg": 0.05}
_WIDTH = Proof({"blur": 1, "motion": 1}, {**_SHARP, "noise": 0.07})
_AROUND = {"darker": 0.03, "flatter": 0.03, "desat": 0.03, "cast_blue": 0.03}

PROOFS: dict[str, Proof] = {
    "face_stops": Proof({"darker": -1, "face_darker": -1}, {"jpeg": 0.02, "noise": 0.02, "blur": 0.02}),
    "face_vs_surroundings": Proof({"face_darker": -1}, {"darker": 0.04, "noise": 0.04, "jpeg": 0.04}),
    "under_face": Proof({"darker": 1}, {"noise": 0.03, "jpeg": 0.03, "blur": 0.03}),
    "over_face": Proof({"brighter": 1}, {"darker": 0.01, "noise": 0.01, "jpeg": 0.01}),
    "clip_face": Proof({"brighter": 1}, {"jpeg": 0.05, "noise": 0.05, "chroma_noise": 0.05}),
    "clip_whole": Proof({"brighter": 1}, {"jpeg": 0.05, "noise": 0.05, "blur": 0.05}),
    "clip_red": Proof({"brighter": 1}, {"jpeg": 0.05, "noise": 0.05, "chroma_noise": 0.05}),
    "clip_green": Proof({"brighter": 1}, {"jpeg": 0.05, "noise": 0.05, "blur": 0.05}),
    "clip_blue": Proof({"brighter": 1}, {"jpeg": 0.05, "noise": 0.05, "blur": 0.05}),
    "range_stops": Proof({"flatter": -1}, {"desat": 0.06, "cast_blue": 0.06, "jpeg": 0.06}),
    "cheek_stops": Proof({"side_light": 1}, {"darker": 0.03, "blur": 0.03, "jpeg": 0.03}, eye_distance=40),
    "overhead_stops": Proof({"top_light": 1}, {"darker": 0.03, "noise": 0.05, "jpeg": 0.03}, eye_distance=40),
    "contrast_face": Proof({"flatter": -1}, {"cast_blue": 0.02, "noise": 0.02, "jpeg": 0.02}),
    "contrast_range": Proof({"flatter": -1}, {"cast_blue": 0.03, "desat": 0.04, "jpeg": 0.03}),
    "contrast_local": Proof({"flatter": -1}, {"cast_blue": 0.05, "noise": 0.05, "jpeg": 0.05}),
    "cast_blue": Proof({"cast_blue": 1}, {"darker": 0.01, "noise": 0.01, "jpeg": 0.01}),
    "cast_green": Proof({"cast_green": 1}, {"darker": 0.01, "noise": 0.01, "jpeg": 0.01}),
    "colourfulness": Proof({"desat": -1, "oversat": 1}, {"blur": 0.03, "jpeg": 0.03, "noise": 0.03}),
    "mean_chroma": Proof({"desat": -1, "oversat": 1}, {"blur": 0.03, "jpeg": 0.03, "noise": 0.03}),
    "harmony_distance": Proof({"cast_blue": 1}, {"darker": 0.02, "blur": 0.02, "motion": 0.02}),
    "skin_a": Proof({"cast_green": -1}, {"noise": 0.02, "blur": 0.02, "jpeg": 0.02}, eye_distance=27),
    "skin_b": Proof({"cast_blue": -1}, {"noise": 0.02, "blur": 0.02, "jpeg": 0.02}, eye_distance=27),
    "skin_hue": Proof(
        {"cast_green": 1, "cast_blue": -1}, {"darker": 0.05, "noise": 0.05, "jpeg": 0.05}, eye_distance=27
    ),
    "noise": Proof({"noise": 1}, {"darker": 0.06, "desat": 0.06, "face_darker": 0.06, "chroma_noise": 0.06}),
    "shadow_noise": Proof({"noise": 1}, {"desat": 0.06, "face_darker": 0.06, "cast_blue": 0.06, "chroma_noise": 0.06}),
    "chroma_noise": Proof({"chroma_noise": 1}, {"darker": 0.05, "blur": 0.05, "flatter": 0.05, "jpeg": 0.05}),
    "noise_60": Proof({"noise": 1}, {"desat": 0.06, "face_darker": 0.06, "cast_blue": 0.06, "oversat": 0.06}, 60),
    "edge_width_eyes": replace(_WIDTH, eye_distance=30),
    "edge_width_face": _WIDTH,
    "edge_width_surroundings": Proof({"blur": 1, "bg_blur": 1, "motion": 1}, {**_AROUND, "jpeg": 0.05}),
    "edge_width_relative": _WIDTH,
    "edge_width_60": replace(_WIDTH, eye_distance=60),
    "blur_eyes": Proof({"blur": 1, "motion": 1}, _SHARP, 40),
    "blur_face": Proof({"blur": 1, "motion": 1}, _SHARP),
    "blur_surroundings": Proof({"blur": 1, "bg_blur": 1, "motion": 1}, _AROUND),
    "blur_60": Proof({"blur": 1, "motion": 1}, _SHARP, 60),
    "fineness_face": Proof({"blur": -1, "motion": -1}, {"darker": 0.01, "flatter": 0.01, "desat": 0.01}),
    "motion": Proof({"motion": 1}, {"noise": 0.08, "darker": 0.08, "flatter": 0.08, "jpeg": 0.08}),
    "focus_gap": Proof({"bg_blur": 1}, {"darker": 0.02, "flatter": 0.02, "desat": 0.02, "noise": 0.05, "jpeg": 0.07}),
    "blockiness": Proof({"jpeg": 1}, {"darker": 0.02, "noise": 0.02, "desat": 0.02}, sizes=(0.75, 0.5)),
    "halo": Proof({"sharpen": 1}, {"darker": 0.1, "flatter": 0.1, "desat": 0.1, "cast_blue": 0.1}),
    "levels_used": Proof({"posterise": -1}, {"blur": 0.1, "darker": 0.1, "noise": 0.1}, 30),
    "surroundings_blur": Proof({"bg_blur": 1}, {"darker": 0.02, "desat": 0.02, "noise": 0.06, "jpeg": 0.03}),
}

# Factors that no spoiling fits, each with the test that proves it.
OTHER_PROOFS: dict[str, str] = {
    "motion_direction": "test_sharpness.py::test_the_direction_of_a_smear_is_named",
    "eyes_against_nose": "test_focus.py::test_blurred_eyes_are_told_from_a_blurred_nose",
    "sharpest_plane": "test_focus.py::test_the_sharpest_plane_is_the_one_that_is_not_blurred",
    "shallow_depth": "test_focus.py::test_depth_is_shallow_where_only_the_surroundings_are_blurred",
    "jpeg_quality": "test_artefacts.py::test_the_quality_of_a_file_of_pillow_is_exact",
    "chroma_resolution": "test_artefacts.py::test_the_resolution_of_colour_is_that_of_the_file",
    **dict.fromkeys(
        ("face_x", "face_y", "eyes_height", "head_room", "thirds_distance", "centre_distance", "head_size"),
        "test_composition.py::test_place_and_head_room_follow_a_crop_one_to_one",
    ),
    "look_room": "test_composition.py::test_look_room_is_the_part_of_the_room_before_the_nose",
    "tilt": "test_composition.py::test_tilt_follows_a_turned_picture",
    "eye_distance": "test_composition.py::test_resolution_is_that_of_the_image",
    "megapixels": "test_composition.py::test_resolution_is_that_of_the_image",
}


@lru_cache(maxsize=16)
def portrait(sitter: str, size: float) -> tuple[Pixels, Regions]:
    """Return a portrait at a size, and its regions by MTCNN."""
    image = next(one for one in SITTERS if one.name == sitter).load()
    if size != 1:
        image = image.resize((round(image.width * size), round(image.height * size)), Image.Resampling.LANCZOS)
    face = max(MTCNNDetector().detect(image), key=lambda face: face.probability)
    return np.asarray(image), Regions(*image.size, face.box, face.points)


@cache
def measured(sitter: str, size: float, spoiling: str, level: int) -> dict[str, float | None]:
    """Return the values of all factors of a spoilt portrait; its regions are those of the clean one."""
    pixels, regions = portrait(sitter, size)
    image = MeasuredImage(spoilt(pixels, spoiling, level, regions), regions)
    return {name: found.value for name, found in measure_all(image).items()}


def values(factor: str, sitter: str, size: float, spoiling: str, levels: Sequence[int] = LEVELS) -> np.ndarray:
    """Return a factor's values by level, NaN where it has none."""
    found = [measured(sitter, size, spoiling, level)[factor] for level in levels]
    return np.array([np.nan if value is None else value for value in found])


def rank(factor: str, sitter: str, size: float, spoiling: str) -> float:
    """Return Spearman's correlation of value and level; 0 where the value never changes."""
    found = values(factor, sitter, size, spoiling)
    return 0.0 if np.ptp(found) == 0 else float(spearmanr(found, LEVELS).statistic)


def own_range(factor: str, sitter: str, size: float) -> float:
    """Return the change from level 0 to 6 of the first own spoiling."""
    least, most = values(factor, sitter, size, next(iter(PROOFS[factor].own)), (LEVELS[0], LEVELS[-1]))
    return abs(float(most - least))


def cross_talk(factor: str, sitter: str, size: float, spoiling: str) -> float:
    """Return the largest change over levels 0 to 3 of a spoiling, as a fraction of the own range."""
    found = values(factor, sitter, size, spoiling, range(MILD + 1))
    return float(np.max(np.abs(found - found[0]))) / own_range(factor, sitter, size)


def failures(factor: str, sitter: str, size: float) -> list[str]:
    """Return what a factor does not show on a portrait; none where the face is too small for it."""
    proof, (_, regions) = PROOFS[factor], portrait(sitter, size)
    if (regions.eye_distance or 0) < proof.eye_distance or size not in proof.sizes:
        return []
    found = []
    for spoiling, sign in proof.own.items():
        if not (rho := rank(factor, sitter, size, spoiling)) * sign >= RANK:
            found.append(f"{factor}, {sitter} at {size}: {rho:.2f} on {spoiling}, {sign * RANK} is needed")
    for spoiling, bound in proof.flat.items():
        bound = round(bound / size if spoiling in IN_PIXELS else bound, DIGITS)
        if not round(change := cross_talk(factor, sitter, size, spoiling), DIGITS) <= bound:
            found.append(f"{factor}, {sitter} at {size}: changes by {change:.3f} on {spoiling}, at most {bound}")
    return found


def matrix(factors: Sequence[str], size: float) -> pd.DataFrame:
    """Return the cross-talk of factors and spoilings, the larger of both portraits; own spoilings as the rank.

    A factor that is not proven at this size is shown at the largest at which it is.
    """
    wanted, rows = size, {}
    for factor in factors:
        proof, row = PROOFS[factor], {}
        size = wanted if wanted in proof.sizes else max(proof.sizes)
        for spoiling in SPOILINGS:
            per_sitter = []
            for sitter in (one.name for one in SITTERS):
                if (portrait(sitter, size)[1].eye_distance or 0) < proof.eye_distance:
                    continue
                how = rank if spoiling in proof.own else cross_talk
                per_sitter.append(how(factor, sitter, size, spoiling))
            weakest = min if spoiling in proof.own else max
            shown = f"{weakest(per_sitter, key=abs):.2f}" if per_sitter else "-"
            row[spoiling] = f"**{shown}**" if spoiling in proof.own else shown
        rows[factor] = row
    return pd.DataFrame.from_dict(rows, orient="index")


def markdown(table: pd.DataFrame) -> str:
    """Return the matrix as a Markdown table."""
    lines = ["| factor | " + " | ".join(table.columns) + " |", "|---|" + "---|" * len(table.columns)]
    lines += [
        f"| `{name}` | " + " | ".join(row) + " |" for name, row in zip(table.index, table.to_numpy(), strict=True)
    ]
    return "\n".join(lines)


def described() -> str:
    """Return what is measured as a Markdown table."""
    lines = [
        "| factor | what | unit | better | where | how, and its source | what else moves it |",
        "|---|" + "---|" * 6,
    ]
    better = {"up": "more", "down": "less", "middle": "-"}
    for name, factor in FACTORS.items():
        cells = (factor.title, factor.unit, better[factor.direction], factor.region, factor.source, factor.caveat)
        escaped = " | ".join(cells).replace("*", "\\*")  # as in L*, which Markdown takes for emphasis
        lines.append(f"| `{name}` | {escaped} |")
    return "\n".join(lines)


def page_with(page: str, part: str, table: str) -> str:
    """Return a page with a table between the two marks of a part, `factors` or `proofs`."""
    begin, end = f"<!-- {part}: begin -->", f"<!-- {part}: end -->"
    if page.count(begin) != 1 or page.count(end) != 1:
        raise SystemExit(f"the page needs the marks {begin} and {end}, each once")
    before, after = page.split(begin)[0], page.split(end)[1]
    return f"{before}{begin}\n\n{table}\n\n{end}{after}"


def silent(table: pd.DataFrame) -> list[str]:
    """Return which factors of a matrix another spoiling moves without a word in their caveats."""
    return [
        f"{name} changes by {shown} on {spoiling} and has no caveat"
        for name, row in table.iterrows()
        for spoiling, shown in row.items()
        if not FACTORS[str(name)].caveat and not shown.startswith("*") and shown != "-" and float(shown) > REACTS
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the matrix and what fails; write the page if asked. Return 1 if a factor fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("factors", nargs="*", help="names; default: all")
    parser.add_argument("--write", type=Path, help="page with the marks between which the tables are written")
    options = parser.parse_args(arguments)
    if options.write and options.factors:
        parser.error("a page is written with all factors")
    if unknown := set(options.factors) - set(FACTORS):
        parser.error(f"there is no factor {', '.join(sorted(unknown))}")
    factors = options.factors or list(FACTORS)
    proven = [name for name in factors if name in PROOFS]
    table = matrix(proven, 1.0)
    print(markdown(table))
    failed = [line for name in proven for one in SITTERS for size in SIZES for line in failures(name, one.name, size)]
    failed += silent(table)
    failed += [f"{name} has no proof" for name in factors if name not in PROOFS and name not in OTHER_PROOFS]
    print("\n".join(failed) or f"all {len(proven)} factors show what they must, at sizes {SIZES}")
    if options.write:
        page = page_with(options.write.read_text(encoding="utf-8"), "factors", described())
        options.write.write_text(page_with(page, "proofs", markdown(table)), encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
