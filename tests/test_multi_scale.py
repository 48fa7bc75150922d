"""The network of quality at many scales: its pyramid, images of any size, what it learns."""

import pytest
import torch
from lightning import seed_everything
from rated_factors import correlations, write_coloured
from rated_images import data_of, trainer_of
from torch.nn.functional import adaptive_max_pool2d

from piqa import Scorer
from piqa.errors import InputError
from piqa.models import MultiScaleNet
from piqa.models.contract import network_outputs
from piqa.models.multi_scale import pyramid_pool
from piqa.tasks import FactorTask
from piqa.weights import model_file

TINY = {"backbone": "test_byobnet", "width": 8, "hidden": 16, "dropout": 0.0}


def tiny_task(**settings):
    seed_everything(0, verbose=False)
    make = lambda parameters: torch.optim.Adam(parameters, lr=2e-3)  # noqa: E731
    return FactorTask(MultiScaleNet(**TINY | settings), labels={"score": "score.quality"}, optimizer=make)


@pytest.mark.parametrize("size", [(7, 7), (8, 12), (5, 3), (1, 2)])
def test_the_pyramid_is_adaptive_max_pooling(size):
    maps = torch.randn(2, 3, *size)
    expected = torch.cat([adaptive_max_pool2d(maps, level).flatten(2) for level in (1, 2, 4)], dim=2)
    assert torch.equal(pyramid_pool(maps), expected.flatten(1)) and expected.shape[2] == 21


def test_the_published_backbone_has_the_published_sizes():
    network = MultiScaleNet()
    assert network.backbones["whole"].map_channels((2, 3, 4)) == [32, 96, 320]
    assert network.backbones["whole"].features == 1280 and network.scales[0].in_features == 21 * 32
    assert network.image_size is None


def test_a_list_of_images_of_many_sizes_is_scored():
    network = MultiScaleNet(**TINY).eval()
    images = [torch.rand(1, 3, *size) for size in ((64, 64), (48, 96), (64, 64))]
    together = network_outputs(network, {"whole": images})["score"]
    alone = [network(image)["score"].item() for image in images]
    assert together.tolist() == pytest.approx(alone, abs=1e-5)


def test_what_the_image_shows_decides_what_a_scale_counts():
    network, images = MultiScaleNet(**TINY).eval(), torch.rand(3, 3, 64, 64)
    before = network(images)["score"]
    with torch.no_grad():
        for gate in network.gates:
            gate.weight.zero_()
            gate.bias.fill_(-1e4)  # closed: no value of a scale comes through
        closed = network(images)["score"]
        for scale in network.scales:
            scale.weight.normal_()
    assert not torch.allclose(before, closed)
    assert torch.equal(network(images)["score"], closed)


def test_every_part_gets_a_gradient():
    network = MultiScaleNet(**TINY).train()
    network(torch.rand(4, 3, 64, 64))["score"].sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())


def test_it_learns_what_the_untrained_network_does_not_know(tmp_path):
    before, after = correlations(tiny_task(), write_coloured(tmp_path), 6)
    # 24 images: a correlation of 0.8 has a chance of one in a million.
    assert before["val/srocc"] < 0.5 and after["val/srocc"] > 0.8


def test_from_shuffled_labels_it_does_not_learn(tmp_path):
    _, after = correlations(tiny_task(), write_coloured(tmp_path, shuffled=True), 6)
    assert abs(after["val/srocc"]) < 0.6


def test_it_trains_on_whole_images_of_many_sizes_and_scores_them(tmp_path):
    csv = write_coloured(tmp_path, 18)
    data = data_of(csv, view="whole")
    task = tiny_task()
    trainer_of(1).fit(task, data)
    model_file.save(task.network, tmp_path / "quality.safetensors", task.card())
    scorer = Scorer.load(tmp_path / "quality.safetensors", device="cpu")
    scores = scorer.score([tmp_path / f"{number}.png" for number in range(3)])
    assert scorer.view == "whole" and scores["score"].notna().all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"backbone": "test_vit"}, "takes images of one size"),
        ({"stages": [3, 9]}, "5 stages"),
        ({"stages": [3, 2]}, "in their order"),
        ({"stages": []}, "in their order"),
        ({"stages": [-1]}, "in their order"),
    ],
)
def test_what_cannot_be_built_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        MultiScaleNet(**TINY | settings)
