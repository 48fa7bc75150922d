"""Exposure and the light on a face, against values computed by hand."""

import numpy as np
import pytest
from faces_by_hand import BOX, FACE, LEFT, POINTS, REGIONS, RIGHT, SIDE, encoded, image_of, plain, with_nose

from piqa.factors import exposure, face_light
from piqa.factors.exposure import NO_FACE
from piqa.factors.factor import Reading
from piqa.factors.families import FACTORS, MAPS, measure_all
from piqa.factors.measured_image import LINEAR, MeasuredImage
from piqa.factors.regions import Regions


def measured(pixels, regions=REGIONS):
    return {name: found.value for name, found in exposure.measure(image_of(pixels, regions)).items()}


def light_on_face(pixels, regions=REGIONS):
    return face_light.measure(image_of(pixels, regions))


def face_and_rest(face, rest):
    pixels = plain(rest)
    pixels[FACE] = face
    return pixels


@pytest.mark.parametrize("level", [10, 90, 118, 200, 255])
def test_face_stops_are_the_stops_of_its_light_above_18_per_cent(level):
    assert measured(face_and_rest(level, 0))["face_stops"] == pytest.approx(np.log2(LINEAR[level] / 0.18), abs=1e-4)


def test_twice_the_light_is_one_stop_more():
    half, full = (measured(face_and_rest(encoded(light), 50))["face_stops"] for light in (0.2, 0.4))
    assert full - half == pytest.approx(1, abs=0.02)


def test_a_black_image_has_numbers_and_no_infinity():
    found = measured(plain(0))
    assert all(np.isfinite(value) for value in found.values())
    assert found["face_stops"] == pytest.approx(np.log2(0.001 / 0.18))
    assert found["under_face"] == 100 and found["over_face"] == 0


def test_a_face_is_compared_with_the_mean_light_of_its_surroundings():
    found = measured(face_and_rest(200, 100))["face_vs_surroundings"]
    assert found == pytest.approx(np.log2((LINEAR[200] + 0.01) / (LINEAR[100] + 0.01)), abs=1e-4)


def test_a_face_that_fills_the_image_has_no_surroundings():
    found = exposure.measure(image_of(plain(90), Regions(SIDE, SIDE, (-300.0, -300.0, 700.0, 700.0), POINTS)))
    assert found["face_vs_surroundings"].value is None
    assert found["face_vs_surroundings"].note == "the face fills the image"
    assert found["face_stops"].value is not None


@pytest.mark.parametrize(("level", "share"), [(88, 100), (89, 100), (90, 0)])
def test_dark_is_what_has_less_than_a_tenth_of_the_light_of_white(level, share):
    assert round(255 * float(LINEAR[level])) <= 25 if share else round(255 * float(LINEAR[level])) > 25
    assert measured(plain(level))["under_face"] == share


@pytest.mark.parametrize(("level", "share"), [(250, 0), (251, 0), (252, 100), (255, 100)])
def test_white_is_what_ofiq_counts_as_over_exposed(level, share):
    assert (np.floor(255 * LINEAR[level] + 0.5) >= 247) == (share == 100)
    assert measured(plain(level))["over_face"] == share


def test_shares_are_those_of_the_pixels():
    pixels = plain(100)
    pixels[:100, :, 0] = 255  # a quarter of the image
    pixels[:40, :, 2] = 254  # a tenth
    pixels[300:, :, 1] = 253  # not clipped
    found = measured(pixels)
    assert found["clip_whole"] == pytest.approx(25)
    assert [found[f"clip_{channel}"] for channel in ("red", "green", "blue")] == pytest.approx([25, 0, 10])
    assert found["clip_face"] == pytest.approx(100 * FACE[:100].sum() / FACE.sum())


