import json

import pandas as pd
import pytest
from test_fit import one_line

from piqa import evaluate


def test_evaluating_the_model_gives_the_figures_that_fit_gave(tiny_config, tiny_run, tmp_path):
    store = str(tiny_config.parent / "store")
    evaluate.main(["--ckpt_path", str(tiny_run), "--store", store, "--out", str(tmp_path)])
    ours, theirs = (pd.read_csv(folder / "predictions.csv") for folder in (tmp_path, tiny_run / "test"))
    assert ours["prediction"].tolist() == pytest.approx(theirs["prediction"].tolist(), abs=1e-5)
    facts = json.loads((tmp_path / "metrics.json").read_text())["facts"]
    assert facts["selected_on"] == "val" and facts["split"] == "test"


def test_predictions_of_others_are_joined_with_a_table(tiny_config, tiny_run, tmp_path):
    theirs = pd.read_csv(tiny_run / "test" / "predictions.csv", float_precision="round_trip")[["image", "prediction"]]
    theirs.to_csv(tmp_path / "theirs.csv", index=False)
    root = str(tiny_config.parent / "piq23")
    table = ["--table", "piqa.data.PIQ23", "--table.root", root]
    evaluate.main(["--predictions", str(tmp_path / "theirs.csv"), *table])
    ours, official = (
        json.loads((folder / "metrics.json").read_text())["official"]
        for folder in (tmp_path / "evaluation", tiny_run / "test")
    )
    assert ours == official


def test_a_csv_with_scores_needs_no_table(tmp_path):
    rows = pd.DataFrame({"image": list("abcdef"), "scene": "s", "score": range(6), "prediction": [0, 1, 2, 3, 5, 4]})
    rows.to_csv(tmp_path / "some.csv", index=False)
    evaluate.main(["--predictions", str(tmp_path / "some.csv"), "--out", str(tmp_path / "out")])
    official = json.loads((tmp_path / "out" / "metrics.json").read_text())["official"]
    assert official["srocc"] == pytest.approx(1 - 12 / 210)  # two neighbours swapped: 1 - 6 * 2 / (6 * 35)


def test_another_split_can_be_evaluated(tiny_config, tiny_run, tmp_path):
    store = str(tiny_config.parent / "store")
    found = evaluate.evaluate(str(tiny_run), split="train", out=str(tmp_path), store=store, samples=20)
    assert found.board.facts["images"] == 24


def test_neither_model_nor_predictions_is_told_in_one_line(capsys):
    assert "--ckpt_path" in one_line(capsys, lambda: evaluate.main([]))


def test_a_split_without_pictures_is_named(tiny_run, capsys):
    message = one_line(capsys, lambda: evaluate.main(["--ckpt_path", str(tiny_run), "--split", "val"]))
    assert "'val'" in message and "test, train" in message


def test_an_official_model_asks_for_a_table(tiny_run, tmp_path, capsys):
    for name in ("model.safetensors", "model.json"):
        (tmp_path / name).write_bytes((tiny_run / name).read_bytes())
    card = json.loads((tmp_path / "model.json").read_text())
    del card["trained_on"]
    (tmp_path / "model.json").write_text(json.dumps(card))
    assert "--table" in one_line(capsys, lambda: evaluate.main(["--ckpt_path", str(tmp_path)]))


def test_a_card_cannot_name_anything_but_a_table(tiny_run, tmp_path, capsys):
    (tmp_path / "model.safetensors").write_bytes((tiny_run / "model.safetensors").read_bytes())
    card = json.loads((tiny_run / "model.json").read_text())
    witness = tmp_path / "called"
    card["trained_on"]["data"]["table"] = {"class_path": "os.mkdir", "init_args": {"path": str(witness)}}
    (tmp_path / "model.json").write_text(json.dumps(card))
    assert "os.mkdir" in one_line(capsys, lambda: evaluate.main(["--ckpt_path", str(tmp_path)]))
    assert not witness.exists()
