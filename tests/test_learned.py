"""Learned factor models from `piqa fit` to the report: each beside the measured factors of its family."""

import base64
import io
import json

import numpy as np
import pandas as pd
import pytest
import torch
from browser import faults, needs_browser
from look_alike_databases import write_cadb, write_fivek
from PIL import Image
from refusals import refusal
from spoilt_exposure import write_pictures
from tiny_models import write_images

from piqa import Scorer, explain, fit
from piqa.models import ExposureMap
from piqa.models.composition import COMPOSITIONS
from piqa.report.facts import Facts
from piqa.report.learned import _map_picture
from piqa.weights import model_file
from piqa.weights.model_card import ClassSpec, ModelCard

SHORT = ["--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]
SHORT += ["--trainer.num_sanity_val_steps=0", "--data.store.workers=0", "--data.loading.workers=0"]
SHORT += ["--overwrite=true"]
EXPOSURE = ["--config", "exposure_map.yaml", "--model.network.width=4", "--model.network.image_size=64"]
EXPOSURE += ["--data.preparation.short_side=64", *SHORT]
SPLITS = ["--data.table.val_fraction=0.25", "--data.table.test_fraction=0.25"]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """A folder with runs of two factor models, and eight photographs of which one is broken."""
    folder = tmp_path_factory.mktemp("learned")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_pictures(folder / "data/pictures", 12)
        write_cadb(folder / "data/cadb")
        fit.main([*EXPOSURE, *SPLITS, "--out", "runs/exposure_map"])
        network = [
            "--model.network.backbone=test_byobnet",
            "--model.network.image_size=64",
            "--model.init.whole=scratch",
        ]
        side = ["--data.preparation.short_side=64", "--data.inputs.crop_size=64"]
        fit.main(["--config", "composition.yaml", *network, *side, *SHORT, "--out", "runs/composition"])
    write_images(folder / "photos", 9)
    (folder / "photos/00008.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    return folder


LEARNED = ["--learned.exposure", "runs/exposure_map", "--learned.composition", "runs/composition"]


def run(*arguments):
    explain.main(["photos", "--out", "report", "--workers", "0", "--device", "cpu", *arguments])


@pytest.fixture(scope="module")
def report(workshop):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workshop)
        run(*LEARNED, "--learned.focus", "focus.yaml")
    return workshop / "report"


def test_a_run_of_the_exposure_map_is_tested_by_what_its_labels_say(workshop):
    metrics = json.loads((workshop / "runs/exposure_map/test/metrics.json").read_text())
    assert "pictures **/*" in str(metrics)
    predictions = pd.read_csv(workshop / "runs/exposure_map/test/predictions.csv")
    assert predictions["score"].between(-4, 0).all() and predictions["prediction"].between(-4, 0).all()
    card = json.loads((workshop / "runs/exposure_map/model.json").read_text())
    assert card["network"]["class_path"] == "piqa.models.ExposureMap" and card["view"] == "whole"


def test_an_exposure_map_is_trained_on_fivek_by_the_experts_pictures(workshop, monkeypatch):
    monkeypatch.chdir(workshop)
    write_fivek(workshop / "data/fivek")
    table = ["--data.table", "piqa.data.FiveK", "--data.table.root", "data/fivek", "--model.labels", "reference"]
    fit.main([*EXPOSURE, *table, "--out", "runs/fivek"])
    predictions = pd.read_csv(workshop / "runs/fivek/test/predictions.csv")
    assert len(predictions) == 2 and predictions["score"].between(-4, 0).all()


def test_a_run_of_composition_reports_the_classes(workshop):
    metrics = pd.read_csv(workshop / "runs/composition/metrics.csv")
    assert metrics["val/map"].notna().any() and metrics["val/emd"].notna().any()


def test_each_model_is_a_column_beside_its_family(report, workshop, monkeypatch):
    monkeypatch.chdir(workshop)
    table = pd.read_csv(report / "factors.csv")
    names = list(table)
    for family, before in (("exposure", "overhead_stops_percentile"), ("composition", "tilt_percentile")):
        assert names[names.index(f"learned_{family}") - 1] == before
    good = table[table["error"].isna()]
    assert len(good) == 8 and table["learned_exposure"].notna().sum() == 8
    assert set(good["learned_composition_composition"]) <= set(COMPOSITIONS)
    assert set(good["learned_focus_depth_of_field"]) <= {"deep", "shallow", "unknown"}
    files = good["file"].tolist()
    expected = Scorer.load("runs/exposure_map", device="cpu").score(files)["score"]
    assert good["learned_exposure"].to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-5)
    ranks = expected.rank() - 1
    assert good["learned_exposure_percentile"].to_numpy() == pytest.approx(100 / 7 * ranks.to_numpy())


