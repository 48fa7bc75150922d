"""Maps are shown in colours that anyone can tell apart, transparent where they have no value."""

import matplotlib
import numpy as np
import pytest
from skimage.color import rgb2lab

from piqa.factors.maps import ImageMap
from piqa.factors.overlays import legend, overlay, palette


def a_map(values, palette="diverging", limits=(-4.0, 4.0), words=()):
    return ImageMap("exposure", "Exposure", "stops", np.array(values, np.float32), palette, limits, words)


def pixels(*arguments, size=None, **options):
    return np.asarray(overlay(a_map(*arguments, **options), size)).astype(int)


def lightness(name):
    return rgb2lab(palette(name)[None] / 255)[0, :, 0]


def test_the_sequential_palette_is_cividis_up_to_three_per_cent():
    expected = matplotlib.colormaps["cividis"](np.arange(256))[:, :3] * 255
    assert palette("sequential").shape == (256, 3)
    assert np.abs(palette("sequential") - expected).max() <= 0.03 * 255 + 1


def test_the_sequential_palette_gets_lighter_at_every_step():
    assert np.diff(lightness("sequential")).min() > -0.3  # rounding to 8 bits
    assert np.diff(lightness("sequential")[::8]).min() > 0


def test_the_diverging_palette_is_as_light_on_both_sides_of_white():
    found = lightness("diverging")
    assert np.abs(found - found[::-1]).max() < 1
    assert found.argmax() in (127, 128) and found.max() > 95
    assert palette("diverging")[0].argmax() == 2 and palette("diverging")[-1].argmax() == 0


def test_a_person_without_one_kind_of_cones_can_tell_the_ends_of_the_diverging_palette_apart():
    """Machado et al. 2009, severity 1, on linear light."""
    blind = {
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    }
    ends = (palette("diverging")[[40, -41]] / 255) ** 2.2
    for matrix in blind.values():
        seen = rgb2lab(np.clip(ends @ np.array(matrix).T, 0, 1)[None] ** (1 / 2.2))[0]
        assert np.linalg.norm(seen[0] - seen[1]) > 30


def test_a_value_of_zero_is_white_and_the_limits_are_the_ends_of_the_palette():
    found = pixels([[-4, 0, 4]])[0, :, :3]
    assert np.array_equal(found[[0, 2]], palette("diverging")[[0, -1]])
    assert found[1].min() > 240


def test_values_beyond_the_limits_have_the_colour_of_the_limit():
    assert np.array_equal(pixels([[-9, 9]]), pixels([[-4, 4]]))


def test_a_place_without_a_value_is_transparent_and_all_others_are_opaque():
    assert pixels([[np.nan, 1], [2, np.inf]])[..., 3].tolist() == [[0, 255], [255, 0]]


def test_an_overlay_has_the_size_that_is_asked_for():
    assert overlay(a_map([[0, 1]]), (30, 20)).size == (30, 20)


def test_values_next_to_a_place_without_one_are_not_drawn_towards_zero():
    found = pixels([[3.0, np.nan], [3.0, np.nan]], size=(40, 40))
    known = found[found[..., 3] == 255]
    assert 0.4 < len(known) / 1600 < 0.6
    assert np.array_equal(np.unique(known, axis=0), np.unique(pixels([[3.0]])[0], axis=0))


def test_a_map_with_one_value_for_all_limits_is_drawn():
    assert pixels([[0.0, 0.0]], palette="sequential", limits=(0.0, 0.0)).shape == (1, 2, 4)


def test_a_legend_says_the_words_with_the_colours_of_the_overlay():
    words = ((-4.0, "dark"), (0.0, "mid-grey"), (4.0, "white"))
    shown = legend(a_map([[0]], words=words))
    assert [text for text, _ in shown] == ["dark", "mid-grey", "white"]
    for (value, _), (_, colour) in zip(words, shown, strict=True):
        assert [int(colour[at : at + 2], 16) for at in (1, 3, 5)] == pixels([[value]])[0, 0, :3].tolist()


@pytest.mark.parametrize("name", ["sequential", "diverging"])
def test_a_shared_palette_cannot_be_changed(name):
    with pytest.raises(ValueError, match="read-only"):
        palette(name)[0] = 0
