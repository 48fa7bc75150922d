"""`piqa models push`: what a run's model becomes on a server that plays the Hub, and what is refused."""

import json
import os
import sys

import pandas as pd
import pytest
import yaml
from huggingface_hub import constants
from refusals import one_line, refusal
from tiny_models import write_images, write_tiny_model

from piqa import Scorer, __main__
from piqa.errors import FileAccessError
from piqa.weights.push import main, push

BOARD = {
    "facts": {
        "table": "demo.csv",
        "split": "test",
        "attribute": None,
        "images": 96,
        "protocols": {"official": "median over scenes, raw predictions", "calibrated": "not computed"},
        "command": "python -m piqa.evaluate --ckpt_path /data/somebody/run",
    },
    "entries": [{"model": "constant", "kind": "naive"}, {"model": "run", "kind": "model"}],
    "measures": [
        {"model": "constant", "protocol": "official", "measure": "srocc", "value": 0.1, "low": 0.0, "high": 0.2},
        {"model": "run", "protocol": "official", "measure": "srocc", "value": 0.8838, "low": 0.81, "high": 0.93},
        {"model": "run", "protocol": "official", "measure": "mae", "value": None, "low": None, "high": None},
    ],
}
TRAINED_ON = {
    "table": "demo.csv, its own split",
    "selected_on": "val",
    "checkpoint": "/data/somebody/run/checkpoints/best.ckpt",
    "command": "python -m piqa.fit --config demo.yaml --out /data/somebody/run",
    "data": {"table": {"init_args": {"csv": "/data/somebody/demo.csv"}}},
}


@pytest.fixture
def run(tmp_path):
    """A run that was evaluated, whose card and record say where it was trained."""
    folder = write_tiny_model(tmp_path / "run")
    card = json.loads((folder / "model.json").read_text())
    checks = {"bf16": {"images": 48, "spearman": 0.9991, "largest": 0.01, "spread": 0.5}}
    card |= {"trained_on": TRAINED_ON, "checks": checks, "licence": {"weights": "cc-by-4.0", "data": "our | own"}}
    (folder / "model.json").write_text(json.dumps(card))
    record = {"data": {"train": {"images": 416, "scenes": 26}}, "licences": {"dn-piqa-lsvq": "weights: unknown"}}
    (folder / "record.json").write_text(json.dumps(record))
    (folder / "evaluation").mkdir()
    (folder / "evaluation/leaderboard.json").write_text(json.dumps(BOARD))
    return folder


