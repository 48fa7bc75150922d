"""One network for three attributes, from its training to its evaluation and its scores."""

import json

import pandas as pd
import pytest
from scipy.stats import spearmanr

from piqa import evaluate, fit
from piqa.data import PIQ23
from piqa.evaluation.statistics.options import StatisticsOptions
from piqa.scoring.options import ScoringOptions
from piqa.scoring.scorer import Scorer
from piqa.training.run_folder import remove_former_run
from piqa.weights.model_file import read_card

ATTRIBUTES = ("details", "exposure")


@pytest.fixture(scope="module")
def run(tiny_config):
    """A run with three attributes of `tiny_config`'s data, without faces; its store is shared."""
    out = tiny_config.parent / "attributes"
    network = ["--model.network.attributes", "[details,exposure]", "--model.network.branches", "[whole]"]
    table = ["--data.table.also", "[details,exposure]", "--trainer.max_epochs", "1"]
    task = ["--task", "piqa.tasks.AttributesTask", "--model.selection", "details"]
    fit.main(["--config", str(tiny_config), *task, *network, *table, "--out", str(out)])
    return out


@pytest.fixture(scope="module")
def evaluation(run, tiny_config):
    """The evaluation by one command, in the folder of the run."""
    store = str(tiny_config.parent / "store")
    evaluate.main(["--ckpt_path", str(run), "--scoring.store", store, "--statistics.bootstrap_samples", "20"])
    return run / "evaluation"


def labels_of(tiny_config, attribute):
    table = PIQ23(tiny_config.parent / "piq23", attribute).load()
    return table[table["split"] == "test"].set_index("image")["score"]


def test_the_card_says_what_the_network_answers_and_what_chose_it(run):
    card = read_card(run)
    assert card.network.init_args["attributes"] == list(ATTRIBUTES)
    assert "selected_details_srocc" in card.trained_on
    measures = pd.read_csv(run / "metrics.csv")
    assert {"val/srocc", "val/details_srocc", "val/exposure_srocc", "val/mean_srocc"} <= set(measures)


def test_training_leaves_a_report_of_every_attribute(run, tiny_config):
    overall = pd.read_csv(run / "test" / "predictions.csv")
    for attribute in ATTRIBUTES:
        own = pd.read_csv(run / "test" / "by_attribute" / attribute / "predictions.csv").set_index("image")
        pd.testing.assert_series_equal(own["score"], labels_of(tiny_config, attribute)[own.index], check_names=False)
        assert own["prediction"].tolist() == overall[f"prediction.{attribute}"].tolist()
        facts = json.loads((run / "test" / "by_attribute" / attribute / "metrics.json").read_text())["facts"]
        assert facts["attribute"] == attribute


def test_one_command_evaluates_every_attribute(run, evaluation, tiny_config, capsys):
    table = pd.read_csv(evaluation / "attributes.csv").set_index("attribute")
    assert table.index.tolist() == ["overall", *ATTRIBUTES]
    assert table["images"].tolist() == [12] * 3 and table["scenes"].tolist() == [2] * 3
    for attribute in ATTRIBUTES:
        place = evaluation / "by_attribute" / attribute
        own = pd.read_csv(place / "predictions.csv")
        theirs = labels_of(tiny_config, attribute)[own["image"]].to_numpy()
        ranks = [
            spearmanr(theirs[rows.index], rows["prediction"]).statistic for _, rows in own.groupby("scene", sort=True)
        ]
        assert table.loc[attribute, "srocc"] == pytest.approx(sum(ranks) / 2)  # the median of two scenes
        board = json.loads((place / "leaderboard.json").read_text())
        names = {row["model"]: row["kind"] for row in board["entries"]}
        assert names[run.name] == "model" and names[f"{run.name}, overall"] == names["overall score"] == "naive"
        assert board["facts"]["attribute"] == attribute and "published" not in names.values()
        assert (place / "leaderboard.html").is_file()
    told = json.loads((evaluation / "attributes.json").read_text())
    assert [row["attribute"] for row in told["attributes"]] == table.index.tolist()
    trained = pd.read_csv(run / "test" / "predictions.csv").set_index("image")
    again = pd.read_csv(evaluation / "predictions.csv").set_index("image")
    for attribute in ATTRIBUTES:
        column = f"prediction.{attribute}"
        assert again[column].tolist() == pytest.approx(trained.loc[again.index, column].tolist(), abs=1e-5)


def test_a_model_of_the_score_alone_has_no_board_of_an_attribute(run, tiny_run, tiny_config, tmp_path):
    found = evaluate.evaluate(
        [str(tiny_run), str(run)],
        table=PIQ23(tiny_config.parent / "piq23", also=["details"]),
        out=str(tmp_path),
        scoring=ScoringOptions(str(tiny_config.parent / "store"), test_crops="one"),
        statistics=StatisticsOptions(20),
    )
    assert found.attributes[["attribute", "model"]].to_numpy().tolist() == [
        *(["overall", model] for model in found.board.entries.query("kind == 'model'")["model"]),
        ["details", run.name],
    ]
    assert not (tmp_path / "by_attribute" / "exposure").exists()


def test_scores_have_a_column_for_every_attribute(run, tiny_config):
    image = next((tiny_config.parent / "piq23" / "Overall").glob("*.jpg"))
    scores = Scorer.load(run, device="cpu").score(str(image))
    assert scores[["score", *ATTRIBUTES]].notna().all(axis=None)


def test_the_reports_of_attributes_go_with_the_run_that_is_replaced(run, tmp_path):
    folder = tmp_path / "test" / "by_attribute" / "details"
    folder.mkdir(parents=True)
    for name in ("metrics.json", "mine.txt"):
        (folder / name).write_text("{}")
    remove_former_run(tmp_path)
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]
