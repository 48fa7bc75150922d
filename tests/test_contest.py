import dataclasses

import numpy as np
import pandas as pd
import pytest
from contests import made_up_truth, needs_piq23, noisy, real_labels
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refusal

from piqa.errors import InputError
from piqa.evaluation.inputs import naive_candidates
from piqa.evaluation.leaderboard.build import LeaderboardOptions, build_leaderboard
from piqa.evaluation.leaderboard.entries import Candidate
from piqa.evaluation.leaderboard.facts import PROTOCOLS, LeaderboardFacts, Subject
from piqa.evaluation.leaderboard.published import published_entries
from piqa.evaluation.metrics import pair_accuracy, per_scene, summarise
from piqa.evaluation.pairs import PairBands
from piqa.evaluation.statistics.calibration import fit_mapping
from piqa.evaluation.statistics.options import StatisticsOptions
from piqa.evaluation.statistics.significance import holm

QUICK = LeaderboardOptions(StatisticsOptions(bootstrap_samples=40), permutations=600, draws=10)
SCENES = 9  # 512 patterns of swaps, so that five comparisons can be significant
TRUTH = made_up_truth(scenes=SCENES, images=8)
TRAINING = made_up_truth(scenes=4, seed=9).assign(image=lambda frame: "train/" + frame["image"])
RANKS = ["srocc", "krocc", "pair_accuracy"]


def model(name, noise, **options):
    return Candidate(name, noisy(pd.concat([TRUTH, TRAINING]), noise), **options)


@pytest.fixture(scope="module")
def board():
    others = [
        *naive_candidates(TRUTH, TRAINING, {"another score": noisy(TRUTH, 1.5)}),
        model("poor", 3.0),
        model("good", 0.3),
    ]
    lines = published_entries("overall", "scene")
    return build_leaderboard(
        TRUTH, others, training=TRAINING, published=lines, subject=Subject(table="made up"), options=QUICK
    )


def rows_of(board, model, protocol="official"):
    rows = board.measures[(board.measures["model"] == model) & (board.measures["protocol"] == protocol)]
    return rows.set_index("measure")


def values(board, model, protocol="official"):
    return rows_of(board, model, protocol)["value"]


# What stands on the board


def test_lines_stand_from_naive_to_ceiling_and_models_from_best_to_worst(board):
    assert board.entries["model"].to_list() == [
        "constant",
        "another score",
        "good",
        "poor",
        *published_entries("overall", "scene")["model"],
        "noise ceiling",
    ]
    assert board.entries["kind"].to_list() == ["naive"] * 2 + ["model"] * 2 + ["published"] * 6 + ["ceiling"]


def test_official_and_authors_figures_are_those_of_the_report(board):
    frame = TRUTH.assign(prediction=TRUTH["image"].map(model("good", 0.3).predictions))
    summary = summarise(per_scene(frame))
    for protocol in ("official", "authors"):
        for name, value in values(board, "good", protocol).drop("pair_accuracy", errors="ignore").items():
            assert value == pytest.approx(summary[protocol][name], abs=1e-7)  # the fit sees the rows in another order
    pooled = board.pairs.set_index(["model", "kind"]).loc[("good", "all"), "accuracy"]
    assert pooled == pytest.approx(pair_accuracy(frame))


def test_every_figure_of_a_model_lies_in_its_interval(board):
    for name in ("good", "poor"):
        for protocol in PROTOCOLS:
            rows = rows_of(board, name, protocol)
            assert ((rows["low"] <= rows["value"]) & (rows["value"] <= rows["high"])).all()
    rows = board.pairs[board.pairs["model"] == "good"]
    assert ((rows["low"] <= rows["accuracy"]) & (rows["accuracy"] <= rows["high"])).all()


def test_a_constant_has_errors_and_no_correlation(board):
    found = rows_of(board, "constant")
    assert found.loc[["srocc", "krocc", "plcc"], ["value", "low", "high"]].isna().all(axis=None)
    assert found.loc["pair_accuracy", "value"] == 0.5
    assert np.isfinite(found.loc["mae", "value"])
    entry = board.entries.set_index("model").loc["constant"]
    assert (entry["undefined_scenes"], entry["failed_fits"]) == (SCENES, SCENES)