@pytest.fixture
def hub(names, monkeypatch):
    """The server, where the token `mine` may write to repositories of `me`."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "mine")
    names.server.writers["mine"] = "me"
    return names.server


def head_of(page):
    _, head, text = page.split("---\n", 2)
    return yaml.safe_load(head), text


def test_what_is_published_scores_as_the_run_that_it_comes_from(run, hub, tmp_path, capsys):
    address = push(str(run), "hf:me/portraits")
    assert address == f"{hub.url}/me/portraits" and address in capsys.readouterr().out
    assert len(hub.commits) == 1 and hub.private == {"me/portraits": False}
    published = {name.rpartition("/")[2] for name in hub.files if name.startswith("/me/portraits/resolve/")}
    assert published == {"model.safetensors", "model.json", "README.md"}
    images = write_images(tmp_path / "images", 2)
    expected = Scorer.load(run, device="cpu").score(images)
    pd.testing.assert_frame_equal(Scorer.load("hf:me/portraits", device="cpu").score(images), expected)


def test_no_file_tells_where_the_run_lies(run, hub):
    push(str(run), "hf:me/portraits")
    texts = [hub.files[f"/me/portraits/resolve/{name}"].content.decode() for name in ("model.json", "README.md")]
    assert not any("somebody" in text or str(run.parent) in text for text in texts)
    assert json.loads(texts[0])["trained_on"]["command"] == "python -m piqa.fit --config demo.yaml --out run"


def test_the_page_tells_data_figures_licence_and_use(run, tmp_path):
    folder = tmp_path / "looked at"
    assert push(str(run), "hf:me/portraits", dry_run=True, out=str(folder)) == str(folder)
    head, text = head_of((folder / "README.md").read_text())
    assert (head["license"], head["library_name"]) == ("cc-by-4.0", "piqa")
    assert "image-quality-assessment" in head["tags"]
    (result,) = head["model-index"][0]["results"]
    (metric,) = result["metrics"]
    assert (metric["type"], metric["value"], result["dataset"]["name"]) == ("srocc", 0.8838, "demo.csv, split test")
    assert "| official | SROCC | 0.884 | 0.810 to 0.930 |" in text and "constant" not in text
    assert "- official: median over scenes" in text and "calibrated" not in text
    for part in ('Scorer.load("hf:me/portraits")', "--ckpt_path hf:me/portraits", "416 of 26 scenes", "`val`"):
        assert part in text
    assert "weights: cc-by-4.0; data: our \\| own" in text and "dn-piqa-lsvq: weights: unknown" in text
    assert "python -m piqa.fit --config demo.yaml" in text and "spearman 0.9991" in text
    pushed = Scorer.load(folder, device="cpu").card
    assert pushed.weights_digest == Scorer.load(run, device="cpu").card.weights_digest


def test_figures_that_are_older_than_the_weights_are_of_others(run, tmp_path, capsys):
    os.utime(run / "evaluation/leaderboard.json", (1, 1))
    push(str(run), "hf:me/portraits", dry_run=True)
    assert "has not been evaluated" in capsys.readouterr().err
    head, text = head_of((run / "hub/README.md").read_text())
    assert "model-index" not in head and "It has not been evaluated." in text


def test_the_run_s_own_test_does_where_there_is_no_evaluation(run):
    (run / "evaluation/leaderboard.json").write_text("[]")
    (run / "test").mkdir()
    facts = {"table": "demo.csv", "split": "test", "command": None}
    test = {name: {"protocol": "as usual", "srocc": 0.5, "mae": None} for name in ("official", "authors")}
    (run / "test/metrics.json").write_text(json.dumps(test | {"facts": facts, "images": 9}))
    push(str(run), "hf:me/portraits", dry_run=True, licence="do not copy")
    head, text = head_of((run / "hub/README.md").read_text())
    assert "| authors | SROCC | 0.500 | - |" in text and "9 images" in text
    assert head["license"] == "other" and "weights: do not copy" in text


def test_a_dry_run_asks_nothing_and_leaves_other_folders_alone(run, hub, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/letter.txt").write_text("dear")
    arguments = [str(run), "hf:me/portraits", "--dry_run", "true"]
    assert "left alone" in one_line(capsys, lambda: main([*arguments, "--out", str(tmp_path / "mine")]))
    for _ in range(2):  # the second one writes the same files again
        main([*arguments, "--out", str(tmp_path / "new")])
    assert {one.name for one in (tmp_path / "new").iterdir()} >= {"model.safetensors", "model.json", "README.md"}
    assert not hub.asked


def test_a_repository_can_be_private_and_gets_a_new_version_only_on_request(run, hub, monkeypatch):
    push(str(run), "hf:me/portraits", private=True)
    assert hub.private == {"me/portraits": True}
    told = refusal(push, str(run), "hf:me/portraits")
    assert "is there already" in told and "--overwrite true" in told and len(hub.commits) == 1
    monkeypatch.setattr(sys, "argv", ["piqa", "models", "push", str(run), "hf:me/portraits", "--overwrite", "true"])
    __main__.main()
    assert len(hub.commits) == 2


@pytest.mark.parametrize(
    ("token", "repository", "message"),
    [
        (None, "hf:me/portraits", "a token is set by `HF_TOKEN`"),
        ("stale", "hf:me/portraits", "does not know the token (HTTP 401)"),
        ("mine", "hf:you/portraits", "may not write to repositories of you (HTTP 403)"),
    ],
)
def test_what_the_hub_refuses_is_told_in_one_line(run, hub, monkeypatch, tmp_path, token, repository, message):
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    if token is None:
        monkeypatch.delenv("HF_TOKEN")
    else:
        monkeypatch.setenv("HF_TOKEN", token)
    assert message in refusal(push, str(run), repository)
    assert not hub.commits


def test_without_a_connection_another_try_may_succeed(run, hub):
    hub.stop()
    with pytest.raises(FileAccessError, match="no connection"):
        push(str(run), "hf:me/portraits")


@pytest.mark.parametrize(
    "repository",
    ["me/portraits", "hf:portraits", "hf:me/por/traits", "hf:me/../x", "hf:me/a b", "hf:me/-x", "hf:me/x@main"],
)
def test_a_name_that_the_hub_does_not_take_is_refused_before_anything_is_read(hub, repository):
    assert "is no name of a repository" in refusal(push, "nowhere", repository)


def test_what_is_no_run_is_refused(run, hub, tmp_path):
    assert "no model at" in refusal(push, str(tmp_path / "nowhere"), "hf:me/x")
    assert "is published already" in refusal(push, "hf:me/portraits", "hf:me/x")
    assert "no model file of piqa's" in refusal(push, "clipiqa.yaml", "hf:me/x")
    (run / "model.safetensors").write_bytes((run / "model.safetensors").read_bytes()[:-1] + b"x")
    assert "are not of one run" in refusal(push, str(run), "hf:me/x")
    assert not hub.asked


def test_a_page_holds_what_a_card_says_as_text(run):
    card = json.loads((run / "model.json").read_text())
    card["trained_on"]["table"] = "a` <script>\n# heading | `"
    card["licence"] = {"weights": "[free](http://x) <b>", "data": "x"}
    (run / "model.json").write_text(json.dumps(card))
    push(str(run), "hf:me/portraits", dry_run=True)
    _, text = head_of((run / "hub/README.md").read_text())
    assert "- table: `a <script> # heading |`" in text
    assert r"\[free\](http://x) \<b\>" in text
