"""Maps of local sharpness and noise of images with a known place that differs."""

import numpy as np
import pytest
from dead_leaves import dead_leaves
from scipy import ndimage
from skimage.measure import blur_effect

from piqa.factors.detail_maps import noise_map, sharpness_map
from piqa.factors.measured_image import MeasuredImage

SCENE = np.asarray(dead_leaves(640, 480, 4000, 3))


def test_a_blurred_part_is_less_sharp_than_the_rest():
    pixels = SCENE.copy()
    pixels[:, :320] = ndimage.gaussian_filter(SCENE, (2, 2, 0))[:, :320]
    values = sharpness_map(MeasuredImage(pixels)).values
    assert values.shape == (30, 40)
    assert np.nanquantile(values[:, :18], 0.95) < np.nanmedian(values[:, 22:])


def test_local_sharpness_is_one_less_the_blur_of_the_cell():
    """An image of one cell."""
    pixels = SCENE[200:230, 300:330]
    values = sharpness_map(MeasuredImage(pixels)).values
    grey = pixels @ np.array([0.299, 0.587, 0.114])
    assert values.shape == (1, 1)
    assert values[0, 0] == pytest.approx(1 - blur_effect(grey / 255, h_size=11), abs=1e-3)


def test_a_place_without_edges_is_left_out():
    pixels = SCENE.copy()
    pixels[:200, :200] = 120
    pixels = np.clip(pixels + np.random.default_rng(0).normal(0, 3, pixels.shape), 0, 255).astype(np.uint8)
    values = sharpness_map(MeasuredImage(pixels)).values
    assert np.isnan(values[:12, :12]).mean() > 0.95
    assert np.isnan(values[14:, 14:]).mean() < 0.5


def test_a_noisy_part_is_told_by_its_noise():
    pixels = np.full((320, 480, 3), 128)
    grain = np.random.default_rng(0).normal(0, 1, (320, 480, 1))
    pixels = np.rint(pixels + grain * np.where(np.arange(480)[None, :, None] < 240, 8, 2)).astype(np.uint8)
    values = noise_map(MeasuredImage(pixels)).values
    assert values.shape == (20, 30)
    assert np.median(values[:, :14]) == pytest.approx(8, rel=0.1)
    assert np.median(values[:, 16:]) == pytest.approx(2, rel=0.15)


def test_noise_is_not_measured_where_values_are_cut_off():
    pixels = np.full((64, 64, 3), 128, np.uint8)
    pixels[:32] = 255
    values = noise_map(MeasuredImage(pixels)).values
    assert np.isnan(values[:2]).all() and not np.isnan(values[2:]).any()


@pytest.mark.parametrize("size", [(8, 8), (17, 3000), (2600, 40)])
def test_maps_of_odd_sizes_have_few_cells(size):
    pixels = np.random.default_rng(0).integers(20, 230, (*size, 3), dtype=np.uint8)
    image = MeasuredImage(pixels)
    for made in (sharpness_map(image), noise_map(image)):
        if made is not None:
            assert max(made.values.shape) <= 160 and min(made.values.shape) >= 1 and made.values.dtype == np.float32
    assert (noise_map(image) is None) == (min(size) < 16)