def test_published_lines_have_the_boards_figures_and_their_own_protocol_note(board):
    assert values(board, "MUSIQ").to_dict() == {"srocc": 0.736, "plcc": 0.74, "krocc": 0.54, "mae": 0.95}
    assert rows_of(board, "MUSIQ")[["low", "high"]].isna().all(axis=None)
    entry = board.entries.set_index("model").loc["MUSIQ"]
    assert (
        entry["selected_on"] == "test"
        and "whether PLCC and MAE follow a mapping is not stated" in entry["protocol_note"]
    )
    assert board.measures.loc[board.measures["model"] == "MUSIQ", "protocol"].unique().tolist() == ["official"]


def test_the_best_of_models_and_published_lines_is_marked_and_neither_naive_lines_nor_the_ceiling(board):
    best = board.measures[board.measures["best"]].groupby(["protocol", "measure"])["model"].agg(list)
    assert best["official"]["srocc"] == ["good"] and best["official"]["mae"] == ["good"]
    assert best["authors"].explode().isin(["good"]).all()
    rival = {"model": "rival", "srocc": 0.999, "plcc": 0.9, "krocc": 0.9, "mae": 0.1}
    others = pd.DataFrame([rival | {"selected_on": "test", "source": "a paper"}])
    against = build_leaderboard(TRUTH, [model("good", 0.3)], published=others, options=QUICK)
    assert against.measures.set_index(["model", "protocol", "measure"]).loc[("rival", "official", "srocc"), "best"]
    assert not rows_of(against, "good").loc["srocc", "best"]


def test_a_model_called_like_a_published_one_is_told_apart():
    found = build_leaderboard(
        TRUTH, [model("MUSIQ", 0.3)], published=published_entries("overall", "scene"), options=QUICK
    )
    assert found.entries["model"].is_unique and "MUSIQ (published)" in set(found.entries["model"])


def test_frames_of_scenes_groups_and_predictions_are_per_model(board):
    assert len(board.scenes) == 4 * SCENES and len(board.predictions) == 4 * len(TRUTH)
    assert board.scenes.set_index(["model", "scene"]).loc[("good", "scene 0"), "condition"] == "Indoor"
    assert set(board.groups["by"]) == {"condition", "device"}
    assert set(board.reliability["model"]) == set(board.failures["model"]) == {"good", "poor"}


def test_a_table_without_conditions_devices_and_deviations_has_neither_groups_nor_ceiling():
    bare = build_leaderboard(TRUTH[["image", "scene", "score"]], [model("good", 0.3)], options=QUICK)
    assert bare.groups.empty and {"model", "by", "group", "pair_accuracy"} < set(bare.groups)
    assert bare.entries["kind"].to_list() == ["model"] and bare.comparisons.empty
    assert bare.scenes["condition"].isna().all()


def test_the_facts_say_how_it_was_measured(board):
    assert board.facts.table == "made up" and board.facts.bootstrap_samples == 40
    assert (board.facts.images, board.facts.scenes) == (len(TRUTH), SCENES)
    assert board.facts.protocols == PROTOCOLS


# Comparisons


def test_every_two_lines_are_compared_but_naive_ones_among_themselves(board):
    rows = board.comparisons[(board.comparisons["protocol"] == "official") & (board.comparisons["measure"] == "mae")]
    found = set(zip(rows["model_a"], rows["model_b"], strict=True))
    assert found == {
        ("good", "constant"),
        ("poor", "constant"),
        ("good", "another score"),
        ("poor", "another score"),
        ("good", "poor"),
    }
    np.testing.assert_allclose(rows["p_adjusted"], holm(rows["p"]))


def test_a_difference_is_that_of_the_figures_and_lies_in_its_interval(board):
    rows = board.comparisons[(board.comparisons["model_a"] == "good") & (board.comparisons["model_b"] == "poor")]
    for row in rows.itertuples():
        expected = values(board, "good", row.protocol)[row.measure] - values(board, "poor", row.protocol)[row.measure]
        assert row.difference == pytest.approx(expected)
        assert row.low <= row.difference <= row.high


def test_what_is_not_defined_is_not_compared(board):
    rows = board.comparisons[board.comparisons["model_b"] == "constant"]
    assert set(rows["measure"]) == {"mae", "rmse", "pair_accuracy"}


def test_a_model_is_significant_where_it_beats_everyone_after_holms_correction(board):
    assert rows_of(board, "good").loc[["srocc", "mae"], "significant"].all()
    assert not rows_of(board, "poor")["significant"].any()
    assert not board.measures.loc[~board.measures["model"].isin(["good", "poor"]), "significant"].any()


