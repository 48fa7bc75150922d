import numpy as np
import pytest
from scipy.stats import percentileofscore, rankdata

from piqa.factors.percentiles import ENOUGH_IMAGES, percentiles


def test_each_value_is_compared_with_the_others_alone():
    found = percentiles([10.0, 11, 12, 13, 14, 15, 16, 17, 18])
    assert found == pytest.approx([0, 12.5, 25, 37.5, 50, 62.5, 75, 87.5, 100])


def test_ties_count_half():
    assert percentiles([1.0] * 9) == [50] * 9
    # of the eight others of a 2, three are lower and two equal
    assert percentiles([1.0, 1, 1, 2, 2, 2, 3, 3, 3])[3] == (3 + 2 / 2) / 8 * 100


def test_what_could_not_be_measured_has_no_place_and_is_not_counted():
    found = percentiles([None, *range(9), None])
    assert found[0] is None and found[-1] is None and found[1:-1] == percentiles(list(range(9)))


def test_too_few_images_have_no_percentiles():
    assert percentiles([1.0] * (ENOUGH_IMAGES - 1) + [None] * 50) == [None] * (ENOUGH_IMAGES + 49)
    assert percentiles([]) == []


def test_percentiles_agree_with_ranks():
    values = np.random.default_rng(0).integers(0, 20, 100)
    assert percentiles(values.tolist()) == pytest.approx((rankdata(values) - 1) / 99 * 100)


def test_percentiles_are_those_of_scipy_to_the_last_digit():
    values = [*np.random.default_rng(0).normal(size=90).tolist(), *(5 * [0.25]), float("inf"), -1e300]
    assert percentiles(values) == [
        float(percentileofscore(values, value, "mean") * len(values) - 50) / (len(values) - 1) for value in values
    ]
