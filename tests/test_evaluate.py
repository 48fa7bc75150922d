import errno
import io
import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from refusals import one_line, refusal

from piqa import Scorer, evaluate
from piqa.data import PIQ23, CSVTable
from piqa.data.tables.splits import hold_out_scenes
from piqa.data.tables.table import Table
from piqa.evaluation.statistics.doubt import measure_doubt
from piqa.evaluation.statistics.options import StatisticsOptions
from piqa.evaluation.statistics.preference import Preference
from piqa.evaluation.statistics.reliability import calibrate
from piqa.models import DualBranch
from piqa.preparation.portrait import Preparation
from piqa.scoring.options import ScoringOptions
from piqa.system.files import digest_of
from piqa.weights.model_card import ClassSpec
from piqa.weights.model_file import load_model, read_card, save


def test_evaluating_the_model_gives_the_figures_that_fit_gave(tiny_config, tiny_run, tmp_path):
    store = str(tiny_config.parent / "store")
    evaluate.main(
        [
            "--ckpt_path",
            str(tiny_run),
            "--scoring.store",
            store,
            "--out",
            str(tmp_path),
            "--statistics.bootstrap_samples",
            "50",
        ]
    )
    ours, theirs = (pd.read_csv(folder / "predictions.csv") for folder in (tmp_path, tiny_run / "test"))
    assert ours["prediction"].tolist() == pytest.approx(theirs["prediction"].tolist(), abs=1e-5)
    measured = json.loads((tmp_path / "metrics.json").read_text())
    facts, told = measured["facts"], measured["preference"]
    assert facts["selected_on"] == "val" and facts["split"] == "test"
    # How sure the scores are is kept in the run's card, beside the weights, which stay as they are.
    card = read_card(tiny_run)
    assert card.preference == {name: value for name, value in told.items() if name != "reliability"}
    known = calibrate(ours["prediction"], ours["score"], ours["scene"], ours["score_std"], told["source"])
    assert Preference.from_dict(card.preference).scale == pytest.approx(known.preference.scale, rel=1e-4)
    assert told["source"].endswith("split test, overall") and told["scenes"] == ours["scene"].nunique()
    assert card.weights_digest == digest_of(tiny_run / "model.safetensors")


def test_a_networks_deviations_are_judged_and_their_unit_is_kept(tiny_config, tiny_run, tmp_path, capsys):
    """On validation scenes, which the card names, the unit is fitted; on the test scenes it is tested and stays."""
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run, ignore=shutil.ignore_patterns("checkpoints", "evaluation"))
    network, card = load_model(run)
    torch.manual_seed(3)
    other = DualBranch(**network.init_args, score_std=True).eval()
    save(other, run / "model.safetensors", replace(card, network=ClassSpec.of(other), uncertainty={}))
    common = ["--ckpt_path", str(run), "--statistics.bootstrap_samples", "20"]
    common += ["--scoring.store", str(tiny_config.parent / "store")]

    evaluate.main([*common, "--split", "train", "--out", str(tmp_path / "train")])
    assert read_card(run).uncertainty == {}  # scenes of the training make a model look too sure
    evaluate.main([*common, "--split", "val", "--out", str(tmp_path / "val")])
    table = PIQ23(root=str(tiny_config.parent / "piq23")).load()
    held_out = hold_out_scenes(table, 0.15, 0)
    found = pd.read_csv(tmp_path / "val" / "predictions.csv")
    assert set(found["scene"]) == set(held_out.loc[held_out["split"] == "val", "scene"])
    stated = ("prediction", "score", "scene", "prediction_std")
    known = measure_doubt(*(found[name] for name in stated), score_std=found["score_std"])
    kept = read_card(run).uncertainty
    assert kept["factor"] == pytest.approx(known.uncertainty.factor, rel=1e-3) and "split val" in kept["source"]
    assert "kept in its card, for `score_std`" in " ".join(capsys.readouterr().out.split())

    evaluate.main([*common, "--out", str(tmp_path / "test")])
    assert read_card(run).uncertainty == kept
    assert "stays as it is" in " ".join(capsys.readouterr().out.split())
    tested = pd.read_csv(tmp_path / "test" / "predictions.csv")
    raw = Scorer(other, Preparation(**card.preparation), card.crop_size, "cpu")
    paths = table.set_index("image").loc[tested["image"][:2], "path"]
    stated = tested["prediction_std"][:2].tolist()
    assert raw.score(list(paths))["score_std"].tolist() == pytest.approx(stated, rel=1e-4)


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


