"""`python -m piqa.pick`: whole runs on a few small images."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageFilter
from portraits import collins, hopper
from refusals import one_line
from scipy.stats import norm
from tiny_models import write_tiny_model
from videos import write_video

from piqa import Scorer, pick
from piqa.errors import FileAccessError
from piqa.evaluation.statistics.preference import Preference
from piqa.evaluation.statistics.uncertainty import ScoreUncertainty
from piqa.moments import measuring
from piqa.moments.pick import COLUMNS
from piqa.system.ownership import locked
from piqa.weights.card_facts import add_to_card

SCALE = 0.01


def exif(second):
    found = Image.Exif()
    found[ExifTags.Base.Make], found[ExifTags.Base.Model] = "Maker", "X"
    shot = found.get_ifd(ExifTags.IFD.Exif)
    shot[ExifTags.Base.DateTimeOriginal] = f"2026:05:01 12:00:{second:02d}"
    shot[ExifTags.Base.SubsecTimeOriginal] = "00"
    return found


def write_photos(folder: Path) -> Path:
    """A burst of three of Collins, of which the second is sharp; one of Hopper, alone; one broken, one empty file."""
    folder.mkdir()
    sharp = collins().resize((256, 256), Image.Resampling.LANCZOS)
    noise = np.random.default_rng(0).normal(0, 25, (256, 256, 3))
    grainy = Image.fromarray(np.clip(np.asarray(sharp) + noise, 0, 255).astype(np.uint8))
    for name, image, second in (
        ("1.jpg", sharp.filter(ImageFilter.GaussianBlur(2.5)), 1),
        ("2.jpg", sharp, 2),
        ("3.jpg", grainy, 3),
        ("4.jpg", hopper().resize((256, 300)), 50),
    ):
        image.save(folder / name, quality=92, exif=exif(second))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    (folder / "empty.jpg").touch()
    return folder


def run(*arguments: object) -> None:
    pick.main([*map(str, arguments), "--workers", "0"])


def refused(capsys, *arguments: object) -> str:
    """The one line that a run with bad input ends with."""
    capsys.readouterr()
    return one_line(capsys, lambda: run(*arguments))


def rows_of(out: Path) -> dict[str, dict[str, str]]:
    with (out / "picks.csv").open(newline="", encoding="utf-8") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def summary_of(out: Path) -> dict:
    return json.loads((out / "picks.json").read_text(encoding="utf-8"))


def digest(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {one.name: (one.read_bytes(), one.stat().st_mtime_ns) for one in folder.iterdir() if one.is_file()}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("pick") / "photos")


@pytest.fixture(scope="module")
def by_factors(photos):
    """A run without a model."""
    run(photos, "--out", photos.parent / "by_factors")
    return photos.parent / "by_factors"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model whose card knows probabilities."""
    folder = write_tiny_model(tmp_path_factory.mktemp("model"))
    facts = {"preference": Preference(SCALE, 3, 30, source="demo").to_dict(), "licence": {"weights": "our own"}}
    add_to_card(folder / "model.safetensors", facts)
    return folder


@pytest.fixture(scope="module")
def by_model(photos, model):
    run(photos, "--out", photos.parent / "by_model", "--ckpt_path", model)
    return photos.parent / "by_model"


def test_factors_alone_rank_and_say_so(by_factors):
    rows = rows_of(by_factors)
    assert list(next(iter(rows.values()))) == COLUMNS
    assert rows["2.jpg"]["rank"] == "1" and rows["2.jpg"]["pick"] == "true"
    assert {rows[name]["pick"] for name in ("1.jpg", "3.jpg")} == {"false"}
    assert {row["probability"] for row in rows.values()} == {""}
    assert rows["2.jpg"]["moment"] == rows["1.jpg"]["moment"] != rows["4.jpg"]["moment"]
    assert "than the second" in rows["2.jpg"]["reason"]
    found = summary_of(by_factors)
    assert found["notes"][0].startswith("There is no model")
    assert found["preference"] is None and found["model"] is None
    assert "There is no model" in (by_factors / "sheet.html").read_text(encoding="utf-8")