def test_the_same_predictions_twice_do_not_differ():
    twins = build_leaderboard(TRUTH, [model("a", 0.5), Candidate("b", model("a", 0.5).predictions)], options=QUICK)
    assert (twins.comparisons[["difference", "low", "high"]] == 0).all(axis=None)
    assert (twins.comparisons["p"] == 1).all() and not twins.measures["significant"].any()


def test_where_mean_and_median_point_to_different_models_nothing_is_claimed():
    truth = made_up_truth(scenes=5)
    a, b = noisy(truth, 0.0), noisy(truth, 0.0)
    first = truth.set_index("image")["scene"].isin(["scene 0", "scene 1"])
    a[first] += 10.0  # a errs much in two scenes, b a little in three, so the median speaks for a, the mean for b
    b[~first] += 0.1
    row = build_leaderboard(truth, [Candidate("a", a), Candidate("b", b)], options=QUICK).comparisons
    row = row[(row["protocol"] == "official") & (row["measure"] == "mae")].iloc[0]
    assert abs(row["difference"]) == pytest.approx(0.1)
    assert row["p"] == 1.0


# Gaps


def test_too_many_missing_images_are_refused_and_few_are_counted_and_listed():
    gaps = model("gaps", 0.3).predictions.drop(TRUTH["image"].iloc[:5])
    with pytest.raises(InputError, match=rf"gaps predicts {len(TRUTH) - 5} of the {len(TRUTH)} images .*0/0.jpg"):
        build_leaderboard(TRUTH, [Candidate("gaps", gaps)], options=QUICK)
    found = build_leaderboard(
        TRUTH, [Candidate("gaps", gaps, unmatched=("x.jpg",))], options=dataclasses.replace(QUICK, max_missing=0.1)
    )
    entry = found.entries.iloc[0]
    assert (entry["missing"], entry["unmatched"], entry["images"]) == (5, 1, len(TRUTH) - 5)
    assert found.facts.missing == {"gaps": TRUTH["image"].iloc[:5].to_list()}
    assert found.facts.unmatched == {"gaps": ["x.jpg"]}


def test_a_model_with_gaps_is_compared_on_the_images_that_all_predict():
    options = dataclasses.replace(QUICK, max_missing=0.9)
    whole, kept = model("whole", 1.0), TRUTH[TRUTH["scene"] < "scene 7"]
    gaps = Candidate("gaps", model("gaps", 0.5).predictions[kept["image"].iloc[3:].to_list()])
    together, alone = (
        build_leaderboard(truth, [whole, gaps], options=options)
        .comparisons.set_index(["protocol", "measure"])
        .loc[("official", "mae")]
        for truth in (TRUTH, kept.iloc[3:])
    )
    assert together["images"] == alone["images"] == len(kept) - 3
    assert together["difference"] == pytest.approx(alone["difference"])


def test_a_scene_without_any_prediction_is_no_scene_of_the_model():
    kept = TRUTH[TRUTH["scene"] != "scene 3"]
    whole = model("some", 0.5)
    some = Candidate("some", whole.predictions[kept["image"].to_list()])
    found = build_leaderboard(TRUTH, [some], options=dataclasses.replace(QUICK, max_missing=0.5))
    pd.testing.assert_series_equal(
        values(found, "some"), values(build_leaderboard(kept, [whole], options=QUICK), "some")
    )
    assert len(found.scenes) == SCENES - 1 and found.entries.loc[0, "undefined_scenes"] == 0


@pytest.mark.parametrize(
    "candidates, message",
    [
        ([], "no model and no predictions"),
        ([model("a", 1.0), model("a", 2.0)], "two candidates are called 'a'"),
        ([Candidate("a", model("a", 1.0).predictions * np.nan)], "a has .* predictions that are not finite"),
        ([Candidate("a", pd.concat([model("a", 1.0).predictions] * 2))], "a predicts 0/0.jpg more than once"),
        ([Candidate("a", pd.Series(dtype=float))], f"a predicts 0 of the {len(TRUTH)} images"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(candidates, message):
    with pytest.raises(InputError, match=message) as error:
        build_leaderboard(TRUTH, candidates, options=QUICK)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "make, name, value",
    [
        (StatisticsOptions, "bootstrap_samples", 0),
        (StatisticsOptions, "levels", "images and scenes"),
        (StatisticsOptions, "seed", -1),
        (PairBands, "clear", -0.5),
        (PairBands, "near", float("nan")),
        (LeaderboardOptions, "max_missing", 1.0),
        (LeaderboardOptions, "max_missing", -0.1),
        (LeaderboardOptions, "permutations", 0),
        (LeaderboardOptions, "draws", 0),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_name_and_value(make, name, value):
    assert f"`{name}` is {value!r}; " in refusal(make, **{name: value})


FACTS = {
    **{"images": 12, "scenes": 2, "seed": 0, "bootstrap_samples": 10, "levels": "both", "permutations": 10},
    **{"draws": 10, "max_missing": 0.0, "clear": 1.0, "near": 0.25},
}


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"images": 0}, "`images` is 0; at least 1"),
        ({"draws": 0}, "`draws` is 0; at least 1"),
        ({"scenes": 13}, "13 scenes have 12 images"),
        ({"unavailable": {"best": {}}}, "unknown protocol 'best'; the protocols are official, authors, calibrated"),
    ],
)
def test_facts_that_cannot_be_are_refused(wrong, message):
    LeaderboardFacts(**FACTS)
    with pytest.raises(ValueError, match=message):
        LeaderboardFacts(**FACTS | wrong)


