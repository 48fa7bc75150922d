"""Files of the Hugging Face Hub, and models of piqa's own that lie there, from a server that plays it."""

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from huggingface_hub import constants
from model_server import COMMIT, LOGIN_PAGE, Served
from named_models import backbone_bytes
from refusals import refusal
from small_clip import RESNET
from tiny_models import write_images, write_tiny_model

from piqa import Scorer
from piqa.errors import FileAccessError
from piqa.models import CLIPIQA, Backbone, DualBranch, Regressor
from piqa.tasks import InitialWeights, RegressionTask
from piqa.weights import cache, download, state_dicts
from piqa.weights.command import models

GOOD = backbone_bytes()


@pytest.fixture
def hub(names):
    """A name of a file on the Hub, and what the server has there."""
    served = names.server.files["/me/mine/resolve/weights.pth"] = Served(GOOD)
    return names.add("hubbed", {"host": "hf", "repo": "me/mine", "file": "weights.pth"}), served


@pytest.fixture
def shared_model(names, tmp_path):
    """A model of piqa's own in the repository me/mine; gives its folder, too."""
    folder = write_tiny_model(tmp_path / "run")
    for name in ("model.json", "model.safetensors"):
        names.server.files[f"/me/mine/resolve/{name}"] = Served((folder / name).read_bytes())
    return folder


def test_a_file_stays_in_the_hubs_cache_at_the_commit_of_its_first_use(hub, server, capsys):
    entry, served = hub
    path = download.fetch(entry)
    assert path.read_bytes() == GOOD and path.is_relative_to(constants.HF_HUB_CACHE) and COMMIT in path.parts
    record = cache.read_record(entry)
    assert (record.revision, record.published, record.sha256) == (COMMIT, True, served.sha256)
    assert "recorded" not in capsys.readouterr().err  # as the Hub states the hash of a large file
    asked = len(server.asked)
    assert download.fetch(entry) == path and len(server.asked) == asked


def test_what_other_programs_have_fetched_is_not_fetched_again(hub, server):
    entry, _ = hub
    path = download.fetch(entry)
    (cache.folder_of(entry) / cache.RECORD).unlink()
    asked = len(server.asked)
    assert download.fetch(entry) == path and len(server.asked) == asked
    assert cache.read_record(entry).revision == COMMIT


def test_what_is_in_the_cache_is_had_where_connections_are_forbidden(hub, monkeypatch):
    path = download.fetch(hub[0])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (cache.folder_of(hub[0]) / cache.RECORD).unlink()
    assert download.fetch(hub[0]) == path


def test_a_pinned_revision_is_what_is_asked_for(names, server):
    server.files["/me/mine/resolve/weights.pth"] = Served(GOOD)
    source = {"host": "hf", "repo": "me/mine", "file": "weights.pth", "revision": COMMIT}
    download.fetch(names.add("pinned", source))
    assert f"/me/mine/resolve/{COMMIT}/weights.pth" in server.asked[0][1]
    missing = names.add("missing", source | {"revision": COMMIT[::-1]})
    assert "not this revision of it" in refusal(download.fetch, missing)


@pytest.mark.parametrize(
    ("status", "message", "passing"),
    [(403, "wants a login, or permission", False), (429, "asked too often", True), (503, "a fault of its own", True)],
)
def test_a_refusal_of_the_hub_is_one_line_that_says_how_the_file_is_had(hub, status, message, passing):
    entry, served = hub
    served.status = status
    told = refusal(download.fetch, entry)
    assert message in told and entry.source.page in told and str(cache.place_of(entry)) in told
    if passing:
        with pytest.raises(FileAccessError):
            download.fetch(entry)


def test_a_repository_or_a_file_that_is_not_there_is_told(hub, server):
    server.files.clear()
    server.files["/me/mine/resolve/other"] = Served(b"")
    assert "the repository, but not this file in it" in refusal(download.fetch, hub[0])
    server.files.clear()
    told = refusal(download.fetch, hub[0])
    assert "no such repository, or not for everybody" in told and "HF_TOKEN" in told


def test_an_endpoint_that_is_no_hub_is_told(hub):
    hub[1].page = LOGIN_PAGE
    assert "HF_ENDPOINT" in refusal(download.fetch, hub[0])


