import numpy as np
import pandas as pd
import pytest
from contests import made_up_truth, noisy
from scipy.stats import norm

from piqa.evaluation import metrics, pairs
from piqa.evaluation.pairs import PairBands, by_group, preferences, reliability, worst_pairs


def table(noise=0.8, **options):
    truth = made_up_truth(**options)
    return truth.assign(prediction=noisy(truth, noise).round(1).to_numpy())


def pairs_of(frame):
    """Every pair of a scene with different scores, the better one first, by two plain loops."""
    for _, rows in frame.groupby("scene"):
        for a in rows.itertuples():
            for b in rows.itertuples():
                if a.score > b.score:
                    yield a, b


@pytest.mark.parametrize(
    "kind, counted", [("all", lambda d: True), ("clear", lambda d: d > 1), ("near", lambda d: d < 0.25)]
)
def test_accuracy_and_brier_score_equal_a_count_pair_by_pair(kind, counted):
    frame = table()
    counted_pairs = [(a, b) for a, b in pairs_of(frame) if counted(a.score - b.score)]
    right = [(1 + np.sign(a.prediction - b.prediction)) / 2 for a, b in counted_pairs]
    lost = [(1 - norm.cdf(a.prediction - b.prediction)) ** 2 for a, b in counted_pairs]
    found = preferences(frame).set_index("kind").loc[kind]
    assert found["pairs"] == len(counted_pairs)
    assert found["accuracy"] == pytest.approx(np.mean(right))
    assert found["brier"] == pytest.approx(np.mean(lost))


def test_a_constant_scores_a_brier_of_a_quarter_and_the_truth_far_apart_0():
    frame = made_up_truth()
    assert preferences(frame.assign(prediction=3.0))["brier"].to_list() == [0.25] * 3
    sure = preferences(frame.assign(prediction=1000 * frame["score"]))
    assert sure["brier"].to_list() == pytest.approx([0] * 3) and sure["accuracy"].to_list() == [1] * 3


def test_kinds_without_pairs_have_no_figures():
    frame = pd.DataFrame({"scene": "s", "score": [0.0, 0.5], "prediction": [0.0, 1.0]})
    found = preferences(frame, PairBands(clear=2.0, near=0.1)).set_index("kind")
    assert found["pairs"].to_dict() == {"all": 1, "clear": 0, "near": 0}
    assert found["accuracy"].isna().to_dict() == {"all": False, "clear": True, "near": True}


def test_scores_that_are_all_equal_make_no_pairs():
    frame = pd.DataFrame({"scene": "s", "score": 1.0, "prediction": [0.0, 1.0], "image": ["a", "b"]})
    assert preferences(frame)["pairs"].to_list() == [0, 0, 0]
    assert reliability(frame).empty and worst_pairs(frame).empty


def test_every_pair_stands_in_one_bin_of_the_reliability_curve():
    frame = table()
    curve = reliability(frame)
    assert curve["pairs"].sum() == len(list(pairs_of(frame)))
    assert (curve["predicted"] >= 0.5 + curve["bin"] / 20).all()
    assert (curve["predicted"] <= 0.55 + curve["bin"] / 20).all()
    assert (curve["observed"] * curve["pairs"]).sum() / curve["pairs"].sum() == pytest.approx(
        metrics.pair_accuracy(frame)
    )


def test_one_bin_equals_a_count_by_hand():
    frame = pd.DataFrame({"scene": "s", "score": [3.0, 2.0, 1.0], "prediction": [0.1, 0.0, 0.3]})
    curve = reliability(frame, bins=1)
    sure = [norm.cdf(0.1), norm.cdf(0.2), norm.cdf(0.3)]  # right, wrong, wrong
    assert curve.to_dict("records") == [
        {"bin": 0, "predicted": pytest.approx(np.mean(sure)), "observed": pytest.approx(1 / 3), "pairs": 3}
    ]


def test_observations_drawn_with_the_predicted_preference_lie_on_the_diagonal():
    rng = np.random.default_rng(0)
    quality = rng.normal(size=4000)
    # pairs of two images, their experts deciding by Thurstone's model
    better = rng.random(2000) < norm.cdf(quality[::2] - quality[1::2])
    score = np.stack([better, ~better], axis=1).ravel().astype(float)
    frame = pd.DataFrame({"scene": np.repeat(np.arange(2000), 2), "score": score, "prediction": quality})
    curve = reliability(frame, bins=5)
    assert (curve["observed"] - curve["predicted"]).abs().max() < 0.06


