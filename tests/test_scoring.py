"""What a network says of the crops of a portrait becomes what it says of the portrait."""

import pytest
import torch
from torch import nn

from piqa.errors import InputError
from piqa.models.contract import classes_of, inputs_of, network_outputs, score_crops


class Repeats(nn.Module):
    """Answers what the pixels at the upper left say: red is the score, green a class, blue another number."""

    inputs = ("whole",)
    classes = {"scene": ("indoor", "outdoor", "night")}  # noqa: RUF012

    def forward(self, whole):
        red, green, blue = whole[:, :, 0, 0].unbind(1)
        return {"score": red / 2, "scene": green.long(), "noise": blue}


def batch_of(pixels):
    """(portraits, crops) of three numbers each -> a batch."""
    pixels = torch.tensor(pixels, dtype=torch.float32)
    return {"whole": pixels[..., None, None].expand(*pixels.shape, 4, 4)}


TWO_PORTRAITS = batch_of([[[1, 2, 5], [3, 0, 5], [5, 2, 8]], [[0, 1, 0], [0, 1, 0], [3, 0, 0]]])


def test_numbers_are_averaged_over_the_crops():
    outputs = network_outputs(Repeats(), TWO_PORTRAITS)
    assert outputs["score"].tolist() == [1.5, 0.5] and outputs["noise"].tolist() == [6.0, 0.0]


def test_classes_are_voted_on_by_the_crops():
    assert network_outputs(Repeats(), TWO_PORTRAITS)["scene"].tolist() == [2, 1]


def test_a_draw_goes_to_the_lowest_class():
    assert network_outputs(Repeats(), batch_of([[[0, 2, 0], [0, 1, 0], [0, 1, 0], [0, 2, 0]]]))["scene"].tolist() == [1]


def test_the_score_alone_can_be_asked_for():
    assert score_crops(Repeats(), TWO_PORTRAITS).tolist() == [1.5, 0.5]


def test_a_network_without_a_score_is_refused():
    network = Repeats()
    network.forward = lambda whole: {"noise": whole[:, 0, 0, 0]}
    with pytest.raises(InputError, match="a Repeats answers noise but no `score`"):
        network_outputs(network, TWO_PORTRAITS)


def test_a_network_need_name_neither_inputs_nor_classes():
    assert set(inputs_of(nn.Identity(), TWO_PORTRAITS)) == {"whole"} and not classes_of(nn.Identity())
