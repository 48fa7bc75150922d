"""`piqa predict --factors true` and `--sort`: what is measured stands beside the scores, and the best comes first."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from portraits import collins, hopper
from refusals import one_line, refusal
from test_predict import interrupt_after
from tiny_models import write_images, write_tiny_model

from piqa import Preparation, Scorer, measure_factors, open_image, predict
from piqa.factors.families import FACTORS
from piqa.preparation import icc
from piqa.preparation.faces import turned_clockwise
from piqa.scoring import factor_columns
from piqa.scoring.factor_columns import FACTOR_COLUMNS
from piqa.scoring.image_batches import BatchPreparer
from piqa.scoring.scorer import COLUMNS


@pytest.fixture(scope="module")
def blind(tmp_path_factory):
    """A model whose preparation looks for no face."""
    return write_tiny_model(tmp_path_factory.mktemp("blind"))


@pytest.fixture(scope="module")
def seeing(tmp_path_factory):
    """A model whose preparation finds faces."""
    return write_tiny_model(tmp_path_factory.mktemp("seeing"), face_rule="largest")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"), 5)


@pytest.fixture(scope="module")
def portraits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("portraits")
    collins().save(folder / "collins.png")
    hopper().save(folder / "hopper.jpg", quality=90)
    return [str(folder / "collins.png"), str(folder / "hopper.jpg")]


def run(model, out, *arguments):
    predict.main([*map(str, arguments), "--ckpt_path", str(model), "--out", str(out), "--device", "cpu"])
    return pd.read_csv(out)


def assert_same(row, factors, rel=1e-6):
    """Check a row of a table against the `PortraitFactors` of the same image."""
    expected = [np.nan if value is None else value for value in factors.values.values()]
    assert row[list(FACTORS)].astype(float).tolist() == pytest.approx(expected, rel=rel, abs=1e-9, nan_ok=True)


# What is measured


def test_a_column_for_each_factor_stands_behind_the_scores(blind, images, tmp_path):
    table = run(blind, tmp_path / "scores.csv", *images, "--factors", "true")
    assert list(table) == [*COLUMNS, *FACTORS, "factors_error"]
    assert table["megapixels"].tolist() == [0.003] * 5 and table["factors_error"].isna().all()
    assert list(run(blind, tmp_path / "plain.csv", *images)) == COLUMNS


@pytest.mark.parametrize("model", ["blind", "seeing"])
def test_files_measure_as_by_themselves_whether_or_not_the_model_sees_faces(model, portraits, request):
    scorer = Scorer.load(request.getfixturevalue(model), device="cpu", try_turns=True)
    table = scorer.score(portraits, factors=True)
    for file, (_, row) in zip(portraits, table.iterrows(), strict=True):
        assert_same(row, measure_factors(file))


def test_the_face_that_the_model_found_is_not_looked_for_again(seeing, portraits, monkeypatch):
    scorer = Scorer.load(seeing, device="cpu")

    def refuse(*_):
        raise AssertionError("a second detector")

    monkeypatch.setattr(factor_columns, "Preparer", refuse)
    table = scorer.score(portraits[1], factors=True)
    assert table["eye_distance"].notna().all() and table["factors_error"].isna().all()


def test_an_image_on_its_side_measures_like_the_upright_one(seeing, tmp_path):
    hopper().save(tmp_path / "upright.png")
    turned_clockwise(hopper(), 270).save(tmp_path / "turned.png")
    files = [tmp_path / "upright.png", tmp_path / "turned.png"]
    upright, turned = Scorer.load(seeing, device="cpu", try_turns=True).score(files, factors=True).iloc
    assert turned["turned"] == 90 and turned[FACTOR_COLUMNS].equals(upright[FACTOR_COLUMNS])


def adobe_rgb():
    """A profile as Adobe RGB's, made of its primaries."""
    return icc.power_profile(icc.ADOBE_RGB_GAMMA, icc.ADOBE_RGB)


