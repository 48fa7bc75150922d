"""`piqa.weights` and `piqa.model_files`: what goes into files and comes out of them."""

import importlib
import json
import os
from collections import OrderedDict
from pathlib import Path

import pytest
import timm
import torch
from lightning import Trainer
from portraits import collins
from safetensors import SafetensorError
from torch import nn

from piqa import model_files, weights
from piqa.errors import InputError
from piqa.models import Backbone, DualBranch
from piqa.tasks.ranking import InitialWeights

PARITY = Path(__file__).parent / "parity"
BACKBONE, SIDE = "mobilenetv3_small_050", 32
CARD = {"preparation": {"short_side": 40}, "crop": SIDE}


def tiny(branches=("whole", "face", "liqe"), seed=0, **settings):
    torch.manual_seed(seed)
    return DualBranch(BACKBONE, branches, SIDE, **settings)


def card_of(network):
    return CARD | {"network": {"class_path": "piqa.models.DualBranch", "init_args": network.init_args}}


def same_weights(one, other):
    ours, theirs = one.state_dict(), other.state_dict()
    return list(ours) == list(theirs) and all(torch.equal(ours[name], theirs[name]) for name in ours)


def official_state(layout, prefix=""):
    """A state dict with the keys and number of axes of an official layout, but of one number each."""
    file = "official_liqe.json" if layout == "liqe" else "official_dn_piqa.json"
    entries = json.loads((PARITY / file).read_text())["layouts"][layout]["entries"]
    return OrderedDict((prefix + name, torch.zeros([1] * len(shape))) for name, shape, *_ in entries)


def saved(path, content):
    torch.save(content, path)
    return path


def refused(call, *arguments):
    with pytest.raises(InputError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def model(tmp_path):
    """A file of piqa's own, and the network in it."""
    network = tiny()
    return model_files.save(network, tmp_path / "model.safetensors", card_of(network)), network


def test_a_saved_network_comes_back_to_the_bit(model):
    path, network = model
    again, card = model_files.load_model(path)
    assert same_weights(again, network)
    assert not again.training
    assert card == {"format": model_files.FORMAT} | card_of(network)


def test_tensors_of_any_stride_and_type_are_saved_as_they_are(tmp_path):
    odd = nn.Module()
    odd.turned = nn.Parameter(torch.arange(6.0).view(2, 3).t())
    odd.register_buffer("short", torch.tensor([0.1, 0.2], dtype=torch.bfloat16))
    read = weights.read_state_dict(model_files.save(odd, tmp_path / "odd.safetensors", {}))
    assert not odd.turned.is_contiguous()
    assert torch.equal(read["turned"], odd.turned) and torch.equal(read["short"], odd.short)
    assert read["short"].dtype == torch.bfloat16


def test_a_model_is_found_by_its_folder_and_without_its_ending(model):
    path, network = model
    for name in (path.parent, path.with_suffix("")):
        assert same_weights(model_files.load_model(name)[0], network)


def test_no_model_at_all_is_told(tmp_path):
    assert "give a .safetensors, .ckpt or .pth file, or the folder" in refused(model_files.load_model, tmp_path)


@pytest.mark.parametrize("disk", [OSError(28, "No space left on device"), SafetensorError("No space left on device")])
def test_a_full_disk_leaves_the_old_files_and_no_half_ones(model, monkeypatch, disk):
    path, _ = model
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}

    def half_written(state, target):
        Path(target).write_bytes(b"half")
        raise disk

    monkeypatch.setattr(model_files, "save_file", half_written)
    assert "No space left" in refused(model_files.save, tiny(seed=1), path, CARD)
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before


def test_a_card_that_cannot_be_written_leaves_the_old_weights(model):
    path, network = model
    with pytest.raises(TypeError):
        model_files.save(tiny(seed=1), path, {"not for JSON": object()})
    assert same_weights(model_files.load_model(path)[0], network)
    assert len(list(path.parent.iterdir())) == 2


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("layout", ["dn_piqa", "lsvq", "gfiqa", "liqe"])
def test_official_layouts_are_known_by_their_keys(tmp_path, layout, prefix):
    file = saved(tmp_path / "any_name.bin", official_state(layout, prefix))
    assert weights.layout_of(weights.read_state_dict(file)) == layout


