"""`python -m piqa.scale`: from pairs or ratings of people to the CSV that piqa.fit and piqa.evaluate read."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from judgements import DATA, answers_of, published_votes, ratings_of

from piqa import CSVTable, scale
from piqa.judgement.panel import SimulatedRater, random_answers
from piqa.judgement.raters import judge_raters
from piqa.judgement.results import results_of_pairs

TRUTH = {scene: {f"{scene}/{n}.jpg": float(n - 3) for n in range(7)} for scene in ("hall", "lake", "garden")}
PANEL = [SimulatedRater(f"r{number}") for number in range(6)] + [SimulatedRater("coin", "coin")]


@pytest.fixture(scope="module")
def answers():
    return random_answers(TRUTH, PANEL, 90, seed=3)


@pytest.fixture
def pairs(answers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answers.to_csv("pairs.csv", index=False)
    return answers


def read(name):
    """A JSON file in the working folder."""
    return json.loads(Path(name).read_text(encoding="utf-8"))


def refused(capsys, *arguments):
    """The one line with which a command is refused."""
    with pytest.raises(SystemExit) as stop:
        scale.main(list(arguments))
    assert stop.value.code not in (0, None)
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_pairs_become_the_table_that_fit_reads(pairs, capsys):
    scale.main(["pairs.csv", "--out", "scores.csv"])
    table = CSVTable("scores.csv", check_files=False, test_fraction=1).load()
    assert table[["image", "score", "scene", "score_std"]].notna().all().all()
    assert list(pd.read_csv("scores.csv").columns) == ["image", "score", "scene", "score_std"]
    assert table.groupby("scene")["score"].mean().abs().max() < 1e-9
    for scene, rows in table.groupby("scene"):
        truth = rows["image"].map(TRUTH[scene])
        assert np.corrcoef(truth, rows["score"])[0, 1] > 0.9
    printed = capsys.readouterr().out
    assert "630 answers to pairs by 7 raters, 21 images in 3 scenes" in printed
    assert "rater coin: answers are less likely" in printed
    assert printed.splitlines()[-1] == "scores.csv"


def test_the_json_beside_it_holds_intervals_raters_agreement_and_settings(pairs):
    scale.main(["pairs.csv", "--out", "scores.csv", "--splits", "4"])
    document = read("scores.json")
    assert (document["schema"], document["mode"], document["unit"]) == (1, "pairs", "JOD")
    one = document["scores"][0]
    assert one["low"] < one["score"] < one["high"]
    assert [row["rater"] for row in document["raters"] if row["outlier"]] == ["coin"]
    assert 0.5 < document["agreement"]["split_half_srocc"] < document["agreement"]["full_panel_srocc"] < 1
    assert document["settings"]["prior"] == "normal"
    assert document["piqa"]["what"] == "scores"


def test_outliers_are_left_out_only_when_asked(pairs):
    scale.main(["pairs.csv", "--out", "all.csv", "--splits", "0"])
    scale.main(["pairs.csv", "--out", "some.csv", "--splits", "0", "--leave_out", "[outliers]"])
    scale.main(["pairs.csv", "--out", "named.csv", "--splits", "0", "--leave_out", "[coin]"])
    every, some, named = (pd.read_csv(f"{name}.csv") for name in ("all", "some", "named"))
    assert some.equals(named) and not some.equals(every)
    truth = some["image"].map({image: value for images in TRUTH.values() for image, value in images.items()})
    assert np.abs(some["score"] - truth).mean() < np.abs(every["score"] - truth).mean()
    assert "left out: the raters coin" in read("some.json")["notes"]


@pytest.mark.parametrize(("given", "out"), [("[007, 1]", "1, 007"), ("1", "1"), ("[1, kim]", "1, kim"), ("kim", "kim")])
def test_raters_may_be_called_by_numbers(tmp_path, monkeypatch, given, out):
    monkeypatch.chdir(tmp_path)
    rows = "".join(
        f"x.jpg,y.jpg,{winner},s,{rater}\n" for rater, winner in (("1", "a"), ("007", "b"), ("kim", "a"), ("2", "a"))
    )
    Path("pairs.csv").write_text(f"image_a,image_b,winner,scene,rater\n{rows}")
    scale.main(["pairs.csv", "--splits", "0", "--leave_out", given])
    raters = {row["rater"] for row in read("scores.json")["raters"] if row["left_out"]}
    assert raters == {*out.split(", ")}


def test_ratings_are_known_by_their_columns(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    ratings_of(published_votes()).to_csv("ratings.csv", index=False)
    scale.main(["ratings.csv", "--out", "mos.csv", "--splits", "4"])
    table = pd.read_csv("mos.csv").set_index("image")
    assert table.loc["0.jpg", "score"] == pytest.approx(4.9262, abs=5e-5)
    document = read("mos.json")
    assert document["agreement"]["alpha"] == pytest.approx(0.4953, abs=5e-5)
    assert document["agreement"]["sos"] == pytest.approx(0.3205, abs=5e-5)
    assert "rater r00: inconsistency 1.83, far above the others'; rejected by the screening" in capsys.readouterr().out


def test_published_pairs_are_read_with_their_own_names_of_columns(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    found = pd.read_csv(DATA / "pwcmp_ex3_tmo_cmp_data.csv")
    found["chosen"] = found["condition_A"].where(found["is_A_selected"] == 1, found["condition_B"])
    found.to_csv("pairs.csv", index=False)
    columns = "{image_a: condition_A, image_b: condition_B, winner: chosen, rater: observer}"
    scale.main(["pairs.csv", "--columns", columns, "--prior", "pwcmp", "--splits", "0"])
    assert "28 images stand in more than one scene" in capsys.readouterr().out
    assert len(pd.read_csv("scores.csv")) == 35


def test_parts_that_nothing_connects_become_scenes_of_their_own_when_asked(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    both = pd.concat([answers_of([[0, 3], [1, 0]]), answers_of([[0, 3], [1, 0]], names=["x.jpg", "y.jpg"])])
    both.to_csv("pairs.csv", index=False)
    assert "scene hall falls into 2 parts that no answer connects" in refused(capsys, "pairs.csv")
    scale.main(["pairs.csv", "--disconnected", "mark"])
    assert pd.read_csv("scores.csv")["scene"].tolist() == ["hall (part 1)"] * 2 + ["hall (part 2)"] * 2


def test_what_piqa_did_not_write_stays(pairs, tmp_path, capsys):
    scale.main(["pairs.csv", "--splits", "0"])
    scale.main(["pairs.csv", "--splits", "0"])
    (tmp_path / "scores.csv").write_text("mine\n")
    assert "was changed since piqa wrote it" in refused(capsys, "pairs.csv")
    assert (tmp_path / "scores.csv").read_text() == "mine\n"
    assert "pairs.csv is there and was not written by piqa" in refused(capsys, "pairs.csv", "--out", "pairs.csv")
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.csv"], "cannot read none.csv"),
        (["pairs.csv", "--level", "1.5"], "`level` is 1.5; it must lie between 0 and 1"),
        (["pairs.csv", "--leave_out", "[nobody]"], "`leave_out` names nobody, who judged nothing"),
        (["pairs.csv", "--columns", "{who: rater}"], "`columns` maps who"),
        (["pairs.csv", "--mode", "ratings"], "lacks the column image, rating"),
        (["other.csv"], "holds neither pairs"),
        (["pairs.csv", "--rating_low", "5"], "are no scale"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused_in_one_line(pairs, tmp_path, capsys, arguments, words):
    (tmp_path / "other.csv").write_text("file,mark\nx,1\n")
    line = refused(capsys, *arguments)
    assert line.startswith("piqa: error: ") and words in line
    assert not (tmp_path / "scores.csv").exists()


def test_a_shuffled_panel_has_no_agreement(answers):
    rng = np.random.default_rng(0)
    shuffled = answers.assign(winner=rng.permutation(answers["winner"].to_numpy()))
    agreement = results_of_pairs(shuffled, splits=10).agreement
    assert abs(agreement["split_half_srocc"]) < 0.35
    assert abs(agreement["alpha"]) < 0.1
    assert not judge_raters(shuffled)["z"].isna().any()


def test_a_link_keeps_pointing_to_the_table(pairs, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link.csv").symlink_to(tmp_path / "real" / "scores.csv")
    scale.main(["pairs.csv", "--out", "link.csv", "--splits", "0"])
    assert (tmp_path / "real" / "scores.csv").is_file() and (tmp_path / "link.csv").is_symlink()
    shutil.rmtree(tmp_path / "real")
