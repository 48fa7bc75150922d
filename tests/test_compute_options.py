import json
from copy import deepcopy

import pytest
import torch
import yaml
from processes import EVEN, checkpoint, gradient, write_config
from torch import nn

from piqa import fit
from piqa.cli import default_precision
from piqa.errors import InputError
from piqa.models import CLIPIQA, LIQE, Backbone, DualBranch
from piqa.system import device
from piqa.tasks.ranking import published_adam
from piqa.training.compute_options import ComputeOptions

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return write_config(tmp_path_factory.mktemp("compute"), EVEN)


def train(config, out, *arguments):
    fit.main(["--config", str(config), "--out", str(out), "--trainer.max_epochs", "1", *map(str, arguments)])
    return out


@pytest.fixture(scope="module")
def plain(config):
    return train(config, config.parent / "plain")


@pytest.mark.parametrize("setting", ["channels_last", "activation_checkpointing"])
def test_a_compute_option_leaves_the_gradient_as_it_is_and_is_recorded(config, plain, tmp_path, setting):
    out = train(config, tmp_path / "run", f"--model.compute.{setting}", "true")
    recorded = [json.loads((run / "record.json").read_text())["compute"] for run in (plain, out)]
    assert recorded == [
        {"compile": False, "channels_last": False, "activation_checkpointing": False} | own
        for own in ({}, {setting: True})
    ]
    ours, theirs = checkpoint(out, 1), checkpoint(plain, 1)
    assert ((gradient(ours) - gradient(theirs)).norm() / gradient(theirs).norm()).item() < 1e-4
    assert ours["state_dict"].keys() == theirs["state_dict"].keys()


def test_a_checkpoint_of_one_setting_is_resumed_with_another(config, tmp_path):
    out = train(config, tmp_path / "run", "--model.compute.channels_last", "true")
    resumed = ["--ckpt_path", "last", "--trainer.max_epochs", 2, "--model.compute.activation_checkpointing", "true"]
    assert checkpoint(train(config, out, *resumed))["global_step"] == 4


@pytest.mark.parametrize(
    ("name", "side", "expected"),
    [("test_byobnet", 64, True), ("resnet10t", 64, True), ("test_vit", 160, False), ("edgenext_xx_small", 64, False)],
)
def test_channels_come_last_in_networks_of_convolutions_alone(name, side, expected):
    network = nn.ModuleDict({"backbone": Backbone(name, side), "head": nn.Linear(8, 1)})
    assert ComputeOptions().decide(network)["channels_last"] is expected
    assert ComputeOptions(channels_last=not expected).decide(network)["channels_last"] is not expected
    options, images = ComputeOptions(), {"whole": torch.rand(2, 3, side, side)}
    options.apply(network)
    assert options.arrange(images)["whole"].is_contiguous(memory_format=torch.channels_last) is expected


def test_the_choice_changes_gradients_by_rounding_alone():
    torch.manual_seed(0)
    plain = nn.Sequential(Backbone("test_byobnet", 64), nn.Linear(256, 1)).double()
    images = {"whole": torch.rand(4, 3, 64, 64, dtype=torch.float64)}
    gradients = []
    for options in (ComputeOptions(channels_last=False), ComputeOptions()):
        network = deepcopy(plain)
        options.apply(network)
        features = network[0].net(options.arrange(images)["whole"])
        network[1](features).pow(2).sum().backward()
        gradients.append(torch.cat([weight.grad.flatten() for weight in network.parameters()]))
    assert gradients[0].norm() > 0
    assert ((gradients[1] - gradients[0]).norm() / gradients[0].norm()).item() < 1e-12  # in float64


def test_the_weights_of_a_text_tower_do_not_count():
    with torch.device("meta"):
        resnet, vit = CLIPIQA(), LIQE()
    assert ComputeOptions().decide(resnet)["channels_last"]
    assert not ComputeOptions().decide(vit)["channels_last"]


def test_activations_are_computed_twice_when_checkpointed():
    torch.manual_seed(0)
    network, images, calls = Backbone("resnet10t", 64), torch.rand(2, 3, 64, 64), []
    network.net.layer2.register_forward_hook(lambda *_: calls.append("plain"))
    next(network.net.layer2.children()).conv1.register_forward_hook(lambda *_: calls.append("conv"))
    network(images).sum().backward()
    once = calls.count("conv")
    calls.clear()
    ComputeOptions(activation_checkpointing=True).apply(network)
    network(images).sum().backward()
    assert (once, calls.count("conv")) == (1, 2)


def test_a_network_that_cannot_checkpoint_activations_is_named():
    network = nn.Sequential(Backbone("resnet10t", 64))
    network[0].net = nn.Identity()
    with pytest.raises(InputError, match="'resnet10t' cannot checkpoint its activations"):
        ComputeOptions(activation_checkpointing=True).apply(network)


@pytest.mark.slow
def test_a_compiled_network_computes_the_same_under_the_same_names():
    torch.manual_seed(0)
    network, options = DualBranch("test_convnext", ["whole"], 64, dropout=0.0), ComputeOptions(compile=True)
    images = [torch.randint(0, 256, (size, 3, 64, 64), dtype=torch.uint8) for size in (3, 5, 4)]
    names, plain = list(network.state_dict()), [network(whole=some) for some in images]
    torch._dynamo.utils.counters.clear()
    options.apply(network)
    for some, expected in zip(images, plain, strict=True):
        scores = network(**options.arrange({"whole": some}))
        torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)
    assert list(network.state_dict()) == names
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1  # for steps of any size


def test_published_adam_takes_fused_steps_of_the_usual_size():
    values = [nn.Parameter(torch.linspace(-1, 1, 5)) for _ in range(2)]
    for parameter, fused in zip(values, (True, False), strict=True):
        optimizer = published_adam([parameter], fused)
        assert optimizer.defaults["fused"] is fused
        for _ in range(3):
            parameter.grad = parameter.detach() ** 2
            optimizer.step()
    torch.testing.assert_close(values[0], values[1])


def test_gradients_are_clipped_with_a_fused_optimiser_in_bfloat16(config, tmp_path):
    settings = ["--trainer.precision", "bf16-mixed", "--trainer.gradient_clip_val", 1e-3]
    out = train(config, tmp_path / "run", *settings, "--model.optimizer.fused", "true")
    assert gradient(checkpoint(out, 1)).norm().item() == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize(("has", "precision"), [(True, "bf16-mixed"), (False, "32-true")])
def test_training_computes_in_bfloat16_where_the_device_does(config, tmp_path, monkeypatch, has, precision):
    monkeypatch.setattr("piqa.cli.computes_bfloat16", lambda name: has and name == "cpu")
    text = config.read_text().replace("  precision: 32-true\n", "")
    usual = tmp_path / "usual.yaml"
    usual.write_text(text)
    out = train(usual, tmp_path / "run")
    assert yaml.safe_load((out / "config.yaml").read_text())["trainer"]["precision"] == precision


def test_the_precision_that_the_user_names_is_kept(config, tmp_path, monkeypatch):
    monkeypatch.setattr("piqa.cli.computes_bfloat16", lambda name: True)
    out = train(config, tmp_path / "run", "--trainer.precision", "32-true")
    assert yaml.safe_load((out / "config.yaml").read_text())["trainer"]["precision"] == "32-true"


def test_a_device_of_which_nothing_is_known_computes_in_float32():
    assert not device.computes_bfloat16("tpu") and not device.computes_bfloat16("")
    assert default_precision("tpu") == "32-true"
