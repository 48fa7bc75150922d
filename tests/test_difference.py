"""The difference of two images by measured factors: the cause first, what comes with it after, in words."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from portraits import hopper

from piqa.explanation.cross_talk import CROSS_TALK, SAME_SIZE_ONLY, beyond
from piqa.explanation.difference import ScoreDifference, compare_factors, difference_lines
from piqa.factors.families import FACTORS
from piqa.factors.measure import factors_of
from piqa.preparation.faces import Face, Found

POINTS = ((220.0, 210.0), (300.0, 210.0), (260.0, 260.0), (230.0, 300.0), (290.0, 300.0))
FACE = Found(Face((168.0, 125.0, 352.0, 345.0), 1.0, POINTS), 0, 0)


@pytest.fixture(scope="module")
def clean():
    return factors_of(hopper(), FACE)


def changed(factors, **values):
    """The same image with other values of some factors; None makes one unreliable."""
    readings = dict(factors.readings)
    for name, value in values.items():
        note = "" if value is not None else "not reliable"
        readings[name] = replace(readings[name], value=readings[name].value if value is None else value, note=note)
    return replace(factors, readings=readings)


def by_steps(factors, **steps):
    """The same image with some factors higher by so many steps."""
    return changed(factors, **{name: factors[name].value + by * FACTORS[name].step for name, by in steps.items()})


def test_factors_of_the_table_exist():
    named = set(CROSS_TALK) | SAME_SIZE_ONLY | {name for known in CROSS_TALK.values() for name in known}
    assert named <= set(FACTORS)
    assert all(low <= 0 <= high for known in CROSS_TALK.values() for low, high in known.values())


@pytest.mark.parametrize(
    ("steps", "left", "cause"), [(1.5, 0.0, "x"), (3.0, 1.0, "x"), (-3.0, -2.0, "x"), (0.0, 0.0, ""), (3.0, 3.0, "")]
)
def test_what_comes_with_another_difference_is_taken_off(steps, left, cause):
    others = {"x": 2.0} if cause else {"y": 2.0}
    assert beyond(steps, others, {"x": (-0.5, 1.0)}) == (pytest.approx(left), cause)


def test_of_several_causes_the_one_that_explains_most_is_named():
    assert beyond(2.0, {"x": 1.0, "y": -4.0}, {"x": (0, 1.0), "y": (-0.4, 0)}) == (pytest.approx(0.4), "y")


def test_steps_are_positive_where_the_first_image_is_better(clean):
    worse = by_steps(clean, noise=2, fineness_face=-1)
    found = {one.factor.name: one for one in compare_factors(clean, worse)}
    assert found["noise"].steps == pytest.approx(2) and found["fineness_face"].steps == pytest.approx(1)
    back = {one.factor.name: one for one in compare_factors(worse, clean)}
    assert back["noise"].steps == pytest.approx(-2) and back["noise"].a == found["noise"].b


def test_the_cause_comes_first_and_what_it_brings_after(clean):
    darker = by_steps(clean, face_stops=-2, contrast_face=-1.9, colourfulness=-1.5)
    found = compare_factors(clean, darker)
    assert found[0].factor.name == "face_stops"
    contrast = next(one for one in found if one.factor.name == "contrast_face")
    assert contrast.comes_with.name == "face_stops" and contrast.telling == 0 and contrast.steps == pytest.approx(1.9)


def test_contrast_that_goes_the_other_way_is_a_cause_of_its_own(clean):
    found = compare_factors(clean, by_steps(clean, face_stops=-2, contrast_face=1.9))
    contrast = next(one for one in found if one.factor.name == "contrast_face")
    assert contrast.telling == pytest.approx(-1.9) and contrast.comes_with is None


def test_values_that_cannot_be_relied_on_are_left_out(clean):
    names = [one.factor.name for one in compare_factors(clean, changed(clean, noise=None))]
    assert "noise" not in names and "chroma_noise" in names


def test_widths_in_pixels_are_compared_only_where_the_faces_are_as_large(clean):
    names = [one.factor.name for one in compare_factors(clean, clean)]
    farther = tuple((x * 0.8, y * 0.8) for x, y in POINTS)
    other = [one.factor.name for one in compare_factors(clean, replace(clean, face_points=farther))]
    assert set(names) - set(other) == SAME_SIZE_ONLY & set(names) and "edge_width_relative" in other


def test_lines_name_the_difference_in_plain_text(clean):
    darker = by_steps(clean, face_stops=-2, contrast_face=-1.9, noise=1)
    score = ScoreDifference(1.5, 0.25, {"whole": 1.0, "face": 0.25}, [], {}, {})
    lines = difference_lines("a.jpg", "b.jpg", compare_factors(clean, darker), score)
    assert lines[:3] == ["A: a.jpg", "B: b.jpg", "Score: A 1.500, B 0.250; A is higher by 1.250"]
    assert "  of it by the branch whole: +1.000" in lines
    text = "\n".join(lines)
    assert re.search(r"brightness of the face: A -?\d\.\d\d, B -?\d\.\d\d stops; they differ by 2\.0 steps\n", text)
    assert re.search(r"\n  noise: A \d+\.\d, B \d+\.\d grey levels; A is better by 1\.0 steps\n", text)
    assert "they differ by 1.9 steps, most of which comes with the brightness of the face" in text


def test_lines_of_equal_images_say_that_nothing_differs(clean):
    assert difference_lines("a", "b", compare_factors(clean, clean))[-1].startswith("No measured factor differs")


def test_the_cause_is_named_first_of_most_spoilings(monkeypatch):
    """One grade of nine spoilings and two portraits; scripts/explanation_proofs.py has all grades."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "scripts"))
    from cause_proofs import prove_causes

    assert prove_causes(grades=[4]) == []


def test_an_image_differs_from_itself_in_nothing(clean):
    assert not np.any([one.steps for one in compare_factors(clean, clean)])
