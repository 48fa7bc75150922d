"""Colour, skin, harmony and contrast, against values computed by hand and by other programs."""

import itertools

import numpy as np
import pytest
from faces_by_hand import LEFT, REGIONS, RIGHT, SIDE, encoded, image_of, plain
from PIL import Image, ImageCms
from portraits import hopper
from skimage.color import xyz2lab
from test_colour import ADOBE, DISPLAY_P3, in_space, saved

from piqa import measure_factors
from piqa.factors import colour, contrast, harmony, skin
from piqa.factors.cielab import WHITE, XYZ, chroma, lab, lightness
from piqa.factors.factor import Reading
from piqa.factors.families import FACTORS, MAPS
from piqa.factors.measured_image import LINEAR, MeasuredImage
from piqa.factors.regions import Regions

RANDOM = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)


def measured(family, pixels, regions=REGIONS):
    return {name: found.value for name, found in family.measure(image_of(pixels, regions)).items()}


def halves(left, right):
    pixels = plain(0)
    pixels[LEFT], pixels[RIGHT] = left, right
    return pixels


# CIELAB


def test_lab_is_that_of_scikit_image_for_the_same_white():
    expected = xyz2lab(LINEAR[RANDOM].astype(float) @ XYZ.T.astype(float), illuminant="D50")
    assert lab(LINEAR[RANDOM]) == pytest.approx(expected, abs=0.02)  # whose white differs in the fourth digit


def test_lab_is_that_of_little_cms():
    transform = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    found = np.asarray(ImageCms.applyTransform(Image.fromarray(RANDOM), transform)).astype(np.uint8)
    expected = np.dstack([found[..., 0] * (100 / 255), found[..., 1:].view(np.int8)])
    difference = np.abs(lab(LINEAR[RANDOM]) - expected)
    assert np.percentile(difference, 99) < 1.1 and difference.mean() < 0.5  # 8 bits


def test_greys_have_no_colour_and_white_has_lightness_100():
    greys = LINEAR[np.arange(256)[:, None].repeat(3, axis=1)]
    assert np.abs(lab(greys)[:, 1:]).max() < 0.02
    assert lab(greys)[-1, 0] == pytest.approx(100, abs=1e-3) and lab(greys)[0, 0] == pytest.approx(0, abs=1e-3)
    assert np.sum(XYZ, axis=1) == pytest.approx(WHITE, abs=1e-5)


def test_mid_grey_has_about_half_of_the_lightness_of_white():
    assert float(lightness(np.float32(0.18))) == pytest.approx(49.5, abs=0.05)


# casts and amount


def test_a_cast_is_the_stops_between_the_mean_channels_in_linear_light():
    pixels = halves((200, 120, 60), (40, 90, 250))
    red, green, blue = ((LINEAR[one] + LINEAR[other]) / 2 + 1e-4 for one, other in ((200, 40), (120, 90), (60, 250)))
    found = measured(colour, pixels)
    assert found["cast_blue"] == pytest.approx(np.log2(blue / red), abs=1e-4)
    assert found["cast_green"] == pytest.approx(np.log2(green**2 / (red * blue)) / 2, abs=1e-4)


def test_colourfulness_is_the_formula_of_hasler_and_suesstrunk():
    values = RANDOM.astype(float)
    rg, yb = values[..., 0] - values[..., 1], (values[..., 0] + values[..., 1]) / 2 - values[..., 2]
    expected = np.sqrt(rg.var() + yb.var()) + 0.3 * np.sqrt(rg.mean() ** 2 + yb.mean() ** 2)
    assert colour.colourfulness(RANDOM) == pytest.approx(expected, rel=1e-6)


def test_colourfulness_of_two_colours_by_hand():
    # rg is 100 and 0, yb is 50 and 0: deviations 50 and 25, means 50 and 25
    assert colour.colourfulness(np.array([[[100, 0, 0], [0, 0, 0]]], np.uint8)) == pytest.approx(
        1.3 * np.hypot(50, 25), rel=1e-6
    )


def test_the_strength_of_colours_is_their_mean_distance_from_grey():
    expected = chroma(lab(LINEAR[np.array([[200, 120, 60], [90, 90, 90]])])).mean()
    assert measured(colour, halves((200, 120, 60), (90, 90, 90)))["mean_chroma"] == pytest.approx(expected, abs=0.6)


def test_a_grey_image_has_no_colour_measures_and_says_so():
    found = colour.measure(image_of(halves(90, 200))) | skin.measure(image_of(halves(90, 200)))
    assert len(found) == 8 and {(one.value, one.note) for one in found.values()} == {(None, "the image is grey")}


def test_one_coloured_pixel_makes_an_image_of_colour():
    pixels = plain(90)
    pixels[17, 133, 2] = 91
    assert not MeasuredImage(pixels).is_grey and measured(colour, pixels)["colourfulness"] < 1


# skin