@pytest.fixture
def measured(monkeypatch):
    """The pixels that are measured."""
    seen, measure = [], factor_columns.factors_of

    def noted(image, *others):
        seen.append(np.asarray(image))
        return measure(image, *others)

    monkeypatch.setattr(factor_columns, "factors_of", noted)
    return seen


@pytest.mark.parametrize("held", ["file", "memory"])
def test_factors_are_measured_in_srgb_while_the_model_sees_stored_values(blind, tmp_path, measured, held):
    file = tmp_path / "adobe.png"
    collins().resize((128, 128)).save(file, icc_profile=adobe_rgb())
    scorer = Scorer.load(blind, device="cpu")
    assert scorer.preparation.colour == "stored"
    (row,) = scorer.score(file if held == "file" else Image.open(file), factors=True).iloc
    (pixels,) = measured
    assert np.array_equal(pixels, open_image(file, "srgb")) and not np.array_equal(pixels, open_image(file, "stored"))
    assert row["score"] == pytest.approx(scorer.score(open_image(file, "stored"))["score"][0])


@pytest.mark.parametrize("colour", ["stored", "srgb"])
@pytest.mark.parametrize("profile", [None, adobe_rgb()])
def test_a_file_is_decoded_once(tmp_path, monkeypatch, colour, profile):
    hopper().resize((60, 70)).save(tmp_path / "a.jpg", icc_profile=profile)
    decoded, load = [], JpegImageFile.load

    def noted(self):
        decoded.extend([self] if self.tile else [])
        return load(self)

    monkeypatch.setattr(JpegImageFile, "load", noted)
    settings = Preparation(short_side=40, face_rule="none", colour=colour)
    batch = BatchPreparer(settings, 32, "one", {"whole"}, None, "crops", factors=True)([str(tmp_path / "a.jpg")])
    assert batch.errors == [None] and batch.factors[0].fault is None and len(decoded) == 1


def test_worker_processes_measure_alike(blind, images):
    scorer = Scorer.load(blind, device="cpu")
    files = [*images, "missing.jpg"]
    here, there = (scorer.score(files, workers=workers, factors=True) for workers in (0, 1))
    pd.testing.assert_frame_equal(here, there, atol=1e-5)


def test_a_stream_has_the_columns_of_score_whatever_it_holds(blind, images):
    scorer = Scorer.load(blind, device="cpu")
    (good,), (bad,) = scorer.stream(images[0], factors=True), scorer.stream("missing.jpg", factors=True)
    assert list(good) == list(bad) == scorer.columns_with(True) and good.dtypes.equals(bad.dtypes)
    assert bad[FACTOR_COLUMNS].isna().all(axis=None) and "missing.jpg" in bad["error"][0]


# Faults


def test_a_fault_of_measuring_costs_the_factors_and_not_the_score(blind, images, tmp_path, monkeypatch):
    def fails(*_):
        raise ZeroDivisionError("a family's own fault")

    monkeypatch.setattr(factor_columns, "factors_of", fails)
    table = run(blind, tmp_path / "scores.csv", images[0], "--factors", "true")
    assert table["score"].notna().all() and table["error"].isna().all() and table[list(FACTORS)].isna().all(axis=None)
    assert table["factors_error"][0] == f"{images[0]} could not be measured (ZeroDivisionError: a family's own fault)"


def test_an_image_too_small_to_be_measured_is_scored(blind, tmp_path):
    Image.new("RGB", (7, 9), "red").save(tmp_path / "small.png")
    (row,) = Scorer.load(blind, device="cpu").score(tmp_path / "small.png", factors=True).iloc
    assert np.isfinite(row["score"]) and "has 7 x 9 pixels, too few to be measured" in row["factors_error"]


