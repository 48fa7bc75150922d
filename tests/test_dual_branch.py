import pytest
import timm
import torch
from torch import nn

from piqa.errors import InputError
from piqa.models import Backbone, DualBranch
from piqa.models.contract import inputs_of, score_crops
from piqa.models.liqe import LIQE_LOGITS

SIDE = 32
INPUTS = {"whole": "whole", "face": "face_crop", "liqe": "liqe_logits"}
FAMILIES = ["resnet10t", "mobilenetv3_small_050", "vit_tiny_patch16_224"]


def a_batch(portraits, seed=0, crops=()):
    generator = torch.Generator().manual_seed(seed)
    shape = (portraits, *crops, 3, SIDE, SIDE)
    return {
        "whole": torch.randint(256, shape, generator=generator, dtype=torch.uint8),
        "face_crop": torch.randint(256, shape, generator=generator, dtype=torch.uint8),
        "liqe_logits": 25 + torch.randn(portraits, LIQE_LOGITS, generator=generator),
    }


def tiny(branches=("whole", "face", "liqe"), backbone="resnet10t"):
    torch.manual_seed(0)
    return DualBranch(backbone, branches, SIDE).eval()


def scores(network, batch):
    with torch.no_grad():
        return network(**inputs_of(network, batch))["score"]


def test_the_default_network_has_the_published_sizes():
    with torch.device("meta"):
        network = DualBranch()
    assert sum(parameter.numel() for parameter in network.parameters()) == 174_082_929
    assert {name: backbone.features for name, backbone in network.backbones.items()} == {"whole": 1024, "face": 1024}
    layers = [(layer.in_features, layer.out_features) for layer in network.head if isinstance(layer, nn.Linear)]
    assert layers == [(2543, 128), (128, 1)]
    assert [type(layer) for layer in network.head] == [nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    assert network.head[2].p == 0.1


def test_features_are_joined_in_the_order_whole_face_liqe_whatever_the_config_says():
    network, batch = tiny(["liqe", "face", "whole"]), a_batch(3)
    assert network.branches == ["whole", "face", "liqe"]
    with torch.no_grad():
        whole = network.backbones["whole"](batch["whole"])
        face = network.backbones["face"](batch["face_crop"])
        expected = network.head(torch.cat([whole, face, batch["liqe_logits"]], dim=1)).squeeze(1)
    assert torch.equal(scores(network, batch), expected)


def test_the_two_backbones_share_no_weights():
    network = tiny()
    whole, face = (set(map(id, network.backbones[name].parameters())) for name in ("whole", "face"))
    assert not whole & face


@pytest.mark.parametrize("left_out", ["whole", "face", "liqe"])
def test_each_branch_can_be_left_out(left_out):
    kept = [name for name in INPUTS if name != left_out]
    network, batch = tiny(kept), a_batch(2)
    assert network.inputs == [INPUTS[name] for name in kept]
    before = scores(network, batch)
    assert torch.equal(before, scores(network, {**batch, INPUTS[left_out]: None}))
    assert before.shape == (2,)


@pytest.mark.parametrize("branch", list(INPUTS))
def test_one_branch_alone_is_a_network(branch):
    assert scores(tiny([branch]), a_batch(2)).shape == (2,)


@pytest.mark.parametrize("branch", list(INPUTS))
def test_each_input_moves_the_score(branch):
    network, batch, other = tiny(), a_batch(2, seed=0), a_batch(2, seed=1)
    name = INPUTS[branch]
    assert (scores(network, batch) != scores(network, {**batch, name: other[name]})).all()


@pytest.mark.parametrize("branch", list(INPUTS))
def test_a_missing_input_is_named(branch):
    batch = a_batch(1)
    del batch[INPUTS[branch]]
    with pytest.raises(InputError, match=f"`{INPUTS[branch]}`.* leave '{branch}' out"):
        scores(tiny(), batch)


@pytest.mark.parametrize("branches", [[], ["whole", "whole"], ["body"], ["whole", "liqe", "ear"]])
def test_branches_that_make_no_network_are_refused(branches):
    with pytest.raises(InputError, match="name one or more of whole, face, liqe"):
        DualBranch("resnet10t", branches, SIDE)


def test_init_args_build_the_same_network_again():
    network = DualBranch("resnet10t", ("liqe", "whole"), SIDE, hidden=7, dropout=0.3)
    again = DualBranch(**network.init_args)
    assert again.init_args == network.init_args
    shapes = [{name: value.shape for name, value in one.state_dict().items()} for one in (network, again)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("backbone", FAMILIES)
def test_a_score_does_not_depend_on_the_batch_neighbours(backbone):
    network, batch = tiny(backbone=backbone), a_batch(5)
    together = scores(network, batch)
    alone = torch.cat(
        [scores(network, {name: values[row : row + 1] for name, values in batch.items()}) for row in range(5)]
    )
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    assert together.std() > 1e-3


def test_scores_are_float32_and_do_not_tie_under_autocast():
    network, batch = tiny(), a_batch(1)
    batch = {name: values.repeat_interleave(50, dim=0) for name, values in batch.items()}
    batch["liqe_logits"][:, 0] += torch.linspace(0, 0.5, 50)  # portraits that differ by little
    with torch.autocast("cpu", torch.bfloat16):
        close = scores(network, batch)
    assert close.dtype == torch.float32
    assert len(close.unique()) == 50


@pytest.mark.parametrize("name", FAMILIES)
def test_backbones_of_other_families_give_pooled_features(name):
    backbone = Backbone(name, SIDE).eval()
    with torch.no_grad():
        features = backbone(a_batch(2)["whole"])
    assert features.shape == (2, backbone.features)


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224"])  # of different mean and std
def test_bytes_equal_floats_from_0_to_1_and_the_network_normalises_both(name):
    backbone, images = Backbone(name, SIDE).eval(), a_batch(2)["whole"]
    cfg = timm.get_pretrained_cfg(name)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (cfg.mean, cfg.std))
    with torch.no_grad():
        expected = backbone.net((images / 255 - mean) / std)
        for given in (images, images / 255, images.double() / 255):
            torch.testing.assert_close(backbone(given), expected, rtol=0, atol=1e-6)


def test_a_backbones_state_holds_weights_and_not_its_mean_and_std():
    assert not {"mean", "std"} & set(Backbone("resnet10t", SIDE).state_dict())


def test_an_unknown_timm_model_is_refused_with_those_close_to_it():
    with pytest.raises(InputError, match=r"no model 'resnet10x'; close to it: .*resnet10t"):
        Backbone("resnet10x")


def test_an_unknown_tag_of_a_timm_model_is_refused():
    with pytest.raises(InputError, match=r"cannot build 'resnet10t\.nonsense'.*Invalid pretrained tag"):
        Backbone("resnet10t.nonsense")


def test_timm_weights_that_cannot_be_had_are_told_with_what_to_do(monkeypatch):
    backbone = Backbone("resnet10t", SIDE)

    def offline(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(InputError, match=r"no route to host.*connect once.*start from `scratch`"):
        backbone.load_timm_weights()


def test_a_portraits_score_is_the_mean_over_its_crops():
    network, batch = tiny(), a_batch(3, crops=(5,))
    with torch.no_grad():
        together = score_crops(network, batch)
    for row in range(3):
        crops = {name: batch[name][row] for name in ("whole", "face_crop")}
        of_crops = scores(network, crops | {"liqe_logits": batch["liqe_logits"][row].expand(5, -1)})
        torch.testing.assert_close(together[row], of_crops.mean(), rtol=0, atol=1e-5)
