import numpy as np
import pytest
import scipy_measures
from contests import made_up_truth, needs_piq23, real_labels

from piqa.evaluation import metrics
from piqa.evaluation.statistics.noise_ceiling import noise_ceiling


def test_the_ceiling_equals_measuring_every_draw_with_scipy():
    truth, draws = made_up_truth(scenes=3), 20
    rng, measured = np.random.default_rng(5), []
    for _, rows in truth.groupby("scene"):
        noise = rng.standard_normal((draws, len(rows)))
        predictions = rows["score"].to_numpy() + 0.4 * noise
        names = ("srocc", "krocc", "plcc", "mae", "rmse")
        measured.append([[getattr(scipy_measures, name)(rows["score"], one) for name in names] for one in predictions])
    by_draw = np.median(measured, axis=0)
    found = noise_ceiling(truth, draws, seed=5).loc[list(names)]
    np.testing.assert_allclose(found["value"], by_draw.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(found[["low", "high"]].T, np.quantile(by_draw, [0.025, 0.975], axis=0), atol=1e-12)


def test_the_pair_accuracy_of_the_ceiling_is_that_of_its_draws():
    truth = made_up_truth(scenes=1)
    noise = np.random.default_rng(0).standard_normal((1, len(truth)))[0]
    expected = metrics.pair_accuracy(truth.assign(prediction=truth["score"] + 0.4 * noise))
    assert noise_ceiling(truth, draws=1).loc["pair_accuracy", "value"] == pytest.approx(expected)


def test_scores_without_error_have_no_ceiling_below_1():
    found = noise_ceiling(made_up_truth().assign(score_std=0.0), draws=3)["value"]
    assert found[["srocc", "krocc", "plcc", "pair_accuracy"]].to_list() == pytest.approx([1] * 4)
    assert found[["mae", "rmse"]].to_list() == [0, 0]


def test_large_scenes_are_drawn_in_blocks(monkeypatch):
    truth = made_up_truth(scenes=2)
    whole = noise_ceiling(truth, draws=30)
    monkeypatch.setattr("piqa.evaluation.measures.BLOCK", 200)
    monkeypatch.setattr("piqa.evaluation.statistics.noise_ceiling.NOISE_AT_ONCE", 50)
    monkeypatch.setattr("piqa.evaluation.statistics.noise_ceiling.VALUES_AT_ONCE", 130)  # two measures at a time
    np.testing.assert_array_equal(whole, noise_ceiling(truth, draws=30))


def test_the_ceiling_of_a_large_scene_is_that_of_a_look_at_every_pair(monkeypatch):
    truth = made_up_truth(scenes=2)
    whole = noise_ceiling(truth, draws=30)
    monkeypatch.setattr("piqa.evaluation.measures.LARGE", 5)
    np.testing.assert_allclose(whole, noise_ceiling(truth, draws=30), rtol=1e-12)


@needs_piq23
@pytest.mark.parametrize(
    "attribute, split, expected",
    [
        ("overall", "scene", 0.942),
        ("overall", "device", 0.939),
        ("exposure", "scene", 0.931),
        ("exposure", "device", 0.935),
    ],
)
def test_the_ceilings_of_piq23_are_those_known(attribute, split, expected):
    labels = real_labels(attribute, split)
    found = noise_ceiling(labels[labels["split"] == "test"], draws=400)
    assert found.loc["srocc", "value"] == pytest.approx(expected, abs=0.0015)  # 0.0005 by rounding, 0.001 by chance
