"""The colour network and its task: what they learn, that GradNorm balances them, how the model is kept."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from lightning import seed_everything
from rated_factors import coloured, correlations, write_coloured
from rated_images import data_of, trainer_of

from piqa import Scorer
from piqa.errors import InputError
from piqa.models import ColourNet, DualBranch, Regressor
from piqa.tasks import AttributesTask, FactorTask, GradNorm, RankingTask
from piqa.tasks.distillation import DistillationTask
from piqa.weights import model_file

TINY = {"backbone": "test_byobnet", "image_size": 64, "hidden": 32, "dropout": 0.0}
BOTH = {"score": "score", "quality": "score.quality"}


def tiny_task(network=None, labels=BOTH, lr=2e-3, **settings):
    seed_everything(0, verbose=False)
    make = lambda parameters: torch.optim.Adam(parameters, lr=lr)  # noqa: E731
    return FactorTask(network or ColourNet(**TINY), labels=labels, optimizer=make, **settings)


@pytest.fixture(scope="module")
def csv(tmp_path_factory):
    return write_coloured(tmp_path_factory.mktemp("coloured"))


def test_it_learns_colour_and_quality_apart(csv):
    balance = GradNorm(initial_steps=2)
    before, after = correlations(tiny_task(), csv, 6, [balance])
    # 24 images: a correlation of 0.8 has a chance of one in a million.
    assert before["val/srocc"] < 0.4 and after["val/srocc"] > 0.85
    assert before["val/srocc_quality"] < 0.4 and after["val/srocc_quality"] > 0.85
    assert sum(balance.weights.values()) == pytest.approx(2) and set(balance.weights) == {"score", "quality"}
    assert balance.weights["score"] != 1


def test_from_shuffled_labels_it_learns_neither(tmp_path):
    """By chance alone: eight other shuffles gave correlations from -0.70 to 0.60."""
    _, after = correlations(tiny_task(), write_coloured(tmp_path, shuffled=True), 6)
    assert abs(after["val/srocc"]) < 0.8 and abs(after["val/srocc_quality"]) < 0.8
    assert abs(after["val/srocc"] + after["val/srocc_quality"]) / 2 < 0.6


def test_more_colour_scores_as_the_histograms_say(csv):
    """The histograms alone tell grey from colour: their joint part moves with the chroma."""
    network = ColourNet(**TINY).eval()
    pixels = [torch.from_numpy(np.asarray(coloured(chroma, 2, 5))[:64, :64].copy()) for chroma in (0.0, 0.5, 1.0)]
    images = torch.stack(pixels).permute(0, 3, 1, 2)
    found = network.histograms(images)[:, 16:].unflatten(1, (12, 8)) / 96  # hue, chroma
    assert found.sum(dim=(1, 2)).tolist() == pytest.approx([1, 1, 1], abs=1e-5)
    means = (found.sum(dim=1) * torch.linspace(0, 1, 8)).sum(dim=1)
    assert means[0] < 0.05 < means[1] < means[2]


def test_a_score_does_not_depend_on_the_neighbours():
    network, images = ColourNet(**TINY).eval(), torch.rand(4, 3, 64, 64)
    together = network(images)
    alone = [network(image[None]) for image in images]
    for name, values in together.items():
        assert values.tolist() == pytest.approx([one[name].item() for one in alone], abs=1e-5)


def test_outputs_are_single_precision_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        outputs = ColourNet(**TINY).eval()(torch.rand(2, 3, 64, 64))
    assert {values.dtype for values in outputs.values()} == {torch.float32} and set(outputs) == {"score", "quality"}


def test_images_without_a_label_of_one_factor_count_for_the_other():
    task = tiny_task(loss="mse", unit=2.0)
    nan = float("nan")
    batch = {"score": torch.tensor([1.0, nan, 5.0, nan]), "score.quality": torch.tensor([2.0, 4.0, nan, nan])}
    batch |= {"group": torch.tensor([0, 0, 0, 0]), "groups": torch.tensor(2)}
    outputs = {"score": torch.tensor([3.0, 9.0, 5.0, 9.0]), "quality": torch.tensor([2.0, 0.0, 9.0, 9.0])}
    losses = task.task_losses(outputs, batch)
    # (2 / 2)^2 and 0, and 0 and (4 / 2)^2, a mean each, then half a step
    assert {name: loss.item() for name, loss in losses.items()} == pytest.approx({"score": 0.25, "quality": 1.0})
    assert task.loss_of(outputs, batch).item() == pytest.approx(1.25)


def test_a_batch_without_labels_has_no_loss_but_a_gradient_of_zero():
    task = tiny_task(network=Regressor("test_byobnet", 64), labels=None)
    predicted = torch.zeros(2, requires_grad=True)
    batch = {"score": torch.full((2,), float("nan")), "group": torch.zeros(2), "groups": torch.tensor(1)}
    task.loss(predicted, batch).backward()
    assert predicted.grad.tolist() == [0, 0]


def test_measures_leave_out_images_without_a_label():
    table = pd.DataFrame(
        {"score": [1.0, 2, 3, 4], "score.quality": [3.0, np.nan, 1, 2], "prediction": [1.0, 2, 4, 3]}
    ).assign(quality=[3.0, 9, 1, 2])
    measures = tiny_task().measures(table)
    assert measures["srocc"] == pytest.approx(0.8) and measures["srocc_quality"] == pytest.approx(1)


def test_a_factor_of_which_no_two_images_differ_is_refused():
    frame = pd.DataFrame({"scene": list("aabb"), "score": [1.0, 2, 3, 4], "score.quality": [5.0, np.nan, np.nan, 6]})
    data = SimpleNamespace(table=SimpleNamespace(name="a table"), splits={"train": frame, "val": frame})
    task = tiny_task()
    task._trainer = SimpleNamespace(datamodule=data)
    with pytest.raises(InputError, match=r"no training scene of a table has two images with different score\.quality"):
        task.setup("fit")


def test_labels_that_the_table_or_the_network_lacks_are_named(csv):
    with pytest.raises(InputError, match=r"no column score\.contrast"):
        trainer_of(1).fit(tiny_task(labels={"score": "score", "quality": "score.contrast"}), data_of(csv))
    task = tiny_task(network=Regressor("test_byobnet", 64))
    with pytest.raises(InputError, match="the output quality, which Regressor does not have; it has score"):
        trainer_of(1).fit(task, data_of(csv))
    with pytest.raises(InputError, match="must name the labels of `score`"):
        tiny_task(labels={"quality": "score.quality"})


def test_an_output_that_nothing_teaches_is_refused(csv, tmp_path):
    told = "ColourNet answers quality, which FactorTask does not learn"
    with pytest.raises(InputError, match=told):
        trainer_of(1).fit(tiny_task(labels=None), data_of(csv))
    network = DualBranch("test_byobnet", ["whole"], 64, attributes=("details",), score_std=True)
    with pytest.raises(InputError, match="DualBranch answers details, which RankingTask does not learn"):
        trainer_of(1).fit(RankingTask(network), data_of(csv))
    task = DistillationTask(DualBranch("test_byobnet", ["whole"], 64, score_std=True))
    with pytest.raises(InputError, match="DualBranch answers score_std, which DistillationTask does not learn"):
        trainer_of(1).fit(task, data_of(csv))


def test_labels_without_a_value_in_training_are_refused(csv):
    table = pd.read_csv(csv)
    table.loc[table["split"] == "train", "score.quality"] = np.nan
    other = csv.with_name("only_val.csv")
    table.to_csv(other, index=False)
    with pytest.raises(InputError, match=r"no image of the train split of only_val.csv.* has a score\.quality"):
        trainer_of(1).fit(tiny_task(), data_of(other))
    with pytest.raises(InputError, match=r"has no training image with a score\.quality"):
        trainer_of(1).fit(AttributesTask(ColourNet(**TINY)), data_of(other))


def test_the_last_layers_of_the_backbones_are_shared_where_a_network_names_none():
    task = tiny_task(network=DualBranch("test_byobnet", ["whole"], 64, attributes=("details",)), labels=None)
    (shared,) = task.shared_weights()
    assert shared is [one for one in task.network.backbones["whole"].parameters() if one.ndim > 1][-1]


def test_a_trained_network_is_saved_and_scores_images(csv, tmp_path):
    task, data = tiny_task(), data_of(csv)
    trainer_of(1, callbacks=[GradNorm()]).fit(task, data)
    model_file.save(task.network, tmp_path / "colour.safetensors", task.card())
    images = [csv.parent / f"{number}.png" for number in range(3)]
    scores = Scorer.load(tmp_path / "colour.safetensors", device="cpu").score(images, test_crops="one")
    again = Scorer(task.network.eval(), data.preparation, 64, "cpu").score(images, test_crops="one")
    assert scores["score"].tolist() == pytest.approx(again["score"].tolist(), abs=1e-6)
    assert scores["quality"].notna().all()


def test_a_checkpoint_goes_on_with_its_weights_of_the_tasks(csv, tmp_path):
    whole, first, second = GradNorm(), GradNorm(), GradNorm()
    trainer_of(2, callbacks=[whole]).fit(tiny_task(), data_of(csv))
    trainer = trainer_of(1, callbacks=[first])
    trainer.fit(tiny_task(), data_of(csv))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    task = tiny_task()
    trainer_of(2, callbacks=[second]).fit(task, data_of(csv), ckpt_path=tmp_path / "last.ckpt", weights_only=True)
    assert second.weights == pytest.approx(whole.weights, abs=1e-5)


def test_the_losses_of_ranking_several_attributes_are_balanced_too(csv):
    seed_everything(0, verbose=False)
    balance = GradNorm()
    network = DualBranch("test_byobnet", ["whole"], 64, attributes=("quality",))
    task = AttributesTask(network, optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-3))
    trainer_of(1, callbacks=[balance]).fit(task, data_of(csv))
    assert set(balance.weights) == {"overall", "quality"} and balance.weights["quality"] != 1
    assert task.combine_losses == task.weighted_mean
