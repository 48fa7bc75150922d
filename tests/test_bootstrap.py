import numpy as np
import pandas as pd
import pytest
import scipy_measures
from contests import made_up_truth, noisy
from hypothesis import given, settings
from hypothesis import strategies as st

from piqa.evaluation import measures, metrics
from piqa.evaluation.leaderboard import entry_measures
from piqa.evaluation.leaderboard.entry_measures import BOARD_VALUES, measure_predictions
from piqa.evaluation.pairs import PairBands
from piqa.evaluation.statistics import bootstrap
from piqa.evaluation.statistics.bootstrap import Resamples, interval, mean, median

MEASURES = ("srocc", "krocc", "plcc", "mae", "rmse")
values = st.sampled_from([-1.5, -1.0, 0.0, 0.25, 0.5, 3.0])  # few values: many ties


class Whole:
    """All resamples at once: the slots, and by scene how often each image was drawn, in order of the slots."""

    def __init__(self, sizes, bootstrap_samples, seed, levels="both", at_once=None):
        self.lazy = Resamples(sizes, bootstrap_samples, seed, levels)
        slots, counts = [], [[np.empty((0, size), int)] for size in sizes]
        for block in self.lazy.blocks(at_once):
            slots.append(block.slots)
            for scene, places, drawn in block.draws():
                assert (block.slots.ravel()[places] == scene).all() and (np.diff(places) > 0).all()
                counts[scene].append(drawn)
        self.slots, self.counts = np.concatenate(slots), [np.concatenate(parts) for parts in counts]


resample = Whole


def written_out(values, counts):
    """The images of one resample, each as often as it was drawn."""
    return np.repeat(values, counts.astype(int))


# The draw


def test_every_resample_has_as_many_scenes_and_each_as_many_images_as_there_are():
    drawn = resample([3, 5, 8], bootstrap_samples=40, seed=0)
    assert drawn.slots.shape == (40, 3)
    assert [counts.shape[1] for counts in drawn.counts] == [3, 5, 8]
    assert sum(len(counts) for counts in drawn.counts) == 40 * 3
    for size, counts in zip([3, 5, 8], drawn.counts, strict=True):
        assert (counts.sum(axis=1) == size).all()


def test_the_levels_are_drawn_one_by_one_or_both():
    images, scenes = (resample([6, 6], bootstrap_samples=50, seed=0, levels=levels) for levels in ("images", "scenes"))
    assert (images.slots == [0, 1]).all() and (images.counts[0] != 1).any()
    assert (scenes.slots != [0, 1]).any() and (scenes.counts[0] == 1).all()


def test_a_seed_gives_the_same_resamples_and_another_gives_others():
    first, again, other = (resample([6, 6], bootstrap_samples=5, seed=seed) for seed in (1, 1, 2))
    assert (first.slots == again.slots).all() and (first.counts[1] == again.counts[1]).all()
    assert (first.slots != other.slots).any()


def test_images_and_scenes_are_drawn_evenly():
    drawn = resample([4, 10], bootstrap_samples=20_000, seed=0)
    assert np.bincount(drawn.slots.ravel()) / 40_000 == pytest.approx(0.5, abs=0.02)
    assert drawn.counts[1].mean(axis=0) == pytest.approx(np.ones(10), abs=0.05)
    assert drawn.counts[1].var(axis=0) == pytest.approx(np.full(10, 0.9), abs=0.05)  # multinomial: 10 x 1/10 x 9/10


@pytest.mark.parametrize("levels", ["both", "scenes", "images"])
@pytest.mark.parametrize("at_once", [1, 7, 40])
def test_a_seed_gives_the_same_resamples_in_blocks_of_any_size(levels, at_once, monkeypatch):
    whole = resample([3, 5, 8], bootstrap_samples=30, seed=4, levels=levels)
    monkeypatch.setattr(bootstrap, "COUNTS_AT_ONCE", 11)
    parts = resample([3, 5, 8], bootstrap_samples=30, seed=4, levels=levels, at_once=at_once)
    np.testing.assert_array_equal(whole.slots, parts.slots)
    for one, other in zip(whole.counts, parts.counts, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_resamples_of_a_seed_are_those_of_the_documented_scheme():
    """scripts/recompute_leaderboard.py and whoever checks a board rely on it."""
    choosing, *drawing = map(np.random.default_rng, np.random.SeedSequence(5).spawn(3))
    drawn = resample([4, 6], bootstrap_samples=9, seed=5)
    np.testing.assert_array_equal(drawn.slots, choosing.integers(2, size=(9, 2)))
    for scene, size in enumerate((4, 6)):
        expected = drawing[scene].multinomial(size, np.full(size, 1 / size), size=int((drawn.slots == scene).sum()))
        np.testing.assert_array_equal(drawn.counts[scene], expected)


# One scene, many resamples


@pytest.mark.parametrize("name", MEASURES)
def test_measures_of_resamples_equal_those_of_the_images_written_out(name):
    rng = np.random.default_rng(0)
    score, prediction = rng.normal(size=(2, 25)).round(1)
    counts = resample([25], bootstrap_samples=60, seed=0).counts[0]
    found = getattr(measures, name)(score, prediction, counts.astype(float))
    expected = [getattr(scipy_measures, name)(written_out(score, row), written_out(prediction, row)) for row in counts]
    np.testing.assert_allclose(found, expected, atol=1e-12)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(values, values, st.integers(0, 3)), min_size=2, max_size=12))