def test_a_shot_alone_is_kept_and_bad_files_have_a_row_with_a_reason(by_factors):
    rows = rows_of(by_factors)
    assert rows["4.jpg"]["pick"] == "true" and "no rival" in rows["4.jpg"]["reason"]
    for name, told in (("broken.jpg", "damaged"), ("empty.jpg", "empty")):
        assert rows[name]["pick"] == "false" and rows[name]["rank"] == ""
        assert told in rows[name]["reason"]
    found = summary_of(by_factors)
    counts = {name: found[name] for name in ("images", "moments", "rivals", "picks", "failed")}
    assert counts == {"images": 6, "moments": 4, "rivals": 1, "picks": 2, "failed": 2}


def test_a_models_scores_and_its_cards_preference_make_the_probabilities(by_model, model, photos):
    rows = rows_of(by_model)
    files = [str(photos / f"{number}.jpg") for number in (1, 2, 3)]
    scores = Scorer.load(model, device="cpu", try_turns=True).score(files)["score"].to_numpy()
    order = np.argsort(-scores)
    assert [rows[Path(files[at]).name]["rank"] for at in order] == ["1", "2", "3"]
    expected = norm.cdf(-np.diff(scores[order]) / SCALE)
    stated = [float(rows[Path(files[at]).name]["probability"]) for at in order[:2]]
    assert stated == pytest.approx(expected, abs=1e-3)
    assert rows[Path(files[order[2]]).name]["probability"] == ""
    assert [rows[Path(files[at]).name]["percentile"] for at in order] == ["100.0", "50.0", "0.0"]
    assert summary_of(by_model)["preference"]["source"] == "demo"
    assert summary_of(by_model)["licence"] == "weights: our own"


def test_nothing_told_names_the_folder_of_the_images(by_factors, by_model, photos):
    for out in (by_factors, by_model):
        for name in ("picks.csv", "picks.json", "sheet.html"):
            assert str(photos.parent) not in (out / name).read_text(encoding="utf-8")


def test_an_error_rate_decides_what_is_too_close_to_call(model, photos, tmp_path, capsys):
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    fact = ScoreUncertainty(1.0, 0.0, 1.0, first_two=[0.1] * 8 + [1.0], scenes=9)
    add_to_card(folder / "model.safetensors", {"uncertainty": fact.to_dict()})
    asked = [photos, "--ckpt_path", folder, "--out", tmp_path / "out", "--error_rate"]
    run(*asked, "0.1")  # of nine scenes the largest number, 1, counts: nothing can be told
    found = summary_of(tmp_path / "out")
    assert found["close"] == found["rivals"] > 0
    assert found["settings"]["too_close"] == 1 and found["settings"]["error_rate"] == 0.1
    run(*asked, "0.2")  # the eighth is 0.1: the better one is told in any case
    assert summary_of(tmp_path / "out")["close"] == 0
    capsys.readouterr()
    refused = ["--ckpt_path", folder, "--error_rate"]
    assert "from 9 scenes" in one_line(capsys, lambda: run(photos, "--out", tmp_path / "o2", *refused, "0.05"))
    message = one_line(capsys, lambda: run(photos, "--out", tmp_path / "o3", "--error_rate", "0.1"))
    assert "`error_rate` needs a model" in message
    told = one_line(capsys, lambda: run(photos, "--out", tmp_path / "o4", "--ckpt_path", model, "--error_rate", "0.1"))
    assert "does not say which error rates" in told


def test_a_model_without_a_preference_gives_no_probability_and_says_what_makes_one(photos, tmp_path, capsys):
    plain = write_tiny_model(tmp_path)
    run(photos, "--out", tmp_path / "out", "--ckpt_path", plain)
    assert {row["probability"] for row in rows_of(tmp_path / "out").values()} == {""}
    assert "piqa evaluate" in " ".join(summary_of(tmp_path / "out")["notes"])
    told = refused(capsys, photos, "--out", tmp_path / "out", "--ckpt_path", plain, "--probability", "0.7")
    assert "piqa evaluate" in told


def test_probabilities_need_a_model(photos, tmp_path, capsys):
    told = refused(capsys, photos, "--out", tmp_path / "out", "--probability", "0.7")
    assert "factors alone give no probabilities" in told
    assert not (tmp_path / "out").exists()


