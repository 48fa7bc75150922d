"""`piqa models`: what it lists, fetches and tells; and names on the command lines of others."""

import json
import sys

import pandas as pd
import pytest
from model_server import Served
from named_models import TheirNIMA, backbone_bytes, nima_fields, saved_bytes
from processes import write_config
from refusals import one_line
from small_networks import card_of, tiny
from tiny_models import write_images, write_tiny_model

from piqa import __main__, evaluate, explain, fit, personalise, predict, predict_ray
from piqa.errors import InputError
from piqa.weights import cache, command, licences
from piqa.weights.registry import entries


@pytest.fixture
def nima(names):
    """The name of a model that scores images: `nima`."""
    content = saved_bytes({"params": TheirNIMA("test_resnet", 10).state_dict()})
    names.server.files["/nima.pth"] = Served(content)
    return names.plain("nima", **nima_fields("test_resnet", 64))


def table(capsys):
    command.main([])
    return {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}


def test_the_list_tells_what_is_here_how_large_and_under_which_licence(names, capsys):
    names.server.files["/lsvq.pth"] = Served(backbone_bytes())
    entry = names.plain("lsvq", megabytes=350)
    names.plain("other")
    assert table(capsys)["lsvq"].split("  ")[0] == "lsvq"
    before = table(capsys)
    assert "about 350 MB" in before["lsvq"] and "size not known" in before["other"]
    assert "start" in before["lsvq"] and "unknown" in before["lsvq"] and "none stated" in before["lsvq"]
    assert " - " in before["lsvq"] and not names.server.asked
    command.main(["get", "lsvq"])
    assert str(cache.place_of(entry)) in capsys.readouterr().out
    after = table(capsys)
    assert " yes " in after["lsvq"] and " - " in after["other"]


def test_get_checks_again_what_is_here(names, capsys):
    names.server.files["/lsvq.pth"] = Served(backbone_bytes())
    entry = names.plain("lsvq")
    command.main(["get", "lsvq"])
    record = cache.read_record(entry)
    place = cache.place_of(entry)
    place.write_bytes(backbone_bytes(seed=1))
    cache.write_record(entry, cache.Download.of(place, record.sha256, False, "", None))  # as if nobody had written it
    assert "when it was first used" in one_line(capsys, lambda: command.main(["get", "lsvq"]))


def test_get_fetches_what_a_model_is_built_with(names, capsys):
    names.server.files |= {"/a.pth": Served(backbone_bytes()), "/b.pth": Served(backbone_bytes(1))}
    names.plain("b")
    names.plain("a", needs={"other": "b"})
    command.main(["get", "a"])
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == ["a", "b"]


def test_show_tells_all_that_is_known(names, capsys):
    figures = [{"on": "AVA", "srocc": 0.7, "source": "the paper"}]
    entry = names.plain("lsvq", note="A note.", published=figures)
    command.main(["show", "lsvq"])
    told = capsys.readouterr().out
    for part in (entry.what, entry.source.page, str(cache.place_of(entry)), "none stated", "A note.", "nobody"):
        assert part in told
    assert "published on AVA: SROCC 0.7 (the paper)" in told and "--model.init.whole lsvq" in told


def test_without_a_name_all_are_shown(capsys):
    command.main(["show"])
    assert capsys.readouterr().out.count("commercial use: ") == len(entries())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["get", "lsvk"], "did you mean lsvq?"),
        (["get"], "takes at least one name"),
        (["list", "lsvq"], "takes no name"),
        (["fetch", "lsvq"], "fetch"),
    ],
)
def test_a_mistake_is_answered_in_one_line(names, capsys, arguments, message):
    names.plain("lsvq")
    assert message in one_line(capsys, lambda: command.main(arguments))


def test_piqa_gives_the_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["piqa", "models", "show", "yunet"])
    __main__.main()
    assert capsys.readouterr().out.startswith("yunet: ")


# Names on other command lines


