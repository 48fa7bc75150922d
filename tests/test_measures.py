import tracemalloc
import warnings

import numpy as np
import pytest
import scipy_measures
from scipy import stats

from piqa.evaluation import measures, pair_counts
from piqa.evaluation.measures import MEASURES, ROUNDING, all_measures

CORRELATIONS = ("srocc", "krocc", "plcc")
RANKS = ("srocc", "krocc", "pair_accuracy")


@pytest.fixture(autouse=True)
def every_warning_is_an_error():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def sample(kind, seed, images=25):
    """Scores and predictions of a scene: drawn at random, with many ties, nearly constant, tiny or huge."""
    rng = np.random.default_rng(seed)
    score = rng.normal(size=images)
    prediction = score + rng.normal(size=images)
    return {
        "random": (score, prediction),
        "tied": (score.round(), prediction.round()),
        "tied on one side": (score, prediction.round()),
        "two images": (score[:2], prediction[:2]),
        "three images": (score[:3], prediction[:3]),
        "nearly constant": (score, 1.7 * (1 + 20 * ROUNDING * prediction)),
        "tiny": (1e-200 * score, 1e-250 * prediction),
        "huge": (1e140 * score, 1e150 * prediction),
        "far from 0": (1e6 + score, prediction - 1e5),
    }[kind]