def test_the_pages_show_score_place_and_map(report):
    index = (report / "index.html").read_text()
    assert "Learned exposure is the score of the model exposure_map: higher is better." in index
    assert "Learned composition" in index and "Composition (learned composition)" in index
    page = (report / "portraits/00003.html").read_text()
    assert "The score of the model exposure_map; on the whole" in page and "depth of field:" in page
    assert 'data-map="learned_exposure"' in page and "too dark by 4 stops" in page and "too bright by 4 stops" in page


def picture_of(shown):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(shown.picture.partition(",")[2]))).convert("RGB")).astype(
        int
    )


def test_a_map_is_blue_where_too_dark_orange_where_too_bright_and_turned_like_the_photograph():
    values = np.full((64, 64), -3, np.float32)
    values[:, 32:] = 3
    colours = picture_of(_map_picture(values, Facts([0, 0], width=40, height=40), 0))
    side = colours.shape[1]
    left, right = colours[:, : side // 4].mean(axis=(0, 1)), colours[:, -side // 4 :].mean(axis=(0, 1))
    assert left[2] > left[0] + 40 and right[0] > right[2] + 40
    # Turned clockwise by 90 degrees, the left half lies above.
    colours = picture_of(_map_picture(values, Facts([0, 0], width=40, height=40, turned=90), 0))
    above, below = colours[: side // 4].mean(axis=(0, 1)), colours[-side // 4 :].mean(axis=(0, 1))
    assert np.allclose(above, left, atol=2) and np.allclose(below, right, atol=2)


def test_a_second_run_scores_nothing_again_and_another_model_all(report, workshop, monkeypatch):
    monkeypatch.chdir(workshop)
    before, scored, batches = (report / "factors.csv").read_text(), [], Scorer.batches

    def counted(self, files, **settings):
        scored.append(len(files))
        return batches(self, files, **settings)

    monkeypatch.setattr(Scorer, "batches", counted)
    run(*LEARNED, "--learned.focus", "focus.yaml")
    assert scored == [0, 0, 0] and (report / "factors.csv").read_text() == before
    torch.manual_seed(5)
    other = ExposureMap(width=4)
    card = ModelCard(ClassSpec.of(other), {"short_side": 64, "resize": "stretch", "face_rule": "none"}, "whole", 64)
    model_file.save(other, workshop / "other/model.safetensors", card)
    run("--learned.exposure", "other")
    table = pd.read_csv(report / "factors.csv")
    assert scored[3:] == [8] and "learned_composition" not in table
    assert table["learned_exposure"].tolist() != pd.read_csv(io.StringIO(before))["learned_exposure"].tolist()


def test_what_is_no_family_or_not_commercial_is_refused(workshop, monkeypatch):
    monkeypatch.chdir(workshop)
    assert "beauty, which is no family of factors; choose exposure, contrast" in refusal(
        explain.explain, ["photos"], "refused", learned={"beauty": "runs/exposure_map"}
    )
    assert "runs/composition is not known to allow commercial use" in refusal(
        explain.explain, ["photos"], "refused", learned={"composition": "runs/composition"}, commercial=True
    )
    assert not (workshop / "refused").exists()


@needs_browser
@pytest.mark.slow
def test_the_map_is_laid_over_the_photograph_in_a_browser(report, workshop, monkeypatch, opened):
    monkeypatch.chdir(workshop)
    run(*LEARNED)
    with opened((report / "portraits/00003.html").read_text()) as page:
        page.get_by_label("exposure, learned").check()
        assert page.locator(".layer.shown").get_attribute("data-map") == "learned_exposure"
        assert page.locator(".layer.shown img.map").is_visible() and faults(page) == []
    with opened((report / "index.html").read_text()) as page:
        assert page.get_by_role("button", name="Learned exposure").is_visible() and faults(page) == []
