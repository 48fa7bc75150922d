import json
import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from piqa.errors import InputError
from piqa.evaluation import metrics

GOLDEN = Path(os.environ.get("PIQA_GOLDEN", Path(__file__).parent / "parity" / "golden.json"))
PIQ23 = Path(__file__).resolve().parents[1].parent / "shared" / "piq23"
CORRELATIONS = (metrics.srocc, metrics.krocc, metrics.plcc)

needs_piq23 = pytest.mark.skipif(not PIQ23.is_dir(), reason=f"the PIQ23 label files are not in {PIQ23}")


@pytest.fixture(autouse=True)
def every_warning_is_an_error():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def table(seed=0, scenes=3, images=12):
    """Random predictions with ties on both sides."""
    rng = np.random.default_rng(seed)
    n = scenes * images
    score = rng.normal(size=n).round(1)
    return pd.DataFrame(
        {
            "image": [f"{i}.jpg" for i in range(n)],
            "scene": np.repeat([f"scene {i}" for i in range(scenes)], images),
            "score": score,
            "prediction": (score + rng.normal(size=n)).round(1),
        }
    )


@pytest.fixture(scope="module")
def golden():
    return json.loads(GOLDEN.read_text())["metrics"]


@pytest.fixture(scope="module")
def golden_scenes(golden):
    frame = pd.DataFrame(golden["table"], columns=golden["columns"])
    return metrics.per_scene(frame.rename(columns={"label": "score"}))


# One scene


@pytest.mark.parametrize("seed", range(10))
def test_correlations_equal_scipy_with_ties(seed):
    x, y = table(seed, scenes=1, images=30)[["score", "prediction"]].to_numpy().T
    assert len(set(x)) < 30 and len(set(y)) < 30
    assert metrics.srocc(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    assert metrics.krocc(x, y) == pytest.approx(stats.kendalltau(x, y, variant="b").statistic, abs=1e-12)
    assert metrics.plcc(x, y) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-12)


def test_errors_equal_a_computation_by_hand():
    assert metrics.mae([0, 1, 2], [1, 1, -1]) == pytest.approx(4 / 3)
    assert metrics.rmse([0, 1, 2], [1, 1, -1]) == pytest.approx(np.sqrt(10 / 3))


@pytest.mark.parametrize("correlation", CORRELATIONS)
def test_perfect_predictions_correlate_1_and_reversed_ones_minus_1(correlation):
    score = np.random.default_rng(0).normal(size=20)
    assert correlation(score, score) == pytest.approx(1)
    assert correlation(score, -score) == pytest.approx(-1)


@pytest.mark.parametrize("correlation", CORRELATIONS)
@pytest.mark.parametrize("value", [0.0, 1.0, -3.7, 1e6])
def test_constant_predictions_have_no_correlation(correlation, value):
    score = np.arange(10.0)
    assert np.isnan(correlation(score, np.full(10, value)))
    assert np.isnan(correlation(np.full(10, value), score))


@pytest.mark.parametrize("correlation", CORRELATIONS)
def test_predictions_that_differ_only_by_float32_rounding_have_no_correlation(correlation):
    one_step = np.nextafter(np.float32(1.7), np.float32(2), dtype=np.float32)
    prediction = np.array([1.7, one_step, 1.7, one_step, one_step], dtype=np.float32)
    assert np.isnan(correlation(np.arange(5.0), prediction))


@pytest.mark.parametrize("correlation", CORRELATIONS)
def test_small_but_real_differences_count(correlation):
    score = np.arange(5.0)
    assert correlation(score, 1.7 + 1e-4 * score) == pytest.approx(1)
    assert correlation(score, 1e-9 * score) == pytest.approx(1)


@pytest.mark.parametrize("correlation", CORRELATIONS)
@pytest.mark.parametrize("score, prediction", [([], []), ([1.0], [2.0]), ([1.0, 2.0, 3.0], [1.0, np.nan, 2.0])])
def test_too_few_or_unknown_values_have_no_correlation(correlation, score, prediction):
    assert np.isnan(correlation(score, prediction))


