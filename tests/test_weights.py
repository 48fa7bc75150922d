import importlib
import json
import os
from collections import OrderedDict
from pathlib import Path

import pytest
import timm
import torch
from portraits import collins
from refusals import refusal as refused
from small_networks import BACKBONE, SIDE, card_of, same_weights, saved, saved_model, tiny

from piqa.models import Backbone
from piqa.tasks import InitialWeights
from piqa.weights import model_file, state_dicts

PARITY = Path(__file__).parent / "parity"


@pytest.fixture
def model(tmp_path):
    """A file of piqa's own, and the network in it."""
    return saved_model(tmp_path)


def official_state(layout, prefix=""):
    """A state dict with the keys and number of axes of an official layout, but of one number each."""
    file = "official_liqe.json" if layout == "liqe" else "official_dn_piqa.json"
    entries = json.loads((PARITY / file).read_text())["layouts"][layout]["entries"]
    return OrderedDict((prefix + name, torch.zeros([1] * len(shape))) for name, shape, *_ in entries)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("layout", ["dn_piqa", "lsvq", "gfiqa", "liqe"])
def test_official_layouts_are_known_by_their_keys(tmp_path, layout, prefix):
    file = saved(tmp_path / "any_name.bin", official_state(layout, prefix))
    assert state_dicts.layout_of(state_dicts.read_state_dict(file)) == layout