def test_facts_of_the_command_are_told_only_where_they_are_known():
    assert "command" not in LeaderboardFacts(**FACTS).to_dict()
    known = LeaderboardFacts(**FACTS, command="piqa evaluate", test_crops="one").to_dict()
    assert list(known)[-2:] == ["command", "test_crops"] and list(known)[:2] == ["table", "split"]


# The calibrated protocol


def test_the_mapping_never_sees_a_score_of_the_images_it_is_judged_on():
    predictions = np.tanh(model("m", 0.5).predictions)
    mapping = fit_mapping(TRAINING["image"].map(predictions), TRAINING["score"])
    for truth in (TRUTH, TRUTH.assign(score=-TRUTH["score"] + 7)):
        found = build_leaderboard(truth, [Candidate("m", predictions)], training=TRAINING, options=QUICK)
        error = np.abs(truth["score"] - mapping(truth["image"].map(predictions)))
        assert values(found, "m", "calibrated")["mae"] == pytest.approx(error.groupby(truth["scene"]).mean().median())


def test_without_predictions_of_training_images_the_protocol_is_not_available_and_the_reason_is_told():
    candidate = Candidate("m", model("m", 0.5).predictions[TRUTH["image"].to_list()])
    found = build_leaderboard(TRUTH, [candidate], training=TRAINING, options=QUICK)
    assert found.facts.unavailable == {"calibrated": {"m": "no training image has a prediction"}}
    assert set(found.measures["protocol"]) == {"official", "authors"}
    alone = build_leaderboard(TRUTH, [candidate], options=QUICK)
    assert alone.facts.unavailable == {"calibrated": {"m": "the table has no training images"}}


# What must change a figure, and what must not


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.floats(-50, 50).map(lambda value: round(value, 2)))
def test_adding_a_constant_changes_raw_errors_and_nothing_else(constant):
    candidate = model("m", 0.8)
    before = build_leaderboard(TRUTH, [candidate], training=TRAINING, options=QUICK)
    moved = dataclasses.replace(candidate, predictions=candidate.predictions + constant)
    after = build_leaderboard(TRUTH, [moved], training=TRAINING, options=QUICK)
    same = [*RANKS, "plcc"]
    columns = ["value", "low", "high"]
    for protocol, names in (("official", same), ("authors", None), ("calibrated", None)):
        a, b = (rows_of(found, "m", protocol)[columns] for found in (before, after))
        np.testing.assert_allclose(a.loc[names or a.index], b.loc[names or b.index], atol=1e-4)
    np.testing.assert_allclose(before.pairs[["accuracy", "brier"]], after.pairs[["accuracy", "brier"]], atol=1e-9)
    error = np.abs(TRUTH["score"] - TRUTH["image"].map(moved.predictions))
    assert values(after, "m")["mae"] == pytest.approx(error.groupby(TRUTH["scene"]).mean().median())


MONOTONIC = {
    "exp": np.exp,
    "cube": lambda x: x**3 + x,
    "half": lambda x: x / 2,
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
}


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(MONOTONIC)), st.integers(0, 5))
def test_a_monotonic_transform_leaves_ranks_pairs_and_calibrated_errors(name, seed):
    everything = pd.concat([TRUTH, TRAINING])
    raw = noisy(everything, 0.8, seed)
    boards = [
        build_leaderboard(TRUTH, [Candidate("m", predictions)], training=TRAINING, options=QUICK)
        for predictions in (raw, raw.map(MONOTONIC[name]))
    ]
    a, b = (rows_of(found, "m").loc[RANKS, ["value", "low", "high"]] for found in boards)
    np.testing.assert_allclose(a, b, atol=1e-12)
    np.testing.assert_allclose(*(found.pairs[["pairs", "accuracy", "low", "high"]] for found in boards), atol=1e-12)
    pd.testing.assert_frame_equal(*(found.failures.drop(columns=["prediction_a", "prediction_b"]) for found in boards))
    first, second = (values(found, "m") for found in boards)
    assert abs(first["mae"] - second["mae"]) > 1e-3
    assert abs(boards[0].pairs["brier"][0] - boards[1].pairs["brier"][0]) > 1e-4


