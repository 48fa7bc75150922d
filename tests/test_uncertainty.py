"""Standard deviations of scores: their factor against closed forms, and what is stated against what holds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from piqa.errors import InputError
from piqa.evaluation.output.doubt import doubt_lines, doubt_table
from piqa.evaluation.statistics.doubt import (
    apply_uncertainty,
    ause,
    ause_of_chance,
    ece,
    measure_doubt,
    wrong_among_surest,
)
from piqa.evaluation.statistics.pair_probability import PairProbability
from piqa.evaluation.statistics.preference import Preference
from piqa.evaluation.statistics.uncertainty import (
    Images,
    ScoreUncertainty,
    fit_factor,
    fit_uncertainty,
    residuals,
)


def simulated(scenes=60, images=10, factor=0.7, gain=2.0, noise=0.3, seed=0):
    """A model whose errors have `factor` times the stated standard deviation; measured scores with offsets, noise."""
    rng = np.random.default_rng(seed)
    count = scenes * images
    scene = np.repeat(np.arange(scenes), images)
    f, s = rng.normal(0, 1, count), np.exp(rng.normal(-0.8, 0.6, count))
    deviation = noise * rng.uniform(0.5, 1.5, count)
    y = rng.normal(0, 5, scenes)[scene] + gain * (f + factor * s * rng.normal(size=count))
    return f, y + deviation * rng.normal(size=count), scene, s, deviation


def test_with_equal_deviations_and_no_label_noise_the_factor_is_that_of_least_squares():
    f, y, scene, _, _ = simulated(6, 5, seed=3)
    gain, factor = fit_factor(Images.of(f, y, scene))
    dummies = (scene[:, None] == np.arange(6)).astype(float)
    design = np.column_stack([dummies, f])
    solution, rss, *_ = np.linalg.lstsq(design, y, rcond=None)  # offsets as columns, another way
    assert gain == pytest.approx(solution[-1], rel=1e-6)
    assert gain * factor == pytest.approx(math.sqrt(rss[0] / (30 - 7)), rel=1e-4)  # unbiased, which is REML's


def test_the_restricted_likelihood_is_that_of_the_contrasts():
    # The likelihood of all contrasts that are free of offsets and gain, computed by an explicit basis of them.
    f, y, scene, s, deviation = simulated(3, 4, seed=5)
    images = Images.of(f, y, scene, s, deviation)
    design = np.column_stack([scene[:, None] == np.arange(3), f]).astype(float)
    basis = np.linalg.svd(design)[0][:, 4:]

    def loss(spread):
        covariance = basis.T @ np.diag((spread * s) ** 2 + deviation**2) @ basis
        contrast = basis.T @ y
        return np.linalg.slogdet(covariance)[1] + contrast @ np.linalg.solve(covariance, contrast)

    gain, factor = fit_factor(images)
    best = gain * factor
    assert loss(best) < loss(best * 1.02) and loss(best) < loss(best / 1.02)


def test_the_factor_is_recovered_and_label_noise_taken_off():
    found = fit_uncertainty(Images.of(*simulated(200, 8)))
    assert found.gain == pytest.approx(2.0, rel=0.05)
    assert found.factor == pytest.approx(0.7, rel=0.06)
    assert found.scenes == 200 and found.images == 1600
    f, y, scene, s, _ = simulated(200, 8)
    without = fit_uncertainty(Images.of(f, y, scene, s))  # the noise of the labels is then taken for the model's
    assert without.factor > 1.05 * found.factor


def test_the_unit_of_the_stated_deviation_is_of_no_account():
    f, y, scene, s, deviation = simulated(30, 6)
    one, other = (fit_uncertainty(Images.of(f, y, scene, unit * s, deviation)) for unit in (1.0, 7.0))
    assert one.factor == pytest.approx(7 * other.factor, rel=1e-4)
    assert one.scale == pytest.approx(other.scale, rel=1e-3)
    assert one.nonconformity == pytest.approx(other.nonconformity, abs=1e-4)


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_calibrated_intervals_hold_on_other_scenes_and_others_do_not(level):
    f, y, scene, s, deviation = simulated(60, 10)
    found = measure_doubt(f, y, scene, 3 * s, deviation)
    ways = {way.way: {one.level: one for one in way.coverage}[level] for way in found.ways}
    error = 3 * math.sqrt(level * (1 - level) / 600)
    assert ways["calibrated"].inside == pytest.approx(level, abs=error)
    assert ways["as stated"].inside > level + error and ways["as stated"].low > level
    # As stated is 3 / 0.7 times too wide, in so far as the noise of the labels does not set the width.
    assert ways["as stated"].width > 2 * ways["calibrated"].width


def test_calibration_improves_reliability_and_learnt_deviations_beat_one_for_all():
    f, y, scene, s, deviation = simulated(80, 8, noise=0.1)
    found = {way.way: way for way in measure_doubt(f, y, scene, 4 * s, deviation).ways}
    assert found["calibrated"].ece < found["as stated"].ece / 2
    assert found["calibrated"].brier < found["one for all"].brier
    assert found["calibrated"].ause < 0.8 * measure_doubt(f, y, scene, s, deviation).ause_of_chance
    assert math.isnan(found["one for all"].ause)
    assert found["calibrated"].wrong[-1] < found["one for all"].wrong[-1]
    assert found["calibrated"].ece_low <= found["calibrated"].ece_high


def test_shuffled_deviations_tell_nothing():
    f, y, scene, s, deviation = simulated(80, 8, noise=0.1)
    shuffled = np.random.default_rng(1).permutation(s)
    true, control = (measure_doubt(f, y, scene, one, deviation) for one in (s, shuffled))
    ways = [next(way for way in one.ways if way.way == "calibrated") for one in (true, control)]
    assert ways[0].ause < 0.7 * ways[1].ause
    assert ways[1].ause == pytest.approx(control.ause_of_chance, abs=0.08)


def test_the_deviation_of_a_residual_bears_in_mind_that_its_offset_was_fitted():
    images = Images.of([0.0, 0.0], [1.0, 3.0], ["a", "a"])
    error, std = residuals(images, gain=1.0, factor=1.0)
    assert error.tolist() == [-1.0, 1.0]
    assert std.tolist() == pytest.approx([math.sqrt(0.5)] * 2)  # 1 - 1/n


def test_what_a_card_states_is_tested_on_other_scenes():
    fitted = fit_uncertainty(Images.of(*simulated(60, 8, seed=1)), source="validation")
    f, y, scene, s, deviation = simulated(60, 8, seed=2)
    found = measure_doubt(f, y, scene, s, deviation, source="test", kept=fitted)
    told = {way.way: way for way in found.ways}["as in its card"]
    assert told == apply_uncertainty(Images.of(f, y, scene, s, deviation), fitted)
    assert told.coverage[2].inside == pytest.approx(0.9, abs=0.05)
    plain = ScoreUncertainty(fitted.gain, fitted.centre, fitted.std)  # of a model that states none
    for stated in (s, None):
        found = apply_uncertainty(Images.of(f, y, scene, stated, deviation), plain)
        assert found.coverage[2].inside == pytest.approx(0.9, abs=0.05) and math.isnan(found.ause)  # equal for all
    same = measure_doubt(f, y, scene, s, deviation, source="validation", kept=fitted)
    assert "as in its card" not in {way.way for way in same.ways}


def test_measures_by_hand():
    # Bands of two pairs: stated 0.55 and 0.85 on average, found 1/2 and 1.
    assert ece([0.5, 0.6, 0.2, 0.9], [1.0, 0.5, 0.0, 1.0], bins=2) == pytest.approx((0.05 + 0.15) / 2)
    # By doubt the errors come as 1, 3, 2: means 1, 2, 2; by size 1, 2, 3: means 1, 1.5, 2.
    assert ause([1.0, 3.0, 2.0], [1.0, 2.0, 3.0]) == pytest.approx(0.5 / 3 / 2)
    assert math.isnan(ause([1.0, 2.0], [1.0, 1.0]))
    errors, drawn = np.abs(np.random.default_rng(0).normal(size=200)), np.random.default_rng(1)
    at_random = [ause(errors, drawn.permutation(200)) for _ in range(400)]
    assert ause_of_chance(errors) == pytest.approx(np.mean(at_random), abs=3 * np.std(at_random) / 20)
    assert wrong_among_surest([2.0, 0.0], [-1.0, 1.0]) == (0.75, 0.75, 1.0)
    assert all(math.isnan(one) for one in wrong_among_surest([], []))


def test_a_model_without_deviations_has_one_for_all_images():
    f, y, scene, _, deviation = simulated(40, 6)
    found = measure_doubt(f, y, scene, score_std=deviation)
    assert found.uncertainty.factor is None and found.uncertainty.scale is None
    assert [way.way for way in found.ways] == ["one for all"]
    assert found.uncertainty.std == pytest.approx(0.7 * math.sqrt(np.mean(np.exp(2 * 0.6**2 - 1.6))), rel=0.2)
    with pytest.raises(InputError, match="states no standard deviation"):
        found.uncertainty.probability([1.0], [1.0], [1.0])


def test_what_cannot_be_fitted_gives_none():
    f, y, scene, s, deviation = simulated(20, 6)
    assert measure_doubt(-f, y, scene, s, deviation) is None  # scores fall where the measured ones rise
    assert measure_doubt([1.0, 2.0], [1.0, 2.0], ["a", "b"]) is None
    assert measure_doubt(np.ones(6), np.arange(6.0), ["a"] * 6) is None
    two = measure_doubt(f[:12], y[:12], scene[:12], s[:12], deviation[:12])
    assert two is not None and two.ways == ()  # of two scenes none can be left out
    with pytest.raises(ValueError, match="negative"):
        Images.of([1.0, 2.0], [1.0, 2.0], ["a", "a"], [-1.0, 1.0])


def test_it_is_told_in_words_and_as_a_table():
    found = measure_doubt(*simulated(30, 6))
    lines = doubt_lines(found)
    assert "180 images of 30 scenes" in lines[0] and "`score_std` times" in lines[1]
    assert any("error rate of 0.1" in line for line in lines)
    assert doubt_table(found).row_count == 3


def test_a_card_holds_it():
    found = fit_uncertainty(Images.of(*simulated(12, 5)), source="demo")
    assert ScoreUncertainty.from_dict(found.to_dict()) == found
    assert ScoreUncertainty.from_dict({}) is None and ScoreUncertainty.from_dict(None) is None


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"gain": 1, "centre": 0}, "no `std`"),
        ({"gain": 0, "centre": 0, "std": 1}, "`gain` 0; a positive number"),
        ({"gain": 1, "centre": "a", "std": 1}, "`centre` 'a'; a number"),
        ({"gain": 1, "centre": 0, "std": True}, "`std` True"),
        ({"gain": 1, "centre": 10**400, "std": 1}, "`centre` 1000"),
        ({"gain": 1, "centre": 0, "std": 1, "factor": 1}, "both or neither"),
        ({"gain": 1, "centre": 0, "std": 1, "nonconformity": [2]}, "`nonconformity`"),
        ({"gain": 1, "centre": 0, "std": 1, "first_two": 3}, "`first_two`"),
        ({"gain": 1, "centre": 0, "std": 1, "more": 3}, "unknown entry `more`"),
    ],
)
def test_a_card_with_nonsense_is_refused(content, told):
    with pytest.raises(InputError, match=told):
        ScoreUncertainty.from_dict(content)


def test_an_error_rate_holds_where_the_preference_was_found_on_other_scenes_than_its_threshold():
    """The least difference of scores that is told stays, whatever scale makes probabilities of differences."""
    values = [round(one / 20, 2) for one in range(1, 20)]
    card = ScoreUncertainty(1.0, 0.0, 1.0, nonconformity=values, one_scale=2.0)
    least = [PairProbability(Preference(scale), card).least(0.1) for scale in (1.0, 2.0, 4.0)]
    assert least[1] == pytest.approx(0.9)  # the 18th of 19
    differences = [norm.ppf(one) * scale for one, scale in zip(least, (1.0, 2.0, 4.0), strict=True)]
    assert differences == pytest.approx([norm.ppf(0.9) * 2.0] * 3)
    assert ScoreUncertainty.from_dict(card.to_dict()) == card


def test_the_probability_of_a_pair_takes_deviations_where_they_are_known():
    pair = PairProbability(Preference(2.0), ScoreUncertainty(1.0, 0.0, 1.0, 1.0, 0.5))
    found = pair([1.0, 1.0], [0.0, 0.0], [3.0, math.nan], [4.0, 4.0])
    assert found.tolist() == pytest.approx([norm.cdf(1 / 2.5), norm.cdf(1 / 2)])
    assert pair([1.0], [0.0]).tolist() == pytest.approx([norm.cdf(0.5)])
    assert PairProbability(Preference(2.0))([1.0], [0.0], [3.0], [4.0]).tolist() == pytest.approx([norm.cdf(0.5)])
    assert np.isnan(PairProbability()([1.0], [0.0])).all() and not PairProbability().known
    with pytest.raises(InputError, match="error rates"):
        PairProbability(Preference(2.0)).least(0.1)