def test_our_own_and_timms_layouts_are_known_by_their_keys():
    assert weights.layout_of(tiny().state_dict()) == "piqa model"
    assert weights.layout_of(tiny(["liqe"]).state_dict()) == "piqa model"
    assert weights.layout_of(tiny().backbones["face"].state_dict()) == "piqa backbone"
    for name in ("resnet10t", "mobilenetv3_small_050", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"):
        with torch.device("meta"):
            assert weights.layout_of(timm.create_model(name).state_dict()) == "timm", name
    assert weights.layout_of({"something": torch.zeros(1)}) == "unknown"


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_a_state_dict_may_lie_inside_a_release(tmp_path, wrapper):
    state = tiny().state_dict()
    read = weights.read_state_dict(saved(tmp_path / "release.pth", {wrapper: state, "epoch": 3}))
    assert list(read) == list(state)


def test_a_backbone_starts_from_a_piqa_backbone_file(tmp_path):
    source, target = Backbone(BACKBONE, SIDE), Backbone(BACKBONE, SIDE)
    weights.load_backbone(target, model_files.save(source, tmp_path / "lsvq.safetensors", {}))
    assert same_weights(target, source)


@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050", "vit_tiny_patch16_224"])
def test_a_backbone_starts_from_a_timm_file_without_its_classifier(tmp_path, name):
    source, target = timm.create_model(name, num_classes=10), Backbone(name, 224)
    state = source.state_dict()
    weights.load_backbone(target, saved(tmp_path / "timm.pth", state))
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
    weights.load_backbone(target, saved(tmp_path / "old.pth", {f"feature_extraction.{k}": v for k, v in old.items()}))
    assert all((value == 0.5).all() for value in target.net.state_dict().values())


def test_a_backbone_does_not_start_from_a_whole_model(model):
    path, network = model
    message = refused(weights.load_backbone, network.backbones["whole"], path)
    assert "has the layout 'piqa model'" in message and "lsvq, gfiqa, timm" in message


def test_a_model_does_not_start_from_a_backbone(tmp_path):
    for layout in ("lsvq", "gfiqa", "liqe"):
        path = saved(tmp_path / f"{layout}.pth", official_state(layout))
        assert f"has the layout '{layout}', which is no whole model" in refused(weights.load_dual_branch, tiny(), path)
        assert f"has the layout '{layout}', which is no model that scores" in refused(model_files.load_model, path)


def test_what_is_no_liqe_is_not_taken_for_it(tmp_path):
    path = saved(tmp_path / "LIQE.pt", official_state("gfiqa"))
    assert "has the layout 'gfiqa', not that of LIQE" in refused(weights.load_liqe, path)


def test_missing_unexpected_and_misshapen_parts_are_named(model, tmp_path):
    state = dict(model[1].state_dict())
    del state["head.3.bias"]
    state["head.9.weight"] = torch.zeros(1)
    state["head.0.bias"] = torch.zeros(5)
    message = refused(weights.load_dual_branch, tiny(), saved(tmp_path / "odd.pth", state))
    assert "1 missing (head.3.bias)" in message
    assert "1 unexpected (head.9.weight)" in message
    assert "1 of another shape (head.0.bias (5,) instead of (128,))" in message


def test_nothing_is_loaded_where_a_part_does_not_fit(model):
    target = tiny(seed=1, hidden=64)
    before = {name: value.clone() for name, value in target.state_dict().items()}
    assert "of another shape" in refused(weights.load_dual_branch, target, model[0])
    assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    path = saved(tmp_path / "resnet.pth", timm.create_model("resnet10t", num_classes=10).state_dict())
    assert "is it the file of another model?" in refused(weights.load_dual_branch, tiny(), path)
    assert "has the layout 'timm', which is no model that scores portraits" in refused(model_files.load_model, path)


def test_fewer_branches_than_the_file_has_are_refused(model):
    assert "unexpected (backbones.face." in refused(weights.load_dual_branch, tiny(["whole", "liqe"]), model[0])


@pytest.mark.parametrize("name", ["model.pth", "model.pt", "model.ckpt", "model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"just a text\n", b"\x80\x02}q\x00(" * 9, bytes(range(256)) * 8])
def test_what_is_no_weights_file_is_refused_whatever_its_name(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert "cannot be read as weights" in refused(weights.read_state_dict, tmp_path / name)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_damaged_file_is_refused_wherever_the_damage_is(tmp_path, zipped):
    path = tmp_path / "model.pth"
    torch.save({"a": torch.ones(2), "b": torch.ones(3)}, path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    for end in range(0, len(content) - 1, 7):
        path.write_bytes(content[:end])
        assert f"{path} cannot be read as weights" in refused(weights.read_state_dict, path)


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
    assert "it holds more than tensors" in refused(model_files.load_model, path)
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
            "--data.store",
            "{folder}/store",
        ],
    ),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_no_command_runs_code_that_a_checkpoint_holds(tiny_config, tmp_path, monkeypatch, capfd, entry):
    evil, trace = tmp_path / "evil.ckpt", tmp_path / "trace"
    # All that a training checkpoint holds, so that nothing but the code in it can be what it is refused for.
    torch.save({"state_dict": {"network.a": torch.zeros(1)}, "piqa": CARD, "malice": Malice(trace)}, evil)
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
    assert "table of named tensors" in refused(weights.read_state_dict, saved(tmp_path / "odd.pth", content))


def test_weights_without_their_card_are_refused(model):
    model[0].with_suffix(".json").unlink()
    assert "model.json is missing" in refused(model_files.load_model, model[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not JSON", "is no JSON"),
        ("[1, 2]", "no card of this version"),
        ("{}", "format None instead of 'piqa 1'"),
        ('{"format": "piqa 2"}', "format 'piqa 2' instead of 'piqa 1'"),
        ('{"format": "piqa 1"}', "describes no Module that can be built here"),
        ('{"format": "piqa 1", "network": {"class_path": 5, "init_args": {}}}', "describes no Module"),
    ],
)
def test_a_card_that_says_nothing_usable_is_refused(model, text, message):
    model[0].with_suffix(".json").write_text(text)
    assert message in refused(model_files.load_model, model[0])


@pytest.mark.parametrize("class_path", ["os.mkdir", "pathlib.Path", "piqa.scorer.Scorer", "piqa.nowhere.Net", "Net"])
def test_a_card_that_names_no_network_is_refused_and_nothing_called(model, class_path):
    trace = model[0].parent / "trace"
    card = {"format": "piqa 1", "network": {"class_path": class_path, "init_args": {"path": str(trace)}}}
    model[0].with_suffix(".json").write_text(json.dumps(card))
    assert "no Module" in refused(model_files.load_model, model[0])
    assert not trace.exists()


@pytest.mark.parametrize("init_args", [{"hidden": -1}, {"hidden": "many"}, {"size": 3}, [1], None])
def test_a_card_whose_network_cannot_be_built_is_refused(model, init_args):
    known = init_args | {"backbone": BACKBONE} if isinstance(init_args, dict) else init_args
    card = {"format": "piqa 1", "network": {"class_path": "piqa.models.DualBranch", "init_args": known}}
    model[0].with_suffix(".json").write_text(json.dumps(card))
    assert "describes no Module that can be built here" in refused(model_files.load_model, model[0])


def test_a_card_of_another_network_is_refused(model):
    other = card_of(tiny(hidden=64)) | {"format": model_files.FORMAT}
    model[0].with_suffix(".json").write_text(json.dumps(other))
    assert "of another shape" in refused(model_files.load_model, model[0])


@pytest.mark.parametrize("kind", ["lsvq", "gfiqa", "liqe"])
def test_absent_weights_are_told_with_what_where_and_how_without(tmp_path, kind):
    path = tmp_path / "weights" / "file.pth"
    message = refused(weights.require, path, kind)
    assert f"no file {path}: it is {weights.WHAT_IT_IS[kind]}" in message
    assert "put it there, or" in message and "without it" in message


def test_weights_that_are_there_are_had_without_words(model):
    assert weights.require(str(model[0]), "lsvq") == model[0]


def test_an_absent_liqe_is_told_before_its_network_is_built(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "LIQE", None)
    assert "--config no_liqe.yaml" in refused(weights.load_liqe, tmp_path / "LIQE.pt")


def test_training_starts_each_branch_from_its_own_file(tmp_path):
    network, sources = tiny(), {}
    for seed, branch in enumerate(("whole", "face"), start=1):
        sources[branch] = tiny(seed=seed).backbones[branch]
        model_files.save(sources[branch], tmp_path / f"{branch}.safetensors", {})
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


@pytest.fixture
def checkpoint(tmp_path):
    """A training checkpoint as Lightning writes it for a `RankingTask`, and its network."""
    from piqa.tasks.ranking import RankingTask

    network = tiny()
    task = RankingTask(network)
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    trainer.strategy.connect(task)
    task.trainer = trainer
    task.card = lambda: card_of(network)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    return tmp_path / "last.ckpt", network


def test_a_training_checkpoint_loads_as_a_model(checkpoint):
    path, network = checkpoint
    again, card = model_files.load_model(path)
    assert same_weights(again, network)
    assert card == card_of(network)


def test_training_goes_on_from_a_training_checkpoint(checkpoint):
    network = tiny(seed=5)
    InitialWeights(model=str(checkpoint[0])).load(network)
    assert same_weights(network, checkpoint[1])


@pytest.mark.parametrize("lost", ["state_dict", weights.CKPT_CARD])
def test_a_training_checkpoint_without_a_part_is_refused(checkpoint, lost):
    path, _ = checkpoint
    content = torch.load(path, weights_only=True)
    del content[lost]
    assert str(path) in refused(model_files.load_model, saved(path, content))


def test_a_training_checkpoint_with_an_odd_card_is_refused(checkpoint):
    path, _ = checkpoint
    content = torch.load(path, weights_only=True)
    assert str(path) in refused(model_files.load_model, saved(path, content | {weights.CKPT_CARD: torch.zeros(3)}))


@pytest.mark.slow
def test_an_official_checkpoint_becomes_a_model_of_our_own(official_checkpoint, tmp_path):
    network, card = model_files.load_model(official_checkpoint("dn_piqa"))
    assert type(network) is DualBranch and card["network"]["init_args"] == {}
    model_files.save(network, tmp_path / "model.safetensors", card)
    again, _ = model_files.load_model(tmp_path)
    assert same_weights(again, network)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["lsvq", "gfiqa"])
def test_an_official_backbone_that_lacks_a_part_is_refused(official_checkpoint, tmp_path, layout):
    with torch.device("meta"):
        backbone = Backbone()
    state = torch.load(official_checkpoint(layout), weights_only=True)
    lost = next(key for key in state if key.endswith("norm.weight"))
    kept = {key: value[:0] if value.dtype == torch.float32 else value for key, value in state.items() if key != lost}
    assert "1 missing" in refused(weights.load_backbone, backbone, saved(tmp_path / "odd.pth", kept))
