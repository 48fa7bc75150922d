"""The composition network: its saliency, its labels, and what a small training learns."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from composed_images import Composed, data_of, tiny_task
from rated_images import trainer_of

from piqa import Scorer
from piqa.errors import InputError
from piqa.models import CompositionNet
from piqa.models.composition import COMPOSITIONS
from piqa.models.saliency import SpectralResidual
from piqa.tasks import CompositionTask
from piqa.tasks.composition import average_precisions, class_labels, five_ratings
from piqa.weights import model_file

EPOCHS = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("composition") / "pictures"


@pytest.fixture(scope="module")
def trained(folder):
    task, data, trainer = tiny_task(), data_of(folder), trainer_of(EPOCHS)
    before = trainer.validate(task, data, verbose=False)[0]
    trainer.fit(task, data)
    return task, before, trainer.validate(task, data, verbose=False)[0], data


def test_the_transform_by_matrices_is_fouriers():
    values = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    saliency = SpectralResidual()
    real, imaginary = saliency._transformed(values, torch.zeros_like(values), -1)
    expected = torch.fft.fft2(values)
    assert torch.allclose(real, expected.real, atol=1e-2) and torch.allclose(imaginary, expected.imag, atol=1e-2)
    back, nothing = saliency._transformed(real, imaginary, 1)
    assert torch.allclose(back / 64**2, values, atol=1e-4) and float(nothing.abs().max()) < 1


@pytest.mark.parametrize("side", [64, 150, 300])
def test_what_stands_out_is_salient_at_any_size(side):
    image = 0.4 + 0.1 * torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    image[..., side // 8 : side // 4, side // 2 : side * 5 // 8] = 0.9
    found = SpectralResidual()(image)[0, 0]
    assert found[8:16, 32:40].mean() > 2 * found.mean() and 0 <= found.min() and found.max() == 1


def test_outputs_are_those_of_the_distribution_and_the_logits():
    torch.manual_seed(0)
    network = CompositionNet("test_byobnet", image_size=64).eval()
    outputs = network(torch.rand(3, 3, 64, 64))
    ratings, marks = outputs["distribution"].detach().numpy(), np.arange(1, 6)
    assert outputs["score"].detach().numpy() == pytest.approx(ratings @ marks, abs=1e-5)
    variance = ratings @ marks**2 - (ratings @ marks) ** 2
    assert outputs["std"].detach().numpy() == pytest.approx(np.sqrt(variance), abs=1e-4)
    assert outputs["composition"].tolist() == outputs["probabilities"].argmax(dim=1).tolist()
    assert torch.equal(outputs["triangle"], outputs["probabilities"][:, COMPOSITIONS.index("triangle")])
    without = CompositionNet("test_byobnet", image_size=64, saliency=False)
    assert without.shared[0].in_features == network.shared[0].in_features - 64


def test_votes_from_1_to_5_are_learnt_and_others_refused():
    votes = torch.tensor([[0, 1, 3, 1, 0, 0, 0, 0, 0, 0.0]])
    assert five_ratings(votes)[0].tolist() == pytest.approx([0, 0.2, 0.6, 0.2, 0])
    votes[0, 6] = 1
    with pytest.raises(InputError, match="above 5"):
        five_ratings(votes)


def test_unknown_labels_do_not_count():
    task = tiny_task()
    logits = torch.zeros(2, 9, requires_grad=True)
    outputs = {"score": torch.zeros(2), "distribution": torch.full((2, 5), 0.2), "logits": logits}
    votes = torch.tensor([[0.0, 0, 5, 0, 0, 0, 0, 0, 0, 0], [float("nan")] * 10])
    batch = {"index": torch.arange(2), "votes": votes, "class.center": torch.tensor([1.0, float("nan")])}
    batch |= {"group": torch.zeros(2), "groups": torch.tensor(1)}
    loss = task.loss_of(outputs, batch)
    # Gaps of the cumulative sums 0.2, 0.4, -0.4, -0.2, 0; cross-entropy of probability one half is log 2.
    expected = (np.sqrt((0.04 + 0.16 + 0.16 + 0.04) / 5) + np.log(2)) / 2
    assert loss.item() == pytest.approx(expected, abs=1e-5)
    loss.backward()
    touched = logits.grad != 0
    assert touched.sum() == 1 and bool(touched[0, COMPOSITIONS.index("center")])
    assert class_labels(batch, logits).isfinite().sum() == 1


def test_average_precision_is_that_of_a_hand_made_table():
    scores = np.zeros((4, 9), np.float32)
    scores[:, COMPOSITIONS.index("center")] = [0.9, 0.8, 0.7, 0.1]
    table = pd.DataFrame({"class.center": [1, 0, 1, np.nan], "class.pattern": [0.0, 0, 0, 0]})
    found = average_precisions(table.assign(probabilities=list(scores)))
    assert found == {"map": pytest.approx((1 + 2 / 3) / 2), "map/center": pytest.approx((1 + 2 / 3) / 2)}


def test_it_learns_what_the_untrained_network_does_not_know(trained):
    _, before, after, _ = trained
    assert abs(before["val/srocc"]) < 0.6 and after["val/srocc"] > 0.9
    assert before["val/map"] < 0.75 and after["val/map"] > 0.95
    assert told_apart(trained[0], trained[3]) > 0.7
    assert after["val/emd"] < before["val/emd"] / 2 and after["val/accuracy"] > 0.7


def told_apart(task, data):
    """By how much the probability of the true class is higher than that of the other, mean over validation images."""
    rows = data.splits["val"].query("`class.center`.notna()")
    table = Scorer(task.network, data.preparation, 64, "cpu", view="whole").score(rows["path"].tolist())
    sign = np.where(rows["class.center"] == 1, 1, -1)
    return float((sign * (table["center"] - table["rule_of_thirds"])).mean())


class Shuffled(CompositionTask):
    """Learns the labels of other images."""

    def loss_of(self, outputs, batch):
        order = torch.randperm(len(batch["index"]))
        moved = {name: values[order] for name, values in batch.items() if name == "votes" or name.startswith("class.")}
        return super().loss_of(outputs, batch | moved)


def test_shuffled_labels_teach_nothing(folder):
    task, data, trainer = tiny_task(Shuffled), data_of(folder), trainer_of(EPOCHS)
    trainer.fit(task, data)
    measures = trainer.validate(task, data, verbose=False)[0]
    # Ranks may come out right or wrong by chance, as there are two classes; what is sure is that nothing is told apart.
    assert measures["val/emd"] > 0.12 and told_apart(task, data) < 0.3


def test_a_trained_network_names_the_composition(trained, folder, tmp_path):
    task = trained[0]
    model_file.save(task.network, tmp_path / "model.safetensors", task.card())
    rows = Composed(folder).load().query("split == 'val'")
    table = Scorer.load(tmp_path / "model.safetensors", device="cpu").score(rows["path"].tolist())
    assert table["score"].between(1, 5).all() and set(table["composition"]) <= set(COMPOSITIONS)
    known = rows["class.center"].notna().to_numpy()
    centred = rows["class.center"].to_numpy()[known] == 1
    assert ((table["composition"].to_numpy()[known] == "center") == centred).mean() > 0.9
    assert set(COMPOSITIONS) < set(table) and "distribution" not in table


def test_a_table_without_votes_is_refused_and_absent_classes_are_told(folder):
    task = tiny_task()
    table = pd.DataFrame({"class.center": [1.0, 0.0], "class.curved": [np.nan, np.nan]})
    data = SimpleNamespace(table=SimpleNamespace(name="some.csv"), splits={"train": table})
    task._trainer = SimpleNamespace(datamodule=data)
    with pytest.raises(InputError, match=r"some.csv has no votes, .* piqa.data.CADB"):
        task.setup("fit")
    data.splits["train"] = table.assign(**{f"votes_{mark}": 1.0 for mark in range(1, 11)})
    with pytest.warns(UserWarning, match="of the classes rule_of_thirds, .*, curved, .* mean nothing"):
        task.setup("fit")


def test_a_batch_without_votes_leaves_a_gradient_of_zero():
    distribution = torch.full((2, 5), 0.2, requires_grad=True)
    outputs = {"score": torch.zeros(2), "distribution": distribution, "logits": torch.zeros(2, 9, requires_grad=True)}
    batch = {"index": torch.arange(2), "group": torch.zeros(2), "groups": torch.tensor(1)}
    tiny_task().loss_of(outputs, batch | {"class.center": torch.ones(2)}).backward()
    assert distribution.grad.abs().max() == 0 and outputs["logits"].grad.abs().max() > 0
