"""Whatever happens to a store, it is sound again after the next build, and the user is told in one line."""

import multiprocessing
import os
import shutil
import subprocess
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file
from stores import (
    SETTINGS,
    build,
    counts,
    entries,
    flip,
    flip_in,
    holds_all,
    leftovers,
    python,
    same,
    within,
    write_pictures,
)

from piqa import prepare
from piqa.errors import InputError
from piqa.preparation.portrait import Preparation, Preparer
from piqa.preparation.store import PreparedStore


@pytest.fixture
def pictures(tmp_path):
    return write_pictures(tmp_path / "pictures")


@pytest.fixture
def store(tmp_path):
    return PreparedStore(tmp_path / "store", SETTINGS)


@pytest.fixture(scope="module")
def preparer():
    return Preparer(SETTINGS)


# Processes that are killed


def test_a_build_killed_while_writing_goes_on_where_it_stopped(tmp_path, store, pictures, preparer):
    script = """
write, calls = Path.write_bytes, []
def half_a_file(path, content):
    calls.append(path)
    write(path, content[: len(content) // 2] if len(calls) == 3 else content)
    if len(calls) == 3:
        os.kill(os.getpid(), 9)
Path.write_bytes = half_a_file
PreparedStore(sys.argv[1], SETTINGS).build(sys.argv[2:], workers=0, progress=False)
"""
    process = python(script, tmp_path / "store", *pictures)
    process.communicate(timeout=120)
    assert process.returncode == -9
    assert len(entries(store)) == 2
    assert len(leftovers(store)) == 1
    assert counts(build(store, pictures)) == (len(pictures) - 2, 2)
    assert holds_all(store, pictures, preparer)
    assert leftovers(store) == []


def kill_a_worker(alive, delay, done):
    """Kills one worker when so many are alive, and this much later; `done` calls it off."""
    while len(workers := multiprocessing.active_children()) < alive:
        if done.wait(0.001):
            return
    if not done.wait(delay):
        workers[0].kill()


@pytest.mark.parametrize(
    ("alive", "delay"), [(1, 0.0), (2, 0.0), (2, 0.2)], ids=["while others are started", "at once", "while it imports"]
)
def test_a_killed_worker_is_told_in_one_line_and_nothing_hangs(store, pictures, preparer, alive, delay):
    done = threading.Event()
    killer = threading.Thread(target=kill_a_worker, args=(alive, delay, done))
    killer.start()
    try:
        with within(120), pytest.raises(InputError, match="fewer `workers` than 2") as caught:
            build(store, pictures, workers=2)
    finally:
        done.set()
        killer.join()
    assert "\n" not in str(caught.value)
    assert multiprocessing.active_children() == []
    report = build(store, pictures)
    assert report.prepared + report.reused == len(pictures)
    assert holds_all(store, pictures, preparer)


@pytest.mark.slow
def test_a_worker_killed_at_work_costs_nothing_that_was_done(store, pictures, preparer, monkeypatch):
    def at_work():
        while not done.wait(0.001):
            if entries(store) and (workers := multiprocessing.active_children()):
                workers[0].kill()
                return

    many = [*pictures, *write_more(pictures[0], 60)]
    done = threading.Event()
    killer = threading.Thread(target=at_work)
    killer.start()
    try:
        with within(120), pytest.raises(InputError, match="what is prepared stays"):
            build(store, many, workers=2)
    finally:
        done.set()
        killer.join()
    there = len(entries(store))
    assert 0 < there < len(many)
    assert counts(build(store, many)) == (len(many) - there, there)
    assert holds_all(store, many, preparer)
    assert leftovers(store) == []


def write_more(picture, count):
    """Paths of that many more pictures, each of another colour."""
    folder = Path(picture).parent
    for number in range(count):
        Image.new("RGB", (40, 40 + number), (number, 0, 0)).save(folder / f"more_{number}.png")
    return sorted(map(str, folder.glob("more_*.png")))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="children are looked up through /proc")
