"""A local Ray with two actors scores what one process would."""

import json
import sys

import pandas as pd
import pytest
from tiny_models import write_images, write_tiny_model

from piqa import Scorer, predict_ray

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def local_ray(monkeypatch):
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield ray
    ray.shutdown()


def scored(out):
    return pd.concat(map(pd.read_parquet, sorted(out.glob("*.parquet"))), ignore_index=True).sort_values("file")


def test_two_actors_score_what_one_process_does_and_go_on_where_they_stopped(local_ray, model, tmp_path, capsys):
    files = write_images(tmp_path / "images", 7)
    bad = tmp_path / "images" / "bad.jpg"
    bad.write_text("no image")
    out = tmp_path / "scores"
    run = ["--ckpt_path", str(model), "--out", str(out), "--actors", "2"]
    predict_ray.main([*files[:4], str(bad), *run])
    first = scored(out)
    assert sorted(first["file"]) == sorted([*files[:4], str(bad)])

    cut_short = max(out.glob("*.parquet"), key=lambda path: path.stat().st_size)
    lost = len(pd.read_parquet(cut_short))
    cut_short.write_bytes(cut_short.read_bytes()[:-10])  # as a kill might leave it
    predict_ray.main([str(tmp_path / "images"), *run])
    assert f"going on after {5 - lost} images" in capsys.readouterr().out

    table = scored(out).reset_index(drop=True)
    expected = Scorer.load(model, device="cpu").score([*files, bad]).sort_values("file").reset_index(drop=True)
    assert table["file"].tolist() == expected["file"].tolist()
    assert table["score"].tolist() == pytest.approx(expected["score"].tolist(), abs=1e-5, nan_ok=True)
    assert "not an image" in table.set_index("file")["error"][str(bad)] and table["error"].notna().sum() == 1


def test_without_ray_one_line_says_how_to_get_it(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SystemExit):
        predict_ray.main(["a.jpg", "--ckpt_path", str(model), "--out", str(tmp_path / "scores")])
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert 'pip install "dn-piqa[ray]"' in line


def test_scores_of_other_settings_are_not_mixed(model, tmp_path, capsys):
    pytest.importorskip("ray")
    out = tmp_path / "scores"
    out.mkdir()
    (out / "settings.json").write_text(json.dumps({"model": "another"}))
    (image,) = write_images(tmp_path / "images", 1)
    with pytest.raises(SystemExit):
        predict_ray.main([image, "--ckpt_path", str(model), "--out", str(out)])
    assert "another model or other settings; name another `--out`" in capsys.readouterr().err
