"""Folders and files that piqa did not write are left alone, and one process at a time writes an output."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from refusals import refusal

from piqa.system.ownership import MARKER, check_replaceable, claim_folder, folder_mark, locked, write_marked


def test_a_new_or_empty_folder_is_marked(tmp_path):
    for folder in (tmp_path, tmp_path / "new" / "deeper"):
        run = claim_folder(folder, "training run")
        mark = json.loads((folder / MARKER).read_text())
        assert mark["what"] == "training run" and mark["run"] == run and mark["version"]


def test_a_folder_with_the_files_of_others_is_refused_and_stays_as_it_is(tmp_path):
    (tmp_path / "mine.ckpt").write_text("precious")
    line = refusal(lambda: claim_folder(tmp_path, "training run"))
    assert "are left alone" in line and str(tmp_path) in line
    assert [path.name for path in tmp_path.iterdir()] == ["mine.ckpt"]


def test_a_folder_of_another_kind_is_refused(tmp_path):
    claim_folder(tmp_path, "prepared store")
    assert "prepared store, not training run" in refusal(lambda: claim_folder(tmp_path, "training run"))


def test_a_claimed_folder_keeps_its_run_until_it_is_renewed(tmp_path):
    first = claim_folder(tmp_path, "training run")
    (tmp_path / "metrics.csv").write_text("a\n")
    assert claim_folder(tmp_path, "training run") == first
    assert claim_folder(tmp_path, "training run", renew=True) != first


def test_what_a_former_version_wrote_is_adopted(tmp_path):
    (tmp_path / "digests.json").write_text("{}")
    claim_folder(tmp_path, "prepared store", made_before=lambda folder: (folder / "digests.json").is_file())
    assert folder_mark(tmp_path)["what"] == "prepared store"


@pytest.mark.parametrize("damage", ["", "{", "[" * 100_000, '{"title": "album"}', '"text"'])
def test_a_damaged_marker_marks_nothing(tmp_path, damage):
    (tmp_path / MARKER).write_text(damage)
    assert "are left alone" in refusal(lambda: claim_folder(tmp_path, "training run"))
    assert (tmp_path / MARKER).read_text() == damage


def output(folder):
    """Write a table as a command does."""
    table, beside = folder / "scores.csv", folder / "scores.json"
    check_replaceable(table, beside)
    table.write_text("file,score\n")
    write_marked({"images": 1}, beside, "scores", table)
    return table, beside


def test_a_file_of_ours_may_be_replaced(tmp_path):
    output(tmp_path)
    output(tmp_path)
    assert json.loads((tmp_path / "scores.json").read_text())["images"] == 1


@pytest.mark.parametrize(("name", "content"), [("scores.csv", "file,note\n"), ("scores.json", '{"title": "album"}')])
def test_a_file_of_others_is_refused(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    line = refusal(lambda: check_replaceable(tmp_path / "scores.csv", tmp_path / "scores.json"))
    assert f"{tmp_path / name} is there and was not written by piqa" in line


def test_a_file_that_was_edited_since_is_refused(tmp_path):
    table, beside = output(tmp_path)
    table.write_text("file,score,my notes\n")
    assert "was changed since piqa wrote it" in refusal(lambda: check_replaceable(table, beside))


@pytest.mark.parametrize("folder", [False, True])
def test_a_second_process_is_refused_in_one_line(tmp_path, folder):
    out = tmp_path / "out"
    code = "import sys; from piqa.system.ownership import locked\n"
    code += "with locked(sys.argv[1], folder=sys.argv[2] == 'True'): print('held', flush=True); input()"
    command = [sys.executable, "-c", code, str(out), str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        line = refusal(lambda: locked(out, folder=folder).__enter__())
        assert f"is being written by process {holder.pid} on {os.uname().nodename}" in line
        holder.kill()
    with locked(out, folder=folder):  # the lock of a process that was killed is stale
        pass


def test_a_lock_is_removed_when_the_block_ends(tmp_path):
    with locked(tmp_path / "scores.csv"):
        assert [path.name for path in tmp_path.iterdir()] == [".scores.csv.lock"]
    assert not list(tmp_path.iterdir())


def test_a_lock_alone_does_not_make_a_folder_anybodys(tmp_path):
    with locked(tmp_path / "run", folder=True):
        claim_folder(tmp_path / "run", "training run")
    assert Path(tmp_path / "run" / MARKER).is_file()


@pytest.mark.parametrize("name", ["notes.txt", "notes.txt/inside", "link", "link/inside"])
def test_what_is_in_the_way_of_a_folder_is_named(tmp_path, name):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "gone" / "deep")
    line = refusal(lambda: locked(tmp_path / name, folder=True).__enter__())
    kind = "no folder" if name.startswith("notes") else "a link that leads nowhere"
    assert f"cannot write into {tmp_path / name}: {tmp_path / name.split('/')[0]} is {kind}; name another" in line
    assert sorted(one.name for one in tmp_path.iterdir()) == ["link", "notes.txt"]
