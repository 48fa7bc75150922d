"""`python -m piqa.compare` on predictions: verdicts, the gate and its exit statuses, JSON, JUnit and the page."""

import json
import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from comparisons import rows_of, run, write_rows
from refusals import one_line

from piqa import compare
from piqa.comparison.junit import escaped, write_junit
from piqa.comparison.pair import Settings
from piqa.comparison.shots import DeviceNames, Scenes, Shot
from piqa.comparison.verdict import parse_claim
from piqa.errors import InputError
from piqa.web.text import MINUS

BETTER = {"A": 0.8, "B": 0.0}
GATE = ["--examples", "0", "--fail_if", "A worse than B"]


@pytest.fixture
def compared(tmp_path):
    """Compare rows of predictions; gives the status and the JSON."""

    def make(rows, *arguments, columns=None, out=None):
        csv = write_rows(tmp_path / "preds.csv", rows, *([columns] if columns else []))
        folder = out or tmp_path / "out"
        status = run("--predictions", csv, *arguments, out=folder)
        document = folder / "comparison.json"
        return status, json.loads(document.read_text()) if document.exists() else None

    return make


def pair_of(document, a="a", b="b"):
    return next(pair for pair in document["pairs"] if (pair["a"], pair["b"]) == (a, b))


# Verdicts


def test_a_better_device_is_told_with_hand_computed_numbers(compared, capsys):
    rows = [
        [f"{d}{s}.jpg", s, d, "", v]
        for s, a, b in zip("uvwxyz", (3, 5, 4, 6, 7, 5), (1, 2, 3, 3, 6, 3), strict=True)
        for d, v in (("A", a), ("B", b))
    ]
    status, found = compared(rows)
    pair = pair_of(found)
    d = np.array([2, 3, 1, 3, 1, 2])
    assert status == 0 and pair["verdict"] == "better" and pair["wins"] == 6
    assert pair["mean_difference"] == d.mean() == 2
    assert pair["interval"] == pytest.approx(
        [2 - 2.5706 * d.std(ddof=1) / 6**0.5, 2 + 2.5706 * d.std(ddof=1) / 6**0.5], abs=1e-3
    )
    assert pair["p_by_test"]["sign"] == pair["p_by_test"]["flip"] == 2 / 64
    assert "A is better than B: difference +2.000" in capsys.readouterr().out


def test_fewer_than_six_scenes_give_values_and_no_verdict(compared, capsys):
    status, found = compared(rows_of(BETTER, scenes=5, noise=0.01), *GATE)
    pair = pair_of(found)
    assert (
        pair["verdict"] == "no verdict"
        and pair["wins"] == 5
        and pair["mean_difference"] == pytest.approx(0.8, abs=0.05)
    )
    assert status == 3
    assert "5 shared scenes, and at least 6 are needed" in capsys.readouterr().out


def test_the_preference_is_the_mean_over_all_pairs_of_shots(compared):
    counts = {"A": 3, "B": 7}
    rows = rows_of(BETTER, scenes=8, repeats=lambda scene, device: counts[device])
    _, found = compared(rows, "--scale", "2.0")
    frame = pd.DataFrame(rows, columns=["image", "scene", "device", "condition", "value"])
    means = []
    for _, scene in frame.groupby("scene"):
        a, b = (scene.loc[scene["device"] == d, "value"].to_numpy() for d in "AB")
        chances = [_phi((x - y) / 2.0) for x in a for y in b]
        means.append(np.mean(chances))
    pair = pair_of(found)
    assert pair["shots"] == [24, 56] and pair["scenes"] == 8
    assert pair["estimate"] == pair["mean_preference"] == pytest.approx(np.mean(means))