def test_ties_gaps_and_constants_are_treated_as_in_the_images_written_out(images):
    score, prediction, counts = (np.array(column, dtype=float) for column in zip(*images, strict=True))
    if not counts.any():
        return
    for name in MEASURES:
        found = getattr(measures, name)(score, prediction, counts[None])[0]
        expected = getattr(metrics, name)(written_out(score, counts), written_out(prediction, counts))
        assert found == pytest.approx(expected, abs=1e-12, nan_ok=True), name


def test_predictions_that_differ_by_rounding_only_are_constant_in_resamples_too():
    prediction = np.array([1.7, np.nextafter(np.float32(1.7), np.float32(2)), 1.7, 5.0])
    counts = np.array([[2.0, 2.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    for name in ("srocc", "krocc", "plcc"):
        found = getattr(measures, name)(np.arange(4.0), prediction, counts)
        assert np.isnan(found[0]) and np.isfinite(found[1])


def test_pairs_are_counted_with_those_that_an_image_makes_with_its_copies():
    score, prediction = np.array([0.0, 0.2, 3.0]), np.array([1.0, 0.0, 2.0])
    counts = np.array([[1.0, 1.0, 1.0], [2.0, 1.0, 0.0]])
    concordance, pairs = measures.concordance(score, prediction, counts)
    assert (concordance.tolist(), pairs.tolist()) == ([1.0, -2.0], [3.0, 2.0])
    concordance, pairs = measures.concordance(score, prediction, counts, above=1.0)
    assert (concordance.tolist(), pairs.tolist()) == ([2.0, 0.0], [2.0, 0.0])


def test_a_large_scene_is_counted_in_blocks(monkeypatch):
    rng = np.random.default_rng(0)
    score, prediction, counts = rng.normal(size=50), rng.normal(size=50), rng.integers(3, size=(4, 50)).astype(float)
    whole = measures.concordance(score, prediction, counts)
    monkeypatch.setattr(measures, "BLOCK", 350)
    np.testing.assert_array_equal(whole, measures.concordance(score, prediction, counts))


# The values of the board on resamples


def plain_values(truth, prediction, drawn, sample):
    """A second, slow implementation: write one resample out as a table and measure it with scipy."""
    names, seen, parts = sorted(truth["scene"].unique()), {}, []
    for row, slots in enumerate(drawn.slots):
        for place, scene in enumerate(slots):
            time = seen[scene] = seen.get(scene, -1) + 1
            if row == sample:
                rows = truth.assign(prediction=prediction)[truth["scene"] == names[scene]]
                copies = rows.loc[np.repeat(rows.index, drawn.counts[scene][time])]
                parts.append(copies[["score", "prediction"]].assign(scene=f"place {place}"))
    summary = metrics.summarise(metrics.per_scene(pd.concat(parts)))
    right = [metrics.pair_accuracy(part) for part in parts]
    return summary, float(np.nanmedian(right)), metrics.pair_accuracy(pd.concat(parts))


@pytest.mark.parametrize("levels", ["both", "scenes", "images"])
def test_the_bootstrap_equals_a_plain_loop_over_the_same_resamples(levels):
    truth = made_up_truth(scenes=4)
    prediction = noisy(truth, 0.8).round(1).to_numpy()
    drawn = resample(truth.groupby("scene").size().to_list(), bootstrap_samples=12, seed=3, levels=levels)
    measured = measure_predictions(truth, prediction, None, drawn.lazy, PairBands())
    raw = [f for f in BOARD_VALUES if f.protocol == "official" or (f.protocol, f.measure) == ("authors", "srocc")]
    for sample in range(12):
        summary, median_accuracy, pooled_accuracy = plain_values(truth, prediction, drawn, sample)
        for one in raw:
            expected = (summary[one.protocol] | {"pair_accuracy": median_accuracy})[one.measure]
            assert measured.resampled(one)[sample] == pytest.approx(expected, abs=1e-9)
        assert measured.accuracy("all")[1][sample] == pytest.approx(pooled_accuracy, abs=1e-12)


def test_figures_on_the_images_themselves_equal_those_of_the_report():
    truth = made_up_truth()
    prediction = noisy(truth, 0.8)
    frame = truth.assign(prediction=prediction.to_numpy())
    drawn = resample(truth.groupby("scene").size().to_list(), bootstrap_samples=1, seed=0)
    measured = measure_predictions(truth, prediction.to_numpy(), None, drawn.lazy, PairBands())
    scenes = metrics.per_scene(frame)
    pd.testing.assert_frame_equal(measured.scenes[scenes.columns], scenes, check_dtype=False, atol=1e-12)
    summary = metrics.summarise(scenes)
    for one in BOARD_VALUES:
        if one.measure != "pair_accuracy" and one.protocol in summary:
            assert measured.value(one) == pytest.approx(summary[one.protocol][one.measure], abs=1e-12)
    assert measured.accuracy("all")[0] == pytest.approx(metrics.pair_accuracy(frame), abs=1e-12)


def test_fitted_measures_of_resamples_keep_the_curve_of_the_scene():
    truth = made_up_truth(scenes=1, images=30)
    prediction = noisy(truth, 0.8).to_numpy()
    drawn = resample([30], bootstrap_samples=5, seed=0)
    fitted = metrics.fit_logistic(prediction, truth["score"])
    expected = [metrics.rmse(written_out(truth["score"], row), written_out(fitted, row)) for row in drawn.counts[0]]
    one = next(one for one in BOARD_VALUES if one.column == "fitted_rmse")
    found = measure_predictions(truth, prediction, None, drawn.lazy, PairBands()).resampled(one)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_many_resamples_are_measured_in_blocks(monkeypatch):
    truth = made_up_truth(scenes=3)
    prediction = noisy(truth, 1.0).to_numpy().copy()
    prediction[truth["scene"] == "scene 1"] = np.nan
    prediction[0] = np.nan
    drawn = Resamples(truth.groupby("scene").size().to_list(), 30, 0)
    advanced = []
    whole = measure_predictions(truth, prediction, None, drawn, PairBands(), advanced.append)
    assert sum(advanced) == 3 + drawn.total == 93
    monkeypatch.setattr(bootstrap, "COUNTS_AT_ONCE", 50)
    monkeypatch.setattr(bootstrap, "VALUES_AT_ONCE", 20)
    parts = measure_predictions(truth, prediction, None, drawn, PairBands())
    for one in BOARD_VALUES:
        np.testing.assert_allclose(whole.resampled(one), parts.resampled(one), atol=1e-12, err_msg=str(one))
    for kind in PairBands().limits():
        np.testing.assert_array_equal(whole.accuracy(kind)[1], parts.accuracy(kind)[1])


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_tiny_scenes_are_measured_as_others(size, monkeypatch):
    truth = made_up_truth(scenes=9).groupby("scene").head(size)
    prediction = noisy(truth, 1.0).round().to_numpy()
    drawn = Resamples(truth.groupby("scene").size().to_list(), 40, 0)
    tabulated = measure_predictions(truth, prediction, None, drawn, PairBands())
    monkeypatch.setattr(entry_measures, "TINY", 0)
    plain = measure_predictions(truth, prediction, None, drawn, PairBands())
    for one in BOARD_VALUES:
        np.testing.assert_array_equal(tabulated.resampled(one), plain.resampled(one), err_msg=str(one))
    pd.testing.assert_frame_equal(tabulated.scenes, plain.scenes)


def test_large_scenes_are_measured_as_others(monkeypatch):
    truth = made_up_truth(scenes=2, images=40)
    prediction = noisy(truth, 1.0).round(1).to_numpy()
    drawn = Resamples(truth.groupby("scene").size().to_list(), 40, 0)
    plain = measure_predictions(truth, prediction, None, drawn, PairBands())
    monkeypatch.setattr(measures, "LARGE", 10)
    large = measure_predictions(truth, prediction, None, drawn, PairBands())
    for one in BOARD_VALUES:
        np.testing.assert_array_equal(large.resampled(one), plain.resampled(one), err_msg=str(one))
    for kind in PairBands().limits():
        np.testing.assert_array_equal(large.accuracy(kind)[1], plain.accuracy(kind)[1])
    pd.testing.assert_frame_equal(large.scenes, plain.scenes)


# Summing up


def test_what_is_not_defined_is_left_out_of_median_and_mean():
    table = np.array([[1.0, np.nan, 3.0, 8.0], [np.nan] * 4])
    np.testing.assert_array_equal(median(table), [3.0, np.nan])
    np.testing.assert_array_equal(mean(table), [4.0, np.nan])


def test_an_interval_holds_the_middle_95_percent_of_what_is_defined():
    low, high = interval(np.r_[np.arange(1001.0), np.nan])
    assert (low, high) == pytest.approx((25.0, 975.0))
    assert np.isnan(interval(np.full(3, np.nan))).all()


@pytest.mark.parametrize("levels, least, most", [("scenes", 0.86, 0.99), ("both", 0.93, 1.0)])
def test_intervals_cover_the_truth_about_as_often_as_they_say(levels, least, most):
    """Both levels are a little too careful, as documented; scenes alone miss a little with 20 of them."""
    rng, covered, runs = np.random.default_rng(0), 0, 300
    for run in range(runs):
        drawn = resample([6] * 20, bootstrap_samples=300, seed=run, levels=levels)
        error = rng.uniform(0.5, 1.5, size=(20, 1)) * np.abs(rng.normal(size=(20, 6)))
        found = np.empty(drawn.slots.shape)
        for scene, (row, counts) in enumerate(zip(error, drawn.counts, strict=True)):
            found[drawn.slots == scene] = measures.mae(row, np.zeros(6), counts.astype(float))
        low, high = interval(mean(found))
        covered += low <= np.sqrt(2 / np.pi) <= high
    assert least <= covered / runs <= most
