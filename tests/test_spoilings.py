import numpy as np
import pytest
from portraits import collins
from scipy import ndimage

from piqa.factors.measured_image import LINEAR
from piqa.factors.regions import Regions
from piqa.factors.spoilings import LEVELS, SPOILINGS, spoilt

PIXELS = np.asarray(collins())[:200, 150:350]
REGIONS = Regions(200, 200, (30.0, 60.0, 118.0, 172.0))


@pytest.mark.parametrize("name", SPOILINGS)
def test_each_level_is_farther_from_the_picture_than_the_one_before(name):
    distance = [np.abs(spoilt(PIXELS, name, level, REGIONS).astype(float) - PIXELS).mean() for level in LEVELS]
    assert distance[0] == 0 and all(np.diff(distance) > 0), distance


@pytest.mark.parametrize("name", SPOILINGS)
def test_a_picture_keeps_its_shape_and_is_not_changed_in_place(name):
    before = PIXELS.copy()
    made = spoilt(PIXELS, name, 6, REGIONS)
    assert made.shape == PIXELS.shape and made.dtype == np.uint8 and np.array_equal(PIXELS, before)


def test_light_is_halved_where_two_and_a_half_levels_say_one_stop():
    grey = np.full((8, 8, 3), 188, np.uint8)
    darker = spoilt(grey, "darker", 5, REGIONS)  # 2 stops
    assert LINEAR[darker[0, 0, 0]] == pytest.approx(LINEAR[188] / 4, rel=0.02)


def test_a_cast_keeps_green_and_moves_red_and_blue_apart_by_a_quarter_of_a_stop_a_level():
    made = spoilt(np.full((4, 4, 3), 128, np.uint8), "cast_blue", 4, REGIONS)[0, 0]
    assert made[1] == 128 and np.log2(LINEAR[made[2]] / LINEAR[made[0]]) == pytest.approx(0.96, abs=0.03)


def test_noise_has_three_grey_levels_a_level():
    made = spoilt(np.full((200, 200, 3), 128, np.uint8), "noise", 4, REGIONS)
    assert made.std() == pytest.approx(12, rel=0.02)
    made = spoilt(np.full((200, 200, 3), 128, np.uint8), "chroma_noise", 4, REGIONS).astype(float)
    assert (made @ [0.299, 0.587, 0.114]).std() < 0.5  # what is left is rounding
    assert (made @ [-0.168736, -0.331264, 0.5]).std() == pytest.approx(12, rel=0.03)


def test_only_the_face_is_darkened_and_only_the_surroundings_are_blurred():
    face = REGIONS.ellipse(200, 200, 0.8)
    far = ~ndimage.binary_dilation(REGIONS.ellipse(200, 200, 1.7), iterations=25)
    darkened, blurred = (spoilt(PIXELS, name, 6, REGIONS) for name in ("face_darker", "bg_blur"))
    assert np.array_equal(darkened[far], PIXELS[far]) and darkened[face].mean() < 0.6 * PIXELS[face].mean()
    assert np.abs(blurred[face].astype(int) - PIXELS[face]).max() <= 2
    assert np.abs(blurred[far].astype(int) - PIXELS[far]).mean() > 3
