"""What a precision does to ranks: measured by `piqa models check`, kept in the card, told where it is chosen."""

import json
import sys
from pathlib import Path

import pytest
from model_server import Served
from named_models import TheirNIMA, nima_fields, saved_bytes
from refusals import refusal
from scipy.stats import spearmanr
from tiny_models import write_images, write_tiny_model

from piqa import Scorer, __main__, predict
from piqa.check_precision import check_precision
from piqa.conversion.spoilt_portraits import Portraits
from piqa.scoring.agreement import Agreement
from piqa.scoring.precision import in_words


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """A model whose bfloat16 was checked, what was found, and its files as they were before."""
    run = write_tiny_model(tmp_path_factory.mktemp("checked") / "run")
    before = {file.name: file.read_bytes() for file in run.iterdir()}
    return run, check_precision(str(run), test_crops="one", device="cpu"), before


def test_what_is_found_is_what_both_precisions_score(checked):
    run, found, _ = checked
    portraits = list(Portraits().checked(48))
    images = [portrait.image for portrait in portraits]
    scorers = [Scorer.load(run, device="cpu", precision=precision) for precision in ("32", "bf16")]
    ways = [scorer.score(images, test_crops="one")["score"] for scorer in scorers]
    assert found.images == len(images) == 48
    assert found.largest == pytest.approx((ways[0] - ways[1]).abs().max(), rel=1e-3) and found.largest > 0
    assert found.spearman == pytest.approx(spearmanr(*ways).statistic, abs=1e-9)
    assert found.seconds > 0 and found.reference_seconds > 0 and found.within_scenes is not None


def test_the_card_keeps_it_and_nothing_else_changes(checked):
    run, found, before = checked
    card, former = json.loads((run / "model.json").read_text()), json.loads(before["model.json"])
    kept = card.pop("checks")["bf16"]
    assert card == former and Agreement.from_dict(kept) == found
    assert kept["on"] == "generated portraits, cpu"
    assert (run / "model.safetensors").read_bytes() == before["model.safetensors"]
    assert {file.name for file in run.iterdir()} == set(before)  # and no lock
    assert Scorer.load(run, device="cpu").card.checks["bf16"] == kept


def test_where_it_is_chosen_the_figure_is_told_or_how_it_is_found(checked, tmp_path, capsys):
    run, found, before = checked
    (tmp_path / "unchecked").mkdir()
    for name, content in before.items():
        (tmp_path / "unchecked" / name).write_bytes(content)
    images = write_images(tmp_path / "images", 1)

    def told(model, precision):
        out = tmp_path / f"{len(list(tmp_path.iterdir()))}.csv"
        command = [*images, "--ckpt_path", str(model), "--out", str(out), "--device", "cpu"]
        predict.main([*command, "--precision", precision])
        return [line for line in capsys.readouterr().err.splitlines() if precision in line]

    (line,) = told(run, "bf16")
    assert f"Spearman {found.spearman:.4f}" in line and "48 images" in line and "warning" not in line
    (line,) = told(tmp_path / "unchecked", "bf16")
    assert "warning" in line and f"`piqa models check {tmp_path / 'unchecked'} --precision bf16`" in line
    assert not told(tmp_path / "unchecked", "32")


@pytest.fixture
def few(monkeypatch):
    """Lets a check of eight portraits do."""
    monkeypatch.setattr("piqa.check_precision.FEWEST", 8)


def test_a_folder_s_pictures_are_scored_as_they_are_and_spoilt(tmp_path, capsys, few):
    run, folder = write_tiny_model(tmp_path / "run"), tmp_path / "pictures"
    write_images(folder, 12)
    found = check_precision(str(run), pictures=str(folder), portraits=8, device="cpu")
    assert found.images == 8 and "12 pictures" in capsys.readouterr().out
    first = json.loads((run / "model.json").read_text())["checks"]["bf16"]
    (run / "model.json").write_text(
        json.dumps(json.loads((run / "model.json").read_text()) | {"checks": {"onnx": {"images": 3}, "bf16": {}}})
    )
    check_precision(str(run), pictures=str(folder), portraits=8, device="cpu")
    checks = json.loads((run / "model.json").read_text())["checks"]
    assert checks["onnx"] == {"images": 3} and checks["bf16"]["spearman"] == first["spearman"]


def test_too_few_portraits_are_refused(tmp_path):
    run = write_tiny_model(tmp_path / "run")
    before = (run / "model.json").read_bytes()
    assert "at least 48" in refusal(check_precision, str(run), portraits=10)
    assert "is no folder" in refusal(check_precision, str(run), pictures=str(tmp_path / "nowhere"))
    folder = tmp_path / "broken"
    for file in write_images(folder, 4):
        Path(file).write_bytes(b"no image")
    assert "0 portraits could be scored" in refusal(check_precision, str(run), pictures=str(folder), device="cpu")
    assert (run / "model.json").read_bytes() == before


def test_of_a_model_without_a_card_of_its_own_it_is_only_told(names, capsys, monkeypatch, few):
    content = saved_bytes({"params": TheirNIMA("resnet10t", 10).state_dict()})
    names.server.files["/nima.pth"] = Served(content)
    names.plain("nima", **nima_fields("resnet10t", 32))
    arguments = ["piqa", "models", "check", "nima", "--portraits", "8", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", arguments)
    __main__.main()
    told = capsys.readouterr().out
    assert "not kept" in told and "Spearman" in told


def test_a_card_from_anywhere_may_say_anything_of_a_check():
    told = in_words({"spearman": "high", "images": 2.5, "largest": True})
    assert told.count("unknown") == 4 and "high" not in told
    assert "Spearman unknown" in in_words({"spearman": 10**400})  # which no float holds
