"""Whatever is measured: a finite value, or none and why; no warning, no exception, nothing made up."""

import json
import math
import tracemalloc
import warnings
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from portraits import collins, hopper
from refusals import refusal

from piqa import FactorMeasurer, PortraitFactors, measure_factors
from piqa.factors import measure
from piqa.factors.factor import Measurement
from piqa.factors.families import FACTORS
from piqa.factors.measure import factors_of
from piqa.preparation.faces import Face, Found, turned_clockwise

NOBODY = Found(None, 0, 0)
OF_A_FACE = [name for name, factor in FACTORS.items() if factor.region in ("face", "cheeks", "eyes")]
OF_THE_WHOLE = [name for name, factor in FACTORS.items() if factor.region == "whole"]


def face_in(width, height, x=0.5, y=0.5, side=0.4):
    """A face with its points at a place of an image, in parts of its sides."""
    half = side * min(width, height) / 2
    x, y = x * width, y * height
    points = ((-0.4, -0.3), (0.4, -0.3), (0.0, 0.1), (-0.3, 0.5), (0.3, 0.5))
    box = (x - half, y - 1.3 * half, x + half, y + 1.3 * half)
    return Face(box, 1.0, tuple((x + half * dx, y + half * dy) for dx, dy in points))


def check_measured(pixels, found=NOBODY) -> PortraitFactors:
    """Measure pixels, with warnings as errors, and check what must hold of any image."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with np.errstate(all="raise", under="ignore"):
            factors = factors_of(image, found)
            maps = factors.maps
    check_readings(factors)
    for name, made in maps.items():
        assert made.name == name and made.values.dtype == np.float32 and not np.isinf(made.values).any(), name
    return factors


def check_readings(factors):
    assert list(factors.readings) == list(FACTORS)
    for name, reading in factors.readings.items():
        assert reading.value is None or (type(reading.value) is float and math.isfinite(reading.value)), name
        assert reading.value is not None or reading.note, f"{name} says nothing"
        assert reading.sentence and isinstance(reading.advice, str)
    json.dumps(factors.to_dict(), allow_nan=False)


@cache
def measurer():
    return FactorMeasurer()


# Faces


def test_without_a_face_what_is_of_the_face_is_empty_and_says_why_and_the_whole_is_measured():
    factors = check_measured(hopper())
    for name in OF_A_FACE:
        assert factors[name].value is None and "face" in factors[name].note, name
    empty = [name for name in OF_THE_WHOLE if factors[name].value is None]
    assert len(empty) <= len(OF_THE_WHOLE) / 4 and all(factors[name].note for name in empty)
    assert factors.face_box is None and factors.other_faces == 0


def test_with_a_face_everything_is_measured():
    factors = measurer()(hopper())
    empty = [name for name in [*OF_A_FACE, *OF_THE_WHOLE] if factors[name].value is None]
    assert factors.face_box is not None and len(empty) <= len(FACTORS) / 10
    assert not [name for name in empty if "no face" in factors[name].note]


def test_of_several_faces_the_largest_is_measured_and_the_others_are_counted():
    both = Image.new("RGB", (1100, 600), (90, 90, 90))
    both.paste(hopper(), (0, 0))
    both.paste(collins().resize((300, 300)), (700, 100))
    factors = measurer()(both)
    check_readings(factors)
    assert factors.other_faces == 1 and factors.face_box[2] < 512
    alone = measurer()(hopper())
    assert factors["eye_distance"].value == pytest.approx(alone["eye_distance"].value, rel=0.03)


def test_a_face_without_points_is_measured_as_far_as_it_goes():
    box = face_in(512, 600).box
    factors = check_measured(hopper(), Found(Face(box, 1.0, None), 0, 0))
    assert factors.face_box == box and factors["eye_distance"].value is None


@pytest.mark.parametrize("place", [(0, 0), (1, 1), (0, 1), (0.5, -0.2)])
def test_a_face_at_the_border_is_measured(place):
    check_measured(hopper(), Found(face_in(512, 600, *place), 0, 0))


# Kinds of images


def test_a_grey_image_has_no_colour():
    grey = hopper().convert("L").convert("RGB")
    factors = check_measured(grey, Found(face_in(512, 600), 0, 0))
    for name, factor in FACTORS.items():
        if factor.family == "colour":
            assert factors[name].value is None and factors[name].note, name


@pytest.mark.parametrize("side", [8, 9, 15, 16, 31, 48, 63])
def test_a_tiny_image_is_measured_as_far_as_it_goes(side):
    small = hopper().resize((side, side + 3))
    check_measured(small)
    check_measured(small, Found(face_in(side, side + 3), 0, 0))


def test_what_is_too_small_for_anything_is_refused_by_name(tmp_path):
    Image.new("RGB", (7, 20)).save(tmp_path / "dot.png")
    assert "dot.png has 7 x 20 pixels, too few to be measured" in refusal(measurer(), tmp_path / "dot.png")


@pytest.mark.parametrize("size", [(8, 800), (800, 8), (1601, 17)])
def test_a_strip_is_measured(size):
    check_measured(hopper().resize(size), Found(face_in(*size), 0, 0))


COLOURS = {"black": 0, "white": 255, "grey": 128, "nearly black": 1, "red": (255, 0, 0), "dark blue": (0, 0, 3)}


@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("found", [NOBODY, Found(face_in(200, 220), 0, 0)], ids=["nobody", "a face"])
def test_one_colour_gives_numbers_or_reasons(colour, found):
    check_measured(np.full((220, 200, 3), COLOURS[colour], np.uint8), found)


@pytest.mark.parametrize("black", [0.01, 0.5, 0.99])
def test_black_and_white_gives_numbers_or_reasons(black):
    dots = np.random.default_rng(0).random((220, 200, 1)) > black
    check_measured(np.repeat(dots, 3, axis=2).astype(np.uint8) * 255, Found(face_in(200, 220), 0, 0))


@st.composite
def images(draw):
    """Small images: noise, few colours, stripes, one colour; with a face anywhere, or none."""
    height, width = draw(st.integers(8, 90)), draw(st.integers(8, 90))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    low = draw(st.integers(0, 255))
    high = draw(st.integers(low, 255))
    shape = draw(st.sampled_from([(height, width, 3), (height, width, 1), (height, 1, 3), (1, width, 3), (1, 1, 3)]))
    pixels = np.broadcast_to(rng.integers(low, high + 1, shape, dtype=np.uint8), (height, width, 3))
    place = [draw(st.floats(-0.5, 1.5)) for _ in range(2)]
    face = face_in(width, height, *place, draw(st.floats(0.01, 2.5))) if draw(st.booleans()) else None
    if face is not None and draw(st.integers(0, 4)) == 0:
        face = Face(face.box, 1.0, (face.points[0],) * 5)  # a detector's blunder: all points in one place
    return np.ascontiguousarray(pixels), Found(face, 0, 0)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(images())
def test_any_pixels_give_numbers_or_reasons(image):
    check_measured(*image)


def test_a_value_that_is_no_number_counts_as_none(monkeypatch):
    made_up = {name: Measurement(value) for name, value in zip(FACTORS, (math.nan, math.inf), strict=False)}
    rest = {name: Measurement(1.0) for name in FACTORS if name not in made_up}
    monkeypatch.setattr(measure, "measure_all", lambda image: made_up | rest)
    factors = factors_of(hopper(), NOBODY)
    for name in made_up:
        assert factors[name].value is None and factors[name].note == measure.NO_NUMBER and not factors[name].reliable
    json.dumps(factors.to_dict(), allow_nan=False)


def test_numbers_of_numpy_become_numbers_of_python(monkeypatch):
    monkeypatch.setattr(measure, "measure_all", lambda image: {n: Measurement(np.float32(0.5)) for n in FACTORS})
    assert {type(value) for value in factors_of(hopper(), NOBODY).values.values()} == {float}


# Files


def test_path_image_and_array_agree(tmp_path):
    hopper().save(tmp_path / "a.png")
    of_path, of_image = measure_factors(tmp_path / "a.png"), measure_factors(hopper())
    of_array = measure_factors(np.asarray(hopper()))
    assert of_path.values == of_image.values == of_array.values
    assert of_path.face_points == of_image.face_points == of_array.face_points


KINDS = {
    "cmyk.jpg": lambda image: image.convert("CMYK"),
    "grey.png": lambda image: image.convert("L"),
    "deep.png": lambda image: Image.fromarray(np.asarray(image.convert("L"), np.uint16) * 257),
    "transparent.png": lambda image: Image.merge("RGBA", [*image.split(), image.split()[0]]),
    "clear.png": lambda image: Image.new("RGBA", image.size, (0, 0, 0, 0)),
    "palette.gif": lambda image: image.quantize(16),
    "bits.png": lambda image: image.convert("1"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_files_of_every_kind_are_measured(tmp_path, kind):
    KINDS[kind](hopper().resize((128, 150))).save(tmp_path / kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_readings(measurer()(tmp_path / kind))


def test_a_file_that_exif_turns_measures_like_the_upright_one(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    hopper().save(tmp_path / "upright.png")
    hopper().transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    upright, turned = measurer()(tmp_path / "upright.png"), measurer()(tmp_path / "turned.png")
    assert turned.values == upright.values and turned.turned == 0 and (turned.width, turned.height) == (512, 600)


def test_an_image_on_its_side_measures_like_the_upright_one():
    upright, turned = measurer()(hopper()), measurer()(turned_clockwise(hopper(), 90))
    assert turned.turned == 270 and turned.face_box == upright.face_box and (turned.width, turned.height) == (512, 600)
    assert turned.values == upright.values


def test_a_hundred_million_pixels_are_measured_in_bounded_memory():
    pixels = np.broadcast_to(np.asarray(hopper().crop((0, 0, 500, 500))), (20, 20, 500, 500, 3))
    image = Image.fromarray(pixels.transpose(0, 2, 1, 3, 4).reshape(10_000, 10_000, 3))
    tracemalloc.start()
    try:
        factors = factors_of(image, Found(face_in(*image.size, side=0.2), 0, 0))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    check_readings(factors)
    assert peak - pixels.size < 400e6, f"{peak / 1e6:.0f} MB"  # the pixels themselves once
