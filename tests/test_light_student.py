"""The light network, the count of its arithmetic, and the limits that it keeps."""

import numpy as np
import pytest
import torch
from refusals import refusal

from piqa import Preparation, Scorer
from piqa.models import DualBranch, LightStudent
from piqa.models.contract import SeparableNetwork
from piqa.preparation.portrait import Portrait
from piqa.scoring.arithmetic import Arithmetic, Limits, score_arithmetic
from piqa.weights import model_file
from piqa.weights.model_card import ClassSpec, ModelCard

SIDE = 32


def light(**settings):
    torch.manual_seed(0)
    return LightStudent("test_resnet", SIDE, **settings).eval()


def crops(seed, images=3):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (images, 3, SIDE, SIDE), dtype=np.uint8))


@pytest.mark.parametrize("shared", [True, False])
def test_the_score_is_the_head_on_the_features_of_whole_and_face(shared):
    network, whole, face = light(shared=shared), crops(0), crops(1)
    of_whole = network.backbones["whole"](whole)
    of_face = network.backbones["whole" if shared else "face"](face)
    expected = network.head(torch.cat([of_whole, of_face], dim=1)).squeeze(1)
    torch.testing.assert_close(network(whole=whole, face_crop=face)["score"], expected)
    assert isinstance(network, SeparableNetwork)
    features = {name: network.input_features(name, v) for name, v in (("whole", whole), ("face_crop", face))}
    torch.testing.assert_close(network.score_features(features), expected)
    assert not torch.allclose(network(whole=face, face_crop=whole)["score"], expected)  # the order counts


def test_shared_weights_learn_from_both_inputs_and_count_once():
    shared, apart = light(shared=True).train(), light(shared=False)
    shared(whole=crops(0), face_crop=crops(1))["score"].sum().backward()
    assert all(weights.grad is not None for weights in shared.parameters())
    backbone = sum(weights.numel() for weights in shared.backbones.parameters())
    assert sum(weights.numel() for weights in apart.backbones.parameters()) == 2 * backbone


def test_a_model_file_builds_the_same_network_again(tmp_path):
    network = light(shared=False)
    card = ModelCard(ClassSpec.of(network), {"short_side": SIDE, "resize": "stretch"}, crop_size=SIDE)
    assert card.network.class_path == "piqa.models.LightStudent"
    loaded, _ = model_file.load_model(model_file.save(network, tmp_path / "model.safetensors", card))
    both = {"whole": crops(0), "face_crop": crops(1)}
    assert torch.equal(loaded(**both)["score"], network(**both)["score"])


class OneLayer(torch.nn.Module):
    """A convolution of 3 to 4 channels and 3 x 3 without padding, and a layer from 4 to 1: its count is easy."""

    inputs = ("whole",)

    def __init__(self):
        super().__init__()
        self.convolution, self.head = torch.nn.Conv2d(3, 4, 3, bias=False), torch.nn.Linear(4, 1)

    def forward(self, whole):
        return {"score": self.head(self.convolution(whole.float()).mean(dim=(2, 3))).squeeze(1)}


def test_arithmetic_counts_a_multiply_add_as_two_in_all_crops():
    network = OneLayer().train()
    of_one_crop = 2 * (30 * 30 * 4 * 27 + 4)
    one = score_arithmetic(network, Preparation(short_side=40), SIDE, test_crops="one")
    five = score_arithmetic(network, Preparation(short_side=40), SIDE)
    assert (one.flop, one.parameters, one.crops) == (of_one_crop, 4 * 27 + 5, 1)
    assert (five.flop, five.crops) == (5 * of_one_crop, 5) and five.mac == five.flop / 2
    assert network.training and network.head.weight.device.type == "cpu"  # as it was


def test_the_whole_of_a_light_network_is_counted_and_stretched_images_have_one_crop():
    stretched = Preparation(short_side=SIDE, resize="stretch")
    both, whole = light(), DualBranch("test_resnet", ("whole",), SIDE)
    found = score_arithmetic(both, stretched, SIDE)
    assert found.crops == 1
    backbone = score_arithmetic(whole, stretched, SIDE).flop - 2 * (whole.head[0].weight.numel() + 128)
    assert found.flop == 2 * backbone + 2 * (both.head[0].weight.numel() + 128)


def test_the_default_student_keeps_the_limits_read_strictly():
    network = LightStudent()
    found = score_arithmetic(network, Preparation(short_side=network.image_size, resize="stretch"), network.image_size)
    assert Limits().fault(found) is None and 0.4e9 < found.flop <= 0.5e9


def test_limits_are_of_the_unit_that_they_name_and_tell_the_numbers():
    found = Arithmetic(flop=600_000_000, parameters=4_000_000, crops=1)
    assert Limits(unit="mac").fault(found) is None
    assert "0.6 GFLOP" in Limits().fault(found) and "0.5 GFLOP and 5 M" in Limits().fault(found)
    assert Limits(gflop=1, mparameters=3).fault(found)
    assert "`limits.unit` is 'ops'" in refusal(Limits, unit="ops")
    assert "above 0" in refusal(Limits, gflop=0)


def test_crops_that_would_all_be_one_are_seen_once_and_score_the_same():
    network, rng = light(), np.random.default_rng(3)
    square, face = (rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8) for _ in range(2))
    scorer = Scorer(network, Preparation(short_side=SIDE, resize="stretch", face_rule="none"), SIDE, device="cpu")
    portrait = Portrait(square, face, None, None)
    five, one = (scorer.score_portraits([portrait], test_crops=crops) for crops in ("five", "one"))
    assert five == one
    as_tensors = [torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None] for pixels in (square, face)]
    assert five[0] == pytest.approx(float(network(*as_tensors)["score"]), abs=1e-6)


def test_an_image_of_the_crops_size_with_a_larger_face_keeps_its_five_crops():
    network, rng = light(), np.random.default_rng(4)
    scorer = Scorer(network, Preparation(short_side=SIDE, face_rule="none"), SIDE, device="cpu")
    square = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    face = rng.integers(0, 256, (SIDE + 9, SIDE, 3), dtype=np.uint8)
    five, one = (scorer.score_portraits([Portrait(square, face, None, None)], test_crops=c) for c in ("five", "one"))
    assert five != one


def test_a_resize_in_two_steps_shows_nearly_the_same_and_has_a_store_of_its_own(tmp_path):
    import skimage.data
    from PIL import Image

    image = Image.fromarray(skimage.data.astronaut()).resize((1500, 1200))
    one, two = (Preparation(SIDE, "none", resize="stretch", reducing_gap=gap) for gap in (None, 2.0))
    first, second = (settings.preparer().prepare(image).whole.astype(int) for settings in (one, two))
    assert 0 < np.abs(first - second).mean() < 1.5 and first.shape == second.shape
    assert one.fingerprint(None) != two.fingerprint(None)
    assert one.fingerprint(None) == Preparation(SIDE, "none", resize="stretch").fingerprint(None)
    assert "reducing_gap (0.5)" in refusal(Preparation, reducing_gap=0.5)
