"""The configs of single factors, by the commands that users give: train, score, evaluate, one small network each."""

import json

import pandas as pd
import pytest
import torch
from look_alike_databases import write_koniq, write_spaq

from piqa import Scorer, evaluate, explain, fit
from piqa.data import noise_pairs
from piqa.data.demo import Scene
from piqa.models import ColourNet, NoiseNet
from piqa.weights import model_file
from piqa.weights.model_card import ClassSpec, ModelCard

pytestmark = pytest.mark.filterwarnings("ignore:.* lists .* images:UserWarning")
SMALL = ["--model.network.init_args.backbone", "test_byobnet", "--model.init.whole", "scratch"]
SMALL += ["--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
SMALL += ["--data.store.workers", "0", "--data.loading.workers", "0", "--data.sampling.images_per_group", "6"]


def run(config, folder, *arguments):
    """Train as a user does, and return the model's card, and where the run is."""
    out = folder / "run"
    store = ["--data.store.folder", str(folder / "store"), "--out", str(out)]
    fit.main(["--config", config, *SMALL, *store, *arguments])
    return json.loads((out / "model.json").read_text()), out


def test_colour_and_quality_of_spaq_stand_on_the_board(tmp_path):
    spaq = write_spaq(tmp_path / "spaq")
    sides = ["--model.network.init_args.image_size", "64", "--data.inputs.crop_size", "64"]
    sides += ["--data.preparation.short_side", "72", "--data.table.split", "drawn", "--trainer.log_every_n_steps", "1"]
    card, out = run("colour.yaml", tmp_path, "--data.table.root", str(spaq), *sides)
    assert card["network"]["class_path"] == "piqa.models.ColourNet"
    assert card["trained_on"]["attribute"] == "colorfulness" and card["trained_on"]["table"].startswith("SPAQ colorf")
    metrics = pd.read_csv(out / "metrics.csv")
    weights = metrics[["loss_weight/score", "loss_weight/quality"]].dropna()
    assert len(weights) and weights.sum(axis=1).tolist() == pytest.approx([2] * len(weights), abs=1e-5)
    assert metrics["grad_norm/score"].gt(0).any() and metrics["val/srocc_quality"].notna().any()
    state = torch.load(out / "checkpoints" / "last.ckpt", weights_only=True)["callbacks"]
    assert state["GradNorm"]["names"] == ["score", "quality"]
    evaluate.main(["--ckpt_path", str(out), "--scoring.device", "cpu", "--statistics.bootstrap_samples", "20"])
    board = pd.read_csv(out / "evaluation" / "attributes.csv").set_index("attribute")
    assert list(board.index) == ["colorfulness", "quality"] and board["srocc"].notna().all()


def test_quality_at_many_scales_learns_from_whole_images(tmp_path):
    write_koniq(tmp_path / "koniq")
    small = ["--data.preparation.short_side", "72", "--data.table.root", str(tmp_path / "koniq")]
    card, out = run("quality.yaml", tmp_path, *small)
    assert card["view"] == "whole" and card["network"]["class_path"] == "piqa.models.MultiScaleNet"
    images = sorted(map(str, (tmp_path / "koniq").rglob("*.jpg")))[:2]
    assert Scorer.load(out, device="cpu").score(images)["score"].notna().all()


def test_noise_is_learnt_from_patches_and_scored_in_whole_pictures(tmp_path):
    noise_pairs.main([str(tmp_path / "noise"), "--scenes", "6", "--exposures", "3", "--patches", "2"])
    card, out = run("noise.yaml", tmp_path, "--data.table.csv", str(tmp_path / "noise/noise.csv"))
    assert card["preparation"]["resize"] == "keep" and card["network"]["class_path"] == "piqa.models.NoiseNet"
    assert (out / "test" / "metrics.json").is_file()


def test_models_of_colour_and_noise_stand_beside_the_measured_factors(tmp_path):
    """Whole pictures in their own pixels for one, crops for the other."""
    for folder, network, side in (
        ("colour", ColourNet("test_byobnet", 64), 64),
        ("noise", NoiseNet("test_byobnet"), 0),
    ):
        preparation = {"short_side": 72} if side else {"resize": "keep"}
        card = ModelCard(
            ClassSpec.of(network), preparation | {"face_rule": "none"}, view="crops" if side else "whole", crop_size=64
        )
        model_file.save(network, tmp_path / folder / "model.safetensors", card)
    for number in range(2):
        Scene.number(number).view(0).save(tmp_path / f"{number}.png")
    files, learned = [str(tmp_path / f"{number}.png") for number in range(2)], []
    for family in ("colour", "noise"):
        learned += [f"--learned.{family}", str(tmp_path / family)]
    explain.main([*files, *learned, "--out", str(tmp_path / "report"), "--device", "cpu", "--workers", "0"])
    table = pd.read_csv(tmp_path / "report" / "factors.csv")
    assert table["learned_colour"].notna().all() and table["learned_noise"].notna().all()
    expected = Scorer.load(tmp_path / "noise", device="cpu").score(files)["score"]
    assert table["learned_noise"].tolist() == pytest.approx(expected.tolist(), abs=1e-4)
