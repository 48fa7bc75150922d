"""The independent recomputation agrees with the board, and finds a number that was changed."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from contests import made_up_truth, noisy

from piqa import evaluate
from piqa.data import CSVTable
from piqa.evaluation.statistics.options import StatisticsOptions

SCRIPT = Path(__file__).parents[1] / "scripts" / "recompute_leaderboard.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("recompute_leaderboard", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickles look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A board of two models on scenes of different size, one with a constant scene and one whose fit fails."""
    folder = tmp_path_factory.mktemp("board")
    truth = made_up_truth(scenes=5, images=7)
    constant = (truth["scene"] == "scene 2").to_numpy()
    for name, noise in (("good", 0.4), ("poor", 1.5)):
        prediction = np.where(constant & (name == "poor"), 1.0, noisy(truth, noise).round(2))
        truth.assign(prediction=prediction).sample(frac=1, random_state=1).to_csv(folder / f"{name}.csv", index=False)
    statistics = StatisticsOptions(bootstrap_samples=60, seed=3)
    csvs = [str(folder / "good.csv"), str(folder / "poor.csv")]
    return evaluate.evaluate(predictions=csvs, statistics=statistics, out=str(folder / "out")).folder


def test_nothing_of_piqa_is_imported():
    assert "import piqa" not in SCRIPT.read_text() and "from piqa" not in SCRIPT.read_text()


def test_a_board_agrees_with_its_predictions(script, folder, capsys):
    assert script.recompute(folder) == 0
    printed = capsys.readouterr().out
    for kind in ("values", "intervals", "pairs", "differences", "p-values", "Holm", "noise ceiling"):
        assert f"\n{kind} " in printed
    assert printed.endswith("agrees\n")


@pytest.mark.parametrize(
    ("frame", "column", "kind"),
    [("measures", "low", "intervals"), ("comparisons", "p", "p-values"), ("comparisons", "p_adjusted", "Holm")],
)
def test_a_number_that_was_changed_is_found(script, folder, tmp_path, capsys, frame, column, kind):
    board = json.loads((folder / "leaderboard.json").read_text())
    models = {"good", "poor"}
    row = next(row for row in board[frame] if {row.get("model", "good"), row.get("model_b", "poor")} <= models)
    row[column] = (row[column] or 0) + 0.001
    (tmp_path / "leaderboard.json").write_text(json.dumps(board))
    for name in ("good", "poor"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "predictions.csv").write_bytes((folder / name / "predictions.csv").read_bytes())
    assert script.recompute(tmp_path) == 1
    assert f"BEYOND {kind}: " in capsys.readouterr().out


def test_missing_images_are_compared_within_a_tolerance(script, tmp_path, capsys):
    truth = made_up_truth(scenes=5, images=30).drop(columns="score_std")
    truth.to_csv(tmp_path / "labels.csv", index=False)
    truth.assign(prediction=noisy(truth, 0.4).to_numpy()).iloc[1:].to_csv(tmp_path / "some.csv", index=False)
    table = CSVTable(tmp_path / "labels.csv", test_fraction=1, check_files=False)
    options = {"max_missing": 0.1, "statistics": StatisticsOptions(400), "out": str(tmp_path / "out")}
    evaluate.evaluate(predictions=str(tmp_path / "some.csv"), table=table, **options)
    assert script.recompute(tmp_path / "out") == 0
    assert "agrees" in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, "{", "[" * 100_000, "{}"])
def test_no_board_is_told_in_one_line(script, tmp_path, capsys, content):
    if content is not None:
        (tmp_path / "leaderboard.json").write_text(content)
    assert script.recompute(tmp_path) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