def test_reversed_predictions_reverse_the_correlations():
    candidate = model("m", 0.8)
    turned = Candidate("turned", -candidate.predictions)
    found = build_leaderboard(TRUTH, [candidate, turned], options=QUICK)
    for name in ("srocc", "krocc", "plcc"):
        assert values(found, "turned")[name] == pytest.approx(-values(found, "m")[name])
    assert values(found, "turned")["pair_accuracy"] == pytest.approx(1 - values(found, "m")["pair_accuracy"])


def test_the_truth_itself_reaches_1_and_its_reverse_minus_1():
    truth = pd.Series(TRUTH["score"].to_numpy(), index=TRUTH["image"].to_numpy())
    found = build_leaderboard(TRUTH, [Candidate("perfect", truth), Candidate("reversed", -truth)], options=QUICK)
    for name in ("srocc", "krocc", "plcc"):
        assert values(found, "perfect")[name] == pytest.approx(1)
        assert values(found, "reversed")[name] == pytest.approx(-1)


def test_no_figure_depends_on_the_order_of_the_rows():
    shuffled = TRUTH.sample(frac=1, random_state=0)
    candidate = model("m", 0.8)
    other = Candidate("m", candidate.predictions.sample(frac=1, random_state=1))
    pd.testing.assert_frame_equal(
        build_leaderboard(TRUTH, [candidate], options=QUICK).measures,
        build_leaderboard(shuffled, [other], options=QUICK).measures,
    )


# The real labels


def real_board(split, bootstrap_samples=40, extra=()):
    labels, exposure = real_labels("overall", split), real_labels("exposure", split)
    truth, training = (labels[labels["split"] == part] for part in ("test", "train"))
    others = {"Exposure JOD": exposure.set_index("image")["score"]}
    candidates = [*naive_candidates(truth, training, others, constant=0.0), *(make(labels) for make in extra)]
    options = dataclasses.replace(QUICK, statistics=StatisticsOptions(bootstrap_samples), draws=200)
    return build_leaderboard(
        truth, candidates, training=training, published=published_entries("overall", split), options=options
    )


@needs_piq23
@pytest.mark.parametrize(
    "split, srocc, mae, ceiling", [("scene", 0.787, 1.066, 0.942), ("device", 0.783, 1.118, 0.939)]
)
def test_the_naive_lines_and_the_ceiling_of_piq23_are_those_known(split, srocc, mae, ceiling):
    board = real_board(split)
    assert values(board, "Exposure JOD")["srocc"] == pytest.approx(srocc, abs=5e-4)
    assert values(board, "constant")["mae"] == pytest.approx(mae, abs=5e-4)
    assert rows_of(board, "constant").loc[["srocc", "krocc", "plcc"], "value"].isna().all()
    assert values(board, "noise ceiling")["srocc"] == pytest.approx(ceiling, abs=0.002)
    assert (board.entries["kind"] == "published").sum() == 6
    assert board.facts.unavailable == {"calibrated": {}}


@needs_piq23
def test_a_full_board_of_piq23_is_bounded_by_naive_line_and_ceiling():
    def ours(labels):
        noise = np.random.default_rng(0).normal(size=len(labels))
        return Candidate("ours", pd.Series((labels["score"] + 0.7 * noise).to_numpy(), index=labels["image"]))

    board = real_board("scene", bootstrap_samples=2000, extra=[ours])
    ours_low, ours_high = rows_of(board, "ours").loc["srocc", ["low", "high"]]
    assert ours_high < values(board, "noise ceiling")["srocc"]
    assert values(board, "Exposure JOD")["srocc"] < ours_low
    assert rows_of(board, "ours").loc["srocc", "best"]
    accuracy = board.pairs[board.pairs["model"] == "ours"].set_index("kind")["accuracy"]
    assert accuracy["clear"] > 0.9 > 0.65 > accuracy["near"] > 0.5
