import numpy as np
import pandas as pd
import pytest
from scipy import stats

from piqa.evaluation.statistics import significance
from piqa.evaluation.statistics.significance import adjust, holm, permutation_p


def test_with_few_scenes_every_pattern_of_swaps_is_counted_once():
    assert permutation_p([1.0, 2.0, 3.0]) == 2 / 8  # only all and none part them as far
    assert permutation_p([1.0, 2.0, -3.0]) == 1.0  # they sum to 0, so every pattern does
    assert permutation_p([2.0, 2.0, -1.0]) == 4 / 8  # sums of 3 or 5 either way, and four of 1


def test_the_exact_p_equals_scipys_permutation_test():
    rng = np.random.default_rng(0)
    for _ in range(5):
        a, b = rng.normal(size=(2, 9))
        options = {"permutation_type": "samples", "alternative": "two-sided", "n_resamples": np.inf}
        expected = stats.permutation_test((a, b), lambda x, y, axis: (x - y).mean(axis=axis), **options)
        assert permutation_p(a - b) == pytest.approx(expected.pvalue)


def test_drawn_patterns_approach_the_exact_p():
    differences = np.random.default_rng(1).normal(0.3, 1, size=12)
    exact, drawn = permutation_p(differences, permutations=4096), permutation_p(differences, permutations=4095)
    assert drawn == pytest.approx(exact, abs=0.03)


def test_p_is_uniform_when_both_models_are_equally_good():
    rng = np.random.default_rng(0)
    p = [permutation_p(rng.standard_t(3, size=20), seed=run, permutations=400) for run in range(400)]
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_a_real_difference_gives_the_smallest_p_that_there_is():
    better = np.random.default_rng(0).uniform(0.05, 0.1, size=15)
    assert permutation_p(better) == pytest.approx(1 / 10_001, abs=2e-4)
    assert permutation_p(better[:5]) == 2 / 2**5


def test_swapping_the_models_changes_nothing():
    differences = np.random.default_rng(0).normal(size=11)
    assert permutation_p(differences) == permutation_p(-differences)


def test_the_same_model_twice_is_no_difference():
    assert permutation_p(np.zeros(15)) == 1.0


def test_scenes_without_a_measure_are_left_out():
    assert permutation_p([1.0, np.nan, 2.0, 3.0]) == permutation_p([1.0, 2.0, 3.0])
    assert np.isnan(permutation_p([np.nan, np.nan]))


def test_holm_multiplies_the_smallest_p_by_the_number_of_comparisons_and_never_reverses_an_order():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.5, 0.9]), [1.0, 1.0])


def test_what_could_not_be_compared_does_not_count_as_a_comparison():
    np.testing.assert_allclose(holm([0.01, np.nan, 0.04]), [0.02, np.nan, 0.04])


def test_comparisons_are_adjusted_within_a_protocol_and_a_measure():
    frame = pd.DataFrame(
        {
            "protocol": ["official", "authors", "official", "official"],
            "measure": ["srocc", "srocc", "srocc", "mae"],
            "p": [0.01, 0.01, 0.04, 0.04],
        }
    )
    np.testing.assert_allclose(adjust(frame)["p_adjusted"], [0.02, 0.01, 0.04, 0.04])


def test_patterns_are_drawn_in_blocks_without_a_change(monkeypatch):
    differences = np.random.default_rng(1).normal(0.3, 1, size=40)
    whole = permutation_p(differences, seed=2, permutations=500)
    monkeypatch.setattr(significance, "SIGNS_AT_ONCE", 130)
    assert permutation_p(differences, seed=2, permutations=500) == whole