def test_what_was_measured_and_scored_is_kept_and_other_wishes_take_no_measuring(by_model, photos, model, monkeypatch):
    monkeypatch.setattr(measuring.FactorMeasurer, "measure", lambda *_: pytest.fail("an image was measured again"))
    monkeypatch.setattr(Scorer, "rows", lambda self, batch: pytest.fail("an image was scored again"))
    before = rows_of(by_model)
    # The files that cannot be read are opened again, in vain.
    monkeypatch.setattr(
        Scorer,
        "rows",
        lambda self, batch: [
            {**dict.fromkeys(self.columns), "file": file, "error": error}
            for file, error in zip(batch.files, batch.errors, strict=True)
            if error or pytest.fail("scored again")
        ],
    )
    run(photos, "--out", by_model, "--ckpt_path", model, "--keep", "2")
    after = rows_of(by_model)
    assert sum(row["pick"] == "true" for row in after.values()) == 3
    assert {name: row["rank"] for name, row in after.items()} == {name: row["rank"] for name, row in before.items()}


def test_an_interrupted_run_goes_on_where_it_stopped(photos, tmp_path, monkeypatch, capsys):
    seen = []
    measure = measuring.Measuring.__call__

    def stop_after_two(self, file):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(file)
        return measure(self, file)

    monkeypatch.setattr(measuring.Measuring, "__call__", stop_after_two)
    with pytest.raises(SystemExit) as stopped:
        run(photos, "--out", tmp_path / "out")
    assert stopped.value.code == 130
    assert "what was measured is kept" in capsys.readouterr().err
    assert not (tmp_path / "out" / "picks.csv").exists()
    monkeypatch.setattr(measuring.Measuring, "__call__", lambda self, file: seen.append(file) or measure(self, file))
    run(photos, "--out", tmp_path / "out")
    assert sorted(seen) == sorted({*seen})
    assert "going on after 2 images" in capsys.readouterr().out


def test_choices_links_and_the_images_themselves(by_factors, photos, tmp_path, capsys):
    before = digest(photos)
    choices = tmp_path / "choices.csv"
    choices.write_text("file,moment,pick\n1.jpg,x,0\n2.jpg,x,1\n3.jpg,x,0\n")
    run(photos, "--out", by_factors, "--from", choices, "--link", tmp_path / "keepers")
    told = capsys.readouterr().out
    assert "your choice is the first in 1 of 1 moments: 1.00" in told and "chance 0.33" in told
    assert summary_of(by_factors)["choices"]["chance"] == pytest.approx(1 / 3)
    assert {one.name for one in (tmp_path / "keepers").glob("*.jpg")} == {"2.jpg", "4.jpg"}
    assert (tmp_path / "keepers" / "2.jpg").resolve() == (photos / "2.jpg").resolve()
    assert digest(photos) == before


def test_marks_are_written_beside_the_images_and_taken_back(by_factors, photos, tmp_path, capsys):
    before = digest(photos)
    run(photos, "--out", by_factors, "--xmp", "true", "--sidecars", tmp_path / "sidecars")
    assert {one.name for one in (tmp_path / "sidecars").rglob("*.xmp")} == {"2.jpg.xmp", "4.jpg.xmp"}
    assert digest(photos) == before
    pick.main(["--undo", "true", "--out", str(by_factors)])
    assert "2 sidecars are as they were before" in capsys.readouterr().out
    assert not list((tmp_path / "sidecars").rglob("*.xmp"))


def test_scenes_are_folders_or_a_column(by_factors, photos, tmp_path):
    table = tmp_path / "table.csv"
    lines = [f"{photos / f'{number}.jpg'},{name}" for number, name in ((1, "a"), (2, "b"), (3, "a"), (4, "b"))]
    table.write_text("image,place\n" + "\n".join(lines) + "\n")
    run(photos, "--out", by_factors, "--scene", "place", "--table", table)
    moments = {name: row["moment"] for name, row in rows_of(by_factors).items()}
    assert moments["1.jpg"] == moments["3.jpg"] != moments["2.jpg"] == moments["4.jpg"]
    run(photos, "--out", by_factors, "--scene", "folders")
    assert len({row["moment"] for row in rows_of(by_factors).values()}) == 1