def test_the_workers_of_a_killed_build_end_too(tmp_path, store, pictures):
    many = [*pictures, *write_more(pictures[0], 300)]
    script = "PreparedStore(sys.argv[1], SETTINGS).build(sys.argv[2:], workers=2, progress=False)"
    process = python(script, tmp_path / "store", *many)
    with within(120):
        while not entries(store):
            time.sleep(0.01)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) >= 2
        process.kill()
        process.communicate()
        while any(is_running(child) for child in children):
            time.sleep(0.1)
    there = len(entries(store))
    assert 0 < there < len(many)
    assert counts(build(store, many)) == (len(many) - there, there)
    assert leftovers(store) == []


def is_running(process):
    try:
        return "State:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return False


def test_two_processes_may_build_at_once(tmp_path, store, pictures, preparer):
    script = """
own, other, *pictures = sys.argv[2:]
open(own, "w").close()
while not os.path.exists(other):
    time.sleep(0.005)
report = PreparedStore(sys.argv[1], SETTINGS).build(pictures, workers=0, progress=False)
assert report.prepared + report.reused == len(pictures), report
"""
    ready = tmp_path / "first", tmp_path / "second"
    processes = [
        python(script, tmp_path / "store", *order, *pictures) for order in (ready, reversed(ready))
    ]  # they begin together
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert holds_all(store, pictures, preparer)
    assert counts(build(store, pictures)) == (0, len(pictures))
    assert leftovers(store) == []


def test_worker_processes_say_what_is_wrong_with_liqe(tmp_path, pictures):
    weights = tmp_path / "LIQE.pt"
    torch.save({"weight": torch.zeros(2)}, weights)
    store = PreparedStore(tmp_path / "store", Preparation(liqe=str(weights)))
    with pytest.raises(InputError, match=r"LIQE\.pt has the layout 'unknown'"):
        build(store, pictures, workers=2)


# Entries that are damaged


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.999])
def test_an_entry_cut_short_is_prepared_anew_by_a_build(store, pictures, preparer, kept):
    build(store, pictures)
    entry = store.entry(pictures[0])
    os.truncate(entry, int(entry.stat().st_size * kept))
    report = build(store, pictures)
    assert counts(report) == (1, len(pictures) - 1)
    assert "; 1 had damaged or outdated entries" in str(report)
    assert holds_all(store, pictures, preparer)


