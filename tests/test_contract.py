"""What a network must answer to score images, and how its outputs on crops become those on an image."""

import pytest
import torch
from refusals import refusal
from small_clip import RESNET, VIT
from torch import nn

from piqa.models import (
    CLIPIQA,
    LIQE,
    NIMA,
    ColourNet,
    CompositionNet,
    DualBranch,
    ExposureMap,
    MultiScaleNet,
    NoiseNet,
    Regressor,
    TANet,
)
from piqa.models.contract import as_scoring_network, inputs_of, network_outputs, score_crops
from piqa.models.pixels import normalised


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
    outputs = network_outputs(as_scoring_network(Repeats()), TWO_PORTRAITS)
    assert outputs["score"].tolist() == [1.5, 0.5] and outputs["noise"].tolist() == [6.0, 0.0]


def test_classes_are_voted_on_by_the_crops():
    assert network_outputs(as_scoring_network(Repeats()), TWO_PORTRAITS)["scene"].tolist() == [2, 1]


def test_a_draw_goes_to_the_lowest_class():
    assert network_outputs(as_scoring_network(Repeats()), batch_of([[[0, 2, 0], [0, 1, 0], [0, 1, 0], [0, 2, 0]]]))[
        "scene"
    ].tolist() == [1]


def test_the_score_alone_can_be_asked_for():
    assert score_crops(as_scoring_network(Repeats()), TWO_PORTRAITS).tolist() == [1.5, 0.5]


def test_a_network_without_a_score_is_refused():
    network = as_scoring_network(Repeats())
    network.forward = lambda whole: {"noise": whole[:, 0, 0, 0]}
    assert "Repeats returns noise but no `score`" in refusal(network_outputs, network, TWO_PORTRAITS)


def test_a_network_that_returns_a_bare_tensor_is_told_what_to_return():
    network = as_scoring_network(Repeats())
    network.forward = lambda whole: whole[:, 0, 0, 0]
    message = refusal(network_outputs, network, TWO_PORTRAITS)
    assert "Repeats returns a Tensor" in message and 'return {"score": scores}' in message


class Undeclared(nn.Module):
    """Knows nothing of the contract but the names of the inputs."""

    def forward(self, whole, face_crop, temperature=1.0):
        return {"score": (whole - face_crop).mean(dim=(1, 2, 3)) / temperature}


def test_what_a_foreign_network_does_not_declare_is_completed():
    network = Undeclared()
    assert as_scoring_network(network) is network
    assert network.inputs == ["whole", "face_crop"]
    assert (network.classes, network.image_size, network.pools_windows, network.init_args) == ({}, None, False, {})
    batch = TWO_PORTRAITS | {"face_crop": TWO_PORTRAITS["whole"], "liqe_logits": torch.zeros(2, 495)}
    assert set(inputs_of(network, batch)) == {"whole", "face_crop"}
    assert score_crops(network, batch).tolist() == [0, 0]


def test_what_a_foreign_network_declares_is_kept():
    class Declared(Undeclared):
        inputs = ("whole", "liqe_logits")
        image_size = 224
        pools_windows = True
        init_args = {"width": 4}  # noqa: RUF012

    network = as_scoring_network(Declared())
    assert (network.inputs, network.image_size) == (("whole", "liqe_logits"), 224)
    assert network.pools_windows and network.init_args == {"width": 4} and network.classes == {}


def test_a_network_that_takes_any_keyword_must_declare_its_inputs():
    class Keywords(nn.Module):
        def forward(self, **inputs):
            return {"score": inputs["whole"].mean(dim=(1, 2, 3))}

    assert "declare some of whole, face_crop, face_box, liqe_logits, motion by `inputs`" in refusal(
        as_scoring_network, Keywords()
    )
    network = Keywords()
    network.inputs = ["whole"]
    assert score_crops(as_scoring_network(network), TWO_PORTRAITS).shape == (2,)


@pytest.mark.parametrize("declared", [True, False])
def test_the_former_name_of_an_input_is_answered_with_its_new_one(declared):
    class Former(nn.Module):
        def forward(self, full_image, face_crop=None):
            return {"score": full_image.mean(dim=(1, 2, 3))}

    network = Former()
    if declared:
        network.inputs = ["full_image"]
    assert "Former takes `full_image`, which is now called `whole`" in refusal(as_scoring_network, network)


def test_a_network_of_other_inputs_is_refused():
    assert "Identity takes `input`; a network can be given whole" in refusal(as_scoring_network, nn.Identity())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("inputs", "whole"),
        ("image_size", (224, 224)),
        ("classes", ["indoor"]),
        ("init_args", None),
        ("pools_windows", 1),
    ],
)
def test_an_impossible_declaration_is_named(name, value):
    network = Undeclared()
    setattr(network, name, value)
    message = refusal(as_scoring_network, network)
    assert f"the `{name}` of Undeclared" in message and repr(value) in message


def test_a_plain_function_is_a_network_without_weights():
    network = as_scoring_network(lambda whole: {"score": whole.mean(dim=(1, 2, 3))})
    assert network.inputs == ["whole"] and not network.state_dict()
    assert score_crops(network, TWO_PORTRAITS).shape == (2,)


OWN_NETWORKS = [
    lambda: DualBranch("resnet10t", ["whole"], 32),
    lambda: Regressor("resnet10t", 32),
    lambda: NIMA("resnet10t", 32),
    lambda: TANet(backbone="resnet10t", image_size=32),
    lambda: ColourNet("resnet10t", image_size=32),
    lambda: MultiScaleNet("resnet10t"),
    lambda: NoiseNet("resnet10t"),
    lambda: CompositionNet("resnet10t", 32),
    lambda: ExposureMap(width=4),
    lambda: LIQE(architecture=VIT),
    lambda: CLIPIQA(architecture=RESNET),
]


@pytest.mark.parametrize("build", OWN_NETWORKS)
def test_our_own_networks_declare_all_of_the_contract(build):
    network = build().eval()
    declared = {name: getattr(network, name) for name in ("inputs", "classes", "image_size", "pools_windows")}
    assert network.init_args and as_scoring_network(network) is network
    assert {name: getattr(network, name) for name in declared} == declared
    side = network.image_size or 224
    outputs = network(torch.zeros(2, 3, side, side, dtype=torch.uint8))
    assert outputs["score"].shape == (2,)


@pytest.mark.parametrize("build", OWN_NETWORKS)
def test_float_pixels_are_in_0_to_1_for_every_network(build):
    network = build().eval()
    side = network.image_size or 224
    pixels = torch.randint(256, (2, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network(pixels)["score"]
        torch.testing.assert_close(network(pixels / 255)["score"], expected, rtol=0, atol=1e-5)
        for wrong in (pixels / 128 - 1, pixels.float(), pixels / 255 + float("nan")):
            assert "must lie in [0, 1]" in refusal(network, wrong)
        assert "pixels of the type int64" in refusal(network, pixels.long())


def test_floats_of_a_resize_may_pass_the_range_by_rounding():
    mean, std = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    pixels = torch.tensor([-1e-6, 1 + 1e-6, 0.5]).view(1, 3, 1, 1)
    assert torch.equal(normalised(pixels, mean, std), pixels)
    assert normalised(pixels[:0], mean, std).shape == (0, 3, 1, 1)
