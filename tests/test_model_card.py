"""The card of a model: what it names, what it refuses, and the names of version 0.1.0 that it understands."""

import json
from dataclasses import replace
from typing import get_args

import pytest
from refusals import refusal
from small_clip import RESNET
from small_networks import card_of, tiny
from torch import nn

from piqa.data import CSVTable
from piqa.data.tables.table import Table
from piqa.data.transforms import View
from piqa.models import CLIPIQA, DualBranch
from piqa.models.contract import as_scoring_network
from piqa.weights.model_card import VIEWS, ClassSpec, ModelCard
from piqa.weights.model_file import instantiate


class Own(nn.Module):
    def forward(self, whole):
        return {"score": whole.mean(dim=(1, 2, 3))}


@pytest.fixture(scope="module")
def card():
    return card_of(tiny())


def test_a_card_comes_back_from_json_as_it_was(card):
    full = replace(
        card, view="whole", liqe_digest="a", weights="openai", trained_on={"table": "PIQ23"}, personal={"k": 3}
    )
    for one in (card, full):
        assert ModelCard.from_dict(json.loads(json.dumps(one.to_dict())), "model.json") == one


def test_the_file_has_the_names_of_before_and_leaves_out_what_is_not_known(card):
    assert list(card.to_dict()) == ["format", "network", "preparation", "view", "crop"]
    assert "preparation" not in replace(card, preparation=None).to_dict()
    assert replace(card, preparation={}).to_dict()["preparation"] == {}


def test_a_network_is_named_by_its_public_path_and_somebody_elses_by_its_own(card):
    assert card.network.class_path == "piqa.models.DualBranch"
    assert ClassSpec.of(as_scoring_network(Own())).class_path == f"{__name__}.Own"


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"sharpness": 3}, "has the unknown entry `sharpness`; known are checks, crop, format"),
        ({"format": "piqa 9"}, "is no card of this version (format 'piqa 9' instead of 'piqa 1')"),
        ({"view": "sideways"}, "`view` is 'sideways'; it must be one of crops, whole, windows"),
        ({"crop": 0}, "`crop` is 0; a side of at least 1 px is needed"),
        ({"crop": "384"}, "`crop` is '384'"),
        ({"preparation": "default"}, "`preparation` is 'default'; a table is needed"),
        ({"trained_on": [1]}, "`trained_on` is [1]; a table is needed"),
        ({"liqe_digest": 5}, "`liqe_digest` is 5; a text is needed"),
        ({"network": "DualBranch"}, "`network` in runs/model.json is no table but 'DualBranch'"),
        ({"network": {"init_args": {}}}, "`network` in runs/model.json names no `class_path`"),
        ({"network": {"class_path": "a.B", "kwargs": {}}}, "has the unknown entry `kwargs`"),
    ],
)
def test_unknown_and_bad_values_are_refused_with_the_files_name(card, entries, message):
    refused = refusal(ModelCard.from_dict, card.to_dict() | entries, "runs/model.json")
    assert message in refused and "runs/model.json" in refused


def test_the_views_are_those_of_the_data():
    assert get_args(View) == VIEWS


@pytest.mark.parametrize(
    "class_path", ["piqa.models.dual_branch.DualBranch", "piqa.models.DualBranch", "piqa.networks.DualBranch"]
)
def test_a_class_of_piqas_is_found_wherever_a_card_says_that_it_lies(class_path):
    spec = ClassSpec(class_path, {"backbone": "resnet10t", "branches": ["whole"], "image_size": 32})
    assert type(instantiate(spec, nn.Module, "a card")) is DualBranch


def test_former_names_of_arguments_are_translated():
    spec = {"class_path": "piqa.data.csv_table.CSVTable", "init_args": {"csv": "a.csv", "test_share": 0.3}}
    table = instantiate(spec, Table, "a card")
    assert type(table) is CSVTable and table.test_fraction == 0.3
    prompts = {"pose": ["A relaxed pose.", "A stiff pose."]}
    spec = ClassSpec("piqa.models.clip_iqa.CLIPIQA", {"pairs": prompts, "architecture": RESNET})
    network = instantiate(spec, nn.Module, "a card")
    assert type(network) is CLIPIQA and network.init_args["prompts"] == prompts