def test_our_own_and_timms_layouts_are_known_by_their_keys():
    assert state_dicts.layout_of(tiny().state_dict()) == "piqa model"
    assert state_dicts.layout_of(tiny(["liqe"]).state_dict()) == "piqa model"
    assert state_dicts.layout_of(tiny().backbones["face"].state_dict()) == "piqa backbone"
    for name in ("resnet10t", "mobilenetv3_small_050", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"):
        with torch.device("meta"):
            assert state_dicts.layout_of(timm.create_model(name).state_dict()) == "timm", name
    assert state_dicts.layout_of({"something": torch.zeros(1)}) == "unknown"


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_a_state_dict_may_lie_inside_a_release(tmp_path, wrapper):
    state = tiny().state_dict()
    read = state_dicts.read_state_dict(saved(tmp_path / "release.pth", {wrapper: state, "epoch": 3}))
    assert list(read) == list(state)


def test_a_backbone_starts_from_a_piqa_backbone_file(tmp_path):
    source, target = Backbone(BACKBONE, SIDE), Backbone(BACKBONE, SIDE)
    state_dicts.load_backbone(target, model_file.save(source, tmp_path / "lsvq.safetensors", {}))
    assert same_weights(target, source)


@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050", "vit_tiny_patch16_224"])
def test_a_backbone_starts_from_a_timm_file_without_its_classifier(tmp_path, name):
    source, target = timm.create_model(name, num_classes=10), Backbone(name, 224)
    state = source.state_dict()
    state_dicts.load_backbone(target, saved(tmp_path / "timm.pth", state))
    assert len(target.net.state_dict()) == len(state) - 2  # the classifier's weight and bias
    assert all(torch.equal(value, state[key]) for key, value in target.net.state_dict().items())


def test_old_swin_names_are_brought_up_to_date(tmp_path):
    target = Backbone("swin_tiny_patch4_window7_224", 224)
    state = target.net.state_dict()
    old = {}
    for key, value in state.items():
        stage, _, rest = key.removeprefix("layers.").partition(".")
        downsamples = key.startswith("layers.") and rest.startswith("downsample")
        old[f"layers.{int(stage) - 1}.{rest}" if downsamples else key] = torch.full_like(value, 0.5)
    old["layers.0.blocks.1.attn_mask"] = old["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(1)
    assert "layers.0.downsample.reduction.weight" in old and "layers.0.downsample.reduction.weight" not in state
    state_dicts.load_backbone(
        target, saved(tmp_path / "old.pth", {f"feature_extraction.{k}": v for k, v in old.items()})
    )
    assert all((value == 0.5).all() for value in target.net.state_dict().values())


def test_a_backbone_does_not_start_from_a_whole_model(model):
    path, network = model
    message = refused(state_dicts.load_backbone, network.backbones["whole"], path)
    assert "has the layout 'piqa model'" in message and "lsvq, gfiqa, timm" in message


def test_a_model_does_not_start_from_a_backbone(tmp_path):
    for layout in ("lsvq", "gfiqa", "liqe"):
        path = saved(tmp_path / f"{layout}.pth", official_state(layout))
        assert f"has the layout '{layout}', which is no whole model" in refused(
            state_dicts.load_model_weights, tiny(), path
        )
        assert f"has the layout '{layout}', which is no model that scores" in refused(model_file.load_model, path)


def test_weights_of_a_piqa_model_without_their_card_are_told_as_such(model, tmp_path):
    path = saved(tmp_path / "bare.pth", model[1].state_dict())
    assert "without the card that says of which; give the run's folder" in refused(model_file.load_model, path)


def test_what_is_no_liqe_is_not_taken_for_it(tmp_path):
    path = saved(tmp_path / "LIQE.pt", official_state("gfiqa"))
    assert "has the layout 'gfiqa', not that of LIQE" in refused(state_dicts.load_liqe, path)


def test_missing_unexpected_and_misshapen_parts_are_named(model, tmp_path):
    state = dict(model[1].state_dict())
    del state["head.3.bias"]
    state["head.9.weight"] = torch.zeros(1)
    state["head.0.bias"] = torch.zeros(5)
    message = refused(state_dicts.load_model_weights, tiny(), saved(tmp_path / "odd.pth", state))
    assert "1 missing (head.3.bias)" in message
    assert "1 unexpected (head.9.weight)" in message
    assert "1 of another shape (head.0.bias (5,) instead of (128,))" in message


def test_nothing_is_loaded_where_a_part_does_not_fit(model):
    target = tiny(seed=1, hidden=64)
    before = {name: value.clone() for name, value in target.state_dict().items()}
    assert "of another shape" in refused(state_dicts.load_model_weights, target, model[0])
    assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    path = saved(tmp_path / "resnet.pth", timm.create_model("resnet10t", num_classes=10).state_dict())
    assert "is it the file of another model?" in refused(state_dicts.load_model_weights, tiny(), path)
    assert "has the layout 'timm', which is no model that scores portraits" in refused(model_file.load_model, path)


def test_fewer_branches_than_the_file_has_are_refused(model):
    assert "unexpected (backbones.face." in refused(state_dicts.load_model_weights, tiny(["whole", "liqe"]), model[0])


@pytest.mark.parametrize("name", ["model.pth", "model.pt", "model.ckpt", "model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"just a text\n", b"\x80\x02}q\x00(" * 9, bytes(range(256)) * 8])
def test_what_is_no_weights_file_is_refused_whatever_its_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert "cannot be read as weights" in refused(state_dicts.read_state_dict, tmp_path / name)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_damaged_file_is_refused_wherever_the_damage_is(tmp_path, zipped):
    path = tmp_path / "model.pth"
    torch.save({"a": torch.ones(2), "b": torch.ones(3)}, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    for end in range(0, len(content) - 1, 7):
        path.write_bytes(content[:end])
        assert f"{path} cannot be read as weights" in refused(state_dicts.read_state_dict, path)


class Malice:
    """Unpickled the careless way, it makes a folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_file_is_never_run(tmp_path, zipped):
    path, trace = tmp_path / "model.pth", tmp_path / "trace"
    content = {"weight": torch.zeros(1), "malice": Malice(trace)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert "it holds more than tensors" in refused(model_file.load_model, path)
    assert not trace.exists()
    torch.load(path, weights_only=False)  # it would have
    assert trace.exists()


ENTRIES = {
    "predict": ("piqa.predict", ["portrait.png", "--ckpt_path", "{evil}", "--out", "{folder}/scores.csv"]),
    "evaluate": ("piqa.evaluate", ["--ckpt_path", "{evil}", "--out", "{folder}/report"]),
    "resuming": ("piqa.fit", ["--config", "{config}", "--out", "{folder}/run", "--ckpt_path", "{evil}"]),
    "going on from a model": (
        "piqa.fit",
        ["--config", "{config}", "--out", "{folder}/run", "--model.init.model", "{evil}"],
    ),
    "a pretrained backbone": (
        "piqa.fit",
        ["--config", "{config}", "--out", "{folder}/run", "--model.init.whole", "{evil}"],
    ),
    "LIQE": (
        "piqa.fit",
        [
            "--config",
            "{config}",
            "--out",
            "{folder}/run",
            "--data.preparation.liqe",
            "{evil}",
            "--data.store.folder",
            "{folder}/store",
        ],
    ),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_no_command_runs_code_that_a_checkpoint_holds(tiny_config, tmp_path, monkeypatch, capfd, entry):
    evil, trace = tmp_path / "evil.ckpt", tmp_path / "trace"
    # All that a training checkpoint holds, so that nothing but the code in it can be what it is refused for.
    torch.save(
        {"state_dict": {"network.a": torch.zeros(1)}, "piqa": card_of(tiny()).to_dict(), "malice": Malice(trace)}, evil
    )
    monkeypatch.chdir(tmp_path)
    collins().save("portrait.png")
    module, arguments = ENTRIES[entry]
    arguments = [argument.format(evil=evil, folder=tmp_path, config=tiny_config) for argument in arguments]
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(module).main(arguments)
    last = capfd.readouterr().err.strip().splitlines()[-1]
    assert ended.value.code == 2 and str(evil) in last and "it holds more than tensors" in last
    assert not trace.exists()


@pytest.mark.parametrize("content", [[torch.zeros(1)], torch.zeros(1), {}, {"epoch": 3}, {"a": torch.zeros(1), "b": 3}])
def test_what_is_no_table_of_tensors_is_refused(tmp_path, content):
    assert "table of named tensors" in refused(state_dicts.read_state_dict, saved(tmp_path / "odd.pth", content))


@pytest.mark.parametrize("kind", ["lsvq", "gfiqa", "liqe"])
def test_absent_weights_are_told_with_what_where_and_how_without(tmp_path, kind):
    path = tmp_path / "weights" / "file.pth"
    message = refused(state_dicts.require, path, kind)
    assert f"no file {path}: it is {state_dicts.WHAT_IT_IS[kind]}" in message
    assert "put it there, or" in message and "without it" in message


def test_weights_that_are_there_are_had_without_words(model):
    assert state_dicts.require(str(model[0]), "lsvq") == model[0]


def test_an_absent_liqe_is_told_before_its_network_is_built(tmp_path, monkeypatch):
    monkeypatch.setattr(state_dicts, "LIQE", None)
    assert "--config no_liqe.yaml" in refused(state_dicts.load_liqe, tmp_path / "LIQE.pt")


def test_training_starts_each_branch_from_its_own_file(tmp_path):
    network, sources = tiny(), {}
    for seed, branch in enumerate(("whole", "face"), start=1):
        sources[branch] = tiny(seed=seed).backbones[branch]
        model_file.save(sources[branch], tmp_path / f"{branch}.safetensors", {})
    InitialWeights(str(tmp_path / "whole.safetensors"), str(tmp_path / "face.safetensors")).load(network)
    assert all(same_weights(network.backbones[branch], sources[branch]) for branch in sources)


def test_training_without_files_says_what_is_missing():
    assert "--model.init.whole" in refused(InitialWeights("nowhere/lsvq.safetensors").load, tiny())
    start = InitialWeights("scratch", "nowhere/gfiqa.safetensors")
    with pytest.warns(UserWarning, match="whole backbone starts from scratch"):
        assert "--model.init.face" in refused(start.load, tiny())


def test_training_goes_on_from_a_whole_model(model):
    network = tiny(seed=5)
    InitialWeights(model=str(model[0].parent)).load(network)
    assert same_weights(network, model[1])


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["lsvq", "gfiqa"])
def test_an_official_backbone_that_lacks_a_part_is_refused(official_checkpoint, tmp_path, layout):
    with torch.device("meta"):
        backbone = Backbone()
    state = torch.load(official_checkpoint(layout), weights_only=True)
    lost = next(key for key in state if key.endswith("norm.weight"))
    kept = {key: value[:0] if value.dtype == torch.float32 else value for key, value in state.items() if key != lost}
    assert "1 missing" in refused(state_dicts.load_backbone, backbone, saved(tmp_path / "odd.pth", kept))