def test_a_csv_may_state_standard_deviations(tmp_path, capsys):
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"image": map(str, range(40)), "scene": np.repeat(list("abcd"), 10)})
    rows["prediction_std"] = rng.uniform(0.1, 1, 40)
    rows["prediction"] = rng.normal(size=40)
    rows["score"] = 2 * (rows["prediction"] + rows["prediction_std"] * rng.normal(size=40))
    rows.to_csv(tmp_path / "some.csv", index=False)
    command = ["--predictions", str(tmp_path / "some.csv"), "--out", str(tmp_path / "out")]
    evaluate.main([*command, "--statistics.bootstrap_samples", "20"])
    told = json.loads((tmp_path / "out" / "metrics.json").read_text())["uncertainty"]
    assert [way["way"] for way in told["ways"]] == ["as stated", "calibrated", "one for all"]
    assert 0.5 < told["factor"] < 1.5 and "stated standard deviations on scenes left out" in capsys.readouterr().out
    rows.loc[3, "prediction_std"] = -0.1
    rows.to_csv(tmp_path / "some.csv", index=False)
    assert "`prediction_std` of 3 is negative" in one_line(capsys, lambda: evaluate.main(command))


def test_a_csv_with_scores_needs_no_table(tmp_path):
    rows = pd.DataFrame({"image": list("abcdef"), "scene": "s", "score": range(6), "prediction": [0, 1, 2, 3, 5, 4]})
    rows.to_csv(tmp_path / "some.csv", index=False)
    evaluate.main(["--predictions", str(tmp_path / "some.csv"), "--out", str(tmp_path / "out")])
    measured = json.loads((tmp_path / "out" / "metrics.json").read_text())
    official = measured["official"]
    assert measured["preference"]["pairs"] == 15 and measured["preference"]["reliability"] is None  # of one scene
    assert official["srocc"] == pytest.approx(1 - 12 / 210)  # two neighbours swapped: 1 - 6 * 2 / (6 * 35)


def test_another_split_can_be_evaluated(tiny_config, tiny_run, tmp_path):
    store = str(tiny_config.parent / "store")
    found = evaluate.evaluate(
        str(tiny_run), split="train", out=str(tmp_path), scoring=ScoringOptions(store), statistics=StatisticsOptions(20)
    )
    assert found.board.facts.images == 24
    assert "is not kept: scenes of the training" in found.notes[0]


def test_several_models_and_csvs_stand_on_one_board_and_leave_a_report_each(tiny_config, tiny_run, tmp_path):
    theirs = pd.read_csv(tiny_run / "test" / "predictions.csv")[["image", "prediction"]]
    theirs.assign(image="Overall\\" + theirs["image"], prediction=-theirs["prediction"]).to_csv(tmp_path / "peer.csv")
    found = evaluate.evaluate(
        f"ours={tiny_run}",
        [f"their model={tmp_path / 'peer.csv'}"],
        scoring=ScoringOptions(str(tiny_config.parent / "store")),
        out=str(tmp_path / "out"),
        selected_on={"their model": "test"},
        statistics=StatisticsOptions(20),
    )
    entries = found.board.entries.set_index("model")
    assert entries["kind"].value_counts().to_dict() == {"published": 6, "naive": 3, "model": 2, "ceiling": 1}
    assert entries.loc[["ours", "their model"], "selected_on"].to_list() == ["val", "test"]
    srocc = {name: report.summary["official"]["srocc"] for name, report in found.reports.items()}
    assert srocc["ours"] == pytest.approx(-srocc["their model"], abs=1e-6)
    assert found.board.facts.attribute == "overall" and found.board.facts.official_split == "scene"
    assert found.board.facts.test_crops == "five"
    assert (tmp_path / "out" / "their_model" / "metrics.json").is_file() and (tmp_path / "out" / "ours").is_dir()


def test_a_model_scores_the_training_images_for_the_calibrated_protocol_when_asked(tiny_config, tiny_run, tmp_path):
    store = str(tiny_config.parent / "store")
    found = evaluate.evaluate(
        str(tiny_run),
        scoring=ScoringOptions(store),
        out=str(tmp_path),
        calibrate=True,
        statistics=StatisticsOptions(20),
    )
    # all that the table marks train: of a table without a validation split, the scenes that chose the checkpoint too
    assert found.board.facts.calibration_images["run"] == 24
    measures = found.board.measures.set_index(["model", "protocol", "measure"])["value"]
    assert measures[("run", "calibrated", "mae")] < 2
    assert found.reports["run"].summary["images"] == 12
    plain = evaluate.evaluate(
        str(tiny_run), scoring=ScoringOptions(store), out=str(tmp_path), statistics=StatisticsOptions(20)
    )
    assert "run" in plain.board.facts.unavailable["calibrated"]


