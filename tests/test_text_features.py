"""Text features of CLIP's networks on the disk: what is read is what would be computed, or it is computed."""

from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_clip import RESNET, VIT

from piqa.models import CLIPIQA, LIQE
from piqa.models.clip_iqa import ATTRIBUTES
from piqa.models.liqe_windows import WINDOW
from piqa.scoring.loading import load_parts
from piqa.weights import model_file, text_features
from piqa.weights.model_card import ClassSpec, ModelCard
from piqa.weights.text_features import keep_text_features


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PIQA_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "text_features"


@pytest.fixture(scope="module")
def template():
    torch.manual_seed(0)
    return LIQE(architecture=VIT).eval()


@pytest.fixture
def started(template, folder, monkeypatch):
    """Makes the network of a new process, whose text tower notes when it computes."""
    computed = []

    def start(weights=None):
        network = deepcopy(weights or template)
        compute = network._encode_prompts
        monkeypatch.setattr(network, "_encode_prompts", lambda: computed.append(network) or compute())
        keep_text_features(network)
        return network

    start.computed = computed
    return start


@torch.inference_mode()
def features(network):
    return network.text_features()


def test_a_second_process_reads_the_features_that_the_first_one_computed_bit_by_bit(started, template, folder):
    windows = torch.randint(256, (2, 3, WINDOW, WINDOW), dtype=torch.uint8)
    with torch.inference_mode():
        expected = template(windows)["logits"]
        first, second = started()(windows)["logits"], started()(windows)["logits"]
    assert torch.equal(first, expected) and torch.equal(second, expected)
    assert len(started.computed) == 1 and len(list(folder.iterdir())) == 1


def test_a_scorer_s_network_takes_its_features_from_the_disk(template, folder, tmp_path):
    card = ModelCard(ClassSpec.of(template), {"face_rule": "none"}, view="windows")
    path = model_file.save(template, tmp_path / "liqe.safetensors", card)
    found = [features(load_parts(path)[0]) for _ in range(2)]
    assert torch.equal(*found) and len(list(folder.iterdir())) == 1


def test_other_weights_and_other_prompts_have_other_features(started, folder):
    torch.manual_seed(1)
    other, fewer = LIQE(architecture=VIT).eval(), LIQE(aspects=["scene"], architecture=VIT).eval()
    for network in (None, other, fewer):
        with torch.no_grad():
            expected = None if network is None else network._encode_prompts()
        found = features(started(network))
        assert expected is None or torch.equal(found, expected)
    assert len(started.computed) == len(list(folder.iterdir())) == 3


def test_what_computes_is_part_of_the_name(started, folder, monkeypatch):
    features(started())
    monkeypatch.setattr(text_features, "VERSION", 2)
    features(started())
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    features(started())
    assert len(started.computed) == len(list(folder.iterdir())) == 3


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def make_empty(path):
    path.write_bytes(b"")


def make_foreign(path):
    path.write_text("shopping list")


def take_one_prompt_away(path):
    tensors = load_file(path)
    save_file(tensors | {"features": tensors["features"][:-1].clone()}, path)


def take_those_of_other_weights(path):
    other = LIQE(aspects=["distortion"], architecture=VIT).eval()
    keep_text_features(other)
    features(other)
    another = next(one for one in path.parent.iterdir() if one != path)
    another.replace(path)


@pytest.mark.parametrize(
    "damage",
    [cut, flip_a_bit, make_empty, make_foreign, take_one_prompt_away, take_those_of_other_weights],
)
def test_a_file_that_does_not_hold_is_told_computed_anew_and_mended(started, folder, capsys, damage):
    expected = features(started())
    (path,) = folder.iterdir()
    damage(path)
    assert torch.equal(features(started()), expected)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and str(path) in told[0] and "computed anew" in told[0]
    assert torch.equal(features(started()), expected)
    assert not capsys.readouterr().err and len(started.computed) == 2


def test_features_that_are_no_numbers_are_not_used(started, folder, capsys):
    expected = features(started())
    (path,) = folder.iterdir()
    bad = load_file(path)["features"]
    bad[3, 3] = float("nan")
    save_file({"features": bad, "digest": text_features._digest(path.stem, bad)}, path)
    assert torch.equal(features(started()), expected) and "computed anew" in capsys.readouterr().err


@pytest.mark.parametrize("obstacle", ["file", "folder"])
def test_a_cache_that_cannot_be_written_costs_only_time(started, folder, capsys, obstacle):
    expected = features(started())
    (path,) = folder.iterdir()
    path.unlink()
    if obstacle == "file":
        folder.rmdir()
        folder.write_text("a file where the folder should be")
    else:
        path.mkdir()
    assert torch.equal(features(started()), expected)
    assert not capsys.readouterr().err and len(started.computed) == 2


def test_many_processes_may_compute_and_write_at_once(started, folder):
    networks = [started() for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(features, networks))
    assert all(torch.equal(one, found[0]) for one in found)
    assert [path.suffix for path in folder.iterdir()] == [".safetensors"]  # and no temporary file
    assert torch.equal(features(started()), found[0])


def test_few_prompts_are_computed_which_is_faster(started, folder):
    network = started(CLIPIQA(list(ATTRIBUTES), architecture=RESNET))
    features(network)
    assert network.text_feature_source is None and not folder.exists()


def test_features_that_are_trained_are_not_kept(started, folder):
    network = started()
    network(torch.rand(1, 3, WINDOW, WINDOW))["score"].sum().backward()
    with torch.no_grad():
        network.clip.text_projection += 1
    features(network)
    assert not folder.exists()