def test_the_skin_is_the_mean_of_both_cheeks_as_ofiq_takes_it():
    left, right = np.array([220, 170, 140]), np.array([180, 130, 110])
    found = measured(skin, halves(left, right))
    mean = (left + right) / 2 / 255
    light = ((mean + 0.055) / 1.055) ** 2.4
    x, y, z = np.cbrt(
        light
        @ np.array([[0.43605, 0.38508, 0.14309], [0.22249, 0.71689, 0.06062], [0.01393, 0.09710, 0.71419]]).T
        / np.array([0.964221, 1, 0.825211])
    )
    assert (found["skin_a"], found["skin_b"]) == pytest.approx((500 * (x - y), 200 * (y - z)), abs=0.01)
    assert found["skin_hue"] == pytest.approx(np.degrees(np.arctan2(200 * (y - z), 500 * (x - y))), abs=0.01)


def test_only_the_cheeks_count_for_the_skin():
    pixels = plain((200, 160, 140))
    expected = measured(skin, pixels)
    pixels[:190], pixels[255:], pixels[:, 160:240] = 0, 255, (0, 0, 255)
    assert measured(skin, pixels) == expected


@pytest.mark.parametrize(
    ("a", "b", "away"), [(15, 20, 0), (5, 35, 0), (2, 20, 3), (15, 41, 6), (28, 39, 5), (-1, 20, 6), (15, -7, 12)]
)
def test_the_distance_from_natural_colour_grows_evenly_without_a_jump_at_zero(a, b, away):
    assert skin.distance_from_natural(a, b) == pytest.approx(away)


def test_cheeks_without_colour_have_no_reliable_hue():
    pixels = plain((128, 128, 127))
    found = skin.measure(image_of(pixels))["skin_hue"]
    assert not found.reliable and "hardly any colour" in found.note


def test_the_distance_is_said_only_where_there_is_one():
    inside, outside = (skin.measure(image_of(plain(rgb)))["skin_hue"] for rgb in ((205, 165, 145), (120, 160, 220)))
    assert inside.detail == "" and "where OFIQ expects it" in outside.detail


def test_the_map_of_the_skin_shows_light_of_two_colours():
    pixels = halves((220, 150, 120), (200, 160, 120))
    found = next(made for make in MAPS if (made := make(image_of(pixels))) is not None and made.name == "skin_hue")
    left, right = found.values[200, 150], found.values[200, 250]
    assert left < -5 and right > 5 and left == pytest.approx(-right, abs=12)
    assert np.isnan(found.values[0, 0]) and np.isnan(found.values[200, 20])


@pytest.mark.parametrize("case", ["grey", "no face"])
def test_there_is_no_map_of_the_skin_without_skin_or_colour(case):
    image = image_of(plain(90)) if case == "grey" else MeasuredImage(plain((200, 160, 140)))
    assert [made.name for make in MAPS if (made := make(image)) is not None and made.name == "skin_hue"] == []


# harmony


def hues(**shares):
    found = np.zeros(360)
    for degrees, share in shares.items():
        found[int(degrees[1:])] = share
    return found


@pytest.mark.parametrize(
    ("given", "template", "distance"),
    [
        (hues(d40=1), "i", 0),
        (hues(d40=0.5, d220=0.5), "I", 0),
        (hues(d0=0.5, d80=0.5), "V", 0),
        (hues(d10=0.5, d130=0.5), "L", 0),
        (hues(d0=0.25, d80=0.25, d220=0.5), "Y", 0),
        (hues(d0=0.3, d60=0.2, d120=0.2, d175=0.3), "T", 0),
        (hues(d0=0.3, d80=0.2, d180=0.25, d260=0.25), "X", 0),
    ],
)
def test_the_smallest_template_that_holds_all_hues_is_found(given, template, distance):
    found = harmony.distances(given)
    assert harmony.smallest(found).name == template
    assert min(found) == pytest.approx(distance, abs=1e-9)


def test_hues_all_around_the_circle_fit_no_template():
    found = harmony.distances(np.full(360, 1 / 360))
    assert harmony.smallest(found) is None and min(found) > harmony.NEAR


def test_the_distance_from_a_template_is_the_least_mean_arc_over_its_turns():
    """Two equal hues 90 degrees apart: a sector of 18 degrees holds one; the other lies 72 degrees outside of it."""
    narrow = harmony.distances(hues(d0=0.5, d90=0.5))[0]
    assert narrow == pytest.approx(0.5 * (90 - 18), abs=1e-9)


def test_templates_are_tried_from_the_smallest_to_the_largest_that_contain_each_other():
    widths = {one.name: one.width for one in harmony.TEMPLATES}
    assert widths["i"] < widths["V"] < widths["Y"] < widths["X"] and widths["i"] < widths["I"] < widths["Y"]


