"""Focus on a face with parts that are blurred."""

import numpy as np
import pytest
from dead_leaves import dead_leaves, regions_of
from scipy import ndimage

from piqa.factors import focus
from piqa.factors.measured_image import MeasuredImage

SIDE = 600
REGIONS = regions_of(SIDE, SIDE, 0.2)
PIXELS = np.asarray(dead_leaves(SIDE, SIDE, 5000, 3))


def with_blur(mask, sigma=4.0):
    """The scene, blurred where the mask says so."""
    blurred = ndimage.gaussian_filter(PIXELS, (sigma, sigma, 0))
    return np.where(mask[..., None], blurred, PIXELS)


def mask_of(*squares):
    mask = np.zeros((SIDE, SIDE), bool)
    for square in squares:
        mask[square.slices] = True
    return mask


FACE = REGIONS.ellipse(SIDE, SIDE, 1.7)


def measured(pixels, regions=REGIONS):
    return {name: one.value for name, one in focus.measure(MeasuredImage(pixels, regions)).items()}


def test_blurred_eyes_are_told_from_a_blurred_nose():
    plain = measured(PIXELS)["eyes_against_nose"]
    assert abs(plain) < 0.5
    # a square for each eye overlaps that of the nose no more than by a corner
    assert measured(with_blur(mask_of(*REGIONS.eyes)))["eyes_against_nose"] > plain + 0.8
    assert measured(with_blur(mask_of(REGIONS.nose)))["eyes_against_nose"] < plain - 0.5


@pytest.mark.parametrize(
    ("blurred", "plane"),
    [
        (mask_of(REGIONS.nose) | ~FACE, focus.EYES),
        (mask_of(*REGIONS.eyes) | ~FACE, focus.NOSE),
        (FACE, focus.SURROUNDINGS),
    ],
)
def test_the_sharpest_plane_is_the_one_that_is_not_blurred(blurred, plane):
    assert measured(with_blur(blurred))["sharpest_plane"] == plane


def test_eyes_count_as_the_sharpest_where_all_is_sharp():
    assert measured(PIXELS)["sharpest_plane"] == focus.EYES


def test_grain_in_smooth_surroundings_is_not_the_sharpest_plane():
    pixels = ndimage.gaussian_filter(PIXELS, (2, 2, 0)).astype(np.float64)
    smooth = np.ones((SIDE, SIDE), bool)
    smooth[-220:] = False
    smooth &= ~FACE
    spots = np.random.default_rng(0).random(int(smooth.sum())) < 0.003
    pixels[smooth] = np.where(spots, 102, 90)[:, None]
    image = MeasuredImage(pixels.astype(np.uint8), REGIONS)
    widths = [tile.width for tile in image.edges.tiles]
    assert np.median(widths) == 1 and image.edges.surroundings.width > image.edges.eyes.width / focus.AS_SHARP
    assert focus.measure(image)["sharpest_plane"].value == focus.EYES


def test_depth_is_shallow_where_only_the_surroundings_are_blurred():
    assert measured(with_blur(~FACE, 8))["shallow_depth"] == 1
    assert measured(PIXELS)["shallow_depth"] == 0
    assert measured(with_blur(FACE | ~FACE, 8))["shallow_depth"] == 0


def test_the_gap_is_the_logarithm_of_how_much_wider_edges_are_around():
    image = MeasuredImage(with_blur(~FACE), REGIONS)
    expected = np.log2(image.edges.surroundings.width / image.edges.face.width)
    assert focus.measure(image)["focus_gap"].value == pytest.approx(expected) and expected > 1


def test_eyes_less_than_40_px_apart_are_not_compared_with_the_nose():
    found = focus.measure(MeasuredImage(PIXELS, regions_of(SIDE, SIDE, 39 / SIDE)))
    assert found["eyes_against_nose"].value is None and "40 px" in found["eyes_against_nose"].note
    assert found["focus_gap"].value is not None


def test_an_even_backdrop_has_no_focus():
    pixels = PIXELS.copy()
    pixels[~FACE] = 90
    pixels = np.clip(pixels + np.random.default_rng(0).normal(0, 4, pixels.shape), 0, 255).astype(np.uint8)
    found = focus.measure(MeasuredImage(pixels, REGIONS))
    assert found["focus_gap"].value is None and found["focus_gap"].note == "there are too few edges to judge sharpness"


def test_without_a_face_nothing_is_said_of_focus():
    found = focus.measure(MeasuredImage(PIXELS))
    assert all(one.value is None and one.note == "no face was found" for one in found.values())


def test_advice_is_given_where_the_eyes_are_not_the_sharpest():
    say = {factor.name: factor.say for factor in focus.FACTORS}
    assert say["sharpest_plane"](focus.EYES)[1] == ""
    assert "eye" in say["sharpest_plane"](focus.SURROUNDINGS)[1]
    assert say["eyes_against_nose"](0.9)[0].endswith("focus lies in front")
