"""What version 0.1.0 left on disk still loads and gives the same scores; see `tests/data/v0.1.0/README.md`."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from piqa import PreparedStore, Scorer, evaluate, fit
from piqa.system.ownership import folder_mark
from piqa.weights.model_card import ModelCard
from piqa.weights.model_file import build_network, load_model

OLD = Path(__file__).parent / "data" / "v0.1.0"
CARDS = sorted((OLD / "cards").glob("*.json"))


@pytest.fixture
def old(tmp_path, monkeypatch):
    """A copy of the old files, which the test may change, as the working folder."""
    shutil.copytree(OLD, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_scores_of_an_old_run_are_the_same(old):
    expected = pd.read_csv("expected_scores.csv")
    scores = Scorer.load("run", device="cpu").score(expected["file"])
    assert scores["face_found"].tolist() == expected["face_found"].tolist()
    np.testing.assert_allclose(scores["score"].astype(float), expected["score"], rtol=0, atol=1e-6)


def test_an_old_training_checkpoint_scores(old):
    shutil.copy("run/checkpoints/last.ckpt", "alone.ckpt")
    scores = Scorer.load("alone.ckpt", device="cpu").score(["images/scene_0/0.jpg"])
    assert np.isfinite(scores["score"][0])


def test_an_old_run_is_evaluated_on_the_table_that_its_card_names_out_of_its_old_store(old, monkeypatch):
    monkeypatch.setattr("piqa.preparation.portrait.Preparer", None)  # all 20 portraits are in the store
    evaluate.main(["--ckpt_path", "run", "--scoring.store", "store", "--out", "evaluation", "--scoring.device", "cpu"])
    found, expected = (
        json.loads(Path(folder, "metrics.json").read_text()) for folder in ("evaluation", "run/evaluation")
    )
    for protocol in ("official", "authors"):
        numbers = {name: value for name, value in expected[protocol].items() if name != "protocol"}
        assert {name: found[protocol][name] for name in numbers} == pytest.approx(numbers, abs=1e-9)


def test_an_old_checkpoint_in_the_middle_of_an_epoch_is_resumed_to_the_same_weights(old):
    fit.main(["--config", str(OLD / "today.yaml"), "--ckpt_path", "last"])
    assert folder_mark("run")["what"] == "training run" and folder_mark("store")["what"] == "prepared store"
    weights = torch.load("run/checkpoints/last.ckpt", weights_only=True)["state_dict"]
    expected = json.loads(Path("final_weights.json").read_text())
    for name, (total, norm) in expected.items():
        assert [float(weights[name].double().sum()), float(weights[name].double().norm())] == pytest.approx(
            [total, norm], rel=1e-5, abs=1e-5
        )


@pytest.mark.parametrize("card", CARDS, ids=[card.stem for card in CARDS])
def test_every_network_is_built_from_its_old_card(card):
    network = build_network(ModelCard.from_dict(json.loads(card.read_text()), str(card)).network, card)
    assert type(network).__name__ == card.stem


def test_the_old_model_file_is_found_by_its_folder():
    network, _ = load_model(OLD / "run")
    assert type(network).__name__ == "DualBranch" and not network.training
    assert network.init_args["backbone"] == "test_efficientnet"


def test_portraits_of_an_old_store_come_back_without_the_points_that_it_lacks(old, monkeypatch):
    monkeypatch.setattr("piqa.preparation.portrait.Preparer", None)
    preparation = Scorer.load("run", device="cpu").preparation
    portrait = PreparedStore("store", preparation).load("images/scene_0/0.jpg")
    assert portrait.face_box is not None and portrait.face_points is None and portrait.other_faces == 0
