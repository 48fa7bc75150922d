"""`python -m piqa.compare` on folders of images: matching, a model, factors alone, faults, interruptions."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from comparisons import run, write_rows, write_shots
from portraits import collins
from scipy.stats import norm
from tiny_models import write_tiny_model

from piqa import Scorer
from piqa.comparison.matching import match_scenes
from piqa.comparison.scoring import FACTOR_ROW, _measure
from piqa.evaluation.statistics.preference import Preference
from piqa.evaluation.statistics.uncertainty import ScoreUncertainty
from piqa.factors.families import FACTORS
from piqa.factors.measure import FactorMeasurer
from piqa.scoring.devices import ScoringDevices
from piqa.scoring.image_batches import stamp_of
from piqa.weights import model_file

QUIET = ["--examples", "0", "--workers", "0", "--device", "cpu"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small random network whose card states a preference."""
    folder = write_tiny_model(tmp_path_factory.mktemp("model"))
    network, card = model_file.load_model(folder)
    model_file.save(network, folder / "model.safetensors", replace(card, preference=Preference(0.01).to_dict()))
    return folder


@pytest.fixture
def shots(tmp_path):
    """Six scenes; in the second A has 3 shots and B has 7."""
    return write_shots(tmp_path / "shots", shots=lambda device, scene: {"a": 3, "b": 7}[device] if scene == 1 else 1)


def result(out):
    return json.loads((Path(out) / "comparison.json").read_text())


def test_folders_are_matched_scored_and_shown_side_by_side(shots, model, tmp_path, capsys):
    out = tmp_path / "out"
    sets = [f"A={shots / 'a'}", f"B={shots / 'b'}"]
    assert run(*sets, "--ckpt_path", model, "--workers", "0", "--device", "cpu", "--examples", "1", out=out) == 0
    found = result(out)
    (pair,) = found["pairs"]
    assert pair["scenes"] == 6 and pair["shots"] == [8, 12] and found["left_out"]["matched_by"].startswith("the folder")
    scores = Scorer.load(model, device="cpu").score([shots / d / "scene 1" / "0.png" for d in "ab"])["score"]
    frame = pd.read_csv(out / "scenes.csv").set_index("image")["prediction"]
    assert frame[["A/scene 1/0.png", "B/scene 1/0.png"]].tolist() == pytest.approx(scores.tolist(), abs=1e-5)
    means = pd.read_csv(out / "comparison.csv").set_index("scene")
    assert means.loc["scene 1", "difference"] == pytest.approx(
        frame.filter(like="A/scene 1/").mean() - frame.filter(like="B/scene 1/").mean()
    )
    assert found["settings"]["measure"] == "preference" and 0 < pair["estimate"] < 1
    page = (out / "comparison.html").read_text()
    assert page.count('data-widget="viewer"') >= 1 and "data:image/jpeg;base64," in page and str(tmp_path) not in page
    assert "steps" in page.partition('id="pair-1"')[2]


def test_single_scenes_are_told_apart_with_a_stated_error_rate(shots, tmp_path, capsys):
    folder = write_tiny_model(tmp_path / "model", score_std=True)
    network, card = model_file.load_model(folder)
    fact = ScoreUncertainty(1.0, 0.0, 1.0, 0.01, 1.0, nonconformity=[0.1] * 5 + [0.6] * 3 + [0.9] * 2)
    facts = replace(card, preference=Preference(9.0).to_dict(), uncertainty=fact.to_dict())
    model_file.save(network, folder / "model.safetensors", facts)
    sets = [f"A={shots / 'a'}", f"B={shots / 'b'}", "--ckpt_path", folder, *QUIET]
    assert run(*sets, "--error_rate", "0.3", out=tmp_path / "out") == 0
    found = result(tmp_path / "out")
    assert found["settings"]["error_rate"] == 0.3 and found["settings"]["uncertainty"]["factor"] == 0.01
    table = pd.read_csv(tmp_path / "out" / "comparison.csv").set_index("scene")
    names = [shots / d / "scene 0" / "0.png" for d in "ab"]
    scores = Scorer.load(folder, device="cpu").score(names)
    p = norm.cdf((scores["score"][0] - scores["score"][1]) / np.hypot(*scores["score_std"]))  # not by the scale 9
    assert table.loc["scene 0", "preference"] == pytest.approx(p, abs=1e-4)
    least = 0.6  # the eighth of ten
    expected = ["A" if one > least else "B" if 1 - one > least else "cannot tell" for one in table["preference"]]
    assert table["answer"].tolist() == expected
    assert found["pairs"][0]["answers"].startswith("scene by scene, with an error rate of 0.3: A is better in")
    assert "with an error rate of 0.3" in capsys.readouterr().out
    assert "with an error rate of 0.3" in (tmp_path / "out" / "comparison.html").read_text()
    assert run(*sets, "--error_rate", "0.05", out=tmp_path / "o2") == 2
    assert "from 10 scenes" in capsys.readouterr().err
    assert run(*sets, "--scale", "9", out=tmp_path / "o3") == 0  # the one scale, where it is given
    plain = pd.read_csv(tmp_path / "o3" / "comparison.csv").set_index("scene")
    assert plain.loc["scene 0", "preference"] == pytest.approx(0.5, abs=0.01) and plain["answer"].isna().all()