KINDS = [
    "random",
    "tied",
    "tied on one side",
    "two images",
    "three images",
    "nearly constant",
    "tiny",
    "huge",
    "far from 0",
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_measure_of_one_prediction_equals_scipy(kind):
    for seed in range(10):
        score, prediction = sample(kind, seed)
        for name, value in all_measures(score, prediction).items():
            if name in MEASURES:
                expected = getattr(scipy_measures, name)(score, prediction)
                assert value == pytest.approx(expected, rel=1e-9, abs=1e-12 if name in CORRELATIONS else 0), name


@pytest.mark.parametrize("kind", KINDS)
def test_many_predictions_at_once_equal_scipy_one_by_one(kind):
    score = sample(kind, 0)[0]
    predictions = np.stack([sample(kind, seed)[1] for seed in range(12)])
    found = all_measures(score, predictions)
    for name in MEASURES:
        expected = [getattr(scipy_measures, name)(score, one) for one in predictions]
        np.testing.assert_allclose(found[name], expected, rtol=1e-9, atol=1e-12 if name in CORRELATIONS else 0)


@pytest.mark.parametrize("kind", ["random", "tied", "nearly constant", "tiny", "huge", "far from 0"])
def test_many_resamples_at_once_equal_scipy_on_the_images_written_out(kind):
    score, prediction = sample(kind, 0)
    counts = np.random.default_rng(1).multinomial(len(score), np.full(len(score), 1 / len(score)), size=30)
    found = all_measures(score, prediction, counts.astype(float))
    for name in MEASURES:
        expected = [getattr(scipy_measures, name)(np.repeat(score, row), np.repeat(prediction, row)) for row in counts]
        np.testing.assert_allclose(found[name], expected, rtol=1e-9, atol=1e-12 if name in CORRELATIONS else 0)


def test_one_resample_of_every_image_once_is_the_scene_itself():
    score, prediction = sample("tied", 3)
    once = all_measures(score, prediction, np.ones((1, len(score))))
    for name, value in all_measures(score, prediction).items():
        assert once[name][0] == pytest.approx(value, rel=1e-14), name


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_range_is_constant_up_to_the_rounding_of_float32(factor):
    """One rule for a prediction, for many predictions and for resamples."""
    score = np.arange(6.0)
    prediction = 3.0 + np.array([0, 1, 0, 1, 0, 1]) * 3.0 * ROUNDING * factor
    for name in CORRELATIONS:
        measure = getattr(measures, name)
        found = [
            measure(score, prediction),
            measure(prediction, score),
            measure(score, np.stack([prediction, score]))[0],
            measure(score, prediction, np.array([[0.0, 2, 1, 0, 3, 0]]))[0],
        ]
        assert np.isnan(found).all() == (factor < 1)
        assert not np.isnan(measure(score, np.stack([prediction, score]))[1])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_leaves_its_own_row_undefined(value):
    score, predictions = np.arange(5.0), np.stack([np.arange(5.0)] * 2)
    predictions[0, 2] = value
    for name in CORRELATIONS:
        found = getattr(measures, name)(score, predictions)
        assert np.isnan(found[0]) and found[1] == pytest.approx(1)


def test_without_images_nothing_is_defined():
    empty = np.empty(0)
    assert all(np.isnan(all_measures(empty, empty)[name]) for name in MEASURES)


def test_a_measure_is_no_number_of_another_scale():
    """Ranks ignore the scale, PLCC a positive factor and a shift."""
    score, prediction = sample("random", 0)
    before, after = all_measures(score, prediction), all_measures(score, 8 * prediction + 4)
    for name in (*RANKS, "plcc"):
        assert before[name] == pytest.approx(after[name], abs=1e-12)


@pytest.mark.parametrize("limits", [(0.0, np.inf), (1.0, np.inf), (0.0, 0.5)])
def test_pairs_within_limits_are_counted_once_in_blocks_of_any_size(limits, monkeypatch):
    score, prediction = sample("tied on one side", 0, images=40)
    counts = np.random.default_rng(0).integers(3, size=(4, 40)).astype(float)
    pairs = [(a, b) for a in range(40) for b in range(a) if limits[0] < abs(score[a] - score[b]) < limits[1]]
    agreement = [np.sign(score[a] - score[b]) * np.sign(prediction[a] - prediction[b]) for a, b in pairs]
    drawn = np.array([counts[:, a] * counts[:, b] for a, b in pairs])
    for block in (1, 100, 1000, 250_000):
        monkeypatch.setattr(measures, "BLOCK", block)
        assert measures.concordance(score, prediction, None, *limits) == (sum(agreement), len(pairs))
        many = measures.concordance(score, np.stack([prediction, -prediction]), None, *limits)
        np.testing.assert_array_equal(many, [[sum(agreement), -sum(agreement)], [len(pairs)] * 2])
        resampled = measures.concordance(score, prediction, counts, *limits)
        np.testing.assert_array_equal(resampled, [agreement @ drawn, drawn.sum(axis=0)])


LIMITS = [(0.0, np.inf), (1.0, np.inf), (0.0, 0.5), (0.5, 1.0), (0.0, 0.0), (1.0, 0.5)]


@pytest.mark.parametrize("images", [1, 2, 3, 7, 8, 9, 33, 64, 100])
def test_pairs_of_a_large_scene_are_those_of_a_look_at_each(images, monkeypatch):
    """Scores of two decimals: differences lie on the limits, but for rounding."""
    rng = np.random.default_rng(images)
    for _ in range(5):
        score, counts = rng.normal(size=images).round(2), rng.integers(4, size=(6, images)).astype(float)
        prediction = (score + rng.normal(size=images)).round(1)
        many = np.stack([prediction, -prediction, rng.normal(size=images), np.zeros(images)])
        for limits in LIMITS:
            arguments = [(prediction, None), (prediction, counts), *([(many, None)] if images > 2 else [])]
            plain = [measures.concordance(score, *one, *limits) for one in arguments]
            with monkeypatch.context() as patch:
                patch.setattr(measures, "LARGE", 1)
                patch.setattr(pair_counts, "AT_ONCE", 20)
                for found, expected in zip(
                    [measures.concordance(score, *one, *limits) for one in arguments], plain, strict=True
                ):
                    np.testing.assert_array_equal(found, expected)


def test_measures_of_a_large_scene_equal_scipy(monkeypatch):
    monkeypatch.setattr(measures, "LARGE", 10)
    score, prediction = sample("tied on one side", 0, images=500)
    for name, value in all_measures(score, prediction).items():
        if name in MEASURES:
            assert value == pytest.approx(getattr(scipy_measures, name)(score, prediction), rel=1e-9), name


def test_twenty_thousand_images_are_counted_in_little_memory():
    score, prediction = sample("tied on one side", 0, images=20_000)
    tracemalloc.start()
    found = measures.krocc(score, prediction)
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == pytest.approx(stats.kendalltau(score, prediction).statistic, abs=1e-12)
    assert used < 200e6  # the signs of all pairs take 3.2 GB