def test_only_the_official_test_split_stands_beside_published_lines(tiny_config, tiny_run, tmp_path):
    store = str(tiny_config.parent / "store")
    found = evaluate.evaluate(
        str(tiny_run), scoring=ScoringOptions(store), out=str(tmp_path), split="train", statistics=StatisticsOptions(20)
    )
    assert "published" not in set(found.board.entries["kind"])
    assert found.board.facts.unavailable["calibrated"]["run"] == "the table has no training images"


def test_a_table_of_ones_own_needs_no_images_to_judge_csvs(tmp_path):
    rng = np.random.default_rng(0)
    mine = pd.DataFrame({"image": [f"{i}.jpg" for i in range(24)], "scene": np.repeat(list("abcd"), 6)})
    mine = mine.assign(score=rng.normal(50, 20, 24).round(2), split="test")
    mine.to_csv(tmp_path / "mine.csv", index=False)
    for name in ("one", "two"):
        noisy = mine["score"] + rng.normal(0, 10, 24)
        mine[["image"]].assign(prediction=noisy).to_csv(tmp_path / f"{name}.csv", index=False)
    table = ["piqa.data.CSVTable", "--table.csv", str(tmp_path / "mine.csv"), "--table.required_splits", "[test]"]
    table += ["--table.check_files", "false", "--pairs.clear", "20", "--pairs.near", "5"]
    both = [str(tmp_path / "one.csv"), f"zwei={tmp_path / 'two.csv'}"]
    evaluate.main(
        [
            "--predictions",
            *both,
            "--table",
            *table,
            "--statistics.bootstrap_samples",
            "20",
            "--out",
            str(tmp_path / "out"),
        ]
    )
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"one", "zwei"}


def test_missing_images_are_an_error_unless_a_share_is_allowed(tiny_config, tiny_run, tmp_path, capsys):
    theirs = pd.read_csv(tiny_run / "test" / "predictions.csv")[["image", "prediction"]]
    theirs.iloc[1:].to_csv(tmp_path / "theirs.csv", index=False)
    arguments = ["--predictions", str(tmp_path / "theirs.csv"), "--table", "piqa.data.PIQ23"]
    arguments += ["--table.root", str(tiny_config.parent / "piq23"), "--statistics.bootstrap_samples", "20"]
    assert "predicts 11 of the 12 images" in one_line(capsys, lambda: evaluate.main(arguments))
    evaluate.main([*arguments, "--max_missing", "0.1"])
    assert "1 images of the table have no prediction" in capsys.readouterr().out


@pytest.mark.parametrize("names", [["run=some.csv"], ["a b=some.csv", "A.b=other.csv"]])
def test_names_that_could_be_taken_for_each_other_are_refused(names, tiny_run, capsys):
    arguments = ["--ckpt_path", str(tiny_run), "--predictions", *names]
    assert "are too alike" in one_line(capsys, lambda: evaluate.main(arguments))


def test_what_chose_the_checkpoint_of_a_stranger_is_refused(capsys):
    arguments = ["--predictions", "peer=some.csv", "--selected_on", "{pear: test}"]
    assert "names 'pear', but the CSVs are peer" in one_line(capsys, lambda: evaluate.main(arguments))


def test_neither_model_nor_predictions_is_told_in_one_line(capsys):
    assert "--ckpt_path" in one_line(capsys, lambda: evaluate.main([]))


def test_a_split_without_images_is_named(tiny_run, tmp_path, capsys):
    for name in ("model.safetensors", "model.json"):
        (tmp_path / name).write_bytes((tiny_run / name).read_bytes())
    card = json.loads((tmp_path / "model.json").read_text())
    del card["trained_on"]["data"]["validation_fraction"]  # as cards of 0.1.0
    (tmp_path / "model.json").write_text(json.dumps(card))
    message = one_line(capsys, lambda: evaluate.main(["--ckpt_path", str(tmp_path), "--split", "val"]))
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


class Stars(Table):
    """A table of its own, with scores centred on 3 and ratings of another kind of the same images."""

    name = "stars"
    attribute = "sharpness"
    official_split = "2026"
    centred_score = 3.0

    def load(self):
        score = np.random.default_rng(0).permutation(48).reshape(2, 4, 6) % 5 + 1.0
        names = [f"{part}/{scene}/{place}.jpg" for part, scene, place in np.ndindex(score.shape)]
        frame = pd.DataFrame({"image": names, "path": names, "score": score.ravel()})
        return frame.assign(scene=frame["image"].str[:3], split=np.repeat(["train", "test"], 24))

    def rival_scores(self):
        return {"noise": self.load().set_index("image")["score"] + 1}


