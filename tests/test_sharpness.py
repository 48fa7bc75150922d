"""Sharpness: against scikit-image, on smears of known direction, and between sizes of one scene."""

from functools import lru_cache

import numpy as np
import pytest
from dead_leaves import dead_leaves, regions_of
from PIL import Image
from scipy import ndimage
from skimage.measure import blur_effect as reference

from piqa.factors import noise, sharpness
from piqa.factors.measured_image import MeasuredImage
from piqa.factors.native import NativePixels, Window, spread
from piqa.factors.regions import Regions, Square
from piqa.factors.sharpness import anisotropy, blur_effect, fineness


def blurred_noise(sigma, shape=(60, 80)):
    values = ndimage.gaussian_filter(np.random.default_rng(0).random(shape) * 255, sigma)
    return values.astype(np.float32)


@pytest.mark.parametrize("sigma", [0, 1, 3])
@pytest.mark.parametrize("shape", [(60, 80), (33, 21)])
def test_blur_is_that_of_scikit_image(sigma, shape):
    grey = blurred_noise(sigma, shape)
    assert blur_effect([Window(grey)]) == pytest.approx(reference(grey / 255, h_size=11), abs=1e-5)


def test_nothing_is_said_of_an_even_region():
    even = [Window(np.full((40, 40), 100, np.float32))]
    assert blur_effect(even) is None and fineness(even) is None and anisotropy(even) is None
    assert blur_effect([]) is None and fineness([]) is None and anisotropy([]) is None


@pytest.mark.parametrize("angle", [0, 30, 90, 135])
def test_the_direction_of_a_smear_is_named(angle):
    pixels = np.asarray(dead_leaves(500, 500, 1500, 4).convert("L"), np.float32)
    turned = ndimage.rotate(pixels, -angle, reshape=False, mode="reflect")
    smeared = ndimage.rotate(ndimage.uniform_filter1d(turned, 15, axis=1), angle, reshape=False, mode="reflect")
    amount, direction = anisotropy([Window(smeared[120:380, 120:380].astype(np.float32))])
    assert amount > sharpness.DIRECTED
    assert abs((direction - angle + 90) % 180 - 90) < 5


def test_directions_near_level_and_plumb_are_said_in_words():
    say = next(factor.say for factor in sharpness.FACTORS if factor.name == "motion_direction")
    assert {say(angle)[0] for angle in (0.0, 4.0, 176.0)} == {"edges are smeared from side to side"}
    assert {say(angle)[0] for angle in (83.0, 90.0, 97.0)} == {"edges are smeared up and down"}
    assert say(45.0)[0] == "edges are smeared along 45 degrees, anticlockwise from level"


def test_a_sharp_scene_has_no_direction():
    amount, _ = anisotropy([Window(np.asarray(dead_leaves(500, 500, 1500, 4).convert("L"), np.float32))])
    assert amount < sharpness.DIRECTED


def test_contrast_does_not_change_fineness():
    grey = blurred_noise(1)
    assert fineness([Window(grey * 0.3 + 20)]) == pytest.approx(fineness([Window(grey)]), rel=1e-3)


def test_a_large_face_is_seen_through_windows_spread_over_all_of_it():
    face = Square(100, 200, 2100, 2700)
    windows = spread(face)
    assert len(windows) == 9 and all(one.pixels <= 320**2 for one in windows)
    assert min(one.left for one in windows) == 100 and max(one.right for one in windows) == 2100
    assert min(one.top for one in windows) == 200 and max(one.bottom for one in windows) == 2700
    assert spread(Square(0, 0, 300, 400)) == [Square(0, 0, 300, 400)]


def test_values_at_the_eyes_of_a_small_face_are_marked_as_not_reliable():
    pixels = np.asarray(dead_leaves(400, 400, 1500, 2))
    small, large = (sharpness.measure(MeasuredImage(pixels, regions_of(400, 400, part))) for part in (0.09, 0.2))
    assert small["blur_eyes"].value is not None and not small["blur_eyes"].reliable
    assert large["blur_eyes"].reliable


def test_without_a_face_only_the_whole_image_is_measured():
    found = sharpness.measure(MeasuredImage(np.asarray(dead_leaves(400, 400, 1500, 2))))
    assert {name for name, one in found.items() if one.value is not None} == {
        "edge_width_surroundings",
        "blur_surroundings",
    }
    assert found["edge_width_face"].note == "no face was found"


def test_an_image_of_a_few_pixels_is_measured_without_a_fault():
    for size in (8, 12, 30):
        pixels = np.random.default_rng(0).integers(0, 255, (size, size, 3), dtype=np.uint8)
        regions = Regions(size, size, (1, 1, size - 1, size - 1), regions_of(size, size, 0.4).points)
        assert set(sharpness.measure(MeasuredImage(pixels, regions))) == {one.name for one in sharpness.FACTORS}


@lru_cache(maxsize=1)
def scene():
    """A scene of 24 megapixels, as sharp as its pixels allow, with noise of 6 grey levels."""
    image = np.asarray(dead_leaves(6000, 4000, 6000, 8))
    grain = np.random.default_rng(0).normal(0, 6, (1000, 1000, 3)).astype(np.float32)
    return Image.fromarray(np.clip(image + np.tile(grain, (4, 6, 1)), 0, 255).astype(np.uint8))


def at_size(image, megapixels, eye_distance):
    """What is measured of a scene that Lanczos's filter reduced."""
    scale = (megapixels / 24) ** 0.5
    size = round(image.width * scale), round(image.height * scale)
    smaller = image if megapixels == 24 else image.resize(size, Image.Resampling.LANCZOS)
    measured = MeasuredImage(np.asarray(smaller), regions_of(*smaller.size, eye_distance))
    return {name: one.value for name, one in (sharpness.measure(measured) | noise.measure(measured)).items()}


# The bounds that docs/factors.md states: 5 % of the width, 0.01 of blur, 0.3 grey levels
@pytest.mark.parametrize(("eye_distance", "sigma"), [(0.09, 0), (0.045, 6)])
def test_a_shot_of_24_megapixels_measures_like_its_copy_of_2_at_the_common_size(eye_distance, sigma):
    image = scene()
    if sigma:
        x, y = image.width // 2, image.height // 2
        part = image.crop((x - 1100, y - 1000, x + 1100, y + 1200))  # the face and what is next to it
        blurred = ndimage.gaussian_filter(np.asarray(part), (sigma, sigma, 0))
        image = image.copy()
        image.paste(Image.fromarray(blurred), (x - 1100, y - 1000))
    large, small = (at_size(image, megapixels, eye_distance) for megapixels in (24, 2))
    assert small["edge_width_60"] == pytest.approx(large["edge_width_60"], rel=0.05)
    assert small["blur_60"] == pytest.approx(large["blur_60"], abs=0.01)
    assert small["noise_60"] == pytest.approx(large["noise_60"], abs=0.3)
    if sigma:  # the native value tells how blurred the file is for its pixels: not the same
        assert large["edge_width_face"] > 1.5 * small["edge_width_face"]


def test_the_face_at_the_common_size_has_its_eyes_60_px_apart():
    regions = regions_of(1200, 1000, 0.15)
    native = NativePixels(np.zeros((1000, 1200, 3), np.uint8), regions)
    x1, y1, x2, y2 = regions.face_box
    expected = ((y2 - y1) / 3, (x2 - x1) / 3)  # 180 px to 60
    assert np.abs(np.subtract(native.common_face.grey.shape, expected)).max() <= 1
    assert NativePixels(np.zeros((1000, 1200, 3), np.uint8), regions_of(1200, 1000, 0.049)).common_face is None
