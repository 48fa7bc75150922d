"""A model file may come from a stranger: what it names is judged before anything is imported, and costs no memory."""

import json
import os
import shutil
import socket
import sys
import time
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import timm
import torch
from refusals import one_line, refusal
from small_networks import card_of, saved, saved_model, tiny
from tiny_models import write_images, write_tiny_model

from piqa import Scorer, evaluate, predict
from piqa.data import CSVTable, Mix
from piqa.data.tables.table import Table
from piqa.weights import model_file, state_dicts
from piqa.weights.model_card import ClassSpec, ModelCard
from piqa.weights.trust import NETWORKS, TABLES, trusted_packages

EVIL = """
from pathlib import Path
Path("trace").touch()
from torch import nn


class Net(nn.Module):
    def __init__(self, width: int = 1) -> None:
        super().__init__()
        self.layer = nn.Linear(3, width)

    def forward(self, whole):
        return {"score": self.layer(whole.float().mean(dim=(2, 3))).mean(dim=1)}


class NoNet:
    pass
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """The working directory, from which Python imports, with `evil.py` in it; and no network."""

    def refuse(*_args):
        raise AssertionError("a connection was opened")

    (tmp_path / "evil.py").write_text(EVIL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield tmp_path
    sys.modules.pop("evil", None)


def of_evil(folder, name="evil.Net"):
    """A model file whose card names this class."""
    sys.path.insert(0, str(folder))
    module = __import__("evil")
    sys.path.remove(str(folder))
    network = module.Net()
    del sys.modules["evil"]
    (folder / "trace").unlink()
    card = ModelCard(ClassSpec(name, {"width": 1}), {"short_side": 40, "face_rule": "none"}, crop_size=32)
    return model_file.save(network, folder / "model.safetensors", card)


def checkpoint_of(card, path):
    """A training checkpoint with this card."""
    return saved(path, {state_dicts.CKPT_CARD: card, "state_dict": {"network.a": torch.zeros(1)}})


# Names


def test_a_module_of_the_working_directory_is_not_imported_unless_the_user_names_it(here):
    path = of_evil(here)
    advice = "evil.Net, which is no Module of piqa's; if you know and trust its code, allow it by `--trust evil`"
    assert advice in refusal(Scorer.load, path)
    assert not Path("trace").exists() and "evil" not in sys.modules
    files = write_images(here / "images", 2)
    for trust in ("evil", ["evil"], ["other", "evil.Net"]):
        assert Scorer.load(path, device="cpu", trust=trust).score(files)["score"].notna().all()
    assert Path("trace").exists()


def test_the_commands_take_the_same_permission(here, capsys):
    of_evil(here)
    write_images(here / "images", 2)
    arguments = ["images", "--ckpt_path", ".", "--out", "scores.csv", "--device", "cpu"]
    assert "allow it by `--trust evil`" in one_line(capsys, lambda: predict.main(arguments))
    assert not Path("trace").exists()
    predict.main([*arguments, "--trust", "evil"])
    assert pd.read_csv("scores.csv")["score"].notna().all()


@pytest.mark.parametrize(
    "class_path",
    [
        "evil.Net",
        "evil",
        "facenet_pytorch.InceptionResnetV1",
        "torch.hub.load",
        "piqa.evil.Net",
        "piqa.models.Backbone",
        "..evil.Net",
        "",
        "evil.Net()",
        "x" * 100_000,
        "piqa.data.PIQ23",
        "piqa.fit.main",
        "timm.create_model",
    ],
)
@pytest.mark.parametrize("kind", ["json", "ckpt", "yaml"])
def test_a_name_that_is_not_piqas_is_refused_before_any_import(here, class_path, kind):
    network = {"class_path": class_path, "init_args": {}}
    if kind == "json":
        path, _ = saved_model(here)
        path.with_suffix(".json").write_text(json.dumps({"format": "piqa 1", "network": network}))
    elif kind == "ckpt":
        path = checkpoint_of({"format": "piqa 1", "network": network}, here / "last.ckpt")
    else:
        path = here / "some.yaml"
        path.write_text(json.dumps({"model": {"network": network}}))
    before = set(sys.modules)
    message = refusal(Scorer.load, path)
    assert "which is no Module" in message and len(message) < 1000
    assert not Path("trace").exists()
    assert not {name for name in set(sys.modules) - before if name.split(".")[0] in ("evil", "facenet_pytorch")}


def test_a_trusted_package_must_still_hold_a_network(here):
    of_evil(here)
    card = json.loads(Path("model.json").read_text())
    for name, message in (("NoNet", "which is no Module"), ("Absent", "which is no Module"), ("Net.x", "cannot be im")):
        Path("model.json").write_text(json.dumps(card | {"network": {"class_path": f"evil.{name}", "init_args": {}}}))
        assert message in refusal(Scorer.load, ".", trust="evil")


@pytest.mark.parametrize("trust", ["", ".", "../evil", ["evil", 3], "evil;os"])
def test_what_is_no_package_cannot_be_trusted(trust):
    assert "`trust` names" in refusal(trusted_packages, trust)


@pytest.mark.parametrize("name", ["hf-hub:timm/resnet18", "hf_hub:a/b", "local-dir:.", "timm/resnet18", "a" * 4000])
def test_a_backbone_that_timm_would_fetch_is_refused(here, name):
    path, _ = saved_model(here)
    spec = {"class_path": "piqa.models.DualBranch", "init_args": {"backbone": name, "image_size": 32}}
    path.with_suffix(".json").write_text(json.dumps({"format": "piqa 1", "network": spec}))
    assert "timm has no model" in refusal(model_file.load_model, path)


def test_a_table_in_a_card_is_judged_by_the_same_rule(here, capsys):
    write_tiny_model(here)
    card = json.loads(Path("model.json").read_text())
    table = {"class_path": "evil.Table", "init_args": {}}
    Path("model.json").write_text(json.dumps(card | {"trained_on": {"data": {"table": table}}}))
    arguments = ["--ckpt_path", ".", "--scoring.device", "cpu"]
    message = one_line(capsys, lambda: evaluate.main(arguments))
    assert "evil.Table, which is no Table of piqa's" in message and "--trust evil" in message
    assert not Path("trace").exists()


def test_a_mix_is_built_of_the_tables_that_its_card_names():
    tables = [{"class_path": "piqa.data.CSVTable", "init_args": {"csv": f"{name}.csv"}} for name in "ab"]
    spec = {"class_path": "piqa.data.Mix", "init_args": {"tables": tables, "names": ["a", "b"]}}
    mix = model_file.instantiate(spec, Table, "a card")
    assert type(mix) is Mix and all(type(table) is CSVTable for table in mix.tables)
    spec["init_args"]["tables"][0] = spec | {"init_args": {"tables": tables[1:], "names": ["c"]}}
    assert "a mix inside a mix" in refusal(model_file.instantiate, spec, Table, "a card")


def test_every_network_and_table_that_is_public_may_be_named():
    from piqa import data, models

    not_named = {"Backbone", "PortraitData", "StoreOptions", "InputOptions", "SamplingOptions", "LoadingOptions"}
    assert {*NETWORKS, *TABLES} == {*models.__all__, *data.__all__} - not_named - {"TableDataset"}


# Arguments


ARGUMENTS = [
    {"hidden": 10**9},
    {"hidden": -1},
    {"hidden": 2.5},
    {"hidden": True},
    {"hidden": [128]},
    {"hidden": float("nan")},
    {"hidden": 10**400},
    {"dropout": float("nan")},
    {"dropout": float("inf")},
    {"dropout": 2},
    {"dropout": "0.1"},
    {"image_size": 1_000_000},
    {"image_size": 0},
    {"image_size": "32"},
    {"branches": "whole"},
    {"branches": ["whole"] * 1_000_000},
    {"branches": [["whole"]]},
    {"branches": {"whole": 1}},
    {"backbone": ["resnet10t"]},
    {"backbone": "vit_gigantic_patch14_clip_224"},
    {"backbone": "r" * 10_000_000},
    {"pretrained": True},
]


@pytest.mark.parametrize("entries", ARGUMENTS, ids=lambda entries: str(entries)[:40])
def test_arguments_out_of_range_cost_one_line_and_no_memory(here, monkeypatch, entries):
    path, network = saved_model(here)
    spec = {"class_path": "piqa.models.DualBranch", "init_args": network.init_args | entries}
    path.with_suffix(".json").write_text(json.dumps({"format": "piqa 1", "network": spec}))
    create, devices = timm.create_model, []

    def noted(*arguments, **settings):
        devices.append(torch.empty(0).device.type)
        return create(*arguments, **settings)

    monkeypatch.setattr(timm, "create_model", noted)
    start = time.monotonic()
    assert len(refusal(model_file.load_model, path)) < 1000
    assert time.monotonic() - start < 60
    assert set(devices) <= {"meta"}  # nothing that takes memory was built


@pytest.mark.parametrize(
    "preparation",
    [
        {"short_side": 10**6},
        {"short_side": -1},
        {"short_side": "448"},
        {"face_threshold": float("nan")},
        {"face_rule": "widest"},
        {"face_rule": ["none"]},
        {"detection_side": 10**9},
        {"face_margin": 10**9},
        {"resize": "enlarge"},
        {"sharpen": True},
        {"short_side": 16},  # less than a crop
    ],
)
def test_a_preparation_out_of_range_is_refused(here, preparation):
    write_tiny_model(here)
    card = json.loads(Path("model.json").read_text())
    Path("model.json").write_text(json.dumps(card | {"preparation": card["preparation"] | preparation}))
    assert "model.safetensors" in refusal(Scorer.load, ".", device="cpu")


@pytest.mark.parametrize("crop", [10**6, 0, -1, 32.0, True, [32], None])
def test_a_crop_out_of_range_is_refused(here, crop):
    write_tiny_model(here)
    card = json.loads(Path("model.json").read_text())
    Path("model.json").write_text(json.dumps(card | {"crop": crop}))
    assert "model.json: `crop` is" in refusal(Scorer.load, ".", device="cpu")


DEEP = '{"format": "piqa 1", "network": {"class_path": "piqa.models.NIMA", "init_args": ' + "[" * 500 + "]" * 500 + "}}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 200_000, "is no JSON that can be read"),
        ('{"a":' * 200_000, "is no JSON that can be read"),
        ('{"network": ' + '"' + "x" * 11_000_000 + '"}', "is no card: it has 11 MB"),
        ('{"format": "' + "x" * 1_000_000 + '"}', "is no card of this version"),
        (DEEP, "`init_args` is"),
        (b"\xff\xfe\x00", "is no JSON that can be read"),
    ],
    ids=["lists", "tables", "large", "long", "deep", "bytes"],
)
def test_a_card_that_is_deep_long_or_no_text_is_refused(here, text, message):
    path, _ = saved_model(here)
    path.with_suffix(".json").write_bytes(text if isinstance(text, bytes) else text.encode())
    told = refusal(model_file.load_model, path)
    assert message in told and len(told) < 500


def test_a_deep_config_is_refused(here):
    Path("some.yaml").write_text("model: " + "[" * 5000)
    assert "some.yaml cannot be read as a config" in refusal(Scorer.load, "some.yaml")


@pytest.mark.parametrize("card", [{"a": torch.zeros(3)}, {"network": torch.zeros(3)}, {1: 2}])
def test_tensors_in_the_place_of_a_cards_entries_are_refused(here, card):
    assert "last.ckpt" in refusal(model_file.load_model, checkpoint_of({"format": "piqa 1"} | card, here / "last.ckpt"))


# Files


def test_the_weights_are_told_from_those_of_another_run_by_the_card(here):
    one, two = saved_model(here / "one")[0], here / "two" / "model.safetensors"
    model_file.save(tiny(seed=1), two, card_of(tiny()))
    shutil.copy(two, one)
    message = refusal(model_file.load_model, one)
    assert "model.json and model.safetensors are not of one run" in message


def test_a_crash_between_the_two_files_is_noticed(here, monkeypatch):
    path, _ = saved_model(here)
    replace, done = Path.replace, []

    def once(self, target):
        if done:
            raise KeyboardInterrupt  # the program is killed
        done.append(target)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", once)
    with pytest.raises(KeyboardInterrupt):
        model_file.save(tiny(seed=1), path, card_of(tiny()))
    monkeypatch.undo()
    assert "are not of one run" in refusal(model_file.load_model, path)


def test_a_card_without_a_digest_is_not_doubted(here):
    path, _ = saved_model(here)
    card = json.loads(path.with_suffix(".json").read_text())
    assert card.pop("weights_digest")
    path.with_suffix(".json").write_text(json.dumps(card))
    model_file.load_model(path)


def test_what_is_no_model_file_gets_a_line_of_its_own(here, capsys):
    Path("empty.safetensors").touch()
    Path("empty.json").write_text(json.dumps(card_of(tiny()).to_dict()))
    Path("empty.ckpt").touch()
    Path("folder.ckpt").mkdir()
    os.mkfifo("pipe.ckpt")
    for name, message in (
        (".", "no model at .;"),
        ("/", "no model at /;"),
        ("..", "no model at ..;"),
        ("folder.ckpt", "no model at folder.ckpt;"),
        ("empty.safetensors", "it is empty"),
        ("empty.ckpt", "it is empty"),
        ("pipe.ckpt", "is no regular file but a device, a pipe or a socket"),
        ("/dev/null", "is no regular file"),
        ("n" * 300, "cannot look up the model"),
    ):
        assert message in refusal(Scorer.load, name), name
    (here / "some.jpg").touch()
    assert "no model at ." in one_line(capsys, lambda: predict.main(["some.jpg", "--ckpt_path", "."]))


def test_a_model_file_that_may_not_be_read_says_so(here, monkeypatch):
    path, _ = saved_model(here)
    opened = Path.open

    def refuse(self, *arguments, **settings):
        if self.suffix == ".safetensors":
            raise PermissionError(13, "Permission denied")
        return opened(self, *arguments, **settings)

    monkeypatch.setattr(Path, "open", refuse)
    assert "model.safetensors: Permission denied; check its permissions" in refusal(state_dicts.read_file, path)


def test_a_checkpoint_that_claims_more_than_it_holds_is_refused(here, monkeypatch):
    monkeypatch.setattr(state_dicts, "SLACK", 1_000_000)
    saved("real.ckpt", {"state_dict": {"network.a": torch.zeros(5_000_000)}})
    with zipfile.ZipFile("real.ckpt") as real, zipfile.ZipFile("bomb.ckpt", "w", zipfile.ZIP_DEFLATED) as bomb:
        for name in real.namelist():
            bomb.writestr(name, real.read(name))
    assert "it claims 0.02 GB but has" in refusal(state_dicts.read_file, "bomb.ckpt")
    saved("wide.pth", {"token_embedding.a": torch.zeros(1).half().expand(1_000_000, 1_000_000)})
    assert "claims more numbers than the file holds" in refusal(state_dicts.read_state_dict, "wide.pth")


# The official checkpoint


def test_an_official_checkpoint_gets_the_published_preparation(here, monkeypatch):
    network = tiny(("whole", "face", "liqe"))
    card = ModelCard(ClassSpec.of(network), dict(model_file.PUBLISHED_PREPARATION), crop_size=32)
    monkeypatch.setattr("piqa.scoring.loading.load_model", lambda *_: (network, card))
    (here / "models").mkdir()
    (here / "models/DN_PIQA.pth").touch()
    message = refusal(Scorer.load, "models/DN_PIQA.pth", device="cpu")
    assert "none in models/LIQE.pt or data/weights/LIQE.pt" in message and "--liqe" in message
    (here / "models/LIQE.pt").touch()
    preparation = Scorer.load("models/DN_PIQA.pth", device="cpu").preparation
    assert (preparation.liqe, preparation.face_rule, preparation.short_side) == (
        "models/LIQE.pt",
        "most_confident",
        448,
    )


def test_liqe_is_found_beside_the_model_where_it_is_not_where_it_was_in_training(here):
    write_tiny_model(here / "model", branches=["whole", "liqe"])
    card = json.loads(Path("model/model.json").read_text())
    card["preparation"]["liqe"] = "elsewhere/LIQE.pt"
    Path("model/model.json").write_text(json.dumps(card))
    assert Scorer.load("model", device="cpu").preparation.liqe == "elsewhere/LIQE.pt"
    Path("model/LIQE.pt").touch()
    assert Scorer.load("model", device="cpu").preparation.liqe == "model/LIQE.pt"
    card["preparation"]["liqe"] = 5
    Path("model/model.json").write_text(json.dumps(card))
    assert "`liqe` is 5; needed is str | None" in refusal(Scorer.load, "model", device="cpu")