def test_the_range_leaves_out_the_darkest_and_the_brightest_hundredth():
    pixels = plain(128)
    pixels[:2] = 0  # half a hundredth
    pixels[2:20], pixels[380:] = 40, 220
    expected = np.log2((LINEAR[220] + 0.001) / (LINEAR[40] + 0.001))
    assert measured(pixels)["range_stops"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("brighter", [LEFT, RIGHT])
def test_light_from_one_side_is_the_stops_between_the_cheeks_signed_by_the_brighter(brighter):
    pixels = plain(100)
    pixels[brighter] = 150
    expected = np.log2((LINEAR[150] + 0.002) / (LINEAR[100] + 0.002))
    found = light_on_face(pixels)["cheek_stops"]
    assert found.value == pytest.approx(expected if brighter == LEFT else -expected, abs=1e-4)
    assert found.reliable


def test_a_mirrored_face_gets_the_light_from_the_other_side():
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    mirrored = Regions(SIDE, SIDE, BOX, tuple((SIDE - POINTS[at][0], POINTS[at][1]) for at in (1, 0, 2, 4, 3)))
    one, other = light_on_face(pixels), light_on_face(np.ascontiguousarray(pixels[:, ::-1]), mirrored)
    assert one["cheek_stops"].value == pytest.approx(-other["cheek_stops"].value, abs=1e-5)
    assert one["overhead_stops"].value == pytest.approx(other["overhead_stops"].value, abs=1e-5)


@pytest.mark.parametrize(("nose", "reliable"), [(200, True), (214, True), (186, True), (216, False), (184, False)])
def test_the_sides_of_a_turned_head_are_not_compared(nose, reliable):
    found = light_on_face(plain(100), with_nose(nose))["cheek_stops"]
    assert found.reliable is reliable
    assert reliable or "turned" in found.note
    assert not Reading(FACTORS["cheek_stops"], 2.0, found.note).advice or reliable


def test_light_from_above_compares_forehead_and_chin():
    pixels = plain(100)
    pixels[:200] = 150
    expected = np.log2((LINEAR[150] + 0.002) / (LINEAR[100] + 0.002))
    assert light_on_face(pixels)["overhead_stops"].value == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_above_is_where_the_forehead_is_however_the_head_lies(quarters):
    pixels = np.rot90(plain(100) + np.arange(100, dtype=np.uint8).repeat(4)[:, None, None], quarters)

    def turned(point):
        for _ in range(quarters):
            point = (point[1], SIDE - point[0])
        return point

    regions = Regions(SIDE, SIDE, BOX, tuple(turned(point) for point in POINTS))
    upright = light_on_face(np.rot90(pixels, -quarters))["overhead_stops"].value
    assert upright < -0.5
    assert light_on_face(pixels, regions)["overhead_stops"].value == pytest.approx(upright, abs=0.02)


@pytest.mark.parametrize(
    ("scale", "value", "note"), [(0.05, False, "too small"), (0.3, True, "is small"), (1, True, "")]
)
def test_a_small_face_is_measured_with_a_warning_and_a_tiny_one_not_at_all(scale, value, note):
    points = tuple((x * scale, y * scale) for x, y in POINTS)
    found = light_on_face(plain(100), Regions(SIDE, SIDE, tuple(one * scale for one in BOX), points))
    for one in found.values():
        assert (one.value is not None) is value and note in one.note


def test_without_a_face_the_whole_image_is_measured_and_the_rest_says_why_not():
    found = measure_all(MeasuredImage(plain(100)))
    for name in ("face_stops", "under_face", "cheek_stops", "contrast_face", "skin_hue"):
        assert (found[name].value, found[name].note) == (None, NO_FACE)
    assert found["range_stops"].value == 0 and found["contrast_local"].value == pytest.approx(0, abs=1e-4)


def test_a_large_image_measures_like_the_small_one_that_it_repeats():
    """The copy in which light and colour are measured is made of means of whole pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
    large = pixels.repeat(8, axis=0).repeat(8, axis=1)
    regions = Regions(8 * SIDE, 8 * SIDE, tuple(8 * one for one in BOX), tuple((x * 8, y * 8) for x, y in POINTS))
    found, expected = measured(large, regions), measured(pixels)
    assert image_of(large, regions).working.shape == (1600, 1600, 3)
    for name, value in expected.items():  # the border of the face is finer
        assert found[name] == pytest.approx(value, abs=0.05 * FACTORS[name].step), name


def test_the_copy_is_at_most_1600_pixels_long_and_small_images_are_their_own():
    assert image_of(plain(0)).working.shape == (SIDE, SIDE, 3)
    found = MeasuredImage(np.zeros((30, 4001, 3), np.uint8))
    assert found.working.shape == (10, 1334, 3) and found.working_scale == 1 / 3


def test_the_luminance_of_the_copy_is_that_of_its_linear_light():
    pixels = (
        np.random.default_rng(0).integers(0, 256, (70, 30, 3)).astype(np.uint8)
    )  # not a multiple of the rows at a time
    expected = LINEAR[pixels].astype(float) @ [0.2126, 0.7152, 0.0722]
    assert MeasuredImage(pixels).luminance == pytest.approx(expected, abs=1e-6)


# words


def words(name, value, **options):
    reading = Reading(FACTORS[name], value, **options)
    return reading.sentence, reading.advice


@pytest.mark.parametrize(
    ("name", "value", "sentence", "advice"),
    [
        ("face_stops", 1.42, "the face is 1.4 stops above mid-grey", ""),
        ("face_stops", -1.0, "the face is 1.0 stops below mid-grey", ""),
        (
            *("face_vs_surroundings", -1.3, "the face is 1.3 stops under the level of its surroundings"),
            "raise the exposure, add light, or turn to the light",
        ),
        ("face_vs_surroundings", -0.6, "the face is 0.6 stops under the level of its surroundings", ""),
        ("face_vs_surroundings", 0.0, "the face is as bright as its surroundings", ""),
        ("over_face", 6.0, "6.0 % of the face is white without detail", "expose less: detail cannot be brought back"),
        ("over_face", 0.05, "no part of the face is white without detail", ""),
        ("under_face", 30.4, "30 % of the face is darker than a tenth of white", ""),
        ("clip_red", 12.0, "red is at its end in 12 % of the image", ""),
        ("clip_whole", 0.05, "no colour channel is at its end, but for spots", ""),
        (
            *("cheek_stops", 1.2, "the side of the face on the left of the picture gets 1.2 stops more light"),
            "put a reflector on the darker side, or keep the light if it is meant",
        ),
        ("cheek_stops", -0.4, "the side of the face on the right of the picture gets 0.4 stops more light", ""),
        ("cheek_stops", 0.1, "both sides of the face get the same light", ""),
        ("overhead_stops", 0.8, "the forehead is 0.8 stops brighter than the chin", ""),
    ],
)
def test_a_sentence_says_what_where_and_how_much_and_advice_only_what_helps(name, value, sentence, advice):
    assert words(name, value) == (sentence, advice)


@pytest.mark.parametrize("value", [-5.0, 0.0, 5.0])
def test_a_dark_or_bright_face_is_not_called_a_fault(value):
    assert FACTORS["face_stops"].direction == "middle" and words("face_stops", value)[1] == ""


# maps


def test_the_map_of_exposure_has_the_stops_of_every_place():
    pixels = plain(encoded(0.18))
    pixels[RIGHT] = encoded(0.045)
    found = MAPS[0](image_of(pixels))
    assert found.values[200, 50] == pytest.approx(0, abs=0.02)
    assert found.values[200, 350] == pytest.approx(-2, abs=0.03)
    assert found.limits == (-4.0, 4.0) and found.palette == "diverging" and "not whether" in found.title


def test_a_clipped_place_lies_at_the_end_of_the_map():
    pixels = plain(100)
    pixels[LEFT] = (255, 100, 100)
    found = MAPS[0](image_of(pixels)).values
    assert (found[:, :190] == 4).all() and (found[:, 210:] < 1).all()


def test_black_places_are_below_the_lower_end_and_finite():
    found = MAPS[0](image_of(plain(0))).values
    assert np.isfinite(found).all() and (found < -4).all()
