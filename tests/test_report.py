import json
import subprocess
import sys
from dataclasses import replace
from io import StringIO

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgba
from PIL import Image
from rich.console import Console

from piqa.data import CADB, CSVTable, Mix
from piqa.errors import InputError
from piqa.evaluation.metrics import per_scene
from piqa.evaluation.predictions import read_predictions
from piqa.evaluation.report import ORANGE, ReportFacts, draw_scatter, print_report, write_report

GIVEN = {
    "table": "PIQ23 overall",
    "split": "test",
    "attribute": "overall",
    "selected_on": "val",
    "checkpoint": "best.ckpt",
}
FACTS = ReportFacts(**GIVEN)


def predictions(scenes=3, images=8):
    rng = np.random.default_rng(0)
    n = scenes * images
    score = rng.normal(size=n)
    return pd.DataFrame(
        {
            "image": [f"{i}.jpg" for i in range(n)],
            "scene": np.repeat([f"Scene_{i}" for i in range(scenes)], images),
            "score": score,
            "prediction": score + rng.normal(size=n),
        }
    )


def with_a_constant_scene():
    frame = predictions()
    frame.loc[frame["scene"] == "Scene_1", "prediction"] = 0.5
    return frame


def printed(report, width=80):
    text = StringIO()
    print_report(report, Console(file=text, width=width))
    return text.getvalue()


def test_a_report_is_four_files(tmp_path):
    write_report(predictions(), tmp_path / "results", FACTS)
    names = sorted(path.name for path in (tmp_path / "results").iterdir())
    assert names == ["metrics.json", "per_scene.csv", "predictions.csv", "scatter.png"]


def test_the_files_hold_what_was_measured(tmp_path):
    frame = predictions()
    report = write_report(frame, tmp_path, FACTS)
    pd.testing.assert_frame_equal(read_predictions(report.predictions_csv), frame, check_exact=True, check_dtype=False)
    scenes = pd.read_csv(report.per_scene_csv, index_col="scene")
    pd.testing.assert_frame_equal(scenes, per_scene(frame), check_dtype=False, check_index_type=False)
    metrics = json.loads(report.metrics_json.read_text())
    assert metrics["official"]["srocc"] == scenes["srocc"].median()
    assert metrics["authors"]["mae"] == pytest.approx(scenes["fitted_mae"].mean())
    assert 0.5 < metrics["pair_accuracy"] < 1
    assert metrics["facts"] == GIVEN


def test_what_is_undefined_is_null_in_valid_json(tmp_path):
    report = write_report(predictions().assign(prediction=1.0), tmp_path, ReportFacts.from_dict({"gain": float("nan")}))
    text = report.metrics_json.read_text()
    metrics = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert metrics["official"]["srocc"] is None
    assert metrics["undefined"]["count"] == 3
    assert metrics["facts"] == {"selected_on": None, "gain": None}


def test_facts_of_any_type_are_written(tmp_path):
    facts = {
        "checkpoint": tmp_path / "a.ckpt",
        "epoch": np.int64(3),
        "arguments": ["piqa", "evaluate"],
        "best": np.True_,
    }
    report = write_report(predictions(), tmp_path, ReportFacts.from_dict(facts))
    expected = {"checkpoint": "a.ckpt", "epoch": 3, "arguments": ["piqa", "evaluate"], "best": True}
    assert json.loads(report.metrics_json.read_text())["facts"] == {"selected_on": None, **expected}


def test_images_left_out_by_the_join_are_reported(tmp_path):
    frame = predictions()
    frame.attrs = {"missing": list("abcd"), "unmatched": list("abcde")}
    report = write_report(frame, tmp_path, FACTS)
    assert json.loads(report.metrics_json.read_text())["missing"] == 4
    assert "4 images of the table have no prediction" in printed(report)
    assert "5 predictions are for images that are not in the table" in printed(report, width=200)


def test_a_second_report_replaces_the_first(tmp_path):
    write_report(predictions(), tmp_path, FACTS)
    report = write_report(predictions(scenes=2), tmp_path, FACTS)
    assert json.loads(report.metrics_json.read_text())["scenes"] == 2
    assert len(list(tmp_path.iterdir())) == 4


def test_predictions_that_cannot_be_measured_write_nothing(tmp_path):
    with pytest.raises(InputError, match="not finite"):
        write_report(predictions().assign(prediction=np.nan), tmp_path / "results", FACTS)
    assert not (tmp_path / "results").exists()


def test_a_folder_that_cannot_be_written_is_named_in_one_line(tmp_path):
    (tmp_path / "results").write_text("a file")
    with pytest.raises(InputError) as error:
        write_report(predictions(), tmp_path / "results", FACTS)
    assert str(tmp_path / "results") in str(error.value)
    assert "\n" not in str(error.value)


# On the screen


def test_every_scene_and_both_protocols_are_printed_with_their_figures(tmp_path):
    report = write_report(predictions(), tmp_path, FACTS)
    lines = printed(report).splitlines()
    for scene, row in report.scenes.iterrows():
        line = next(line for line in lines if line.startswith(scene))
        assert line.split()[1:4] == ["8", f"{row['srocc']:.3f}", f"{row['krocc']:.3f}"]
    official = next(line for line in lines if line.startswith("official (median)"))
    authors = next(line for line in lines if line.startswith("authors (mean)"))
    names = ["srocc", "krocc", "plcc", "mae", "rmse"]
    assert official.split()[2:] == ["24", *(f"{report.summary['official'][name]:.3f}" for name in names)]
    assert authors.split()[2:] == ["24", *(f"{report.summary['authors'][name]:.3f}" for name in names)]


