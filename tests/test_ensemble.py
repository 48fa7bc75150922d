"""Scores of several models and of passes under dropout: the formulas, the rows, and what a run must not mix."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from refusals import one_line
from tiny_models import write_images, write_tiny_model
from torch import nn

from piqa import Scorer, predict
from piqa.errors import InputError
from piqa.evaluation.statistics.uncertainty import ScoreUncertainty
from piqa.models import DualBranch
from piqa.models.dropout_passes import SCORES, STDS, DropoutPasses
from piqa.scoring.dropout_engine import with_dropout
from piqa.scoring.ensemble import combined, load_ensemble
from piqa.weights import model_file
from piqa.weights.card_facts import add_to_card
from piqa.weights.model_card import ModelCard

FACT = ScoreUncertainty(2.0, 0.5, 1.0, 3.0, 1.0)


def with_fact(folder, fact, seed=0, **init_args):
    """A tiny model whose weights are those of a seed, and whose card says this."""
    write_tiny_model(folder, **init_args)
    network, card = model_file.load_model(folder)
    torch.manual_seed(seed)
    for weights in network.head.parameters():
        nn.init.normal_(weights, std=0.3)
    facts = card if fact is None else replace(card, uncertainty=fact.to_dict())
    model_file.save(network, folder / "model.safetensors", facts)
    return folder


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"), 5)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two models of one kind, the second on a scale of its own."""
    folder = tmp_path_factory.mktemp("models")
    other = ScoreUncertainty(8.0, -1.0, 1.0, 5.0, 1.0)
    return [with_fact(folder / name, fact, seed, score_std=True) for name, fact, seed in
            (("a", FACT, 1), ("b", other, 2))]  # fmt: skip


def test_the_card_makes_the_unit_of_the_deviation(tmp_path, files):
    raw = with_fact(tmp_path / "raw", None, score_std=True)
    before = Scorer.load(raw).score(files)
    settings = Scorer.load(raw).settings(raw / "model.safetensors")
    add_to_card(raw / "model.safetensors", {"uncertainty": FACT.to_dict()})
    scorer = Scorer.load(raw)
    after = scorer.score(files)
    assert after["score"].equals(before["score"])
    assert np.allclose(after["score_std"], 3 * before["score_std"], rtol=1e-6)
    # Rows of both units must not meet in one table.
    assert scorer.settings(raw / "model.safetensors") == settings | {"score_std_factor": 3.0}


def test_a_factor_is_of_no_account_to_a_network_without_deviations(tmp_path, files):
    plain = with_fact(tmp_path / "plain", FACT)
    scorer = Scorer.load(plain)
    assert "score_std" not in scorer.columns
    assert "score_std_factor" not in scorer.settings(plain / "model.safetensors")


@pytest.mark.parametrize(("factor", "told"), [("x", "'x'"), (10**400, "1000")], ids=["text", "huge"])
def test_a_factor_that_is_none_is_refused(tmp_path, factor, told):
    card = ModelCard.from_dict(
        {"network": {"class_path": "piqa.models.DualBranch"}, "uncertainty": {"factor": factor}}, "card"
    )
    with pytest.raises(InputError, match=f"`factor` {told}"):
        Scorer(DualBranch("test_resnet", ["whole"], 32), Scorer.load(write_tiny_model(tmp_path)).preparation, card=card)


def test_mean_and_variance_by_hand():
    score, std, between = combined(np.array([[1.0, 4.0], [3.0, 4.0]]), np.array([[1.0, 0.0], [2.0, 3.0]]))
    assert score.tolist() == [2.0, 4.0] and between.tolist() == [1.0, 0.0]
    assert std.tolist() == pytest.approx([np.sqrt(2.5 + 1), np.sqrt(4.5)])