def test_vectors_of_different_length_are_refused():
    for measure in (*CORRELATIONS, metrics.mae, metrics.rmse, metrics.fit_logistic):
        with pytest.raises(ValueError, match=r"one length, found shapes \(3,\) and \(2,\)"):
            measure([1, 2, 3], [1, 2])


# The logistic


def test_the_fit_finds_the_logistic_that_made_the_scores_of_centred_predictions():
    prediction = np.linspace(-3, 3, 40)
    score = -4 + 6 / (1 + np.exp(-(prediction - 0.3) / 0.7))
    np.testing.assert_allclose(metrics.fit_logistic(prediction, score), score, atol=1e-6)


@pytest.mark.parametrize(
    "prediction, score",
    [
        ([1, 2, 3], [1, 2, 3]),
        (np.full(20, 0.3), np.arange(20)),
        (np.arange(20), np.full(20, 0.3)),
        ([], []),
    ],
    ids=["three images", "constant predictions", "constant scores", "nothing"],
)
def test_what_cannot_be_fitted_is_none(prediction, score):
    assert metrics.fit_logistic(prediction, score) is None


def test_a_fit_that_does_not_converge_is_none(monkeypatch):
    monkeypatch.setattr(metrics, "MAX_EVALUATIONS", 6)
    frame = table(images=30, scenes=1)
    assert metrics.fit_logistic(frame["prediction"], frame["score"]) is None


@pytest.mark.parametrize("scale", [1e-300, 1e-6, 1e-3, 1e3, 1e9, 1e300])
def test_the_fit_ends_without_overflow_on_any_scale(scale):
    score = np.random.default_rng(0).normal(size=50)
    mapped = metrics.fit_logistic(scale * score, score)
    assert mapped is None or np.isfinite(mapped).all()


# Scenes


def test_every_scene_is_measured_by_itself():
    frame = table()
    scenes = metrics.per_scene(frame.sample(frac=1, random_state=0))
    assert list(scenes.index) == ["scene 0", "scene 1", "scene 2"]
    one = frame[frame["scene"] == "scene 1"]
    assert scenes.loc["scene 1", "images"] == 12
    assert scenes.loc["scene 1", "srocc"] == pytest.approx(stats.spearmanr(one["score"], one["prediction"]).statistic)
    assert scenes.loc["scene 1", "mae"] == pytest.approx((one["score"] - one["prediction"]).abs().mean())


def test_predictions_in_float32_are_measured_in_float64():
    frame = table(images=100).assign(prediction=lambda frame: (frame["prediction"] / 3 + 100).astype("float32"))
    wide = frame.assign(prediction=frame["prediction"].astype("float64"))
    pd.testing.assert_frame_equal(metrics.per_scene(frame), metrics.per_scene(wide), check_exact=True)
    assert metrics.pair_accuracy(frame) == metrics.pair_accuracy(wide)


def test_a_monotone_map_leaves_the_rank_correlations():
    frame = table()
    mapped = frame.assign(prediction=np.exp(frame["prediction"]) + 5)
    before, after = metrics.per_scene(frame), metrics.per_scene(mapped)
    pd.testing.assert_frame_equal(before[["srocc", "krocc"]], after[["srocc", "krocc"]])
    assert (before["plcc"] - after["plcc"]).abs().min() > 1e-3
    assert metrics.pair_accuracy(frame) == metrics.pair_accuracy(mapped)


def test_a_shift_changes_only_the_raw_errors():
    frame = table()
    before, after = metrics.per_scene(frame), metrics.per_scene(frame.assign(prediction=frame["prediction"] + 3))
    same = ["srocc", "krocc", "plcc", "fitted_plcc", "fitted_mae", "fitted_rmse"]
    pd.testing.assert_frame_equal(before[same], after[same], atol=1e-5)
    assert ((before[["mae", "rmse"]] - after[["mae", "rmse"]]).abs() > 0.5).all(axis=None)