def test_the_page_names_means_as_means_and_no_p_as_zero(compared, tmp_path):
    rows = rows_of(BETTER, scenes=14, repeats=lambda scene, device: 3 if device == "B" else 1, noise=0.01)
    _, found = compared(rows, "--examples", "1", "--plan", "false")
    page = (tmp_path / "out" / "comparison.html").read_text().replace("<wbr>", "")
    shown = re.search(r"A (\S+) \((A/.*?)\); B (\S+), the mean of 3 shots \(one of them: (B/.*?)\); difference", page)
    scene = shown[2].split("/")[1].split("-")[0]
    own = [row[4] for row in rows if row[1] == f"scene {scene}" and row[2] == "B"]
    assert float(shown[3].replace(MINUS, "-")) == pytest.approx(np.mean(own), abs=1e-3) and shown[4] != shown[2]
    assert pair_of(found)["p"] < 0.0001 and "t &lt; 0.0001" in page and "t 0.0000" not in page
    assert "Judged by" in page and "Judged_by" not in page


def test_a_gate_on_the_second_device_speaks_of_it_by_its_name(compared, tmp_path, capsys):
    status, found = compared(rows_of(BETTER, noise=0.01), "--scale", "1", "--fail_if", "B worse than A")
    said, page = capsys.readouterr(), (tmp_path / "out" / "comparison.html").read_text()
    assert status == 1 and found["gate"]["cases"][0]["estimate"] < 0.5
    assert "P(B better) 0.2" in said.err and "P(A better)" not in said.err + page
    assert "B wins 0 scenes, loses 12" in page and "Scenes that B loses most" in page and "A wins" not in page


def _phi(z):
    from scipy.special import ndtr

    return float(ndtr(z))


@pytest.mark.parametrize("test", ["t", "sign", "flip"])
def test_swapping_the_devices_mirrors_everything(compared, tmp_path, test):
    rows = rows_of(BETTER, scenes=14, repeats=2)
    _, one = compared(rows, "--scale", "1", "--test", test)
    _, other = compared(
        sorted(rows, key=lambda row: row[2] != "B"), "--scale", "1", "--test", test, out=tmp_path / "other"
    )
    a, b = pair_of(one), pair_of(other, "b", "a")
    for key in ("estimate", "win_rate", "mean_preference"):
        assert a[key] == pytest.approx(1 - b[key]), key
    assert a["mean_difference"] == pytest.approx(-b["mean_difference"])
    assert a["interval"] == pytest.approx([1 - b["interval"][1], 1 - b["interval"][0]])
    assert a["p"] == pytest.approx(b["p"]) and {a["verdict"], b["verdict"]} in ({"better", "worse"}, {"not decided"})


def test_adding_a_constant_to_a_scene_changes_nothing(compared, tmp_path):
    rows = rows_of(BETTER, scenes=10)
    moved = [[*row[:4], row[4] + 8.0 * (hash(row[1]) % 4)] for row in rows]
    _, one = compared(rows, "--scale", "1")
    _, other = compared(moved, "--scale", "1", out=tmp_path / "moved")
    for key in ("estimate", "p", "wins", "deviation"):
        assert pair_of(one)[key] == pytest.approx(pair_of(other)[key], abs=1e-9), key


def test_equivalence_needs_a_margin_and_the_interval_within_it(compared, tmp_path):
    rows = rows_of({"A": 0.0, "B": 0.0}, scenes=60, noise=0.5, seed=4)
    _, wide = compared(rows, "--margin", "0.5")
    _, narrow = compared(rows, "--margin", "0.01", out=tmp_path / "narrow")
    pair = pair_of(wide)
    assert pair["verdict"] == "equivalent" and "equivalent within 0.5" in pair["words"]
    low, high = pair["bounds_at_alpha"]
    assert -0.5 < low < high < 0.5 and pair["p_equivalent"] <= 0.025
    assert pair_of(narrow)["verdict"] == "not decided"


# The gate


@pytest.mark.parametrize(
    ("effect", "more", "status"),
    [
        (0.8, [], 0),
        (-0.8, [], 1),
        (0.0, [], 3),
        (0.0, ["--undecided", "pass"], 0),
        (0.0, ["--undecided", "fail"], 1),
        (0.0, ["--undecided", "2"], 2),
        (0.0, ["--margin", "1"], 0),
        (-0.8, ["--margin", "2"], 0),
    ],
)
def test_every_answer_of_the_gate_has_its_exit_status(compared, effect, more, status):
    found, _ = compared(rows_of({"A": effect, "B": 0.0}, scenes=16, seed=1), *GATE, *more)
    assert found == status