def cut_in_half(entry):
    os.truncate(entry, entry.stat().st_size // 2)


def flip_header(entry):
    flip(entry, entry.read_bytes().index(b"face_box"))


DAMAGES = {
    "cut": cut_in_half,
    "header": flip_header,
    "whole image": partial(flip_in, name="full_image"),
    "face": partial(flip_in, name="face_crop"),
    "checksums": partial(flip_in, name="checksums"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_entry_is_prepared_anew_when_it_is_loaded(store, pictures, preparer, caplog, damage):
    picture = pictures[-1]  # one with a face
    build(store, pictures)
    damage(store.entry(picture))
    assert same(store.load(picture), preparer(picture))
    (warning,) = caplog.messages
    assert str(store.entry(picture)) in warning and picture in warning and "\n" not in warning
    assert same(store.load(picture), preparer(picture))
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_verifying_finds_every_damage(store, pictures, preparer, damage):
    build(store, pictures)
    damage(store.entry(pictures[-1]))
    assert counts(build(store, pictures, verify=True)) == (1, len(pictures) - 1)
    assert holds_all(store, pictures, preparer)
    assert counts(build(store, pictures, verify=True)) == (0, len(pictures))


def test_preparing_anew_leaves_the_random_numbers_alone(store, pictures):
    build(store, pictures)
    flip_in(store.entry(pictures[0]), "full_image")
    torch.manual_seed(1)
    store.load(pictures[0])
    drawn = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(3))


def shape_of(portrait):
    return portrait.full_image[0:20, 0:20].shape


def test_a_damaged_entry_whose_source_is_gone_is_told_with_both(store, pictures):
    build(store, pictures)
    assert store.read(pictures[0], shape_of) == (20, 20, 3)
    entry = store.entry(pictures[0])
    flip_header(entry)
    Path(pictures[0]).unlink()
    with pytest.raises(InputError, match="cannot be prepared anew") as caught:
        store.read(pictures[0], shape_of)
    assert str(entry) in str(caught.value) and pictures[0] in str(caught.value)


def test_a_damaged_entry_is_not_prepared_from_another_picture(store, pictures):
    build(store, pictures)
    store.read(pictures[0], shape_of)
    flip_header(store.entry(pictures[0]))
    shutil.copy(pictures[1], pictures[0])
    with pytest.raises(InputError, match="no longer the file that it was prepared from"):
        store.read(pictures[0], shape_of)


def test_a_damaged_entry_whose_source_is_spoilt_is_not_kept(store, pictures, monkeypatch):
    build(store, pictures)
    flip_header(store.entry(pictures[0]))

    def fail(self, path):
        raise InputError(f"{path} cannot be read any more")

    monkeypatch.setattr(Preparer, "__call__", fail)
    assert len(build(store, pictures, max_failed=1.0).failed) == 1
    assert not store.entry(pictures[0]).exists()


def test_entries_of_another_format_are_prepared_anew(store, pictures, preparer):
    build(store, pictures)
    portrait = store.load(pictures[-1])
    arrays = {"full_image": np.ascontiguousarray(portrait.full_image)}  # as the first version wrote them
    save_file(arrays, store.entry(pictures[-1]), {"face_box": "null", "source": "x.png"})
    assert counts(build(store, pictures)) == (1, len(pictures) - 1)
    assert holds_all(store, pictures, preparer)


def test_prepare_verifies_on_request(tiny_config, tmp_path, capsys):
    arguments = ["--config", str(tiny_config), "--data.store", str(tmp_path / "store")]
    prepare.main(arguments)
    flip_in(sorted((tmp_path / "store").rglob("*.safetensors"))[0], "full_image")
    prepare.main(arguments)
    assert "0 prepared, 36 reused" in capsys.readouterr().out
    prepare.main([*arguments, "--verify", "true"])
    assert "1 prepared, 35 reused, 36 no face, 0 failed; 1 had damaged" in capsys.readouterr().out


# Stores that cannot be written


def unwritable(store, pictures, **options):
    with pytest.raises(InputError) as caught:
        build(store, pictures, **options)
    line = str(caught.value)
    assert line.startswith(f"cannot write {store.root}")
    assert "\n" not in line
    return line


@pytest.mark.parametrize("name", ["store", "store/below"])
def test_a_file_where_the_store_should_be_is_named(tmp_path, pictures, name):
    (tmp_path / "store").write_text("taken")
    unwritable(PreparedStore(tmp_path / name, SETTINGS), pictures)
    assert (tmp_path / "store").read_text() == "taken"


@pytest.fixture
def small_disk(tmp_path):
    """A folder with room for a few entries."""
    folder = tmp_path / "small_disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here (needs root)")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_full_disk_leaves_a_sound_store(small_disk, pictures, preparer, workers):
    store = PreparedStore(small_disk / "store", SETTINGS)
    line = unwritable(store, pictures, workers=workers)
    assert "is there room" in line
    assert leftovers(store) == []
    there = [picture for picture in pictures if store.entry(picture).exists()]
    assert 0 < len(there) < len(pictures)
    assert holds_all(store, there, preparer)


def test_a_limit_on_the_size_of_files_leaves_a_sound_store(store, pictures, preparer):
    resource = pytest.importorskip("resource", reason="limits are a matter of Unix")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, hard))  # less than one entry, more than the store's lists
    try:
        line = unwritable(store, pictures)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "too large" in line
    assert entries(store) == leftovers(store) == []
    assert counts(build(store, pictures)) == (len(pictures), 0)
    assert holds_all(store, pictures, preparer)