def test_without_colour_there_is_no_harmony():
    pixels = plain((128, 128, 127))
    found = colour.measure(image_of(pixels))["harmony_distance"]
    assert (found.value, found.note) == (None, "there is hardly any colour in the image")


# contrast


def test_contrast_is_that_of_the_lightness_of_the_face():
    found = measured(contrast, halves(80, 180))
    dark, bright = (float(lightness(LINEAR[one])) for one in (80, 180))
    assert found["contrast_face"] == pytest.approx((bright - dark) / 2, abs=0.01)
    assert found["contrast_range"] == pytest.approx(bright - dark, abs=0.01)


def test_local_contrast_does_not_count_what_is_far_apart():
    found = measured(contrast, halves(80, 180))
    assert found["contrast_local"] < 0.1 * found["contrast_face"]


def test_local_contrast_is_the_mean_deviation_in_sixteen_by_sixteen_parts():
    values = np.random.default_rng(0).normal(50, 5, (35, 50)).astype(np.float32)
    parts = [values[2 * y : 2 * y + 2, 3 * x : 3 * x + 3].std() for y in range(17) for x in range(16)]
    assert contrast.local_contrast(values) == pytest.approx(np.mean(parts), rel=1e-5)


@pytest.mark.parametrize("shape", [(8, 8), (8, 200), (17, 9)])
def test_small_images_have_a_local_contrast(shape):
    assert np.isfinite(contrast.local_contrast(np.zeros(shape, np.float32)))


# words


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("colourfulness", 72.3, "the image is between quite (59) and highly (82) colourful: 72"),
        ("colourfulness", 3.0, "the image is between not (0) and slightly (15) colourful: 3"),
        ("colourfulness", 120, "the image is extremely colourful (120) in the words of Hasler and Süsstrunk"),
        ("cast_blue", -0.83, "over the whole image, blue is 0.8 stops under red"),
        ("cast_green", 0.0, "over the whole image, green lies between red and blue"),
        ("skin_b", -3.4, "the cheeks are 3 to the blue side of grey (b*)"),
        ("contrast_face", 15.2, "lightness in the face varies by 15 of 100 about its mean"),
    ],
)
def test_a_sentence_says_what_where_and_how_much(name, value, sentence):
    assert (Reading(FACTORS[name], value).sentence, Reading(FACTORS[name], value).advice) == (sentence, "")


def test_words_of_colourfulness_follow_each_other_without_a_gap():
    said = [colour._say_colourfulness(value)[0] for value in range(0, 120)]
    changes = [one != other for one, other in itertools.pairwise([text.split(" colourful")[0] for text in said])]
    assert sum(changes[:108]) == 5


def test_the_hues_and_the_template_are_said_with_their_factors():
    found = colour.measure(image_of(halves((255, 120, 0), (0, 90, 255))))
    assert found["mean_chroma"].detail.startswith("mostly opposite hues, ")
    reading = Reading(FACTORS["mean_chroma"], 30.0, detail="mostly one hue, red")
    assert reading.sentence == "colours are 30 away from grey on average (C*); mostly one hue, red"
    assert "template" in found["harmony_distance"].detail


# colour spaces


@pytest.mark.parametrize("profile", [ADOBE, DISPLAY_P3], ids=["Adobe RGB", "Display P3"])
def test_a_file_in_a_wider_colour_space_measures_like_its_twin_in_srgb(profile, tmp_path):
    image = hopper()
    (tmp_path / "srgb.png").write_bytes(saved(image))
    (tmp_path / "wide.png").write_bytes(saved(in_space(profile, image), icc_profile=profile))
    (tmp_path / "stripped.png").write_bytes(saved(in_space(profile, image)))
    expected, found, stripped = (measure_factors(tmp_path / f"{name}.png") for name in ("srgb", "wide", "stripped"))
    for name, factor in FACTORS.items():
        if factor.family in ("exposure", "contrast", "colour"):
            assert found[name].value == pytest.approx(expected[name].value, abs=0.1 * factor.step), name
    for name in ("skin_a", "colourfulness", "mean_chroma"):  # without its profile it measures otherwise
        assert abs(stripped[name].value - expected[name].value) > 0.5 * FACTORS[name].step
    assert found.hue_shares == pytest.approx(expected.hue_shares, abs=0.02)


def test_a_face_of_any_light_measures_its_own_hue():
    """The hue stays when the light is dimmed by two stops."""
    bright = np.array([210, 160, 130])
    dim = encoded(LINEAR[bright] / 4)
    one, other = (measured(skin, plain(rgb)) for rgb in (bright, dim))
    assert one["skin_hue"] == pytest.approx(other["skin_hue"], abs=1.5)
    assert other["skin_a"] < 0.75 * one["skin_a"]


def test_no_face_in_the_image_gives_no_skin():
    found = skin.measure(MeasuredImage(plain((200, 160, 140)), Regions(SIDE, SIDE)))
    assert {one.note for one in found.values()} == {"no face was found"}