def test_a_failed_gate_says_so_in_one_line_after_everything_is_written(tmp_path, capsys):
    csv = write_rows(tmp_path / "p.csv", rows_of({"A": -0.8, "B": 0.0}, scenes=16))
    assert run("--predictions", csv, *GATE, out=tmp_path / "out") == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("piqa: error")]
    assert len(lines) == 1 and "gate `A worse than B` failed" in lines[0]
    assert json.loads((tmp_path / "out" / "comparison.json").read_text())["gate"]["state"] == "failed"


def test_too_much_that_is_missing_is_status_four_and_an_error_of_junit(compared, tmp_path, capsys):
    rows = [row for row in rows_of(BETTER, scenes=10) if not (row[2] == "B" and row[1] in ("scene 1", "scene 2"))]
    status, document = compared(rows, *GATE, "--junit", tmp_path / "j.xml")
    assert status == 4 and document is None
    assert "2 of 10 scenes have fewer than two devices, such as scene 1" in capsys.readouterr().err
    suite = ElementTree.parse(tmp_path / "j.xml").getroot()
    assert suite.get("errors") == "1" and suite.find(".//error").get("message").startswith("2 of 10 scenes")
    assert compared(rows, *GATE, "--max_missing", "0.2")[0] == 0


def test_wrong_arguments_are_status_two(tmp_path, capsys):
    csv = write_rows(tmp_path / "p.csv", rows_of(BETTER))

    def call(*arguments):
        return one_line(capsys, lambda: compare.main([*map(str, arguments), "--out", str(tmp_path / "out")]))

    assert "write it as" in call("--predictions", csv, "--fail_if", "A < B")
    assert "none of the devices (a, b)" in call("--predictions", csv, "--fail_if", "A worse than C")
    assert "itself" in call("--predictions", csv, "--fail_if", "A worse than a")
    assert "looks are counted" in call("--predictions", csv, "--look", "4", "--looks", "3")
    assert "nothing to compare" in call()
    assert "ask one with" in call("--predictions", csv, "--junit", tmp_path / "j.xml")
    assert "`alpha` is 0.7" in call("--predictions", csv, "--alpha", "0.7")
    assert "the conditions are: Day, Night" in call("--predictions", csv, *GATE, "--critical", "[Dusk]")
    assert "lacks the column" in call(
        "--predictions", write_rows(tmp_path / "q.csv", [["a", 1]], ("image", "prediction"))
    )


def test_all_tied_scenes_are_not_decided_and_never_pass(compared):
    rows = [[f"{d}{s}.jpg", f"scene {s}", d, "", 1.5 + s] for s in range(12) for d in "AB"]
    status, found = compared(rows, *GATE, "--margin", "1")
    assert status == 3 and found["gate"]["state"] == "not decided"
    assert pair_of(found)["ties"] == 12 and "tied in all 12 scenes" in pair_of(found)["words"]


def test_a_critical_condition_fails_the_gate_although_the_mean_rose(compared):
    rows = rows_of({"A": 0.0, "B": 0.0}, scenes=24, noise=0.3)
    lost = [[*row[:4], row[4] + (0 if row[2] == "B" else -1.0 if row[3] == "Night" else 4.0)] for row in rows]
    assert compared(lost, *GATE)[0] == 0
    status, found = compared(lost, *GATE, "--critical", "[Night]")
    assert status == 1 and [(c["name"], c["state"]) for c in found["gate"]["cases"]] == [
        ("all scenes", "passed"),
        ("Day", "passed"),
        ("Night", "failed"),
    ]


def test_an_early_look_needs_more_evidence(compared, tmp_path):
    rows = rows_of({"A": -0.35, "B": 0.0}, scenes=30, noise=0.4, seed=2)
    alone, once = compared(rows, *GATE, "--alpha", "0.05")
    early, found = compared(rows, *GATE, "--alpha", "0.05", "--look", "1", "--looks", "10", out=tmp_path / "early")
    assert once["gate"]["alpha_one_sided"] == 0.05 and found["gate"]["alpha_one_sided"] < 1e-6
    assert (alone, early) == (1, 3) and found["about"]["look"].startswith("1 of 10")


