"""Noise of arrays whose noise is known."""

import numpy as np
import pytest

from piqa.factors import noise
from piqa.factors.flat_patches import haar_diagonal, noise_of, patches_of
from piqa.factors.measured_image import MeasuredImage


def grained(sigma, level=128, size=320, seed=0):
    """An even image with the same noise in red, green and blue: its grey values have that noise, too."""
    grain = np.random.default_rng(seed).normal(0, sigma, (size, size, 1))
    return np.clip(np.rint(np.full((size, size, 3), level) + grain), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("sigma", [2, 5, 12])
def test_noise_of_an_even_image_is_its_standard_deviation(sigma):
    found = noise_of(patches_of(grained(sigma)))
    assert found.luma == pytest.approx(sigma, rel=0.1)
    assert found.chroma == pytest.approx(0, abs=0.2)


def test_noise_of_colour_is_that_of_cb_and_cr():
    rng = np.random.default_rng(0)
    blue, red = rng.normal(0, 6, (2, 320, 320))
    pixels = np.full((320, 320, 3), 128) + np.stack([1.402 * red, -0.344 * blue - 0.714 * red, 1.772 * blue], -1)
    found = noise_of(patches_of(np.rint(pixels).astype(np.uint8)))
    assert found.chroma == pytest.approx(6, rel=0.1) and found.luma < 1


def test_textured_patches_are_passed_over():
    pixels = grained(3)
    pixels[:, 80:] = np.random.default_rng(1).integers(20, 230, (320, 240, 1))  # three quarters
    assert noise_of(patches_of(pixels)).luma == pytest.approx(3, rel=0.15)


def test_shadows_are_measured_in_the_darkest_patches():
    pixels = grained(2, level=150)
    pixels[:64] = grained(8, level=60)[:64]
    found = noise_of(patches_of(pixels))
    assert found.shadows == pytest.approx(8, rel=0.15) and found.luma == pytest.approx(2, rel=0.15)


def test_patches_with_values_that_are_cut_off_do_not_count():
    assert noise_of(patches_of(grained(2, level=250))).luma is None
    pixels = grained(2, level=250)
    pixels[:32, :48] = 100  # six patches
    assert noise_of(patches_of(pixels)).luma == 0


@pytest.mark.parametrize(("side", "known"), [(32, False), (48, True)])
def test_fewer_than_five_patches_tell_nothing(side, known):
    found = noise_of(patches_of(grained(2, size=side)))
    assert (found.luma is not None) == known
    assert found.shadows is None


def test_details_keep_the_standard_deviation_of_noise():
    values = np.random.default_rng(0).normal(0, 5, (4, 128, 128)).astype(np.float32)
    assert haar_diagonal(values).std() == pytest.approx(5, rel=0.05)
    np.testing.assert_array_equal(haar_diagonal(np.array([[4, 1], [2, 3]], np.float32)), [[2]])


def test_patches_are_spread_over_the_whole_image():
    rows, columns = np.mgrid[0:640, 0:960]
    pixels = np.stack([rows // 16, columns // 16, rows * 0], -1).astype(np.uint8)
    patches = patches_of(pixels, most=400)
    assert 200 < len(patches) <= 400
    assert all(np.unique(patch[..., :2].reshape(-1, 2), axis=0).shape == (1, 2) for patch in patches)
    assert patches[..., 0].max() >= 36 and patches[..., 1].max() >= 56


def test_an_image_without_a_face_has_noise_but_none_at_the_common_size():
    found = noise.measure(MeasuredImage(grained(4)))
    assert found["noise"].value == pytest.approx(4, rel=0.1)
    assert found["noise_60"].value is None and found["noise_60"].note == "no face was found"


def test_noise_of_colour_of_a_grey_image_is_not_measured():
    assert noise.measure(MeasuredImage(grained(4)))["chroma_noise"].note == "the image is grey"
