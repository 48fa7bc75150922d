import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from piqa.evaluation.metrics import srocc
from piqa.evaluation.statistics.calibration import fit_mapping

numbers = st.floats(-5, 5).map(lambda value: round(value, 1))
samples = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=30)


def isotonic_by_hand(values, weights):
    """Pool adjacent violators, plainly: (mean, weight, how many values) of each level."""
    levels = []
    for value, weight in zip(values, weights, strict=True):
        levels.append((value, weight, 1))
        while len(levels) > 1 and levels[-2][0] >= levels[-1][0]:
            (a, wa, na), (b, wb, nb) = levels[-2:]
            levels[-2:] = [((a * wa + b * wb) / (wa + wb), wa + wb, na + nb)]
    return levels


def test_a_monotonic_relation_without_noise_is_found_exactly():
    prediction = np.linspace(-2, 2, 50)
    mapping = fit_mapping(prediction, np.tanh(prediction))
    np.testing.assert_allclose(mapping(prediction), np.tanh(prediction), atol=1e-12)
    assert mapping(0.5) == pytest.approx(np.tanh(0.5), abs=1e-3)


def test_images_out_of_order_become_one_knot_at_their_means():
    mapping = fit_mapping([0.0, 1.0, 2.0, 3.0], [0.0, 5.0, 3.0, 8.0])
    np.testing.assert_allclose(mapping.prediction, [0.0, 1.5, 3.0])
    np.testing.assert_allclose(mapping.score, [0.0, 4.0, 8.0])
    np.testing.assert_allclose(mapping([0.75, 2.25]), [2.0, 6.0])  # straight between the knots


def test_the_curve_is_level_beyond_what_was_seen():
    mapping = fit_mapping([0.0, 1.0], [-1.0, 1.0])
    np.testing.assert_array_equal(mapping([-100.0, 100.0]), [-1.0, 1.0])


def test_equal_predictions_weigh_as_many_images_as_they_are():
    mapping = fit_mapping([1.0, 1.0, 1.0, 2.0], [3.0, 3.0, 0.0, 1.0])
    np.testing.assert_allclose(mapping.score, [7 / 4])
    np.testing.assert_allclose(mapping.prediction, [5 / 4])


def test_predictions_in_the_wrong_order_are_mapped_to_the_mean():
    mapping = fit_mapping([3.0, 2.0, 1.0], [1.0, 2.0, 3.0])
    np.testing.assert_allclose(mapping([1.0, 2.0, 3.0]), 2.0)


def test_a_constant_is_mapped_to_the_mean():
    assert fit_mapping([1.0, 1.0], [0.0, 4.0])(7.0) == 2.0


@settings(max_examples=80, deadline=None, derandomize=True)
@given(samples)
def test_the_knots_are_the_levels_of_pooling_adjacent_violators(images):
    x, y = np.array(images).T
    mapping = fit_mapping(x, y)
    values = np.unique(x)
    levels = isotonic_by_hand([y[x == value].mean() for value in values], [(x == value).sum() for value in values])
    np.testing.assert_allclose(mapping.score, [level[0] for level in levels], atol=1e-9)
    assert (np.diff(mapping.prediction) > 0).all() and (np.diff(mapping.score) > 0).all()


@settings(max_examples=40, deadline=None, derandomize=True)
@given(samples, st.floats(0.1, 10), st.floats(-5, 5))
def test_another_scale_of_the_predictions_gives_the_same_mapped_scores(images, scale, shift):
    x, y = np.array(images).T
    np.testing.assert_allclose(fit_mapping(scale * x + shift, y)(scale * x + shift), fit_mapping(x, y)(x), atol=1e-6)


def test_the_order_of_new_images_between_the_outermost_knots_stays():
    rng = np.random.default_rng(0)
    prediction = rng.normal(size=500)
    mapping = fit_mapping(prediction, prediction + rng.normal(size=500))
    new = rng.uniform(mapping.prediction[0], mapping.prediction[-1], size=200)
    assert srocc(new, mapping(new)) == pytest.approx(1)


@pytest.mark.parametrize("prediction, score", [([], []), ([1.0, 2.0], [1.0])])
def test_vectors_that_do_not_fit_are_refused(prediction, score):
    with pytest.raises(ValueError, match="two vectors of one length"):
        fit_mapping(prediction, score)
