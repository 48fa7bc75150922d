"""Hues on the painters' wheel of twelve, and the words for how they lie on it."""

import colorsys

import numpy as np
import pytest
from portraits import collins

from piqa import measure_factors
from piqa.factors.hue import HUES, hue_shares, hue_type, hue_wheel, painters_hue
from piqa.factors.measured_image import MeasuredImage


def patches(*colours):
    """An image of vertical stripes, 20 pixels wide."""
    return np.repeat(np.array([colours], np.uint8), 20, axis=1).repeat(30, axis=0)


def shares(**wanted):
    return tuple(wanted.get(name.replace("-", "_"), 0) / 100 for name in HUES)


@pytest.mark.parametrize(
    ("colour", "turns"),
    [((255, 0, 0), 0), ((255, 255, 0), 1 / 3), ((0, 255, 0), 0.4722), ((0, 0, 255), 0.7153), ((255, 0, 255), 0.8333)],
)
def test_the_corners_of_rgb_lie_where_painters_put_them(colour, turns):
    assert painters_hue(np.array([colour], np.float32))[0] == pytest.approx(turns, abs=1e-4)


def test_hues_are_those_of_the_standard_library_turned_onto_the_painters_wheel():
    colours = np.random.default_rng(0).integers(0, 256, (200, 3)).astype(np.float32)
    hues = [colorsys.rgb_to_hsv(*colour)[0] for colour in colours.tolist()]
    expected = np.interp(hues, np.arange(7) / 6, [0, 0.3333, 0.4722, 0.6111, 0.7153, 0.8333, 1]) % 1
    assert painters_hue(colours) == pytest.approx(expected, abs=1e-6)


def test_the_shares_of_the_wheel_sum_to_one_and_lie_on_the_colours_of_the_image():
    found = hue_shares(patches((230, 30, 30), (250, 240, 40)))
    assert len(found) == 12 and sum(found) == pytest.approx(1)
    assert found[HUES.index("red")] + found[HUES.index("yellow")] == pytest.approx(1)


def test_stronger_colours_weigh_more():
    found = hue_shares(patches((255, 0, 0), (140, 140, 100)))
    assert found[HUES.index("red")] > 0.7


def test_a_grey_image_has_no_hues():
    assert hue_shares(patches((90, 90, 90), (200, 200, 200))) is None
    assert hue_wheel(MeasuredImage(patches((90, 90, 90)))) is None


def test_one_coloured_pixel_in_a_thousand_is_not_called_a_hue():
    pixels = np.full((40, 40, 3), 128, np.uint8)
    pixels[0, 0] = (255, 0, 0)
    assert hue_shares(pixels) is None


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (shares(orange=70, blue=30), "mostly one hue, orange"),
        (shares(orange=40, red_orange=30, blue=30), "mostly neighbouring hues, orange and red-orange"),
        (
            shares(red=30, red_violet=20, red_orange=20, green=30),
            "mostly neighbouring hues, red, red-violet and red-orange",
        ),
        (shares(orange=40, blue=40, green=10, yellow=10), "mostly opposite hues, orange and blue"),
        (shares(red=30, yellow=30, blue=30, green=10), "mostly three hues at equal distances, red, yellow and blue"),
        (tuple([1 / 12] * 12), "many hues"),
    ],
)
def test_the_type_of_a_wheel_is_the_simplest_that_holds_most_of_its_colour(given, words):
    assert hue_type(given).startswith(words)


def test_the_wheel_of_a_portrait_is_a_property_of_its_factors():
    found = measure_factors(collins())
    assert sum(found.hue_shares) == pytest.approx(1)
    assert found.hue_shares.index(max(found.hue_shares)) == HUES.index("red-orange")  # the suit


def test_the_histogram_counts_every_pixel_once_in_each_channel():
    found = measure_factors(collins().resize((200, 200))).histogram
    assert list(found) == ["red", "green", "blue", "luminance"]
    assert all(len(counts) == 64 and sum(counts) == 40_000 for counts in found.values())


@pytest.mark.parametrize("grey", [0, 3, 4, 127, 128, 255])
def test_a_grey_lies_in_the_same_bin_of_all_four_histograms(grey):
    found = measure_factors(np.full((16, 16, 3), grey, np.uint8)).histogram
    assert all(counts.index(256) == grey // 4 for counts in found.values())
