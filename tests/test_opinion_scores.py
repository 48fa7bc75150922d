"""Ratings become MOS: published figures, known biases and inconsistencies, screening, the spread of opinions."""

import numpy as np
import pandas as pd
import pytest
from judgements import published_votes, ratings_of

from piqa.errors import InputError
from piqa.judgement.ratings import bt500_rejects, fit_biased, scale_ratings, sos_parameter


def test_published_votes_have_the_published_scores_and_raters():
    scaling = scale_ratings(ratings_of(published_votes()))
    scores, raters = scaling.scores.set_index("image"), scaling.raters
    assert scores["score"].mean() == pytest.approx(3.5443, abs=5e-5)
    assert scores.loc[["0.jpg", "1.jpg"], "score"].tolist() == pytest.approx([4.9262, 4.8719], abs=5e-5)
    assert scores.loc["0.jpg", "mean"] == pytest.approx(4.7692, abs=5e-5)
    assert raters["bias"][:5].tolist() == pytest.approx([-0.1899, -0.2025, 0.2405, 0.1139, 0.3038], abs=5.1e-5)
    assert raters["inconsistency"][:5].tolist() == pytest.approx([1.834, 1.793, 1.605, 1.728, 1.690], abs=5.1e-4)
    assert raters["inconsistency"][5:].max() == pytest.approx(0.861, abs=5e-4)
    assert raters.index[raters["bt500"]].tolist() == [0, 1]
    assert raters.index[raters["outlier"]].tolist() == [0, 1, 2, 3, 4]
    assert scaling.sos == pytest.approx(0.3205, abs=5e-5)
    assert sos_parameter(published_votes()[:, 5:]) == pytest.approx(0.1945, abs=5e-5)


def simulated(images=60, raters=15, seed=0, missing=0.2):
    rng = np.random.default_rng(seed)
    truth, bias = rng.uniform(1, 5, images), rng.normal(0, 0.5, raters)
    noise = rng.uniform(0.2, 1.2, raters)
    votes = truth[:, None] + bias - bias.mean() + noise * rng.standard_normal((images, raters))
    votes[rng.random(votes.shape) < missing] = np.nan
    return truth, bias - bias.mean(), noise, votes


def test_known_biases_and_inconsistencies_are_found_and_the_scores_are_better_than_means():
    truth, bias, noise, votes = simulated()
    fit = fit_biased(votes)
    assert np.corrcoef(fit.bias, bias)[0, 1] > 0.97
    assert np.corrcoef(fit.inconsistency, noise)[0, 1] > 0.9
    assert np.abs(fit.score - truth).mean() < 0.85 * np.abs(np.nanmean(votes, 1) - truth).mean()


def test_intervals_of_scores_cover_the_truth():
    covered = []
    for seed in range(20):
        truth, _, _, votes = simulated(seed=seed)
        fit = fit_biased(votes)
        covered += (np.abs(fit.score - truth) < 1.96 * fit.score_std).tolist()
    assert 0.90 < np.mean(covered) < 0.97


def test_a_rater_who_fits_two_images_exactly_does_not_decide_alone():
    votes = simulated(missing=0)[3]
    few = np.full((60, 1), np.nan)
    few[:2, 0] = fit_biased(votes).score[:2]
    fit = fit_biased(np.hstack([votes, few]))
    assert np.isfinite(fit.score).all() and (fit.score_std > 0.01).all()


def test_screening_rejects_who_is_far_on_both_sides_only():
    rng = np.random.default_rng(1)
    votes = rng.normal(3, 1, (100, 40))
    votes[:, 0] += 2.5  # far on one side: a bias, which is no reason
    votes[:, 1] = np.where(np.arange(100) % 2, 5.5, 0.5)
    assert np.flatnonzero(bt500_rejects(votes)).tolist() == [1]


def test_ratings_that_cannot_be_scaled_are_refused():
    ratings = ratings_of(simulated(6, 4, missing=0)[3].clip(1, 5).round())
    with pytest.raises(InputError, match=r"rated an image twice: r00 of 0\.jpg"):
        scale_ratings(pd.concat([ratings, ratings[:1]]))
    with pytest.raises(InputError, match="must lie between 1 and 3"):
        scale_ratings(ratings, ends=(1, 3))
    with pytest.raises(InputError, match="no ratings to scale"):
        scale_ratings(ratings.assign(kind="training"))
    apart = np.full((4, 2), np.nan)
    apart[:2, 0], apart[2:, 1] = 3, 4
    with pytest.raises(InputError, match="no rater, nor a chain of them"):
        scale_ratings(ratings_of(apart))


def test_repeats_do_not_count_for_the_scores_but_for_the_raters():
    ratings = ratings_of(simulated(6, 4, missing=0)[3].clip(1, 5).round())
    again = ratings[:2].assign(kind="repeat", rating=[ratings["rating"][0], ratings["rating"][1] + 3])
    scaling = scale_ratings(pd.concat([ratings, again], ignore_index=True))
    assert scaling.scores["score"].tolist() == pytest.approx(scale_ratings(ratings).scores["score"].tolist())
    assert scaling.raters["repeats"].sum() == 2
