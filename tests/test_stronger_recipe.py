"""The switches of the stronger recipe: averaged weights, rates by layer, backbones, mirrored crops, the ladder."""

import importlib.util
import itertools
import json
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from refusals import one_line, refusal
from torch import nn

from piqa import Preparation, Scorer, fit
from piqa.data.cuts import crop_pixels, portrait_seen
from piqa.explanation.seen_image import Seer
from piqa.models import Backbone, DualBranch
from piqa.preparation.portrait import Portrait
from piqa.scoring.arithmetic import score_arithmetic
from piqa.tasks.layer_decay import layer_groups, scale_rates
from piqa.tasks.ranking import RankingTask
from piqa.training.averaged_weights import AveragedWeights
from piqa.weights.model_file import load_model

DECAY = 0.5


@pytest.fixture(scope="module")
def averaged(tiny_config, tmp_path_factory):
    """The folder of a run of two epochs with averaged weights."""
    out = tmp_path_factory.mktemp("averaged") / "run"
    fit.main(["--config", str(tiny_config), "--ema_decay", str(DECAY), "--out", str(out)])
    return out


def content(path):
    return torch.load(path, weights_only=True)


def network_of(state):
    return {name.removeprefix("network."): values for name, values in state.items() if name.startswith("network.")}


def test_the_model_of_an_averaged_run_is_the_average_that_was_validated(averaged):
    best = content(averaged / "checkpoints/best.ckpt")
    kept, current = network_of(best["state_dict"]), network_of(best["current_model_state"])
    network, _ = load_model(averaged)
    assert all(torch.equal(values, kept[name]) for name, values in network.state_dict().items())
    assert any(not torch.equal(values, current[name]) for name, values in kept.items())
    chosen = json.loads((averaged / "model.json").read_text())["trained_on"]["selected_srocc"]
    assert chosen == pytest.approx(pd.read_csv(averaged / "metrics.csv")["val/srocc"].max())


def test_the_test_sees_the_average_too(averaged):
    table = pd.read_csv(averaged / "test/predictions.csv")
    scorer = Scorer.load(averaged, device="cpu", try_turns=False)
    root = Path(json.loads((averaged / "model.json").read_text())["trained_on"]["data"]["table"]["init_args"]["root"])
    found = scorer.score([str(root / "Overall" / image) for image in table["image"]])["score"]
    assert found.to_numpy() == pytest.approx(table["prediction"].to_numpy(), abs=1e-5)


def test_a_resumed_averaged_run_ends_with_the_same_bits(tiny_config, averaged, tmp_path):
    out = tmp_path / "run"
    common = ["--config", str(tiny_config), "--ema_decay", str(DECAY), "--out", str(out)]
    fit.main([*common, "--trainer.max_epochs", "1"])
    fit.main([*common, "--ckpt_path", "last"])
    ours, whole = (content(folder / "checkpoints/last.ckpt") for folder in (out, averaged))
    for part in ("state_dict", "current_model_state", "averaging_state"):
        assert ours[part].keys() == whole[part].keys()
        assert all(torch.equal(values, whole[part][name]) for name, values in ours[part].items()), part


def test_averaged_and_plain_runs_do_not_resume_each_other(tiny_config, tiny_run, averaged, tmp_path, capsys):
    common = ["--config", str(tiny_config), "--trainer.max_epochs", "3", "--out", str(tmp_path / "run")]
    given = ["--ckpt_path", str(averaged / "checkpoints/last.ckpt")]
    assert "resume it with its `--ema_decay`" in one_line(capsys, lambda: fit.main([*common, *given]))
    given = ["--ckpt_path", str(tiny_run / "checkpoints/last.ckpt"), "--ema_decay", "0.9"]
    assert "leave `--ema_decay` out" in one_line(capsys, lambda: fit.main([*common, *given]))
    assert "between 0 and 1" in refusal(AveragedWeights, 1.0)


def test_the_average_is_the_moving_one_with_its_warm_up():
    average = AveragedWeights(0.3)._kwargs["avg_fn"]
    value = torch.tensor(8.0)
    for step, (current, kept) in enumerate([(1.0, 0.1), (2.0, 2 / 11), (3.0, 0.25), (4.0, 0.3), (5.0, 0.3)]):
        expected = kept * value + (1 - kept) * current
        value = average(value, torch.tensor(current), torch.tensor(step))
        assert float(value) == pytest.approx(float(expected))