def test_an_ensemble_is_on_the_scale_of_its_first_model(models, files):
    one, other = (Scorer.load(model).score(files) for model in models)
    found = load_ensemble(models).score(files)
    slope = 8 / 2
    moved = 0.5 + slope * (other["score"] + 1.0)
    stds = np.stack([one["score_std"], slope * other["score_std"]])
    score, std, between = combined(np.stack([one["score"], moved]), stds)
    assert np.allclose(found["score"], score, rtol=1e-5)
    assert np.allclose(found["score_std"], std, rtol=1e-5)
    assert np.allclose(found["model_std"], between, rtol=1e-4)
    assert list(found.columns)[-2:] == ["score_std", "model_std"]


def test_copies_of_a_model_agree_and_are_refused(models, files):
    with pytest.raises(InputError, match="a model twice"):
        load_ensemble([models[0], models[0]])
    with pytest.raises(InputError, match="two models or more"):
        load_ensemble(models[:1])


def test_an_ensemble_needs_the_scale_of_every_model_and_one_kind(models, tmp_path):
    with pytest.raises(InputError, match="piqa evaluate --ckpt_path"):
        load_ensemble([models[0], with_fact(tmp_path / "c", None, 3, score_std=True)])
    with pytest.raises(InputError, match="models of one kind"):
        load_ensemble([models[0], with_fact(tmp_path / "d", FACT, 3, image_size=24)])


def test_models_of_other_scales_or_without_deviations_are_refused(models, tmp_path):
    elsewhere = replace(FACT, source="other.csv, split test", images=90)
    with pytest.raises(InputError, match=r"was found on 90 images of other\.csv, split test, that of"):
        load_ensemble([models[0], with_fact(tmp_path / "e", elsewhere, 3, score_std=True)])
    with pytest.raises(InputError, match="one states `score_std` and the other does not"):
        load_ensemble([models[0], with_fact(tmp_path / "f", FACT, 3)])


def test_what_is_no_single_network_says_so(models):
    for scorer in (load_ensemble(models), with_dropout(Scorer.load(models[0]), 3)):
        with pytest.raises(InputError, match="scores and does nothing else"):
            _ = scorer.network
        assert scorer.to("cpu").device.type == "cpu"
    with pytest.raises(InputError, match="mc_dropout"):
        with_dropout(load_ensemble(models), 3)


def test_passes_are_those_of_a_network_with_the_units_left_out():
    network = DualBranch("test_resnet", ["whole"], 32, hidden=16, dropout=0.5, score_std=True).eval()
    whole = torch.rand(3, 3, 32, 32)
    passes = DropoutPasses(network, 4, seed=5)
    with torch.inference_mode():
        found, plain = passes(whole=whole), network(whole=whole)
        other = DropoutPasses(network, 2, seed=6)(whole=whole)[SCORES]
        features = network.input_features("whole", whole)
        hidden = network.head[1](network.head[0](features))
        layers = list(passes.layers)
        for number in range(4):
            generator = torch.Generator().manual_seed((5 * 1000 + number) * 10_000 + layers.index("head.2"))
            kept = torch.rand(16, generator=generator) >= 0.5
            by_hand = network.head[3](hidden * kept / 0.5).squeeze(1)
            assert torch.allclose(found[SCORES][:, number], by_hand, atol=1e-6)
    assert torch.equal(found["score"], plain["score"]) and torch.equal(found["score_std"], plain["score_std"])
    assert found[STDS].shape == (3, 4) and found[SCORES].std() > 0
    assert not torch.allclose(other[:, 0], found[SCORES][:, 1], atol=1e-6)  # seeds beside each other share no pass
    assert not network.head[2]._forward_hooks  # nothing is left behind


def test_a_network_that_is_not_separable_is_run_several_times():
    class Plain(nn.Module):
        inputs = ("whole",)
        classes, image_size, pools_windows, init_args = {}, None, False, {}

        def __init__(self):
            super().__init__()
            self.drop = nn.Dropout(0.5)

        def forward(self, whole):
            return {"score": self.drop(whole.flatten(1)).sum(dim=1)}

    network = Plain().eval()
    whole = torch.ones(2, 3, 4, 4)
    found = DropoutPasses(network, 500)(whole=whole)
    assert found["score"].tolist() == [48, 48]
    assert found[SCORES].mean().item() == pytest.approx(48, abs=1)  # each unit counts double where it stays
    assert found[SCORES].std().item() == pytest.approx(np.sqrt(48), rel=0.15)
    assert torch.equal(found[SCORES][0], found[SCORES][1])  # the same units for every image