def test_official_is_the_median_of_raw_measures_and_authors_the_mean_of_fitted_ones():
    scenes = metrics.per_scene(table(scenes=4))
    summary = metrics.summarise(scenes)
    for name in ("srocc", "krocc", "plcc", "mae", "rmse"):
        assert summary["official"][name] == np.median(scenes[name])
    for name in ("srocc", "krocc"):
        assert summary["authors"][name] == pytest.approx(np.mean(scenes[name]))
    for name in ("plcc", "mae", "rmse"):
        assert summary["authors"][name] == pytest.approx(np.mean(scenes[f"fitted_{name}"]))
    assert (summary["scenes"], summary["images"]) == (4, 48)
    assert summary["srocc_quantiles"]["min"] == scenes["srocc"].min()
    json.dumps(summary, allow_nan=False)


def test_a_constant_scene_is_left_out_counted_and_named():
    frame = table()
    frame.loc[frame["scene"] == "scene 1", "prediction"] = 0.25
    scenes = metrics.per_scene(frame)
    summary = metrics.summarise(scenes)
    assert scenes.loc["scene 1", ["srocc", "krocc", "plcc", "fitted_plcc", "fitted_mae"]].isna().all()
    assert np.isfinite(scenes.loc["scene 1", "mae"])
    assert summary["undefined"] == summary["failed_fits"] == {"count": 1, "scenes": ["scene 1"]}
    assert summary["official"]["correlated_scenes"] == summary["authors"]["fitted_scenes"] == 2
    assert summary["official"]["srocc"] == pytest.approx(scenes["srocc"].drop("scene 1").mean())


def test_all_constant_predictions_have_no_aggregate_correlation():
    summary = metrics.summarise(metrics.per_scene(table().assign(prediction=0.0)))
    assert np.isnan([summary["official"]["srocc"], summary["authors"]["srocc"], summary["authors"]["mae"]]).all()
    assert summary["undefined"]["count"] == 3


def test_a_scene_of_three_images_has_correlations_and_no_fit():
    scenes = metrics.per_scene(table(images=3))
    assert not scenes["fit_converged"].any()
    assert metrics.summarise(scenes)["failed_fits"]["count"] == 3


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda frame: frame.drop(columns="scene"), "no column scene .found: image, score, prediction"),
        (lambda frame: frame.iloc[:0], "no predictions to evaluate"),
        (lambda frame: frame.assign(prediction=np.nan), "36 of 36 values of `prediction` are not finite .first: 0.jpg"),
        (lambda frame: frame.assign(score=np.inf), "36 of 36 values of `score` are not finite"),
        (lambda frame: frame.assign(image="a.jpg"), "35 rows repeat an image .first: a.jpg"),
        (lambda frame: frame.assign(scene=None), "36 predictions have no scene"),
    ],
)
def test_a_table_that_cannot_be_measured_is_refused(change, message):
    for measure in (metrics.per_scene, metrics.pair_accuracy):
        with pytest.raises(InputError, match=message):
            measure(change(table()))


# Pairs


def counted_pairs(frame):
    right, pairs = 0.0, 0
    for _, rows in frame.groupby("scene"):
        score, prediction = rows["score"].to_numpy(), rows["prediction"].to_numpy()
        for a in range(len(rows)):
            for b in range(a):
                if score[a] != score[b]:
                    agreement = np.sign(score[a] - score[b]) * np.sign(prediction[a] - prediction[b])
                    right, pairs = right + (1 + agreement) / 2, pairs + 1
    return right / pairs


@pytest.mark.parametrize("seed", range(5))
def test_pair_accuracy_equals_counting_the_pairs_one_by_one(seed):
    assert metrics.pair_accuracy(table(seed)) == pytest.approx(counted_pairs(table(seed)), abs=1e-12)