def test_any_table_tells_its_centre_its_split_and_its_rivals(tmp_path):
    Stars().load()[["image"]].assign(prediction=range(48)).to_csv(tmp_path / "some.csv", index=False)
    options = StatisticsOptions(20)
    found = evaluate.evaluate(predictions=str(tmp_path / "some.csv"), table=Stars(), statistics=options).board
    assert (found.facts.attribute, found.facts.official_split) == ("sharpness", "2026")
    entries = found.entries.set_index("model")
    assert entries.index[entries["kind"] == "naive"].to_list() == ["constant", "noise"]
    assert entries.loc["constant", "source"] == "3 for every image, which the scores are centred on"
    train = evaluate.evaluate(
        predictions=str(tmp_path / "some.csv"), table=Stars(), split="train", statistics=options
    ).board
    assert train.facts.official_split is None  # published results are of the test split


def test_a_table_knows_nothing_of_these_by_itself(tmp_path):
    table = CSVTable(tmp_path / "some.csv", check_files=False)
    assert (table.attribute, table.official_split, table.centred_score, table.rival_scores()) == (None, None, None, {})


@pytest.mark.parametrize("arguments, kept", [(["--scoring.device", "cpu"], True), ([], False)])
def test_only_the_command_changes_the_process_and_only_where_a_network_runs_on_a_cpu(arguments, kept, monkeypatch):
    called = []
    monkeypatch.setattr(evaluate, "keep_freed_memory", lambda: called.append(True))
    given = ["--ckpt_path", "no such run"] if kept else ["--predictions", "no such.csv"]
    with pytest.raises(SystemExit):
        evaluate.main([*given, *arguments])
    assert called == [True] * kept


@pytest.mark.parametrize(
    "argument, value", [("statistics.bootstrap_samples", "0"), ("pairs.near", "-1"), ("scoring.batch_size", "0")]
)
def test_a_setting_of_a_group_is_refused_in_one_line(argument, value, capsys):
    line = one_line(capsys, lambda: evaluate.main(["--predictions", "some.csv", f"--{argument}", value]))
    assert f"`{argument.split('.')[1]}` is {value}" in line


# Outputs


def six_scenes(folder, name="p.csv"):
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"image": [f"{i}.jpg" for i in range(48)], "scene": np.repeat(list("abcdef"), 8)})
    rows.assign(score=rng.normal(size=48), prediction=rng.normal(size=48)).to_csv(folder / name, index=False)
    return folder / name


BOARD = {f"leaderboard.{end}" for end in ("html", "json", "csv", "md", "tex")}
FEW = ["--statistics.bootstrap_samples", "20"]