def test_without_dropout_there_is_nothing_to_tell():
    network = DualBranch("test_resnet", ["whole"], 32, dropout=0.0).eval()
    with pytest.raises(InputError, match="DualBranch has no dropout layer"):
        DropoutPasses(network, 5)
    with pytest.raises(InputError, match="at least 2 passes"):
        DropoutPasses(DualBranch("test_resnet", ["whole"], 32).eval(), 1)


def test_dropout_keeps_the_score_and_depends_on_no_neighbour(models, files):
    plain = Scorer.load(models[0]).score(files)
    scorer = with_dropout(Scorer.load(models[0]), 8)
    together, alone = scorer.score(files, batch_size=5), scorer.score(files[::-1], batch_size=1)[::-1]
    assert np.allclose(together["score"], plain["score"], rtol=1e-6)
    for name in ("score_std", "model_std"):
        assert np.allclose(together[name], alone[name], rtol=1e-4)
    assert (together["model_std"] > 0).all() and (together["score_std"] > together["model_std"]).all()
    other = with_dropout(Scorer.load(models[0]), 8, seed=100).score(files)
    assert not np.allclose(other["model_std"], together["model_std"], rtol=1e-3)


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_predict_writes_the_columns_and_does_not_mix_what_differs(models, files, tmp_path, capsys):
    out = tmp_path / "scores.csv"
    common = [*files, "--ckpt_path", str(models[0]), "--workers", "0"]
    predict.main([*common, "--mc_dropout", "4", "--out", str(out)])
    first = rows_of(out)
    assert {"score_std", "model_std"} <= set(first[0])
    about = json.loads(out.with_suffix(".json").read_text())
    assert about["mc_dropout"]["passes"] == 4
    predict.main([*common, "--mc_dropout", "9", "--out", str(out)])
    assert [row["model_std"] for row in rows_of(out)] != [row["model_std"] for row in first]
    predict.main([*common, "--ensemble", f"[{models[1]}]", "--out", str(out)])
    both = rows_of(out)
    assert float(both[0]["score"]) == pytest.approx(load_ensemble(models).score(files[:1])["score"][0], rel=1e-5)
    assert len(json.loads(out.with_suffix(".json").read_text())["ensemble"]) == 2
    asked = [*common, "--ensemble", f"[{models[1]}]", "--mc_dropout", "4", "--out", str(out)]
    assert "give one of them" in one_line(capsys, lambda: predict.main(asked))


def test_an_interrupted_run_takes_no_rows_of_other_settings(models, files, tmp_path):
    from piqa.scoring.resumable_csv import ScoreParts

    scorers = [with_dropout(Scorer.load(models[0]), passes) for passes in (4, 9)]
    weights, out = models[0] / "model.safetensors", tmp_path / "s.csv"
    parts = [ScoreParts(out, one.columns, one.settings(weights)) for one in scorers]
    parts[0].left(files)
    batches = scorers[0].batches(files)
    with parts[0].writing():
        for batch in batches:
            parts[0].append(scorers[0].rows(batch), batch.stamps)
    assert parts[0].left(files) == [] and parts[1].left(files) == files


@pytest.mark.slow
def test_an_exported_model_keeps_the_unit_and_has_no_dropout_to_switch_on(tmp_path):
    from piqa import export

    model = with_fact(tmp_path / "m", FACT, score_std=True)
    image = write_images(tmp_path / "i", 1)
    export.export(str(model), format="torchscript", out=str(tmp_path / "m.ts"), check_images=4, min_spearman=0.5)
    exported, plain = Scorer.load(tmp_path / "m.ts"), Scorer.load(model)
    assert exported.score(image)["score_std"][0] == pytest.approx(plain.score(image)["score_std"][0], rel=1e-3)
    with pytest.raises(InputError, match="exported one"):
        with_dropout(exported, 4)
