"""A local Ray with two actors scores what one process would."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest
from refusals import one_line
from tiny_models import write_images, write_tiny_model

from piqa import Scorer, predict_ray
from piqa.factors.families import FACTORS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def local_ray():
    """One for all tests, as its start and its end take long: a test leaves nothing in it."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_USAGE_STATS_ENABLED", "0")
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
    told = capsys.readouterr()
    assert f"going on after {5 - lost} images" in told.out
    assert f"{cut_short} was left out, as it cannot be read" in told.err
    cut_short.unlink()  # left as it was

    table = scored(out).reset_index(drop=True)
    expected = Scorer.load(model, device="cpu").score([*files, bad]).sort_values("file").reset_index(drop=True)
    assert table["file"].tolist() == expected["file"].tolist()
    assert table["score"].tolist() == pytest.approx(expected["score"].tolist(), abs=1e-5, nan_ok=True)
    assert "not an image" in table.set_index("file")["error"][str(bad)] and table["error"].notna().sum() == 1


def test_images_that_could_not_be_read_are_tried_again(local_ray, model, tmp_path, capsys):
    files = write_images(tmp_path / "images", 2)
    names, later = tmp_path / "names.txt", tmp_path / "later.jpg"
    names.write_text(f"{files[0]}\n{later}\n")
    run = ["--list", str(names), "--ckpt_path", str(model), "--out", str(tmp_path / "scores")]
    with pytest.raises(SystemExit) as stop:
        predict_ray.main(run)
    assert stop.value.code == 3
    assert f"1 of 2 images could not be read because of the machine and have no row, such as {later} (No such file" in (
        capsys.readouterr().err
    )
    later.write_bytes(Path(files[1]).read_bytes())
    predict_ray.main(run)
    assert "going on after 1 images" in capsys.readouterr().out
    table = scored(tmp_path / "scores")
    assert sorted(table["file"]) == sorted([files[0], str(later)]) and table["score"].notna().all()


def test_factors_are_measured_by_the_actors_and_not_mixed_with_rows_without_them(local_ray, model, tmp_path, capsys):
    files = write_images(tmp_path / "images", 2)
    run = [*files, "--ckpt_path", str(model), "--out", str(tmp_path / "scores")]
    predict_ray.main([*run, "--factors", "true"])
    table = scored(tmp_path / "scores").reset_index(drop=True)
    expected = Scorer.load(model, device="cpu", try_turns=True).score(files, factors=True)
    assert list(table) == list(expected) and table["eye_distance"].dtype == float  # although none has a face
    for factor in FACTORS:
        assert table[factor].tolist() == pytest.approx(expected[factor].tolist(), rel=1e-6, nan_ok=True)
    assert "other settings; name another `--out`" in one_line(capsys, lambda: predict_ray.main(run))


@pytest.fixture
def foreign(tmp_path):
    """A folder of somebody else's Parquet files, one of them damaged."""
    folder = tmp_path / "data"
    folder.mkdir()
    pd.DataFrame({"id": [1], "mine": ["a"]}).to_parquet(folder / "my_dataset.parquet")
    (folder / "half_downloaded.parquet").write_bytes(b"PAR1" + bytes(1000))
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_with_the_parquet_of_others_is_refused_and_stays_as_it_is(model, foreign, tmp_path, capsys):
    pytest.importorskip("ray")
    (image,) = write_images(tmp_path / "images", 1)
    before = contents(foreign)
    line = one_line(capsys, lambda: predict_ray.main([image, "--ckpt_path", str(model), "--out", str(foreign)]))
    assert "holds files that are not piqa's scores, and they are left alone" in line
    assert contents(foreign) == before


def test_looking_for_rows_deletes_nothing_and_tells_what_it_leaves_out(foreign, monkeypatch):
    pytest.importorskip("pyarrow")
    rows = pd.DataFrame({"file": ["/a.jpg", "/b.jpg"], "score": [0.5, None], "error": [None, "no image"]})
    rows.to_parquet(foreign / "rows.parquet")
    before, told = contents(foreign), []
    assert list(predict_ray._scored(foreign, told.append)) == ["/a.jpg", "/b.jpg"]
    assert list(predict_ray._rows(foreign, told.append)) == [("/a.jpg", False), ("/b.jpg", True)]
    assert sum("holds no scores of piqa's" in line for line in told) == 2
    assert sum("cannot be read" in line for line in told) == 2
    assert contents(foreign) == before


def test_a_folder_of_version_0_1_0_goes_on(tmp_path):
    pd.DataFrame({"file": ["/a.jpg"]}).to_parquet(tmp_path / f"0_{'0a' * 16}_000000_000000.parquet")
    assert not predict_ray._made_before(tmp_path)
    (tmp_path / "settings.json").write_text('{"model": "0a"}')
    assert predict_ray._made_before(tmp_path)
    (tmp_path / "notes.parquet").touch()
    assert not predict_ray._made_before(tmp_path)


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