class ClosedOutput(io.StringIO):
    """A stdout that cannot be written: full, or closed by its reader."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def write(self, text):
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize(("fault", "status"), [(errno.ENOSPC, 1), (errno.EPIPE, None)])
def test_all_files_are_there_whatever_becomes_of_stdout(tmp_path, monkeypatch, capsys, fault, status):
    monkeypatch.setattr(sys, "stdout", ClosedOutput(fault))
    arguments = ["--predictions", str(six_scenes(tmp_path)), *FEW, "--out", str(tmp_path / "out")]
    if status is None:
        evaluate.main(arguments)
    else:
        with pytest.raises(SystemExit) as stop:
            evaluate.main(arguments)
        assert stop.value.code == status
    assert BOARD | {"metrics.json", "scatter.png"} <= {file.name for file in (tmp_path / "out").iterdir()}
    assert "Traceback" not in capsys.readouterr().err


def test_a_folder_of_somebody_else_is_refused_and_stays(tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "leaderboard.csv").write_text("mine")
    arguments = ["--predictions", str(six_scenes(tmp_path)), *FEW, "--out", str(out)]
    assert "holds files that are not piqa's evaluation" in one_line(capsys, lambda: evaluate.main(arguments))
    assert [file.name for file in out.iterdir()] == ["leaderboard.csv"]


def test_an_evaluation_by_a_former_version_may_be_replaced(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    for name in ("metrics.json", "per_scene.csv"):
        (out / name).write_text("{}")
    evaluate.evaluate(predictions=str(six_scenes(tmp_path)), statistics=StatisticsOptions(20), out=str(out))
    assert json.loads((out / "metrics.json").read_text())["scenes"] == 6


def test_a_file_that_cannot_be_read_leaves_no_folder(tmp_path, capsys):
    one_line(capsys, lambda: evaluate.main(["--predictions", str(tmp_path / "none" / "some.csv")]))
    assert not (tmp_path / "none").exists()


def test_what_is_passed_on_holds_no_path_of_the_machine(tmp_path, monkeypatch):
    own = six_scenes(tmp_path)
    monkeypatch.setattr(sys, "argv", ["piqa", "--predictions", f"ours={own}", "--out", str(tmp_path / "out")])
    rows = pd.read_csv(own)
    rows.assign(image=[f"{tmp_path}/pictures/{name}" for name in rows["image"]]).to_csv(own, index=False)
    evaluate.main(["--predictions", f"ours={own}", *FEW, "--out", str(tmp_path / "out")])
    for name in (*BOARD, "metrics.json"):
        assert str(tmp_path) not in (tmp_path / "out" / name).read_text(encoding="utf-8"), name
    facts = json.loads((tmp_path / "out" / "leaderboard.json").read_text())["facts"]
    assert facts["command"] == "piqa --predictions ours=p.csv --out out"


def test_cells_of_the_board_cannot_run_in_a_spreadsheet_unless_that_is_wanted(tmp_path):
    own = six_scenes(tmp_path, "=SUM(A1).csv")
    for mode, cell in (("board", "'=SUM(A1)"), ("none", "=SUM(A1)")):
        options = {"statistics": StatisticsOptions(5), "out": str(tmp_path / mode), "spreadsheet_safe": mode}
        evaluate.evaluate(predictions=str(own), **options)
        assert f",{cell},model," in (tmp_path / mode / "leaderboard.csv").read_text()


def test_the_scores_of_predict_are_evaluated_with_a_table(tmp_path):
    rows = [(f"{scene}{shot}.jpg", shot, scene) for scene in "st" for shot in range(3)]
    pd.DataFrame(rows, columns=["image", "score", "scene"]).to_csv(tmp_path / "labels.csv", index=False)
    scores = pd.DataFrame({"file": [f"{tmp_path}/{name}" for name, *_ in rows], "score": range(6)})
    scores.assign(face_found=True, face_x1=1, error="").to_csv(tmp_path / "scores.csv", index=False)
    found = evaluate.evaluate(
        predictions=str(tmp_path / "scores.csv"),
        table=CSVTable(tmp_path / "labels.csv", test_fraction=1, check_files=False),
        statistics=StatisticsOptions(20),
    )
    assert found.reports["scores"].summary["official"]["srocc"] == 1


def test_broken_images_are_left_out_by_the_rule_of_training_and_counted(tiny_config, tiny_run, tmp_path):
    data = tmp_path / "piq23"
    shutil.copytree(tiny_config.parent / "piq23", data)
    table = PIQ23(data)
    frame = table.load()
    broken = frame[frame["split"] == "test"].iloc[0]
    Path(broken["path"]).write_bytes(b"no image")
    settings = {"table": table, "scoring": ScoringOptions(str(tmp_path / "store")), "statistics": StatisticsOptions(20)}
    message = refusal(evaluate.evaluate, str(tiny_run), out=str(tmp_path / "none"), **settings)
    assert "1 of the 12 images to be scored could not be prepared, more than the fraction of 0.01" in message
    found = evaluate.evaluate(str(tiny_run), out=str(tmp_path / "out"), max_failed=0.03, **settings)  # of 36 images
    assert found.reports["run"].summary["failed"] == 1 and found.reports["run"].summary["images"] == 11
    assert found.board.facts.failed == {"run": [broken["image"]]}
    text = (tmp_path / "out" / "leaderboard.md").read_text()
    assert "run: broken images, left out: 1 (" in text and "without a prediction" not in text


def test_images_that_the_table_marks_for_validation_are_no_part_of_the_calibration(tmp_path):
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"image": [f"{i}.jpg" for i in range(36)], "scene": np.repeat(list("abcdef"), 6)})
    rows = rows.assign(score=rng.normal(size=36), split=np.repeat(["train", "train", "val", "val", "test", "test"], 6))
    rows.to_csv(tmp_path / "labels.csv", index=False)
    rows.assign(prediction=rng.normal(size=36))[["image", "prediction"]].to_csv(tmp_path / "some.csv", index=False)
    found = evaluate.evaluate(
        predictions=str(tmp_path / "some.csv"),
        table=CSVTable(tmp_path / "labels.csv", check_files=False),
        statistics=StatisticsOptions(5),
    )
    assert found.board.facts.calibration_images["some"] == 12