# Files


def test_the_json_has_stable_keys_and_no_nan(compared, tmp_path):
    _, one = compared(rows_of(BETTER), *GATE)
    text = (tmp_path / "out" / "comparison.json").read_text()
    assert one["schema"] == 1 and "NaN" not in text and "Infinity" not in text and str(tmp_path) not in text
    _, other = compared(rows_of({"X": 0.1, "Y": 0.2, "Z": 0}, scenes=2), out=tmp_path / "other")
    assert list(one) == list(other) and list(one["pairs"][0]) == list(other["pairs"][0])
    assert one["pairs"][0]["p_equivalent"] is None and other["ranking"]["devices"][0].keys() == {
        *("rank", "rank_interval", "device", "name", "strength", "interval", "two_way_effect")
    }


def test_junit_has_a_case_for_the_whole_and_each_condition(compared, tmp_path):
    rows = rows_of({"A": -0.5, "B": 0.0}, scenes=16, noise=0.6, seed=3)
    compared(rows, *GATE, "--junit", tmp_path / "j.xml")
    suites = ElementTree.parse(tmp_path / "j.xml").getroot()
    (suite,) = suites
    cases = suite.findall("testcase")
    assert [case.get("name").rpartition(": ")[2] for case in cases] == ["all scenes", "Day", "Night"]
    assert cases[0].find("failure").get("message").startswith("failed: difference")
    assert all(len(case) <= 1 for case in cases)
    for kind, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert suite.get(kind) == str(len(suite.findall(f"testcase/{tag}")))
    assert suite.get("tests") == "3" and re.fullmatch(r"\d+\.\d{3}", suite.get("time"))
    assert {one.get("name") for one in suite.findall("properties/property")} >= {"claim", "state", "alpha"}


def test_junit_escapes_what_xml_forbids_and_replaces_only_its_own_files(tmp_path):
    text = "a\x00\x07\ud800\ufffe<&>\n"
    assert escaped(text) == "a\\x00\\x07\\ud800\\ufffe<&>\n"
    file = tmp_path / "j.xml"
    write_junit("<a/>", file)
    write_junit("<b/>", file)
    file.write_text(file.read_text().replace("<b/>", "<c/>"))
    with pytest.raises(InputError, match="not as piqa wrote it"):
        write_junit("<a/>", file)
    assert "<c/>" in file.read_text()


def test_hostile_names_are_harmless(compared, tmp_path):
    hostile = '=HYPERLINK("x") <script>alert(1)</script>\x07'
    rows = [
        [f"{hostile} {d} {s}.jpg", f"{hostile} {s}", f"{hostile} {d}", hostile, v]
        for s, d, v in ((s, d, s + 0.1 * s * (d == "A")) for s in range(8) for d in "AB")
    ]
    status, _ = compared(rows)
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert status == 0 and "<script>alert" not in page and "\x07" not in page
    frame = pd.read_csv(tmp_path / "out" / "comparison.csv")
    assert frame["scene"].str.startswith("'=").all() and len(frame) == 8


def test_scores_of_before_can_be_compared_again(compared, tmp_path):
    _, one = compared(rows_of(BETTER, repeats=2))
    assert run("--predictions", tmp_path / "out" / "scenes.csv", out=tmp_path / "again") == 0
    other = json.loads((tmp_path / "again" / "comparison.json").read_text())
    assert pair_of(other)["estimate"] == pytest.approx(pair_of(one)["estimate"])


def test_a_folder_of_somebody_else_and_a_changed_page_are_left_alone(compared, tmp_path, capsys):
    foreign = tmp_path / "photos"
    foreign.mkdir()
    (foreign / "comparison.html").write_text("mine")
    assert compared(rows_of(BETTER), out=foreign)[0] == 2
    compared(rows_of(BETTER))
    page = tmp_path / "out" / "comparison.html"
    page.write_text("my notes")
    assert compared(rows_of(BETTER))[0] == 2 and page.read_text() == "my notes"
    assert "was changed since piqa wrote it" in capsys.readouterr().err