def test_a_second_run_at_once_is_refused_and_an_interrupted_one_goes_on(shots, model, tmp_path, monkeypatch, capsys):
    out, sets = tmp_path / "out", [f"A={shots / 'a'}", f"B={shots / 'b'}", "--ckpt_path", model, *QUIET]
    original = ScoringDevices.score

    def score_some(self, scorer, left, total, parts, *more):
        assert run(*sets, out=out) == 2  # the folder is held
        original(self, scorer, left[:9], total, parts, *more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ScoringDevices, "score", score_some)
        assert run(*sets, out=out) == 130
    errors = capsys.readouterr().err
    assert "is being written by process" in errors and "what was scored is kept" in errors
    assert run(*sets, out=out) == 0
    assert "going on after 9 images" in capsys.readouterr().out and result(out)["pairs"][0]["scenes"] == 6


def test_bad_files_are_counted_and_named(shots, model, tmp_path, monkeypatch, capsys):
    (shots / "a" / "scene 2" / "0.png").write_bytes(b"")
    (shots / "b" / "scene 3" / "0.png").write_bytes(b"\x89PNG and no more")
    (shots / "b" / "scene 1" / "copy.png").write_bytes((shots / "b" / "scene 1" / "0.png").read_bytes())
    shutil.copy(shots / "a" / "scene 4" / "0.png", shots / "b" / "scene 4" / "0.png")
    (shots / "a" / "alone").mkdir()
    shutil.copy(shots / "a" / "scene 5" / "0.png", shots / "a" / "alone" / "1.png")
    os.truncate(shots / "a" / "alone" / "1.png", 900)
    old = (0, 0)  # a clock set to 1970
    os.utime(shots / "a" / "scene 0" / "0.png", old)
    sets = [f"A={shots / 'a'}", f"B={shots / 'b'}", "--ckpt_path", model, *QUIET]
    vanishing = shots / "b" / "scene 5" / "0.png"
    original = ScoringDevices.score

    def score_later(self, *arguments):
        vanishing.unlink()
        original(self, *arguments)

    monkeypatch.setattr(ScoringDevices, "score", score_later)
    assert run(*sets, "--max_missing", "0.6", out=tmp_path / "out") == 0
    left_out = result(tmp_path / "out")["left_out"]
    assert {*left_out["unreadable"]} == {"A/alone/1.png", "A/scene 2/0.png", "B/scene 3/0.png", "B/scene 5/0.png"}
    assert left_out["copies"] == ["B/scene 1/copy.png"] and left_out["same_content"] == [
        ["A/scene 4/0.png", "B/scene 4/0.png"]
    ]
    assert left_out["unpaired_scenes"] == ["alone", "scene 2", "scene 3", "scene 5"] and left_out["scenes"] == 7
    assert str(tmp_path) not in json.dumps(left_out)
    printed = capsys.readouterr().out
    assert "4 of 21 images have no score" in printed and "No verdict on A and B: 3 shared scenes" in printed


def test_a_copied_scene_is_refused(shots, model, tmp_path, capsys):
    shutil.copytree(shots / "a" / "scene 0", shots / "a" / "scene 9")
    shutil.copytree(shots / "b" / "scene 0", shots / "b" / "scene 9")
    assert run(f"A={shots / 'a'}", f"B={shots / 'b'}", "--ckpt_path", model, *QUIET, out=tmp_path / "out") == 4
    assert "count as two scenes, scene 0 and scene 9" in capsys.readouterr().err


def test_sets_that_cannot_be_compared_are_told_in_one_line(shots, tmp_path, capsys):
    def told(*arguments):
        status = run(*arguments, *QUIET, out=tmp_path / "out")
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("piqa: error")]
        return status, line

    a, b = shots / "a", shots / "b"
    assert told(f"A={a}", f"B={tmp_path / 'none'}")[0] == 2
    assert told(f"A={a}") == (4, "piqa: error: two devices are needed for a comparison, found: A")
    status, line = told(f"A={shots}", f"B={b}")
    assert status == 4 and "let no folder lie within another" in line
    assert told(f"A={a}", f"a.={b}")[1].count("mean the same device") == 1
    write_rows(
        tmp_path / "list.csv",
        [["a/scene 0/0.png", "x", "A"], ["b/scene 2/0.png", "y", "B"]],
        ("file", "scene", "device"),
    )
    shutil.copytree(shots, tmp_path, dirs_exist_ok=True)
    status, line = told(tmp_path / "list.csv")
    assert status == 4 and "no scene is shared by two devices (2 scenes, such as x, y)" in line
    assert told(f"A={a}", f"B={b}", "--fail_if", "A worse than B")[1].count("factors have no common scale") == 1


