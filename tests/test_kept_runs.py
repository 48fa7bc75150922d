"""Scripts that go on with the runs of a folder take no results of other settings for theirs."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from kept_runs import keep_runs  # noqa: E402


def test_the_same_settings_go_on_and_others_are_refused_by_name(tmp_path):
    folder = tmp_path / "runs"
    for _ in range(2):
        keep_runs(folder, small=True, data=Path("data/demo"), more=("--seed", 1))
    kept = (folder / "settings.json").read_text()
    with pytest.raises(SystemExit, match=r"runs holds runs of other settings \(small True, not False\); name another"):
        keep_runs(folder, small=False, data=Path("data/demo"), more=("--seed", 1))
    assert (folder / "settings.json").read_text() == kept


def test_files_of_which_nothing_is_told_are_not_gone_on_with(tmp_path):
    (tmp_path / "scores.csv").write_text("image,score\n")
    with pytest.raises(SystemExit, match=r"holds files, and no settings\.json"):
        keep_runs(tmp_path, small=True)
    assert [file.name for file in tmp_path.iterdir()] == ["scores.csv"]


@pytest.mark.parametrize(
    ("script", "word", "folder", "kept"),
    [
        ("judged_demo", "--small true", "--out", {"small": False}),
        ("doubt_proofs", "--epochs 3", "--out", {"epochs": 4}),
        ("light_proof", "--pictures 2", "--folder", {"pictures": 3}),
        ("ladder", "--scenes 5", "--out", {"scenes": 6}),
    ],
)
def test_each_script_that_goes_on_asks_first(script, word, folder, kept, tmp_path, monkeypatch):
    (tmp_path / "settings.json").write_text(json.dumps(kept))
    monkeypatch.setattr(sys, "argv", [script, *word.split(), folder, str(tmp_path)])
    with pytest.raises(SystemExit, match="holds runs of other settings"):
        __import__(script).main()
    assert [file.name for file in tmp_path.iterdir()] == ["settings.json"]