# What stands there twice


def test_a_duplicated_scene_is_refused(compared, capsys):
    rows = rows_of(BETTER, scenes=8)
    twice = rows + [[f"copy of {row[0]}", "scene 0 again", *row[2:]] for row in rows if row[1] == "scene 0"]
    assert compared(twice)[0] == 4
    assert "the scenes scene 0 and scene 0 again have the same scores" in capsys.readouterr().err
    assert compared([*rows, rows[0]])[0] == 4
    assert "twice (rows 2, 18)" in capsys.readouterr().err


def test_spellings_of_a_device_are_one_device_and_are_told(compared, capsys):
    rows = rows_of(BETTER)
    rows[0][2], rows[2][2] = "a", "A."
    _, found = compared(rows)
    assert [device["name"] for device in found["devices"]] == ["a", "B"] and found["left_out"]["spellings"] == [
        "a, A., A"
    ]
    assert "1 devices stand under several spellings" in capsys.readouterr().out
    with pytest.raises(InputError, match="neither a letter nor a digit"):
        DeviceNames().key("--")
    assert parse_claim("Phone-1 WORSE  than phone 2", ["phone1", "phone2"]) == ("phone1", "phone2")


# Several devices


def test_devices_are_ranked_with_intervals_in_words(compared, capsys):
    rows = rows_of({"P": 1.5, "Q": 0.1, "R": 0.0, "S": -1.5}, scenes=30, noise=0.8, seed=3)
    rows = [row for row in rows if not (row[2] == "P" and row[1] in ("scene 3", "scene 5"))]
    _, found = compared(rows)
    ranking = {row["device"]: row for row in found["ranking"]["devices"]}
    assert ranking["p"]["rank_interval"] == [1, 1] and ranking["s"]["rank_interval"] == [4, 4]
    assert {ranking["q"]["rank"], ranking["r"]["rank"]} == {2, 3}
    assert "P: 1st" in capsys.readouterr().out and len(found["pairs"]) == 6
    assert all(pair["p_holm"] >= pair["p"] for pair in found["pairs"])
    assert ranking["p"]["two_way_effect"] == pytest.approx(1.5, abs=0.5)


def test_fifty_thousand_names_are_counted_in_scenes():
    shots = (Shot(f"{d}{i}", f"s{i}", d, score=float(i % 7) + (d == "a")) for i in range(25_000) for d in "ab")
    scenes = Scenes(shots)
    from piqa.comparison.compare_all import compare_devices

    (pair,) = compare_devices(scenes, Settings()).pairs
    assert len(pair.scenes) == 25_000 and pair.outcomes.wins == 25_000


def test_the_plan_tells_the_scenes_that_are_needed(compared, capsys):
    _, found = compared(rows_of(BETTER, scenes=20, repeats=2), "--plan", "true", "--detect", "[0.5]")
    plan = pair_of(found)["plan"]
    from piqa.comparison.power import detectable_effect, t_scenes

    deviation = pair_of(found)["deviation"]
    assert plan["detectable"] == pytest.approx(detectable_effect(20) * deviation)
    assert plan["needed"][0]["t"] == t_scenes(0.5 / deviation)
    rho = plan["correlation"]
    needed = plan["needed"][0]["repeats"]
    assert 0 <= rho <= 1 and needed["1"] > needed["10"] >= rho * needed["1"] - 3
    assert "smallest difference that these scenes can show" in capsys.readouterr().out


def test_no_plan_asks_for_fewer_scenes_than_a_verdict_takes(compared):
    arguments = ("--plan", "true", "--detect", "[0.5]", "--margin", "0.5")
    plan = pair_of(compared(rows_of(BETTER, scenes=7, repeats=2, noise=0.01), *arguments)[1])["plan"]
    assert plan["equivalence"] == plan["non_inferiority"] == plan["needed"][0]["t"] == plan["needed"][0]["sign"] == 6
    assert set(plan["needed"][0]["repeats"].values()) == {6}
