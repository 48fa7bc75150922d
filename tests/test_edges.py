"""Widths of edges on arrays where they can be counted."""

import numpy as np
import pytest

from piqa.factors.edges import Edges, edges_by_window, edges_of, together
from piqa.factors.native import Window


def ramp(width, rows=40, columns=60, low=50.0, high=200.0):
    """Rows that rise from `low` to `high` in the middle, over `width` steps."""
    across = np.clip((np.arange(columns) - columns // 2) / width, 0, 1) * (high - low) + low
    return np.tile(across, (rows, 1)).astype(np.float32)


def bumped(width):
    """A ramp whose gradient has a single maximum."""
    x = np.arange(60) - 30
    values = 0.5 - 0.5 * np.cos(np.pi * np.clip(x / width, 0, 1))
    return np.tile(50 + 150 * values, (40, 1)).astype(np.float32)


@pytest.mark.parametrize("width", [2, 4, 8, 14])
def test_an_edge_is_as_wide_as_the_run_on_which_values_rise(width):
    found = edges_of([Window(bumped(width))], 3)
    np.testing.assert_array_equal(found.widths[0], np.full(38, width))
    assert len(found.widths[1]) == 0 and found.width == width


def test_a_falling_edge_is_as_wide_as_a_rising_one():
    assert edges_of([Window(bumped(6)[:, ::-1].copy())], 3).width == 6


def test_an_edge_along_columns_is_as_wide_as_one_along_rows():
    found = edges_of([Window(bumped(6).T.copy())], 3)
    assert found.width == 6 and len(found.widths[0]) == 0


def test_both_directions_weigh_alike():
    many, few = np.full(300, 4.0), np.full(20, 10.0)
    assert Edges((many, few), (many, few)).width == 7


def test_contrast_and_brightness_do_not_change_a_width():
    plain = edges_of([Window(bumped(6))], 3).width
    assert edges_of([Window(bumped(6) * 0.3 + 12)], 3).width == plain


def test_with_few_edge_pixels_nothing_is_said():
    few = bumped(6)[:20]  # 18 rows have a gradient
    assert edges_of([Window(few)], 3).width is None
    assert edges_of([Window(bumped(6)[:24])], 3).width == 6


@pytest.mark.parametrize("windows", [[], [Window(np.full((40, 40), 90, np.float32))]])
def test_a_region_without_edges_has_none(windows):
    assert edges_of(windows, 3).number == 0


def test_noise_alone_makes_hardly_any_edges():
    noise = np.random.default_rng(0).normal(128, 6, (400, 400)).astype(np.float32)
    assert edges_of([Window(noise)], 3, noise=6).number < 20 < edges_of([Window(noise)], 3).number


def test_a_step_lower_than_eight_levels_is_no_edge():
    assert edges_of([Window(ramp(1, high=57))], 3).number == 0
    assert edges_of([Window(ramp(1, high=59))], 3).number > 0


def test_the_mean_gradient_is_that_of_all_windows_together():
    faint = Window(bumped(6) * 0.1)  # 15 levels high
    assert edges_by_window([faint], 3)[0].number > 0
    strong = Window(bumped(2))
    assert [one.number > 0 for one in edges_by_window([strong, faint], 3)] == [True, False]


def test_stronger_edges_are_those_that_would_be_found_alone():
    windows = [Window(np.random.default_rng(seed).random((80, 80), np.float32) * 200) for seed in (0, 1)]
    weak = together(edges_by_window(windows, 2))
    strong = edges_of(windows, 3)
    for found, expected in zip(weak.stronger(3).widths, strong.widths, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert weak.number > strong.number > 0