def test_predict_scores_by_name_and_notes_the_licence(nima, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [*write_images(tmp_path / "images", 2), "--ckpt_path", "nima", "--device", "cpu"]
    predict.main(arguments)
    assert pd.read_csv("scores.csv")[["score", "std"]].notna().all(axis=None)
    assert json.loads((tmp_path / "scores.json").read_text())["licence"] == nima.licence_line
    predict.main(arguments)  # goes on, and finds all done


def test_evaluate_takes_a_name_and_writes_apart_from_the_cache(nima, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images", 6)
    rows = [(f"{n:05d}.jpg", n, f"scene{n // 3}", "train" if n < 3 else "test") for n in range(6)]
    pd.DataFrame(rows, columns=["image", "score", "scene", "split"]).to_csv(tmp_path / "images/t.csv", index=False)
    given = ["--table", "piqa.data.CSVTable", "--table.csv", "images/t.csv", "--scoring.device", "cpu"]
    evaluate.main(["--ckpt_path", "nima", *given, "--statistics.bootstrap_samples", "10"])
    facts = json.loads((tmp_path / "runs/nima/evaluation/metrics.json").read_text())
    assert nima.licence_line in json.dumps(facts)
    assert not (cache.folder_of(nima) / "evaluation").exists()


def test_a_run_notes_the_licences_of_what_it_starts_from(names, tmp_path):
    config = write_config(tmp_path, {"backbone": "test_byobnet", "dropout": 0.0, "optimizer": "SGD", "more": ""})
    state = tiny().backbones["whole"].state_dict()
    names.server.files["/start.pth"] = Served(saved_bytes(state))
    entry = names.plain("start", layout="piqa backbone")
    network = ["--model.network.backbone", "mobilenetv3_small_050", "--model.init.whole", "start"]
    short = ["--trainer.max_epochs", "1", "--trainer.limit_train_batches", "1", "--out", str(tmp_path / "run")]
    fit.main(["--config", str(config), *network, *short])
    assert json.loads((tmp_path / "run/record.json").read_text())["licences"] == {"start": entry.licence_line}


# Commercial use

ALLOWED = {"code": "MIT", "weights": "MIT", "data": "own", "commercial": "yes"}


def commercial(*arguments):
    return lambda: predict.main([*arguments, "--commercial", "true", "--device", "cpu"])


@pytest.mark.parametrize("said", ["no", "unknown"])
def test_a_name_that_is_not_known_to_allow_commercial_use_is_refused_before_it_is_fetched(
    nima, names, capsys, tmp_path, said
):
    images = write_images(tmp_path / "images", 1)
    names.plain("mine", **nima_fields("test_resnet", 64), licence=ALLOWED | {"commercial": said})
    told = one_line(capsys, commercial(*images, "--ckpt_path", "mine", "--out", str(tmp_path / "scores.csv")))
    assert "mine is not for commercial use" in told and not names.server.asked


def test_a_part_that_does_not_allow_it_counts(names, capsys):
    names.plain("part")
    names.plain("mine", needs={"clip": "part"}, licence=ALLOWED, **nima_fields("test_resnet", 64))
    assert "is not for commercial use" in one_line(
        capsys, lambda: evaluate.main(["--ckpt_path=mine", "--commercial=true"])
    )


def test_a_name_that_allows_it_is_used(nima, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names.server.files["/free.pth"] = names.server.files["/nima.pth"]
    names.plain("free", licence=ALLOWED, **nima_fields("test_resnet", 64))
    commercial(*write_images(tmp_path / "images", 1), "--ckpt_path", "free")()
    assert pd.read_csv("scores.csv")["score"].notna().all()


def test_a_model_of_ones_own_says_it_in_its_card(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, images = write_tiny_model(tmp_path / "run"), write_images(tmp_path / "images", 1)
    told = one_line(capsys, commercial(*images, "--ckpt_path", str(folder)))
    assert "is not known to allow commercial use (nothing is said)" in told and '"commercial": "yes"' in told
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(card | {"licence": {"commercial": "yes", "weights": "our own"}}))
    commercial(*images, "--ckpt_path", str(folder))()
    assert json.loads((tmp_path / "scores.json").read_text())["licence"] == "commercial: yes; weights: our own"


def test_a_config_is_answered_with_what_it_lacks(capsys, tmp_path):
    (image,) = write_images(tmp_path, 1)
    assert "is not known to allow" in one_line(capsys, commercial(image, "--ckpt_path", "clipiqa.yaml"))


def test_a_card_keeps_what_is_said_of_its_licence():
    network = tiny()
    card = card_of(network)
    said = type(card)(**{**vars(card), "licence": ALLOWED})
    again = type(said).from_dict(said.to_dict(), "here")
    assert again == said and licences.licence_of(again).startswith("code: MIT")
    assert licences.licence_of(card) is None and "licence" not in card.to_dict()


@pytest.mark.parametrize("started", [explain.main, personalise.main, predict_ray.main])
def test_every_command_that_scores_refuses_what_is_not_known_to_allow_it(started, names, capsys, tmp_path):
    images = write_images(tmp_path / "images", 1)
    names.plain("mine", **nima_fields("resnet10t", 64))
    arguments = [*images, "--ckpt_path", "mine", "--commercial", "true", "--out", str(tmp_path / "out")]
    assert "mine is not for commercial use" in one_line(capsys, lambda: started(arguments))
    assert not names.server.asked and not (tmp_path / "out").exists()


def test_the_licence_lies_beside_rows_in_parquet_and_no_row_depends_on_it(tmp_path):
    predict_ray._same_settings(tmp_path, {"model": "m", "crops": "five"}, "MIT")
    assert json.loads((tmp_path / "settings.json").read_text())["licence"] == "MIT"
    predict_ray._same_settings(tmp_path, {"model": "m", "crops": "five"}, None)
    with pytest.raises(InputError, match="another model or other settings"):
        predict_ray._same_settings(tmp_path, {"model": "m", "crops": "one"}, "MIT")


def test_the_summary_of_tastes_names_the_licence(tmp_path, capsys):
    row = {"user": "a", "k": 2, "draw": 0, "tested_on": 5, "generic": 0.1, "personal": 0.4}
    settings, counts = {"k": [2], "least_test": 5}, pd.Series({"a": 7})
    personalise._write_summary(tmp_path, [row], settings, counts, "MIT")
    assert json.loads((tmp_path / "summary.json").read_text())["licence"] == "MIT"