def test_a_file_that_comes_short_is_refused_by_the_hash_that_the_hub_states(hub):
    hub[1].claims = len(GOOD) - 1000
    assert f"published is {hub[1].sha256}" in refusal(download.fetch, hub[0])
    assert cache.cached_file(hub[0]) is None


def test_a_cut_connection_to_the_hub_is_gone_on_with(hub, server, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100_000)  # of which whole pieces are kept
    hub[1].cuts = [700_000]
    assert download.fetch(hub[0]).read_bytes() == GOOD
    assert server.asked[-1][2] == "bytes=700000-"


def test_what_is_something_else_is_removed_from_the_hubs_cache(hub):
    entry, served = hub
    served.content = b"no weights"
    assert "cannot be read as weights" in refusal(download.fetch, entry)
    served.content = GOOD
    assert download.fetch(entry).read_bytes() == GOOD


def test_a_model_of_a_repository_scores_as_the_run_that_it_comes_from(shared_model, tmp_path):
    images = write_images(tmp_path / "images", 2)
    own = Scorer.load(shared_model, device="cpu").score(images)
    for given in ("hf:me/mine", f"hf:me/mine@{COMMIT}", "hf:me/mine@main"):
        pd.testing.assert_frame_equal(Scorer.load(given, device="cpu").score(images), own)


def test_a_model_of_a_repository_is_had_again_without_the_hub(shared_model, server):
    path = download.hub_model("hf:me/mine")
    server.stop()
    assert download.hub_model("hf:me/mine") == path
    assert path.with_suffix(".json").is_file()


def test_a_repository_is_fetched_by_the_command_too(shared_model, capsys):
    models("get", ["hf:me/mine@main"])
    name, _, path = capsys.readouterr().out.strip().partition(": ")
    assert name == "hf:me/mine@main"
    assert Path(path).read_bytes() == (shared_model / "model.safetensors").read_bytes()
    assert "its page on the Hub" in refusal(models, "show", ["hf:me/mine"])


@pytest.mark.parametrize("given", ["hf:mine", "hf:", "hf:a/b/c", "hf:/b"])
def test_what_names_no_repository_is_refused(names, given):
    assert "names no repository" in refusal(download.hub_model, given)


def test_a_repository_without_a_model_of_piqas_is_refused(hub, shared_model, server):
    del server.files["/me/mine/resolve/model.json"]
    told = refusal(Scorer.load, "hf:me/mine")
    assert "not this file in it" in told and "model.json and model.safetensors" in told


def test_the_environments_endpoint_and_folder_are_honoured(shared_model, server, tmp_path):
    (image,) = write_images(tmp_path / "images", 1)
    home = tmp_path / "elsewhere"
    settings = {"HF_ENDPOINT": server.url, "HF_HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "piqa.predict", image, "--ckpt_path", "hf:me/mine", "--device", "cpu"]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | settings, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert pd.read_csv(tmp_path / "scores.csv")["score"].notna().all()
    assert list(home.rglob("model.safetensors"))


@pytest.mark.parametrize("reachable", [True, False])
@pytest.mark.parametrize("start", ["timm's, by the branch", "timm's, of a regressor", "OpenAI's"])
def test_other_libraries_take_what_is_in_the_cache_where_the_hub_cannot_be_reached(
    server, monkeypatch, start, reachable
):
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    if not reachable:
        server.stop()
    asked = []
    monkeypatch.setattr(Backbone, "load_timm_weights", lambda self: asked.append(constants.is_offline_mode()))
    monkeypatch.setattr(CLIPIQA, "load_openai_weights", lambda self: asked.append(constants.is_offline_mode()))
    if start == "OpenAI's":
        state_dicts.load_clip(CLIPIQA(["quality"], architecture=RESNET), "openai")
    elif start == "timm's, of a regressor":
        RegressionTask(Regressor("test_resnet", 32), "imagenet").load_initial_weights()
    else:
        InitialWeights("imagenet").load(DualBranch("test_resnet", ("whole",), 32))
    assert asked == [not reachable] and not constants.is_offline_mode()