def test_pairs_never_cross_scenes():
    frame = table()
    shifted = frame["prediction"] + 100 * (frame["scene"] == "scene 0")
    assert metrics.pair_accuracy(frame.assign(prediction=shifted)) == metrics.pair_accuracy(frame)


def test_constant_predictions_order_half_of_the_pairs():
    assert metrics.pair_accuracy(table().assign(prediction=1.0)) == 0.5


def test_without_two_different_scores_there_is_no_pair_accuracy():
    assert np.isnan(metrics.pair_accuracy(table().assign(score=1.0)))


# The published code and the real labels


def test_fitted_measures_equal_the_published_code(golden, golden_scenes):
    for scene, expected in golden["fitted"]["per_scene"].items():
        found = golden_scenes.loc[scene]
        assert found[["srocc", "krocc"]].to_list() == pytest.approx([expected["srcc"], expected["krcc"]], abs=1e-8)
        for name in ("plcc", "rmse", "mae"):
            assert found[f"fitted_{name}"] == pytest.approx(expected[name], abs=1e-5)


def test_raw_measures_equal_the_parity_data(golden, golden_scenes):
    for scene, expected in golden["unfitted"]["per_scene"].items():
        for ours, theirs in {"srocc": "srcc", "krocc": "krcc", "plcc": "plcc", "mae": "mae"}.items():
            assert golden_scenes.loc[scene, ours] == pytest.approx(expected[theirs], abs=1e-8)


def test_both_aggregates_equal_the_parity_data(golden, golden_scenes):
    summary = metrics.summarise(golden_scenes)
    authors, official = golden["fitted"]["mean_over_scenes"], golden["unfitted"]["median_over_scenes"]
    for name in ("plcc", "rmse", "mae"):
        assert summary["authors"][name] == pytest.approx(authors[name], abs=1e-5)
    for ours, theirs in {"srocc": "srcc", "krocc": "krcc"}.items():
        assert summary["authors"][ours] == pytest.approx(authors[theirs], abs=1e-8)
    for ours, theirs in {"srocc": "srcc", "krocc": "krcc", "plcc": "plcc", "mae": "mae"}.items():
        assert summary["official"][ours] == pytest.approx(official[theirs], abs=1e-8)


def real_test_set(split):
    """Overall JODs of the test images, predicted by their Exposure JODs."""
    overall, exposure = (pd.read_csv(PIQ23 / f"Scores_{name}.csv") for name in ("Overall", "Exposure"))
    key = {"scene": "SCENE", "device": "IMAGE"}[split]
    parts = pd.read_csv(PIQ23 / f"{split.title()} Split.csv").set_index(key)["SPLIT"]
    frame = overall[["IMAGE", "SCENE", "JOD"]].set_axis(["image", "scene", "score"], axis="columns")
    frame["prediction"] = frame["image"].map(exposure.set_index("IMAGE")["JOD"])
    return frame[overall[key].map(parts) == "Test"]


@needs_piq23
@pytest.mark.parametrize("split, scenes, expected", [("scene", 15, 0.787), ("device", 50, 0.783)])
def test_exposure_scores_predict_overall_scores_as_known(split, scenes, expected):
    summary = metrics.summarise(metrics.per_scene(real_test_set(split)))
    assert summary["scenes"] == scenes
    assert summary["official"]["srocc"] == pytest.approx(expected, abs=5e-4)


@needs_piq23
@pytest.mark.parametrize("split, expected", [("scene", 1.066), ("device", 1.118)])
def test_predicting_0_for_real_scores_has_the_known_error_and_no_correlation(split, expected):
    summary = metrics.summarise(metrics.per_scene(real_test_set(split).assign(prediction=0.0)))
    assert summary["official"]["mae"] == pytest.approx(expected, abs=5e-4)
    assert np.isnan([summary["official"][name] for name in ("srocc", "krocc", "plcc")]).all()
    assert summary["undefined"]["count"] == summary["scenes"]