def test_the_heading_says_what_was_evaluated_and_what_chose_the_checkpoint(tmp_path):
    text = printed(write_report(predictions(), tmp_path, FACTS))
    assert "PIQ23 overall · split test · attribute overall" in text
    assert "checkpoint chosen on held-out validation scenes" in text
    assert "checkpoint: best.ckpt" in text
    assert "test set" not in text


def test_a_checkpoint_chosen_on_the_test_set_is_labelled(tmp_path):
    text = printed(write_report(predictions(), tmp_path, replace(FACTS, selected_on="test")))
    assert "CHOSEN ON THE TEST SET" in text
    assert "The checkpoint was chosen on the test set: compare only" in text


def test_without_a_checkpoint_nothing_is_claimed_about_its_choice(tmp_path):
    assert "what the checkpoint was chosen on is not known" in printed(
        write_report(predictions(), tmp_path, ReportFacts())
    )


def test_undefined_scenes_are_printed_as_nan_and_counted(tmp_path):
    text = printed(write_report(with_a_constant_scene(), tmp_path, FACTS), width=200)
    line = next(line for line in text.splitlines() if line.startswith("Scene_1"))
    assert line.split()[2:5] == ["nan", "nan", "nan"]
    assert "No correlation is defined (too few images, or all equal) in 1 of 3 scenes" in text
    assert "No logistic could be fitted in 1 of 3 scenes" in text


def test_scene_names_are_printed_as_they_are(tmp_path):
    frame = predictions()
    frame["scene"] = "[red]" + frame["scene"] + "[/x] $a_b$"
    assert "[red]Scene_0[/x] $a_b$" in printed(write_report(frame, tmp_path, FACTS), width=120)


# The plot


def drawn(frame):
    return draw_scatter(frame, per_scene(frame), "title")


def panels(figure):
    return [axes for axes in figure.axes if axes.collections]


@pytest.mark.parametrize("scenes", [1, 2, 3, 15, 50])
def test_the_plot_has_one_panel_a_scene_on_the_same_axes(scenes):
    figure = drawn(predictions(scenes))
    assert len(panels(figure)) == scenes
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in panels(figure)}) == 1
    assert figure.get_supxlabel() == "true score"
    assert figure.get_supylabel() == "predicted score"


def test_a_panel_shows_its_scene_and_its_srocc():
    frame = predictions()
    panel = panels(drawn(frame))[1]
    assert panel.get_title() == f"Scene_1\nSROCC {per_scene(frame).loc['Scene_1', 'srocc']:.3f}"
    points = frame.loc[frame["scene"] == "Scene_1", ["score", "prediction"]].to_numpy()
    np.testing.assert_array_equal(panel.collections[0].get_offsets(), points)


def test_a_constant_scene_is_marked_in_the_plot():
    panel = panels(drawn(with_a_constant_scene()))[1]
    assert panel.get_title() == "Scene_1\nSROCC undefined"
    assert tuple(panel.collections[0].get_facecolor()[0][:3]) == to_rgba(ORANGE)[:3]


def test_more_scenes_than_fit_are_drawn_from_worst_to_best():
    frame = predictions(scenes=70)
    figure = drawn(frame)
    titles = " ".join(panel.get_title() for panel in panels(figure))
    assert len(panels(figure)) == 60
    assert "60 of 70 scenes" in figure.get_suptitle()
    srocc = per_scene(frame)["srocc"]
    assert f"{srocc.idxmin()}\n" in titles and f"{srocc.idxmax()}\n" in titles


def test_the_image_is_an_image_wide_enough_to_read(tmp_path):
    report = write_report(predictions(scenes=50), tmp_path, FACTS)
    with Image.open(report.scatter_png) as image:
        assert image.format == "PNG"
        assert image.width > 1500 and image.height > 1000


def test_a_scene_name_that_looks_like_a_broken_formula_can_be_drawn(tmp_path):
    frame = predictions().assign(scene=r"$\frac{$")
    assert write_report(frame, tmp_path, FACTS).scatter_png.stat().st_size > 0


def test_pyplot_is_left_alone_and_evaluation_needs_no_torch():
    code = "import sys, piqa.evaluation.report; print({'matplotlib.pyplot', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_spread_of_single_ratings_is_not_taken_for_the_noise_of_their_mean(tmp_path):
    rated = predictions().assign(score_std=3.0)
    of_scores = write_report(rated, tmp_path / "scores", FACTS).doubt.uncertainty
    rated.attrs["std_of_ratings"] = True
    found = write_report(rated, tmp_path / "rated", FACTS).doubt.uncertainty
    assert found == write_report(predictions(), tmp_path / "plain", FACTS).doubt.uncertainty
    assert of_scores.std < found.std / 5  # all errors would be the labels'
    assert CADB("data/cadb").std_of_ratings and not CSVTable("scores.csv").std_of_ratings
    assert Mix([CSVTable("scores.csv"), CADB("data/cadb")]).std_of_ratings