# Rates by layer


def test_rates_fall_from_the_head_to_the_first_layer_and_every_parameter_has_one():
    network = DualBranch("test_vit", ("whole", "face"), 160)
    groups = layer_groups(network, 0.5)
    ids = [id(weights) for group in groups for weights in group["params"]]
    assert len(ids) == len(set(ids)) == len(list(network.parameters()))
    scale = {id(weights): group["lr_scale"] for group in groups for weights in group["params"]}
    of = {name: scale[id(weights)] for name, weights in network.named_parameters()}
    assert of["head.0.weight"] == 1 and of["head.3.bias"] == 1
    for branch in ("whole", "face"):
        net = f"backbones.{branch}.net"
        blocks = sorted({int(name.split(".blocks.")[1].split(".")[0]) for name in of if f"{net}.blocks." in name})
        own = [of[f"{net}.blocks.{number}.norm1.weight"] for number in blocks]
        assert own == sorted(own) and all(b == 2 * a for a, b in itertools.pairwise(own))
        assert of[f"{net}.patch_embed.proj.weight"] < own[0] and own[-1] < 1


def test_the_optimiser_has_these_rates_and_its_schedule_starts_from_them():
    task = RankingTask(
        DualBranch("test_resnet", ("whole",), 32),
        optimizer=lambda groups: torch.optim.AdamW(groups, lr=0.2, weight_decay=0.3),
        schedule=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.1),
        layer_decay=0.5,
    )
    made = task.configure_optimizers()
    optimizer = made["optimizer"]
    rates = {id(weights): group["lr"] for group in optimizer.param_groups for weights in group["params"]}
    assert rates[id(task.network.head[0].weight)] == pytest.approx(0.2)
    assert min(rates.values()) < max(rates[id(w)] for w in task.network.backbones.parameters()) <= 0.1
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.3}  # the optimiser's own
    assert all(group["initial_lr"] == group["lr"] and "lr_scale" not in group for group in optimizer.param_groups)


def test_one_rate_is_one_group_and_a_bad_decay_is_told():
    plain = RankingTask(DualBranch("test_resnet", ("whole",), 32), optimizer=lambda p: torch.optim.SGD(p, lr=1.0))
    assert len(plain.configure_optimizers()["optimizer"].param_groups) == 1
    assert "at most 1" in refusal(RankingTask, DualBranch("test_resnet", ("whole",), 32), layer_decay=0.0)
    weights = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([{"params": [weights], "lr_scale": 0.25}], lr=2.0)
    scale_rates(optimizer)
    assert optimizer.param_groups[0]["lr"] == 0.5


# Backbones of the same cost


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("vit_base_patch16_clip_384.laion2b_ft_in12k_in1k", 352),
        ("vit_base_patch14_dinov2.lvd142m", 308),
        ("beitv2_base_patch16_224.in1k_ft_in22k_in1k", 352),
    ],
)
def test_the_backbones_that_the_recipe_names_take_about_what_swin_takes(name, side):
    swin = 94.16e9  # FLOP of Swin-B/384, a multiply-add counted as two
    network = DualBranch(name, ("whole",), side)
    assert isinstance(network.backbones["whole"], Backbone)
    found = score_arithmetic(network, Preparation(), side, test_crops="one")
    assert 0.9 * swin < found.flop < 1.05 * swin


