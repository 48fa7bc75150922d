"""Raters' reliability: published rater scores, careless raters, sides, repeats, known answers, time."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from judgements import published_answers

from piqa.errors import InputError
from piqa.judgement.answers import answers_table
from piqa.judgement.panel import SimulatedRater, random_answers
from piqa.judgement.raters import judge_raters
from piqa.judgement.scaling import ScalingOptions


@pytest.fixture(scope="module")
def proofs():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1] / "scripts"))
        yield importlib.import_module("judgement_proofs")


def panel_of(*others, honest=7, answers=60, seed=0):
    """The raters' table of a panel of honest raters and others, in three scenes."""
    rng = np.random.default_rng(seed)
    scores = {f"s{n}": {f"s{n}/{image}": float(rng.normal(0, 1.42)) for image in range(8)} for n in range(3)}
    raters = [SimulatedRater(f"honest {number}") for number in range(honest)]
    return judge_raters(random_answers(scores, [*raters, *others], answers, seed)).set_index("rater")


def test_published_raters_have_the_published_scores():
    table = judge_raters(published_answers(), ScalingOptions(prior="pwcmp")).set_index("rater")
    above = table["rater_score"][table["rater_score"] > 0].sort_values(ascending=False)
    assert above.round(3).to_dict() == {"bab": 4.467, "M02": 3.451, "M06": 0.879, "F01": 0.354}
    assert table.index[table["outlier"]].tolist() == ["M02", "bab"]
    assert table["answers"].sum() == 1213


def test_careless_raters_are_shown_and_honest_ones_are_not(proofs):
    for habit in ("coin", "left"):
        careless, honest = proofs.found_out(habit, runs=6)
        assert careless >= 5 / 6
        assert honest < 0.05


def test_a_random_rater_has_the_worst_rater_score():
    table = panel_of(SimulatedRater("random", "coin"))
    assert table["rater_score"].idxmax() == "random" == table["z"].idxmin() == table["likelihood"].idxmin()
    assert "less likely than those of the others" in table.loc["random", "why"]


def test_a_side_bias_is_found_by_its_binomial_test():
    table = panel_of(SimulatedRater("always left", "left"), SimulatedRater("biased", left_bias=3.0))
    assert table.loc["always left", "left"] == 1
    assert table.loc["always left", "left_p"] == pytest.approx(2 * 0.5**60)
    assert table.loc["always left", "longest_run"] == 60
    assert "for the left image" in table.loc["biased", "why"]
    assert table["left_p"].drop(["always left", "biased"]).min() > 0.001


def test_honest_raters_have_a_standard_normal_z():
    z = np.concatenate([panel_of(honest=10, seed=seed)["z"] for seed in range(3)])
    assert abs(z.mean()) < 0.7
    assert 0.6 < z.std() < 1.4


def test_repeats_known_answers_and_times_are_counted():
    pair = {"image_a": "x", "image_b": "y", "scene": "s", "rater": "kim", "winner": "a"}
    swapped = {**pair, "image_a": "y", "image_b": "x", "winner": "b"}  # the same image once more
    rows = [
        {**pair, "seconds": 0.2},
        {**swapped, "kind": "repeat", "seconds": 0.3},
        {**pair, "image_b": "z", "seconds": 4},
        {**pair, "image_b": "z", "kind": "repeat", "winner": "b", "seconds": 0.1},
        *({**pair, "kind": "gold", "expected": side} for side in "abb"),
        {**pair, "kind": "training", "winner": "b", "left": "b", "seconds": 9},
    ]
    (row,) = judge_raters(answers_table(rows)).to_dict("records")
    assert (row["answers"], row["repeats"], row["repeat_rate"]) == (2, 2, 0.5)
    assert (row["gold"], row["gold_rate"]) == (3, pytest.approx(1 / 3))
    assert (row["seconds"], row["fast"]) == (pytest.approx(0.25), 0.75)
    assert np.isnan(row["left"]) and np.isnan(row["z"])
    assert row["outlier"] and "33% of 3 known answers" in row["why"] and "75% of the answers took" in row["why"]


def test_a_habit_that_is_unknown_is_refused():
    with pytest.raises(InputError, match="honest, coin"):
        SimulatedRater("x", "sleepy")


def test_answers_the_same_are_as_often_as_the_rater_says():
    rng = np.random.default_rng(0)
    unsure = SimulatedRater("unsure", same_below=1.0)
    answers = [unsure.answer(0, 0, "a", rng) for _ in range(2000)]
    assert answers.count("same") / 2000 == pytest.approx(0.5, abs=0.04)  # |noise| < 1 JOD: one half, by its unit
