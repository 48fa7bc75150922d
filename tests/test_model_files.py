import json
from pathlib import Path

import pytest
import torch
from lightning import Trainer
from refusals import refusal as refused
from safetensors import SafetensorError
from small_networks import BACKBONE, card_of, same_weights, saved, saved_model, tiny
from torch import nn

from piqa.models import DualBranch
from piqa.tasks.ranking import InitialWeights
from piqa.weights import model_file, state_dicts
from piqa.weights.model_card import ClassSpec


@pytest.fixture
def model(tmp_path):
    """A file of piqa's own, and the network in it."""
    return saved_model(tmp_path)


def test_a_saved_network_comes_back_to_the_bit(model):
    path, network = model
    again, card = model_file.load_model(path)
    assert same_weights(again, network)
    assert not again.training
    assert card == card_of(network)


def test_tensors_of_any_stride_and_type_are_saved_as_they_are(tmp_path):
    odd = nn.Module()
    odd.turned = nn.Parameter(torch.arange(6.0).view(2, 3).t())
    odd.register_buffer("short", torch.tensor([0.1, 0.2], dtype=torch.bfloat16))
    read = state_dicts.read_state_dict(model_file.save(odd, tmp_path / "odd.safetensors", {}))
    assert not odd.turned.is_contiguous()
    assert torch.equal(read["turned"], odd.turned) and torch.equal(read["short"], odd.short)
    assert read["short"].dtype == torch.bfloat16


def test_a_model_is_found_by_its_folder_and_without_its_ending(model):
    path, network = model
    for name in (path.parent, path.with_suffix("")):
        assert same_weights(model_file.load_model(name)[0], network)


def test_no_model_at_all_is_told(tmp_path):
    assert "give a .safetensors, .ckpt or .pth file, or the folder" in refused(model_file.load_model, tmp_path)


@pytest.mark.parametrize("disk", [OSError(28, "No space left on device"), SafetensorError("No space left on device")])
def test_a_full_disk_leaves_the_old_files_and_no_half_ones(model, monkeypatch, disk):
    path, _ = model
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}

    def half_written(state, target):
        Path(target).write_bytes(b"half")
        raise disk

    monkeypatch.setattr(model_file, "save_file", half_written)
    assert "No space left" in refused(model_file.save, tiny(seed=1), path, card_of(tiny()))
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before


def test_a_card_that_cannot_be_written_leaves_the_old_weights(model):
    path, network = model
    with pytest.raises(TypeError):
        model_file.save(tiny(seed=1), path, {"not for JSON": object()})
    assert same_weights(model_file.load_model(path)[0], network)
    assert len(list(path.parent.iterdir())) == 2


def test_weights_without_their_card_are_refused(model):
    model[0].with_suffix(".json").unlink()
    assert "model.json is missing" in refused(model_file.load_model, model[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("not JSON", "is no JSON"),
        ("[1, 2]", "is no table but [1, 2]"),
        ("{}", "format None instead of 'piqa 1'"),
        ('{"format": "piqa 2"}', "format 'piqa 2' instead of 'piqa 1'"),
        ('{"format": "piqa 1"}', "`network` in "),
        ('{"format": "piqa 1", "network": {"class_path": 5, "init_args": {}}}', "`class_path` is 5"),
    ],
)
def test_a_card_that_says_nothing_usable_is_refused(model, text, message):
    model[0].with_suffix(".json").write_text(text)
    refusal = refused(model_file.load_model, model[0])
    assert message in refusal and "model.json" in refusal


@pytest.mark.parametrize("class_path", ["os.mkdir", "pathlib.Path", "piqa.Scorer", "piqa.nowhere.Net", "Net"])
def test_a_card_that_names_no_network_is_refused_and_nothing_called(model, class_path):
    trace = model[0].parent / "trace"
    card = {"format": "piqa 1", "network": {"class_path": class_path, "init_args": {"path": str(trace)}}}
    model[0].with_suffix(".json").write_text(json.dumps(card))
    assert "no Module" in refused(model_file.load_model, model[0])
    assert not trace.exists()


@pytest.mark.parametrize("init_args", [{"hidden": -1}, {"hidden": "many"}, {"size": 3}, [1], None])
def test_a_card_whose_network_cannot_be_built_is_refused(model, init_args):
    known = init_args | {"backbone": BACKBONE} if isinstance(init_args, dict) else init_args
    card = {"format": "piqa 1", "network": {"class_path": "piqa.models.DualBranch", "init_args": known}}
    model[0].with_suffix(".json").write_text(json.dumps(card))
    fault = "describes no Module that can be built here" if isinstance(init_args, dict) else "`init_args` is "
    assert fault in refused(model_file.load_model, model[0])


def test_a_card_of_another_network_is_refused(model):
    other = card_of(tiny(hidden=64))
    model[0].with_suffix(".json").write_text(json.dumps(other.to_dict()))
    assert "of another shape" in refused(model_file.load_model, model[0])


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
    again, card = model_file.load_model(path)
    assert same_weights(again, network)
    assert card == card_of(network)


def test_training_goes_on_from_a_training_checkpoint(checkpoint):
    network = tiny(seed=5)
    InitialWeights(model=str(checkpoint[0])).load(network)
    assert same_weights(network, checkpoint[1])


@pytest.mark.parametrize("lost", ["state_dict", state_dicts.CKPT_CARD])
def test_a_training_checkpoint_without_a_part_is_refused(checkpoint, lost):
    path, _ = checkpoint
    content = torch.load(path, weights_only=True)
    del content[lost]
    assert str(path) in refused(model_file.load_model, saved(path, content))


def test_a_training_checkpoint_with_an_odd_card_is_refused(checkpoint):
    path, _ = checkpoint
    content = torch.load(path, weights_only=True)
    assert str(path) in refused(model_file.load_model, saved(path, content | {state_dicts.CKPT_CARD: torch.zeros(3)}))


@pytest.mark.slow
def test_an_official_checkpoint_becomes_a_model_of_our_own(official_checkpoint, tmp_path):
    network, card = model_file.load_model(official_checkpoint("dn_piqa"))
    assert type(network) is DualBranch and card.network == ClassSpec("piqa.models.DualBranch", network.init_args)
    model_file.save(network, tmp_path / "model.safetensors", card)
    again, _ = model_file.load_model(tmp_path)
    assert same_weights(again, network)