def test_the_worst_pairs_are_wrong_far_apart_and_of_different_images():
    frame = table(noise=2.0)
    found = worst_pairs(frame, count=5)
    assert (found["score_a"] > found["score_b"]).all() and (found["prediction_a"] < found["prediction_b"]).all()
    apart = found["score_a"] - found["score_b"]
    assert apart.is_monotonic_decreasing
    assert apart.iloc[0] == max(a.score - b.score for a, b in pairs_of(frame) if a.prediction < b.prediction)
    assert pd.concat([found["image_a"], found["image_b"]]).is_unique
    scenes = frame.set_index("image")["scene"]
    assert (found["image_a"].map(scenes) == found["scene"]).all()
    assert (found["image_b"].map(scenes) == found["scene"]).all()


def test_a_perfect_model_has_no_worst_pairs():
    frame = made_up_truth()
    assert worst_pairs(frame.assign(prediction=frame["score"])).empty


def test_only_images_on_disk_have_a_path(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    frame = pd.DataFrame({"image": ["a", "b"], "scene": "s", "score": [1.0, 0.0], "prediction": [0.0, 1.0]})
    found = worst_pairs(frame.assign(path=[str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")])).iloc[0]
    assert (found["path_a"], found["path_b"]) == (str(tmp_path / "a.jpg"), None)


def test_a_conditions_pairs_are_of_two_of_its_images():
    frame = table()
    found = by_group(frame, "condition").set_index("group")
    assert found["images"].to_dict() == frame["condition"].value_counts().to_dict()
    for condition, rows in frame.groupby("condition"):
        assert found.loc[condition, "pairs"] == len(list(pairs_of(rows)))
        assert found.loc[condition, "pair_accuracy"] == pytest.approx(metrics.pair_accuracy(rows))
        assert found.loc[condition, "srocc"] == pytest.approx(metrics.per_scene(rows)["srocc"].mean())


def test_a_devices_pairs_are_of_one_of_its_images_and_any_other():
    frame = table()
    found = by_group(frame, "device").set_index("group")
    for device in ("phone 0", "phone 1", "phone 2"):
        own = [(a, b) for a, b in pairs_of(frame) if device in (a.device, b.device)]
        right = [(1 + np.sign(a.prediction - b.prediction)) / 2 for a, b in own]
        assert found.loc[device, "pairs"] == len(own)
        assert found.loc[device, "pair_accuracy"] == pytest.approx(np.mean(right))


def test_a_group_of_few_images_in_each_scene_has_no_correlation():
    assert by_group(table(images=6), "device")["srocc"].isna().all()


def worst_by_hand(score, prediction, count):
    """All wrong pairs in order of their difference, then of their images; each image once."""
    wrong = [(a, b) for a in range(len(score)) for b in range(len(score))]
    wrong = [(a, b) for a, b in wrong if score[a] > score[b] and prediction[a] < prediction[b]]
    chosen, used = [], set()
    for a, b in sorted(wrong, key=lambda pair: score[pair[1]] - score[pair[0]]):
        if not used & {a, b} and len(chosen) < count:
            chosen.append((a, b))
            used |= {a, b}
    return chosen


def test_the_worst_pairs_are_those_of_a_look_at_every_pair():
    rng = np.random.default_rng(0)
    for images in (1, 2, 3, 10, 40):
        for digits in (0, 1, 6):
            score, prediction = rng.normal(size=(2, images)).round(digits)
            assert pairs._wrong_pairs(score, prediction, 5) == worst_by_hand(score, prediction, 5)


def test_pairs_are_summed_up_in_blocks(monkeypatch):
    frame = table(noise=2.0)
    whole = preferences(frame), reliability(frame), by_group(frame, "device")
    monkeypatch.setattr(pairs, "PAIRS_AT_ONCE", 30)
    monkeypatch.setattr(pairs, "MEMBERS_AT_ONCE", 14)
    for found, expected in zip((preferences(frame), reliability(frame), by_group(frame, "device")), whole, strict=True):
        pd.testing.assert_frame_equal(found, expected, rtol=1e-12)