def test_attention_counts_in_its_plain_form():
    network = DualBranch("test_vit", ("whole",), 160, hidden=1)
    vit = network.backbones["whole"].net
    depth, width, tokens = len(vit.blocks), vit.embed_dim, (160 // 16) ** 2 + 1
    linear = sum(layer.weight.numel() for layer in vit.blocks.modules() if isinstance(layer, nn.Linear)) * tokens
    products = depth * 2 * tokens * tokens * width
    patches = vit.patch_embed.proj.weight.numel() * (tokens - 1)
    head = width + 1
    found = score_arithmetic(network, Preparation(short_side=160), 160, test_crops="one")
    assert found.flop == 2 * (linear + products + patches + head)


# Mirrored crops


def test_mirrored_crops_come_behind_the_upright_ones_and_are_averaged():
    pixels = np.random.default_rng(0).integers(0, 256, (50, 44, 3), dtype=np.uint8)
    for several, single in (("ten", "five"), ("two", "one")):
        upright, both = crop_pixels(pixels, 40, single), crop_pixels(pixels, 40, several)
        assert np.array_equal(both, np.concatenate([upright, upright[:, :, :, ::-1]]))
    torch.manual_seed(0)
    scorer = Scorer(DualBranch("test_resnet", ("whole", "face"), 40), Preparation(48), 40, device="cpu")
    one, mirrored = (
        Portrait(pixels, pixels[:, :42], None, None),
        Portrait(pixels[:, ::-1], pixels[:, 41::-1], None, None),
    )
    ten, five, turned = (
        scorer.score_portraits([portrait], test_crops=crops)[0]
        for portrait, crops in ((one, "ten"), (one, "five"), (mirrored, "five"))
    )
    assert ten == pytest.approx((five + turned) / 2, abs=1e-5) and ten != five


def test_an_image_of_the_crops_size_is_seen_once_and_once_mirrored():
    square = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    seen = portrait_seen(Portrait(square, square, None, None), 40, "ten")
    assert seen["whole"].shape == seen["face_crop"].shape == (2, 3, 40, 40)
    scorer = Scorer(DualBranch("test_resnet", ("whole",), 40), Preparation(48), 40, device="cpu")
    assert "not explained" in refusal(Seer, scorer, "ten")


# The ladder


@pytest.fixture(scope="module")
def ladder():
    path = Path(__file__).parents[1] / "scripts/ladder.py"
    spec = importlib.util.spec_from_file_location("ladder", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["ladder"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_the_ladder_compares_each_step_with_the_one_before_scene_by_scene(ladder):
    steps = [ladder.Rung("plain"), ladder.Rung("a"), ladder.Rung("b")]
    rng = np.random.default_rng(0)
    plain = rng.uniform(0.2, 0.8, (2, 30))
    found = {"plain": plain, "a": plain + 0.1, "b": plain + rng.normal(0, 0.2, (2, 30))}
    by_step = ladder.told(steps, found, alone=False)
    assert by_step[1]["difference"] == {"srocc": 0.1, "interval": [0.1, 0.1]}  # the same in every scene
    assert by_step[0]["interval"][0] < plain.mean() < by_step[0]["interval"][1]
    alone = ladder.told(steps, found, alone=True)
    assert alone[2]["difference"]["srocc"] == pytest.approx((found["b"] - plain).mean(), abs=1e-4)
    assert by_step[2]["difference"]["srocc"] == pytest.approx((found["b"] - found["a"]).mean(), abs=1e-4)


def test_the_steps_are_switches_that_fit_understands(ladder, tiny_config, monkeypatch):
    from documentation import parsed

    options = Namespace(ema_decay=0.9, layer_decay=0.7, backbone="test_resnet", attributes=[])
    steps = ladder.rungs(options)
    given = [word for step in steps for word in step.arguments]
    config = parsed("fit", ["--config", str(tiny_config), *given], monkeypatch)
    assert (config.ema_decay, config.model.layer_decay, config.model.target) == (0.9, 0.7, "score_std")
    assert config.model.network.init_args.backbone == "test_resnet"
    assert steps[-1].at_test and not steps[-1].arguments
    parsed("evaluate", ["--ckpt_path", "runs/piqa", *steps[-1].at_test], monkeypatch)
    plain = parsed("fit", ["--config", "piqa_plus.yaml", *ladder.OFF], monkeypatch)  # has the switches itself
    assert (plain.ema_decay, plain.model.layer_decay, plain.model.target) == (None, 1.0, "published")


def test_only_the_demo_has_attributes_that_need_not_be_named(ladder, monkeypatch):
    for given, attributes in (([], ["detail", "exposure"]), (["--config", "piqa_plus.yaml"], [])):
        monkeypatch.setattr("sys.argv", ["ladder.py", *given])
        assert ladder.parse().attributes == attributes
