"""Artefacts of images and files whose compression is known."""

import io

import numpy as np
import pytest
from dead_leaves import dead_leaves
from PIL import Image

from piqa.factors import artefacts
from piqa.factors.artefacts import blockiness, halo, jpeg_quality, levels_used
from piqa.factors.measured_image import MeasuredImage
from piqa.factors.native import Window
from piqa.preparation.file_facts import FileFacts, file_facts

SCENE = dead_leaves(320, 240, 1500, 3)


def saved(image=SCENE, **options):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def of_file(content):
    return artefacts.measure(MeasuredImage(np.asarray(SCENE), file=file_facts(content)))


def test_the_quality_of_a_file_of_pillow_is_exact():
    small = SCENE.resize((16, 16))
    for quality in range(1, 101):
        table = file_facts(saved(small, quality=quality)).quantization[0]
        assert jpeg_quality(table) == (quality, 0), quality


def test_a_table_of_ones_own_gets_the_nearest_quality_and_says_so():
    table = np.array(file_facts(saved(quality=80)).quantization[0])
    table[::4] += 1
    assert jpeg_quality(tuple(table.tolist())) == (80, 0.25)
    facts = FileFacts(quantization=(tuple(table.tolist()),), subsampling=((2, 2), (1, 1), (1, 1)))
    found = artefacts.measure(MeasuredImage(np.asarray(SCENE), file=facts))["jpeg_quality"]
    assert found.value == 80 and "0.2" in found.detail
    assert of_file(saved(quality=80))["jpeg_quality"].detail == ""


@pytest.mark.parametrize(("subsampling", "expected"), [("4:4:4", 1), ("4:2:2", 0.5), ("4:2:0", 0.25)])
def test_the_resolution_of_colour_is_that_of_the_file(subsampling, expected):
    assert of_file(saved(subsampling=subsampling))["chroma_resolution"].value == expected


def test_a_grey_jpeg_has_a_quality_but_no_colour():
    found = of_file(saved(SCENE.convert("L"), quality=60))
    assert found["jpeg_quality"].value == 60 and found["chroma_resolution"].value is None


def test_what_is_no_jpeg_file_has_no_quality():
    buffer = io.BytesIO()
    SCENE.save(buffer, "PNG")
    assert of_file(buffer.getvalue())["jpeg_quality"].note == "the file is no JPEG"
    assert artefacts.measure(MeasuredImage(np.asarray(SCENE)))["jpeg_quality"].note.startswith("the image is in memory")


def blocks(step, size=64):
    """Even blocks of 8 x 8, each `step` brighter or darker than the next, in which values rise by one a pixel."""
    rows, columns = np.mgrid[0:size, 0:size]
    values = 100 + rows % 8 + columns % 8 + step * ((rows // 8 + columns // 8) % 2)
    return np.repeat(values[..., None], 3, axis=2).astype(np.uint8)


def test_blockiness_is_the_ratio_of_the_steps_at_borders_to_those_elsewhere():
    # steps inside are 1; at borders they are 7 -+ 20, 13 and 27, 4 of the 7 borders of each line first
    assert blockiness(blocks(20)) == pytest.approx((4 * 13 + 3 * 27) / 7, rel=0.15)


@pytest.mark.parametrize("crop", [(0, 0), (3, 5), (7, 1)])
def test_blocks_are_found_wherever_they_begin(crop):
    pixels = np.asarray(Image.open(io.BytesIO(saved(quality=15))))
    whole = blockiness(pixels)
    assert blockiness(np.asarray(SCENE)) < 1.15 < whole
    assert blockiness(pixels[crop[0] :, crop[1] :]) == pytest.approx(whole, rel=0.1)


def test_an_even_image_has_no_blocks_and_a_tiny_one_none_that_can_be_seen():
    assert blockiness(np.full((64, 64, 3), 100, np.uint8)) == 1
    assert blockiness(np.full((64, 20, 3), 100, np.uint8)) is None


def shade(levels_step):
    """A shade of 40 levels over 160 px, down and across, in steps."""
    across = np.linspace(0, 200, 160)
    values = (60 + (across[None] + across[:, None] * 0.5) // levels_step * levels_step) % 240
    return np.repeat(values[..., None], 3, axis=2).astype(np.uint8)


def test_levels_of_a_smooth_shade_are_all_used_and_those_of_bands_are_not():
    assert levels_used(shade(1)) > 0.95
    # every fifth level of a span of 5 n levels: n + 1 of 5 n + 1
    assert levels_used(shade(5)) == pytest.approx(0.22, abs=0.04)


def test_levels_of_an_image_without_shades_are_not_counted():
    assert levels_used(np.full((320, 320, 3), 100, np.uint8)) is None


def test_halos_are_stronger_in_a_sharpened_edge():
    x = np.arange(80) - 40
    smooth = np.tile(128 + 60 * np.tanh(x / 2.0), (80, 1)).astype(np.float32)
    extra = 1.5 * (smooth - np.apply_along_axis(lambda row: np.convolve(row, np.ones(9) / 9, "same"), 1, smooth))
    extra[:, :10] = extra[:, -10:] = 0
    assert halo([Window(smooth + extra)]) > halo([Window(smooth)]) * 1.05


def test_an_even_region_has_no_halos():
    assert halo([Window(np.full((40, 40), 100, np.float32))]) is None and halo([]) is None
