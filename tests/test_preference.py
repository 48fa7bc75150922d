"""Scores as probabilities: the scale against other programs, what is stated against what holds, and a model's card."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import ndtr
from scipy.stats import norm

from piqa.errors import InputError
from piqa.evaluation.statistics import preference as module
from piqa.evaluation.statistics.preference import (
    Preference,
    fit_preference,
    fitted_scale,
    pair_losses,
    scene_pairs,
)
from piqa.evaluation.statistics.reliability import calibrate, reliability_of


def of_viewers(scenes, images, scale, seed=0, std=None):
    """Scores of a model, and measured ones by which viewers prefer A by Phi((a - b) / scale)."""
    generator = np.random.default_rng(seed)
    prediction = generator.normal(0, 1, scenes * images)
    # A difference of two such errors has the standard deviation `scale`.
    score = prediction + generator.normal(0, scale / math.sqrt(2), scenes * images)
    return prediction, score, np.repeat(np.arange(scenes), images)


def test_two_pairs_by_hand():
    # Three of four viewers agree at a difference of 1: Phi(1 / scale) = 3/4, if the pair that is added stands aside.
    pairs = module.ScenePairs(np.ones(4000), np.repeat([1.0, 0.0], [3000, 1000]), np.zeros(4000, np.intp))
    assert fitted_scale(pairs) == pytest.approx(1 / norm.ppf(0.75), rel=2e-3)


def test_the_scale_is_that_of_a_probit_regression():
    prediction, score, scene = of_viewers(12, 6, scale=0.7)
    pairs = scene_pairs(prediction, score, scene)
    assert pairs.scenes == 12
    typical = np.sqrt(np.mean(pairs.difference**2))
    x = np.append(pairs.difference, typical)
    y = np.append(pairs.target, 0.5)

    def loss(slope):  # a probit without intercept, written down again and minimised by another method
        return -np.sum(y * norm.logcdf(slope[0] * x) + (1 - y) * norm.logcdf(-slope[0] * x))

    slope = minimize(loss, [1.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-10}).x[0]
    found = fit_preference(prediction, score, scene)
    assert found.scale == pytest.approx(1 / slope, rel=1e-4)
    known = np.mean([-norm.logcdf(d / found.scale * (1 if t else -1)) for d, t in zip(x[:-1], y[:-1], strict=True)])
    assert found.log_loss == pytest.approx(known)


def test_the_scale_of_the_viewers_is_recovered():
    for scale in (0.3, 1.0, 3.0):
        found = fit_preference(*of_viewers(400, 8, scale))
        assert found.scale == pytest.approx(scale, rel=0.05)


def test_the_scale_grows_with_the_scores_and_probabilities_do_not():
    prediction, score, scene = of_viewers(20, 5, 0.8)
    one, hundred = (fit_preference(factor * prediction, score, scene) for factor in (1, 100))
    assert hundred.scale == pytest.approx(100 * one.scale, rel=1e-4)
    assert hundred.log_loss == pytest.approx(one.log_loss, abs=1e-6)


def test_known_uncertainty_of_the_scores_makes_a_share_of_viewers():
    pairs = scene_pairs([0.0, 1.0], [0.0, 1.0], ["a", "a"], score_std=[0.3, 0.4])
    assert pairs.target.tolist() == pytest.approx([norm.cdf(-2)])
    hard = scene_pairs([0.0, 1.0, 2.0], [1.0, 1.0, 3.0], ["a"] * 3, score_std=[math.nan, 0.0, 0.0])
    assert hard.target.tolist() == [0.5, 0.0, 0.0]


def test_pairs_never_cross_scenes_and_a_single_image_makes_none():
    pairs = scene_pairs(np.arange(6.0), np.arange(6.0), ["b", "a", "b", "c", "a", "b"])
    assert sorted(np.abs(pairs.difference)) == [2, 3, 3, 5]
    assert pairs.scenes == 2


def test_many_images_are_sampled(monkeypatch):
    monkeypatch.setattr(module, "PAIRS_OF_A_SCENE", 50)
    pairs = scene_pairs(np.arange(30.0), np.arange(30.0), ["a"] * 30)
    assert len(pairs.target) == 50
    assert pairs.difference.all()  # never an image with itself
    assert ((pairs.difference > 0) == (pairs.target == 1)).all()


def test_a_few_pairs_that_all_agree_are_no_certainty():
    found = fit_preference([0.0, 1.0], [0.0, 1.0], ["a", "a"])
    # Of the pair and the one that is added three viewers in four agree.
    assert found.probability(1.0) == pytest.approx(0.75, abs=1e-3)


def test_predictions_at_chance_make_every_pair_a_coins_throw():
    prediction, score, scene = of_viewers(30, 6, 0.5)
    found = calibrate(-prediction, score, scene)
    assert found.preference.probability(5.0) == pytest.approx(0.5, abs=0.01)
    assert found.preference.held_out_log_loss == pytest.approx(module.COIN, abs=1e-3)


def test_without_two_different_predictions_there_is_none():
    assert fit_preference([1.0, 1.0], [0.0, 1.0], ["a", "a"]) is None
    assert fit_preference([1.0, 2.0], [0.0, 1.0], ["a", "b"]) is None
    assert calibrate([], [], []) is None


@pytest.mark.parametrize("bad", [([0.0, math.nan], [0.0, 1.0], ["a", "a"]), ([0.0], [0.0, 1.0], ["a", "a"])])
def test_what_cannot_be_compared_is_refused(bad):
    with pytest.raises(ValueError):
        fit_preference(*bad)


def test_what_is_stated_holds_on_scenes_that_are_left_out():
    found = calibrate(*of_viewers(300, 6, 0.9, seed=3))
    assert found.reliability.pairs == 300 * 15
    assert found.reliability.error < 0.03
    assert found.reliability.log_loss == found.preference.held_out_log_loss
    for band in found.reliability.bands:
        assert band.low <= band.stated <= band.high
        assert band.agreed_low <= band.agreed <= band.agreed_high
        assert band.agreed_low - 0.03 <= band.stated <= band.agreed_high + 0.03


def test_the_scale_of_a_scene_is_that_of_the_others():
    prediction, score, scene = of_viewers(4, 5, 0.8, seed=1)
    found = calibrate(prediction, score, scene)
    losses = []
    for one in range(4):
        rest = fit_preference(prediction[scene != one], score[scene != one], scene[scene != one])
        own = scene_pairs(prediction[scene == one], score[scene == one], scene[scene == one])
        losses.append(pair_losses(own, rest.scale).mean())
    assert found.preference.held_out_log_loss == pytest.approx(np.mean(losses))
    assert found.preference.held_out_log_loss > found.preference.log_loss


def test_overconfidence_shows():
    prediction, score, scene = of_viewers(200, 6, 1.5, seed=5)
    pairs = scene_pairs(prediction, score, scene)
    too_sure = reliability_of(ndtr(pairs.difference / 0.3), pairs.target, pairs.scene, 0.0)
    assert too_sure.error > 0.1
    last = too_sure.bands[-1]
    assert last.stated > last.agreed_high


def test_bands_by_hand():
    # In the first scene 0.9 and 0.35 (0.65 for the other), in the second 0.55 and 0.5.
    found = reliability_of([0.9, 0.35, 0.55, 0.5], [1.0, 1.0, 1.0, 0.0], [0, 0, 1, 1], 0.1)
    told = [(one.low, one.pairs, round(one.stated, 3), one.agreed) for one in found.bands]
    assert told == [(0.5, 2, 0.525, 0.75), (0.6, 1, 0.65, 0.0), (0.9, 1, 0.9, 1.0)]
    assert found.error == pytest.approx((2 * 0.225 + 0.65 + 0.1) / 4)
    assert found.bands[0].agreed_low is None  # one scene alone


def test_a_single_scene_has_no_test():
    found = calibrate([0.0, 1.0, 2.0], [0.0, 2.0, 1.0], ["a"] * 3)
    assert found.reliability is None
    assert found.preference.held_out_log_loss is None
    assert "held_out_log_loss" not in found.preference.to_dict()


def test_a_card_holds_it():
    one = Preference(0.5, 3, 20, 0.4, 0.45, "demo")
    assert Preference.from_dict(one.to_dict()) == one
    assert Preference.from_dict({}) is None
    assert Preference.from_dict(None) is None


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"scale": 0}, "positive"),
        ({"scale": True}, "positive"),
        ({"scale": "a"}, "positive"),
        ({"scale": 10**400}, "positive"),
        ({"pairs": 1}, "no `scale`"),
    ],
)
def test_a_card_with_nonsense_is_refused(content, told):
    with pytest.raises(InputError, match=told):
        Preference.from_dict(content)
    with pytest.raises(InputError, match="unknown entry `more`"):
        Preference.from_dict({"scale": 1.0, "more": 2})
