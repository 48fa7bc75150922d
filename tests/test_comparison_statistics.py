"""Statistics of a comparison: the published tables, second implementations, and simulations of known truth."""

import importlib
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize, stats
from scipy.special import expit

from piqa.comparison.intervals import bootstrap_interval, exact_bounds, t_interval, wilson_interval
from piqa.comparison.power import (
    detectable_effect,
    detectable_win_rate,
    equivalence_scenes,
    non_inferiority_scenes,
    scenes_with_repeats,
    sign_power,
    sign_scenes,
    t_power,
    t_scenes,
)
from piqa.comparison.repeated_looks import critical_values, crossing_probabilities, level_of_look
from piqa.comparison.scene_tests import bounds, flip_p, p_above, sign_p, t_p, two_sided_p
from piqa.comparison.several import PairsOfScenes, bradley_terry, two_way_effect
from piqa.errors import InputError
from piqa.evaluation.statistics.significance import permutation_p

RATES = (0.55, 0.60, 0.65, 0.70, 0.75, 0.80, 0.90)


@pytest.fixture(scope="module")
def proofs():
    """The script of the proofs as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[1] / "scripts")
        yield importlib.import_module("comparison_proofs")


# How many scenes


@pytest.mark.parametrize(
    ("found", "table"),
    [
        ([sign_scenes(p, exact=False) for p in RATES], [783, 194, 85, 47, 29, 20, 10]),
        ([sign_scenes(p) for p in RATES], [820, 210, 97, 54, 35, 23, 12]),
        ([sign_scenes(p, power=0.9) for p in RATES], [1080, 274, 121, 70, 42, 30, 15]),
        ([t_scenes(float(stats.norm.ppf(p))) for p in RATES], [499, 125, 55, 31, 20, 14, 7]),
        ([t_scenes(d / 0.6) for d in (0.2, 0.3, 0.5, 0.75, 1.0)], [73, 34, 14, 8, 6]),
        ([t_scenes(d) for d in (0.2, 0.3, 0.5, 0.75, 1.0)], [199, 90, 34, 16, 10]),
        ([t_scenes(d / 1.4) for d in (0.2, 0.3, 0.5, 0.75, 1.0)], [387, 173, 64, 30, 18]),
        ([equivalence_scenes(m) for m in (0.2, 0.3, 0.5, 0.75)], [215, 96, 35, 16]),
        ([non_inferiority_scenes(m) for m in (0.2, 0.3, 0.5, 0.75)], [155, 69, 25, 11]),
    ],
)
def test_the_planned_scenes_are_those_of_the_published_tables(found, table):
    assert np.abs(np.subtract(found, table)).max() <= 1


def test_repeats_replace_scenes_only_down_to_their_correlation():
    table = {
        0.0: [194, 97, 65, 39, 20],
        0.2: [194, 117, 91, 70, 55],
        0.4: [194, 136, 117, 101, 90],
        0.6: [194, 156, 143, 132, 125],
        0.8: [194, 175, 169, 163, 159],
        1.0: [194, 194, 194, 194, 194],
    }
    for rho, row in table.items():
        found = [scenes_with_repeats(194, repeats, rho) for repeats in (1, 2, 3, 5, 10)]
        assert np.abs(np.subtract(found, row)).max() <= 1, rho


def test_detectable_differences_and_win_rates_are_those_of_the_tables():
    numbers = (10, 15, 20, 30, 50, 100, 200)
    assert [detectable_effect(n) for n in numbers] == pytest.approx(
        [1.00, 0.78, 0.67, 0.53, 0.41, 0.29, 0.20], abs=0.01
    )
    rates = [detectable_win_rate(n) for n in numbers]
    assert rates == pytest.approx([0.92, 0.845, 0.80, 0.75, 0.705, 0.65, 0.605], abs=0.0055)
    assert np.isnan(detectable_win_rate(5))  # no outcome of five scenes is significant


@pytest.mark.parametrize("rate", [0.3, 0.7])
def test_the_power_of_the_sign_test_is_the_sum_over_its_rejections(rate):
    for n in (5, 6, 20, 37):
        rejected = [k for k in range(n + 1) if stats.binomtest(k, n).pvalue <= 0.05]
        assert float(sign_power(n, rate)) == pytest.approx(stats.binom.pmf(rejected, n, rate).sum(), abs=1e-12)


def test_a_plan_for_no_difference_is_refused():
    for make in (lambda: sign_scenes(0.5), lambda: t_scenes(0.0)):
        with pytest.raises(InputError):
            make()
    assert t_power(1, 3.0) == 0.0


# Tests over scenes


@pytest.mark.parametrize("wins", [0, 3, 10, 17, 20])
def test_the_sign_test_is_scipys_and_leaves_ties_out(wins):
    values = [1.0] * wins + [-1.0] * (20 - wins)
    assert sign_p([*values, 0.0, 0.0]) == pytest.approx(stats.binomtest(wins, 20).pvalue)
    assert p_above(values, 0.1, "sign") == pytest.approx(stats.binomtest(wins, 20, 0.4, alternative="greater").pvalue)
    for side, alternative in ((0, "greater"), (1, "less")):
        ends = stats.binomtest(wins, 20, alternative=alternative).proportion_ci(0.99, method="exact")
        assert exact_bounds(wins, 20, 0.01)[side] == pytest.approx(ends[side], abs=1e-9)


def test_t_and_flips_are_those_of_other_implementations():
    d = np.random.default_rng(3).normal(0.4, 1.0, 11)
    assert t_p(d) == pytest.approx(stats.ttest_1samp(d, 0).pvalue)
    assert p_above(d, 0.3, "t") == pytest.approx(stats.ttest_1samp(d, -0.3, alternative="greater").pvalue)
    assert flip_p(d) == pytest.approx(permutation_p(d), abs=1e-12)  # 2^11 patterns by a loop
    for level, alpha in ((0.95, 0.025), (0.9, 0.05)):
        ends = stats.ttest_1samp(d, 0).confidence_interval(level)
        assert t_interval(d, level).ends == pytest.approx((ends.low, ends.high))
        assert bounds(d, "t", alpha) == pytest.approx((ends.low, ends.high))
    many = np.random.default_rng(4).normal(0.2, 1.0, 45)
    assert flip_p(many) == pytest.approx(permutation_p(many, permutations=200_000), abs=0.02)
    assert p_above(many, 0.0, "flip") == pytest.approx(
        stats.ttest_1samp(many, 0, alternative="greater").pvalue, abs=0.02
    )


@pytest.mark.parametrize("test", ["t", "sign", "flip"])
def test_swapping_the_devices_mirrors_every_test(test):
    d = np.random.default_rng(5).normal(0.3, 1.0, 15)
    assert two_sided_p(d, test) == pytest.approx(two_sided_p(-d, test), abs=1e-12)
    low, high = bounds(d, test, 0.05)
    assert bounds(-d, test, 0.05) == pytest.approx((-high, -low), abs=1e-9)


def test_without_any_spread_a_t_test_claims_no_more_than_signs_can():
    assert p_above([0.3] * 6, 0.0, "t") == 0.5**6
    assert p_above([0.0] * 6, 0.0, "t") == 1.0


def test_wilsons_interval_is_scipys():
    ends = stats.binomtest(13, 20).proportion_ci(0.95, method="wilson")
    assert wilson_interval(13, 20).ends == pytest.approx((ends.low, ends.high), abs=1e-9)


def test_the_percentile_bootstrap_is_scipys():
    d = np.random.default_rng(6).normal(size=120)
    other = stats.bootstrap((d,), np.mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(1))
    found = bootstrap_interval(d, samples=4000)
    assert found.method == "percentile bootstrap"
    assert found.ends == pytest.approx(tuple(other.confidence_interval), abs=0.02)


# Simulations, as scripts/comparison_proofs.py runs them with more repetitions


@pytest.mark.parametrize("scenes", [20, 50])
def test_intervals_cover_the_truth(proofs, scenes):
    found = proofs.coverage(scenes, 0.7, 600)
    assert 0.93 <= found["t"] <= 0.97 and 0.92 <= found["bootstrap"] <= 0.97 and 0.92 <= found["win rate"] <= 0.99


@pytest.mark.parametrize("test", ["t", "sign"])
def test_a_gate_on_equal_devices_fails_with_probability_alpha(proofs, test):
    failed, _ = proofs.gate_shares(30, 0.0, 0.05, test, 800)
    assert 0.03 <= failed <= 0.07


def test_at_the_margin_a_gate_passes_with_probability_alpha(proofs):
    _, passed = proofs.gate_shares(30, -0.3, 0.05, "t", 800, margin=0.3)
    assert 0.03 <= passed <= 0.07


def test_the_planned_scenes_have_the_planned_power(proofs):
    assert proofs.t_power_of(t_scenes(0.5), 0.5, 800) == pytest.approx(0.81, abs=0.03)
    n = sign_scenes(0.7)
    assert proofs.sign_power_of(n, 0.7, 2_000) == pytest.approx(float(sign_power(n, 0.7)), abs=0.03)


def test_repeats_of_a_scene_are_no_new_evidence(proofs):
    over_scenes, over_pictures = proofs.repeats_error(30, 5, 0.8, 800)
    assert 0.03 <= over_scenes <= 0.07
    assert over_pictures > 0.2  # pictures as units raise false alarms


# Repeated looks


def test_looks_at_growing_data_have_the_published_false_alarms_and_boundaries():
    plain, pocock, fleming = [], [], []
    for looks in (1, 2, 3, 5, 10, 20):
        times = [(k + 1) / looks for k in range(looks)]
        plain.append(crossing_probabilities([1.959964] * looks, times, two_sided=True).sum())
        pocock.append(critical_values(looks, 0.05, "pocock", two_sided=True)[-1])
        fleming.append(critical_values(looks, 0.05, "obrien_fleming", two_sided=True)[-1])
    assert plain == pytest.approx([0.050, 0.083, 0.107, 0.141, 0.193, 0.248], abs=0.0015)
    assert pocock == pytest.approx([1.96, 2.18, 2.29, 2.41, 2.56, 2.67], abs=0.006)
    assert fleming == pytest.approx([1.96, 1.98, 2.00, 2.04, 2.09, 2.13], abs=0.006)


def test_spending_functions_give_the_published_boundaries():
    # Jennison and Turnbull, Group Sequential Methods, 2000, and every textbook: five looks, one-sided 0.025.
    found = critical_values(5, 0.025, "spending_obrien_fleming")
    assert found == pytest.approx([4.877, 3.357, 2.680, 2.290, 2.031], abs=0.003)
    assert critical_values(5, 0.025, "spending_pocock") == pytest.approx([2.438, 2.427, 2.410, 2.397, 2.386], abs=0.003)
    uneven = critical_values([0.1, 0.5, 1.0], 0.025, "spending_obrien_fleming")
    assert crossing_probabilities(uneven, [0.1, 0.5, 1.0]).sum() == pytest.approx(0.025, abs=1e-5)


def test_two_looks_cross_as_the_bivariate_normal_says():
    z = critical_values(2, 0.05, "obrien_fleming")
    joint = stats.multivariate_normal(cov=[[1, np.sqrt(0.5)], [np.sqrt(0.5), 1]]).cdf(z)
    assert 1 - joint == pytest.approx(0.05, abs=1e-4)
    assert level_of_look(2, 2, 0.05) == pytest.approx(stats.norm.sf(z[1]))
    assert level_of_look(1, 1, 0.01) == 0.01


@pytest.mark.parametrize(("look", "looks"), [(0, 3), (4, 3)])
def test_a_look_that_is_not_planned_is_refused(look, looks):
    with pytest.raises(InputError, match="looks are counted from 1"):
        level_of_look(look, looks, 0.05)


# Several devices


def simulated(strength, scenes, seed=0, outcome=None):
    rng, rows = np.random.default_rng(seed), []
    for scene in range(scenes):
        for i, j in combinations(range(len(strength)), 2):
            rows.append((scene, i, j, float(rng.random() < expit(strength[i] - strength[j]))))
    scene, first, second, won = map(np.array, zip(*rows, strict=True))
    return PairsOfScenes(scene, first, second, won.astype(float), len(strength))


def test_bradley_terry_is_the_maximum_of_the_likelihood():
    pairs = simulated([1.0, 0.4, 0.0, -1.4], 40)

    def loss(free):
        b = np.append(free, -free.sum())
        z = b[pairs.first] - b[pairs.second]
        return -(pairs.outcome * np.log(expit(z)) + (1 - pairs.outcome) * np.log(expit(-z))).sum()

    other = optimize.minimize(loss, np.zeros(3), tol=1e-10).x
    found = bradley_terry(pairs)
    assert found.strength == pytest.approx(np.append(other, -other.sum()), abs=1e-4)
    assert found.rank.tolist() == [1, 2, 3, 4] and found.note == ""
    assert (found.rank_low <= found.rank).all() and (found.rank <= found.rank_high).all()


def test_intervals_of_strengths_cover_the_truth_and_count_scenes_not_pairs():
    truth = np.array([0.6, 0.2, 0.0, -0.8])
    hits = [
        (found.low <= truth) & (truth <= found.high)
        for found in (bradley_terry(simulated(truth, 40, seed)) for seed in range(80))
    ]
    assert 0.9 <= np.mean(hits) <= 0.985
    once = simulated(truth, 40, 7)
    twice = PairsOfScenes(*(np.tile(part, 2) for part in (once.scene, once.first, once.second, once.outcome)), 4)
    assert bradley_terry(twice).high == pytest.approx(bradley_terry(once).high, abs=1e-6)  # the same scenes, copied


def test_a_device_that_wins_everywhere_is_told_and_one_that_meets_no_other_is_not_ranked():
    pairs = simulated([0.3, 0.0, -0.3], 12)
    pairs.outcome[pairs.first == 0] = 1.0
    found = bradley_terry(pairs)
    assert np.isfinite(found.strength).all() and found.rank[0] == 1 and "everywhere" in found.note
    apart = PairsOfScenes(np.array([0, 1]), np.array([0, 2]), np.array([1, 3]), np.array([1.0, 0.0]), 4)
    assert np.isnan(bradley_terry(apart).strength).all() and "no common ranking" in bradley_terry(apart).note


def test_the_two_way_effect_is_the_least_squares_fit():
    rng = np.random.default_rng(2)
    rows = [(s, d) for s in range(12) for d in range(5) if rng.random() < 0.6 or d == 0]
    scene, device = map(np.array, zip(*rows, strict=True))
    value = rng.normal(size=len(rows)) + scene - 0.5 * device
    design = np.zeros((len(rows), 17))
    design[np.arange(len(rows)), scene] = design[np.arange(len(rows)), 12 + device] = 1
    other = np.linalg.lstsq(design, value, rcond=None)[0][12:]
    assert two_way_effect(value, scene, device) == pytest.approx(other - other.mean(), abs=1e-9)
