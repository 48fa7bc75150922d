"""Agreement of raters: published figures, values by hand, and what generated raters must give."""

import numpy as np
import pytest
from judgements import published_votes

from piqa.judgement.agreement import (
    icc,
    krippendorff_alpha,
    pair_units,
    spearman_brown,
    split_half_of_pairs,
    split_half_of_ratings,
)
from piqa.judgement.answers import answers_table
from piqa.judgement.panel import SimulatedRater, random_answers

# Krippendorff 2011, the example of four observers and twelve units: published alphas 0.743, 0.815, 0.849
OBSERVERS = """1 2 3 3 2 1 4 1 2 - - -
1 2 3 3 2 2 4 1 2 5 - 3
- 3 3 3 2 3 4 2 2 5 1 -
1 2 3 3 2 4 4 1 2 5 1 -"""
UNITS = np.array(
    [[np.nan if cell == "-" else float(cell) for cell in line.split()] for line in OBSERVERS.splitlines()]
).T
# Shrout and Fleiss 1979, six targets and four judges: ICC(2,1) 0.29, ICC(2,4) 0.62, ICC(3,1) 0.71
JUDGES = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7.0]])


def simulated(habit="honest", raters=10, answers=150):
    rng = np.random.default_rng(0)
    scores = {scene: {f"{scene}{n}": float(rng.normal(0, 1.42)) for n in range(8)} for scene in ("s", "t")}
    return random_answers(scores, [SimulatedRater(f"r{number}", habit) for number in range(raters)], answers, 0)


@pytest.mark.parametrize(("level", "expected"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_is_that_of_the_published_example(level, expected):
    assert krippendorff_alpha(UNITS, level) == pytest.approx(expected, abs=5e-4)


def test_published_votes_have_the_published_agreement():
    votes = published_votes()
    assert krippendorff_alpha(votes) == pytest.approx(0.4953, abs=5e-5)
    assert krippendorff_alpha(votes, "ordinal") == pytest.approx(0.4710, abs=5e-5)
    assert krippendorff_alpha(votes[:, 5:]) == pytest.approx(0.7431, abs=5e-5)
    found = icc(votes)
    assert (found.single, found.mean, found.consistency) == pytest.approx((0.5017, 0.9632, 0.5237), abs=5e-5)
    assert (found.images, found.raters) == (78, 26)


def test_icc_is_that_of_the_published_example():
    found = icc(JUDGES)
    assert (found.single, found.mean, found.consistency) == pytest.approx((0.29, 0.62, 0.71), abs=5e-3)


def test_alpha_is_1_of_perfect_agreement_about_0_of_chance_and_nan_of_nothing():
    rng = np.random.default_rng(0)
    same = np.repeat(rng.integers(1, 6, 50).astype(float)[:, None], 4, 1)
    assert krippendorff_alpha(same) == 1
    assert krippendorff_alpha(rng.integers(1, 6, (3000, 4)).astype(float)) == pytest.approx(0, abs=0.03)
    assert np.isnan(krippendorff_alpha(np.full((3, 2), 4.0)))
    assert np.isnan(krippendorff_alpha(np.array([[1, np.nan], [np.nan, 2]])))
    assert np.isnan(icc(np.ones((1, 3))).single)


def test_split_halves_agree_where_raters_do_and_not_where_they_flip_coins():
    honest, coins = split_half_of_pairs(simulated(), splits=6), split_half_of_pairs(simulated("coin"), splits=20)
    assert honest.srocc > 0.8
    assert honest.full == pytest.approx(spearman_brown(honest.srocc))
    assert abs(coins.srocc) < 0.3
    assert split_half_of_pairs(simulated(), splits=3, seed=4) == split_half_of_pairs(simulated(), splits=3, seed=4)


def test_split_halves_of_published_votes_are_near_the_published_figure():
    found = split_half_of_ratings(published_votes(), np.zeros(79), splits=20)
    assert found.srocc > 0.916  # of plain means; the model gives raters who answer at random less weight
    assert found.splits == 20


def test_one_rater_has_no_halves():
    found = split_half_of_pairs(simulated(raters=1), splits=3)
    assert np.isnan(found.srocc) and found.splits == 0


def test_answers_to_a_pair_are_one_unit_whatever_its_sides():
    row = {"image_a": "x", "image_b": "y", "scene": "s", "rater": "kim", "winner": "a"}
    other = {**row, "image_a": "y", "image_b": "x", "rater": "lee"}
    units = pair_units(answers_table([row, {**other, "winner": "same"}, {**row, "winner": "b"}, {**row, "scene": "t"}]))
    assert units.shape == (4, 2)
    assert units[0].tolist() == [1.0, 0.5] and units[2].tolist() == [0.0, 0.5]


@pytest.mark.parametrize("names", ["mnopqr", "rqponm", "oqmrnp"])
def test_agreement_on_pairs_does_not_depend_on_the_names_of_the_images(names):
    rng = np.random.default_rng(0)
    rows = [
        {"image_a": names[a], "image_b": names[b], "winner": "a" if rng.random() < 0.95 else "b", "scene": "s"}
        | {"rater": f"r{rater}"}
        for rater in range(5)
        for a in range(6)
        for b in range(a + 1, 6)
    ]
    alpha = krippendorff_alpha(pair_units(answers_table(rows)), "nominal")
    assert alpha == pytest.approx(0.81, abs=0.07)  # 2 x 0.95 x 0.05 of two answers differ, where chance gives a half


def test_halves_that_disagree_have_no_figure_for_the_whole_panel():
    pair = {"image_a": "x", "image_b": "y", "scene": "s"}
    rows = [{**pair, "rater": "kim", "winner": "a"}, {**pair, "rater": "lee", "winner": "b"}]
    found = split_half_of_pairs(answers_table(rows), splits=2)
    assert found.srocc == pytest.approx(-1) and np.isnan(found.full)
