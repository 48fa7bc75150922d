"""A file is written whole or not at all."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from piqa.errors import InputError
from piqa.system.files import HERE, remove_leftovers, replacing


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_file_appears_only_when_the_block_ends(tmp_path):
    path = tmp_path / "scores.csv"
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert names(tmp_path) == ["scores.csv"]


def test_the_temporary_name_lies_in_the_same_folder(tmp_path):
    with replacing(tmp_path / "scores.csv") as temporary:
        assert temporary.parent == tmp_path  # a move across file systems would not be atomic
        temporary.write_text("new")


@pytest.mark.parametrize("stem", ["x" * 251, "写" * 83], ids=["latin", "chinese"])
def test_a_name_as_long_as_a_file_may_have_is_written(tmp_path, stem):
    first, second = tmp_path / f"{stem}.csv", tmp_path / f"{stem}.jsn"
    with replacing(first) as one, replacing(second) as other:
        one.write_text("first")
        other.write_text("second")
    assert (first.read_text(), second.read_text()) == ("first", "second")
    assert len(names(tmp_path)) == 2
    left = tmp_path / one.name
    left.touch()
    os.utime(left, (0, 0))
    remove_leftovers(tmp_path)
    assert not left.exists()


def test_an_old_file_is_replaced(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [KeyError("score"), KeyboardInterrupt()])
def test_after_an_exception_the_old_file_is_untouched(tmp_path, error):
    path = tmp_path / "scores.csv"
    path.write_text("old")
    with pytest.raises(type(error)), replacing(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["scores.csv"]


def test_missing_folders_are_made(tmp_path):
    with replacing(tmp_path / "runs" / "first" / "scores.csv") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "runs" / "first" / "scores.csv").read_text() == "new"


@pytest.mark.parametrize("name", ["taken/scores.csv", "taken/deeper/scores.csv", "folder"])
def test_a_place_that_cannot_be_written_is_named_in_one_line(tmp_path, name):
    (tmp_path / "taken").write_text("a file where a folder should be")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError) as caught, replacing(tmp_path / name) as temporary:
        temporary.write_text("new")
    line = str(caught.value)
    assert line.startswith(f"cannot write {tmp_path / name}: ")
    assert "\n" not in line
    assert names(tmp_path) == ["folder", "taken"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full to stand for a full disk")
def test_a_full_disk_is_named_in_one_line(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("old")
    with pytest.raises(InputError, match="No space left"), replacing(path) as temporary:
        temporary.unlink()
        temporary.symlink_to("/dev/full")
        temporary.write_text("new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["scores.csv"]


def test_two_writers_do_not_share_a_temporary_file(tmp_path):
    path = tmp_path / "scores.csv"
    written, go_on = threading.Event(), threading.Event()

    def slow_writer():
        with replacing(path) as temporary:
            temporary.write_text("slow")
            written.set()
            go_on.wait(120)

    writer = threading.Thread(target=slow_writer)
    writer.start()
    assert written.wait(120)
    with replacing(path) as temporary:
        temporary.write_text("quick")
    assert path.read_text() == "quick"
    go_on.set()
    writer.join()
    assert path.read_text() == "slow"
    assert names(tmp_path) == ["scores.csv"]


def test_a_writer_that_makes_its_own_private_file_leaves_a_shared_one(tmp_path):
    import torch
    from safetensors.torch import save_file

    (tmp_path / "usual").touch()
    with replacing(tmp_path / "weights") as temporary:
        save_file({"a": torch.zeros(1)}, temporary)
    assert (tmp_path / "weights").stat().st_mode == (tmp_path / "usual").stat().st_mode


def leftover(folder, process, host=HERE, age=0):
    """What a process leaves behind that is killed while it writes, `age` in seconds."""
    path = folder / "below" / f".scores.csv.{host}.{process}.140234.part"
    path.parent.mkdir(exist_ok=True)
    path.write_text("half")
    os.utime(path, (time.time() - age,) * 2)
    return path


@pytest.fixture
def ended():
    """Number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_what_ended_processes_left_is_removed(tmp_path, ended):
    path = leftover(tmp_path, ended)
    remove_leftovers(tmp_path)
    assert not path.exists()


def test_what_running_processes_or_other_hosts_may_be_writing_stays(tmp_path, ended):
    paths = [leftover(tmp_path, os.getpid()), leftover(tmp_path, 1), leftover(tmp_path, ended, host="01234567")]
    remove_leftovers(tmp_path)
    assert all(path.exists() for path in paths)


def test_what_is_older_than_a_day_is_removed_whoever_left_it(tmp_path, ended):
    paths = [leftover(tmp_path, os.getpid(), age=90_000), leftover(tmp_path, ended, host="01234567", age=90_000)]
    paths.append(tmp_path / ".scores.csv.12.140234.part")  # as the first version named them
    paths[-1].touch()
    os.utime(paths[-1], (0, 0))
    remove_leftovers(tmp_path)
    assert not any(path.exists() for path in paths)


def test_no_other_file_is_removed(tmp_path, ended):
    other = tmp_path / f"scores.csv.{HERE}.{ended}.1.part"  # no hidden one
    other.touch()
    os.utime(other, (0, 0))
    remove_leftovers(tmp_path)
    assert other.exists()


def test_a_temporary_file_is_named_after_its_process(tmp_path):
    with replacing(tmp_path / "scores.csv") as temporary:
        temporary.write_text("new")
        remove_leftovers(tmp_path)
        assert temporary.exists()
        assert f".{HERE}.{os.getpid()}." in temporary.name


def test_a_link_stays_and_the_file_that_it_points_to_is_replaced(tmp_path):
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to("real.csv")
    with replacing(tmp_path / "link.csv") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text() == "new"


def test_a_device_a_pipe_and_a_loop_of_links_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "null").symlink_to("/dev/null")
    for name in ("pipe", "loop", "null"):
        with pytest.raises(InputError, match="cannot write"), replacing(tmp_path / name):
            raise AssertionError("the block must not be entered")
    assert names(tmp_path) == ["loop", "null", "pipe"]