def test_an_image_that_vanishes_has_a_row_and_the_run_says_that_another_try_may_help(
    photos, tmp_path, monkeypatch, capsys
):
    measure = measuring.FactorMeasurer.__call__

    def gone(self, file):
        if file.endswith("3.jpg"):
            raise FileAccessError(f"cannot read {file}: No such file or directory; check the path")
        return measure(self, file)

    monkeypatch.setattr(measuring.FactorMeasurer, "__call__", gone)
    with pytest.raises(SystemExit) as ended:
        run(photos, "--out", tmp_path / "out")
    assert ended.value.code == 3
    rows = rows_of(tmp_path / "out")
    assert "cannot read 3.jpg" in rows["3.jpg"]["reason"] and rows["2.jpg"]["pick"] == "true"
    monkeypatch.undo()
    run(photos, "--out", tmp_path / "out")
    assert rows_of(tmp_path / "out")["3.jpg"]["rank"]


def test_where_every_image_fails_the_exit_status_says_so(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    with pytest.raises(SystemExit) as ended:
        run(tmp_path / "photos", "--out", tmp_path / "out")
    assert ended.value.code == 1
    assert "damaged" in rows_of(tmp_path / "out")["a.jpg"]["reason"]


def test_what_is_not_ours_stays_and_two_runs_at_once_are_refused(by_factors, photos, tmp_path, capsys):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "picks.csv").write_text("mine")
    assert "not piqa's" in refused(capsys, photos, "--out", tmp_path / "theirs")
    with locked(by_factors, folder=True):
        assert "is being written by process" in refused(capsys, photos, "--out", by_factors)
    original = (by_factors / "picks.csv").read_text()
    (by_factors / "picks.csv").write_text("changed by hand")
    assert "was changed since piqa wrote it" in refused(capsys, photos, "--out", by_factors)
    (by_factors / "picks.csv").write_text(original)
    assert "lies in" in refused(capsys, photos, "--out", by_factors, "--link", photos / "keepers")


def test_a_card_takes_facts_and_nothing_that_scores_depend_on(tmp_path):
    weights = write_tiny_model(tmp_path) / "model.safetensors"
    before = json.loads(weights.with_suffix(".json").read_text())
    settings = Scorer.load(weights, device="cpu").settings(weights)
    add_to_card(weights, {"preference": {"scale": 2.0}})
    after = json.loads(weights.with_suffix(".json").read_text())
    assert after == before | {"preference": {"scale": 2.0}}
    assert Scorer.load(weights, device="cpu").settings(weights) == settings
    with pytest.raises(ValueError, match="view"):
        add_to_card(weights, {"view": {}})
    other = replace(Scorer.load(weights, device="cpu").card)
    assert other.preference == {"scale": 2.0}
    with pytest.raises(Exception, match="was replaced meanwhile"):
        add_to_card(weights, {"preference": {"scale": 3.0}}, weights_digest="of other weights")


def test_a_film_gives_the_best_frame_of_a_moment(model, tmp_path):
    sharp = np.asarray(collins().resize((160, 160)))
    blurred = np.asarray(Image.fromarray(sharp).filter(ImageFilter.GaussianBlur(2)))
    film = write_video(tmp_path / "film.mp4", [blurred] * 5 + [sharp] * 5 + [blurred] * 5, rate=25)
    run(film, "--every", "0.2", "--out", tmp_path / "out", "--ckpt_path", model)
    rows = rows_of(tmp_path / "out")
    assert list(sorted(rows)) == ["film_00000.000.png", "film_00000.200.png", "film_00000.400.png"]
    kept = [name for name, row in rows.items() if row["pick"] == "true"]
    assert len(kept) == len({row["moment"] for row in rows.values()})
    assert [one.name for one in sorted((tmp_path / "out" / "frames").glob("*.png"))] == sorted(kept)
    assert Image.open(tmp_path / "out" / "frames" / kept[0]).size == (160, 160)
    assert "Frames of film.mp4" in " ".join(summary_of(tmp_path / "out")["notes"])
    for name in ("picks.csv", "picks.json", "sheet.html"):
        assert str(tmp_path) not in (tmp_path / "out" / name).read_text(encoding="utf-8")