def test_an_output_named_as_a_factor_is_refused_with_factors_alone(blind, images):
    scorer = Scorer.load(blind, device="cpu")
    scorer.columns = [*COLUMNS, "megapixels"]
    assert scorer.columns_with(False)[-1] == "megapixels"
    assert "the network returns megapixels" in refusal(scorer.score, images[0], factors=True)


# Going on


def test_an_interrupted_run_with_factors_goes_on_and_one_without_starts_its_own(
    blind, images, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "scores.csv"
    arguments = (*images, "--batch_size", 1, "--factors", "true")
    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        interrupt_after(patched, 2)
        run(blind, out, *arguments)
    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        interrupt_after(patched, 1)
        run(blind, out, *images, "--batch_size", 1)
    assert "going on" not in capsys.readouterr().out
    table = run(blind, out, *arguments, "--sort", "megapixels")  # equal of all: they stay in their order
    assert "going on after 2 images" in capsys.readouterr().out
    assert table["file"].tolist() == images and table["megapixels"].notna().all()
    summary = json.loads((tmp_path / "scores.json").read_text())
    assert summary["factors"] is True and summary["sort"] == "megapixels" and summary["scored_now"] == 3


def test_rows_of_another_version_of_the_factors_are_not_used(blind, images, monkeypatch):
    scorer = Scorer.load(blind, device="cpu")
    now = scorer.settings(blind / "model.safetensors", factors=True)
    monkeypatch.setattr(factor_columns, "VERSION", 0)
    assert scorer.settings(blind / "model.safetensors", factors=True) != now
    assert "factors" not in scorer.settings(blind / "model.safetensors")


# The order of rows


@pytest.fixture(scope="module")
def sizes(tmp_path_factory):
    """Images of 0.02, 0.05 and 0.01 million pixels, and a file that is no image."""
    folder = tmp_path_factory.mktemp("sizes")
    for name, width in (("a", 200), ("b", 500), ("d", 100)):
        noise = np.random.default_rng(width).integers(0, 256, (100, width, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{name}.png")
    (folder / "c.png").write_text("no image")
    return folder


def test_rows_are_sorted_by_score_from_the_highest(blind, sizes, tmp_path):
    table = run(blind, tmp_path / "scores.csv", sizes, "--sort", "score")
    assert table["score"][:3].is_monotonic_decreasing and table["error"].notna().tolist() == [False] * 3 + [True]
    assert json.loads((tmp_path / "scores.json").read_text())["sort"] == "score"


def test_rows_are_sorted_by_a_factor_and_those_without_it_come_last(blind, sizes, tmp_path):
    table = run(blind, tmp_path / "scores.csv", sizes, "--factors", "true", "--sort", "megapixels")
    assert [name[-5:] for name in table["file"]] == ["b.png", "a.png", "d.png", "c.png"]


def test_a_factor_is_sorted_by_only_where_it_is_measured(blind, images, tmp_path, capsys):
    line = one_line(capsys, lambda: run(blind, tmp_path / "scores.csv", *images, "--sort", "megapixels"))
    assert "`sort` megapixels is a factor, and factors are not measured; add `--factors true`" in line


@pytest.mark.parametrize(("column", "said"), [("megapixel", "did you mean megapixels?"), ("scor", "mean score")])
def test_a_column_that_is_not_there_is_answered_with_the_nearest(blind, images, tmp_path, capsys, column, said):
    line = one_line(capsys, lambda: run(blind, tmp_path / "scores.csv", *images, "--factors=true", "--sort", column))
    assert said in line and not (tmp_path / "scores.csv").exists()


@pytest.mark.parametrize("column", ["file", "error", "face_found", "factors_error", "turned"])
def test_a_column_that_says_nothing_of_quality_is_refused(blind, images, tmp_path, capsys, column):
    line = one_line(capsys, lambda: run(blind, tmp_path / "scores.csv", *images, "--factors=true", "--sort", column))
    assert f"`sort` {column} is no column of numbers that say what is best" in line