def test_factors_are_compared_without_a_model_and_one_can_decide(shots, tmp_path, capsys, monkeypatch):
    def values(measure, file):
        sharp = 3.0 if f"{os.sep}a{os.sep}" in file else 1.0
        row = {**dict.fromkeys(FACTOR_ROW), "file": file, "face_found": True, "turned": 0}
        noise = int(file.split("scene ")[1][0]) / 10
        return row | {name: sharp + noise * (sharp > 1) for name in FACTORS}, stamp_of(file)

    monkeypatch.setattr("piqa.comparison.scoring._measure", values)
    sets = [f"A={shots / 'a'}", f"B={shots / 'b'}"]
    assert run(*sets, *QUIET, out=tmp_path / "all") == 0
    found = result(tmp_path / "all")
    assert found["pairs"] == [] and "No verdict: factors have no common scale" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "all" / "by_factor.csv").set_index("factor")
    directions = {name: factor.direction for name, factor in FACTORS.items()}
    assert {*table.index} == {name for name, direction in directions.items() if direction != "middle"}
    assert all((row["steps"] > 0) == (directions[name] == "up") for name, row in table.iterrows())
    name = next(name for name, direction in directions.items() if direction == "up")
    assert run(*sets, *QUIET, "--factor", name, "--fail_if", "B worse than A", out=tmp_path / "one") == 1
    assert result(tmp_path / "one")["settings"]["unit"] == "steps"
    assert run(*sets, *QUIET, "--factor", "no_such", out=tmp_path / "none") == 2


def test_an_image_is_measured_as_it_is_alone_and_a_bad_one_costs_its_row(tmp_path):
    file = tmp_path / "collins.png"
    collins().resize((128, 128)).save(file)
    measure = FactorMeasurer()
    row, stamp = _measure(measure, str(file))
    assert row["blur_face"] == measure(file)["blur_face"].value and row["error"] is None
    assert stamp[0] == file.stat().st_size
    file.write_bytes(b"no image")
    assert "not an image" in _measure(measure, str(file))[0]["error"]
    assert _measure(measure, str(tmp_path / "gone.png"))[1] is None  # another run tries it again


@pytest.mark.parametrize(
    ("a", "b", "match", "way"),
    [
        ([f"s{i}/1.jpg" for i in range(6)], [f"s{i}/x.jpg" for i in range(6)], "auto", "folder"),
        (
            [f"s{i}/{j}.jpg" for i in range(6) for j in "12"],
            [f"s{i}/{j}.jpg" for i in range(6) for j in "12"],
            "auto",
            "folder",
        ),
        ([f"day/{i}.jpg" for i in range(9)], [f"day/{i}.png" for i in range(9)], "auto", "path"),
        ([f"x/{i}.jpg" for i in range(9)], [f"y/{i}.jpg" for i in range(9)], "auto", "stem"),
        ([f"s{i}/1.jpg" for i in range(6)], [f"s{i}/1.jpg" for i in range(6)], "path", "path"),
    ],
)
def test_scenes_are_matched_so_that_repeats_are_no_scenes(a, b, match, way):
    files = {name: (name, [f"{name}/{file}" for file in own]) for name, own in (("a", a), ("b", b))}
    found, scenes = match_scenes(files, match)
    assert found == way and {*scenes["a"]} == {*scenes["b"]}


def test_a_list_and_conditions_name_scenes_that_folders_do_not(shots, model, tmp_path):
    rows = [[f"shots/{d}/scene {s}/0.png", f"s{s}", f"Phone {d}"] for s in range(6) for d in "ab"]
    csv = write_rows(tmp_path / "list.csv", rows, ("file", "scene", "device"))
    write_rows(
        tmp_path / "light.csv", [[f"s{s}", "Night" if s < 3 else "Day"] for s in range(6)], ("scene", "condition")
    )
    more = ["--conditions", tmp_path / "light.csv", "--ckpt_path", model, *QUIET]
    assert run(csv, *more, out=tmp_path / "out") == 0
    found = result(tmp_path / "out")
    assert [d["name"] for d in found["devices"]] == ["Phone a", "Phone b"]
    assert [(c["condition"], c["scenes"]) for c in found["conditions"]] == [("Day", 3), ("Night", 3)]
