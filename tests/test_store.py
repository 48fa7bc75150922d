"""The prepared store gives back what preparing afresh gives, whatever happened while it was built."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from portraits import collins, hopper

import piqa.digests
import piqa.store
from piqa.errors import InputError
from piqa.portrait import Preparation, Preparer
from piqa.store import PreparedStore

SETTINGS = Preparation(short_side=64)
NOISE = 6  # pictures without a face
PEOPLE = {"collins.png": collins, "hopper.png": hopper}


def write_pictures(folder):
    """Paths of eight pictures: noise without a face, and two portraits."""
    folder.mkdir()
    for name, person in PEOPLE.items():
        person().resize((200, 240)).save(folder / name)
    rng = np.random.default_rng(0)
    for number in range(NOISE):
        Image.fromarray(rng.integers(0, 256, (60, 50 + number, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return sorted(map(str, folder.iterdir()))


@pytest.fixture
def pictures(tmp_path):
    return write_pictures(tmp_path / "pictures")


@pytest.fixture
def store(tmp_path):
    return PreparedStore(tmp_path / "store", SETTINGS)


@pytest.fixture(scope="module")
def preparer():
    return Preparer(SETTINGS)


def build(store, pictures, **options):
    return store.build(pictures, **{"workers": 0, "max_failed": 0.0, "progress": False} | options)


def counts(report):
    return report.prepared, report.reused


def same(portrait, other):
    def equal(one, two):
        return np.array_equal(one, two) and getattr(one, "dtype", None) == getattr(two, "dtype", None)

    return (
        equal(portrait.full_image, other.full_image)
        and equal(portrait.face_crop, other.face_crop)
        and portrait.face_box == other.face_box
        and equal(portrait.liqe_logits, other.liqe_logits)
    )


def holds_all(store, pictures, preparer):
    return all(same(store.load(picture), preparer(picture)) for picture in pictures)


def entries(store):
    return sorted(store.root.rglob("*.safetensors"))


def leftovers(store):
    return sorted(store.root.rglob("*.part"))


@contextmanager
def threads(number):
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def preparations(monkeypatch):
    """The pictures that are opened from now on, as they are."""
    opened = []
    prepare = Preparer.__call__

    def call(self, path):
        opened.append(str(path))
        return prepare(self, path)

    monkeypatch.setattr(Preparer, "__call__", call)
    return opened


def python(script, *arguments):
    """A process of its own that imports the store and runs a script."""
    start = f"""
import os, sys, time
import piqa.store
from piqa.portrait import Preparation
from piqa.store import PreparedStore
SETTINGS = {SETTINGS!r}
"""
    command = [sys.executable, "-c", start + script, *map(str, arguments)]
    return subprocess.Popen(command, cwd=Path(piqa.store.__file__).parents[1], stderr=subprocess.PIPE, text=True)


# Equality with preparing afresh


@pytest.mark.parametrize("number", [1, 2])
def test_the_store_gives_what_preparing_afresh_gives(store, pictures, preparer, number):
    with threads(number):
        report = build(store, pictures)
    assert counts(report) == (len(pictures), 0)
    assert holds_all(store, pictures, preparer)


@pytest.fixture(scope="module")
def built_by_workers(tmp_path_factory):
    """A store that two worker processes built, its report and its pictures, of which the first is bad."""
    folder = tmp_path_factory.mktemp("workers")
    pictures = write_pictures(folder / "pictures")
    Path(pictures[0]).write_text("no image")
    store = PreparedStore(folder / "store", SETTINGS)
    return store, build(store, pictures, workers=2, max_failed=0.5), pictures


def test_worker_processes_give_the_same(built_by_workers, preparer):
    store, report, pictures = built_by_workers
    assert counts(report) == (len(pictures) - 1, 0)
    assert report.no_face == NOISE - 1
    assert holds_all(store, pictures[1:], preparer)


@pytest.mark.slow
def test_liqe_logits_are_the_same_from_every_number_of_workers_and_threads(tmp_path, pictures, official_checkpoint):
    settings = Preparation(short_side=64, liqe=str(official_checkpoint("liqe")))
    with threads(1):
        afresh = Preparer(settings)(pictures[-1])
    assert afresh.liqe_logits.shape == (495,)
    for name, workers, number in (("alone", 0, 2), ("workers", 2, 1)):
        store = PreparedStore(tmp_path / name, settings)
        with threads(number):
            build(store, pictures[-1:], workers=workers)
        assert same(store.load(pictures[-1]), afresh), name


def test_no_face_comes_back_as_the_whole_image(store, pictures):
    build(store, pictures)
    portrait = store.load(pictures[0])
    assert not portrait.face_found
    assert np.array_equal(portrait.face_crop, portrait.full_image)


def test_pictures_without_a_face_are_counted_when_prepared_and_when_reused(store, pictures):
    assert build(store, pictures).no_face == NOISE
    assert build(store, pictures).no_face == NOISE


# Reuse


def test_a_complete_store_opens_no_picture_again(tmp_path, store, pictures, monkeypatch):
    build(store, pictures)
    opened = preparations(monkeypatch)
    assert counts(build(PreparedStore(tmp_path / "store", SETTINGS), pictures)) == (0, len(pictures))
    assert opened == []


def test_unchanged_pictures_are_not_even_read_again(tmp_path, store, pictures, monkeypatch):
    build(store, pictures)
    read = []
    monkeypatch.setattr(piqa.digests, "digest_of", read.append)
    build(PreparedStore(tmp_path / "store", SETTINGS), pictures)
    assert read == []


@pytest.mark.parametrize("content", ["", "[1, 2]", "5", '{"cut'])
def test_a_spoilt_memory_of_digests_costs_only_reading(tmp_path, store, pictures, content):
    build(store, pictures)
    (tmp_path / "store" / "digests.json").write_text(content)
    assert counts(build(PreparedStore(tmp_path / "store", SETTINGS), pictures)) == (0, len(pictures))


def test_the_same_content_under_two_names_is_one_entry(tmp_path, store, pictures, monkeypatch):
    copy = tmp_path / "copy.png"
    shutil.copy(pictures[0], copy)
    opened = preparations(monkeypatch)
    assert counts(build(store, [pictures[0], copy])) == (2, 0)
    assert len(opened) == len(entries(store)) == 1
    assert same(store.load(pictures[0]), store.load(copy))


def test_the_same_file_named_twice_counts_once(store, pictures):
    assert counts(build(store, [pictures[0], pictures[0]])) == (1, 0)


def test_a_moved_picture_is_not_prepared_again(tmp_path, store, pictures):
    build(store, pictures[:1])
    moved = shutil.move(pictures[0], tmp_path / "moved.png")
    assert counts(build(store, [moved])) == (0, 1)


# What changed is prepared anew, and only that


def test_a_changed_picture_is_prepared_anew(store, pictures, preparer, monkeypatch):
    build(store, pictures)
    hopper().resize((300, 200)).save(pictures[0])
    opened = preparations(monkeypatch)
    assert counts(build(store, pictures)) == (1, len(pictures) - 1)
    assert opened == [pictures[0]]
    assert holds_all(store, pictures, preparer)


def test_a_changed_picture_of_the_same_size_and_time_is_noticed(tmp_path, preparer):
    picture, store = tmp_path / "one.bmp", PreparedStore(tmp_path / "store", SETTINGS)
    for colour in ("red", "blue"):
        Image.new("RGB", (40, 30), colour).save(picture)
        os.utime(picture, ns=(0, 0))  # as unpacking an archive does
        build(store, [picture])
        assert same(store.load(picture), preparer(picture))
        time.sleep(0.02)  # the clock of a file system may tick every 10 ms only


def test_a_changed_setting_prepares_anew_beside_the_old(tmp_path, store, pictures):
    build(store, pictures)
    other = PreparedStore(tmp_path / "store", Preparation(short_side=80))
    assert counts(build(other, pictures)) == (len(pictures), 0)
    assert min(other.load(pictures[0]).full_image.shape[:2]) == 80
    assert counts(build(store, pictures)) == (0, len(pictures))


def test_a_store_tells_its_settings_in_words(store, pictures):
    build(store, pictures[:1])
    assert json.loads((store.folder / "settings.json").read_text())["short_side"] == 64


def test_other_liqe_weights_under_the_same_name_are_noticed(tmp_path):
    weights, elsewhere = tmp_path / "LIQE.pt", tmp_path / "copy.pt"
    weights.write_bytes(b"first")
    settings = Preparation(liqe=str(weights))
    first = PreparedStore(tmp_path / "store", settings).folder
    assert PreparedStore(tmp_path / "store", settings).folder == first
    weights.write_bytes(b"other")
    assert PreparedStore(tmp_path / "store", settings).folder != first
    elsewhere.write_bytes(b"first")
    assert PreparedStore(tmp_path / "store", Preparation(liqe=str(elsewhere))).folder == first


# Broken off, cut short, built by many


def test_a_build_killed_while_writing_goes_on_where_it_stopped(tmp_path, store, pictures, preparer):
    script = """
save = piqa.store.save_file
calls = []
def half_a_file(tensors, path, metadata):
    save(tensors, path, metadata)
    calls.append(path)
    if len(calls) == 3:
        os.truncate(path, os.path.getsize(path) // 2)
        os.kill(os.getpid(), 9)
piqa.store.save_file = half_a_file
PreparedStore(sys.argv[1], SETTINGS).build(sys.argv[2:], workers=0, progress=False)
"""
    process = python(script, tmp_path / "store", *pictures)
    process.communicate(timeout=120)
    assert process.returncode == -9
    assert len(entries(store)) == 2
    assert counts(build(store, pictures)) == (len(pictures) - 2, 2)
    assert holds_all(store, pictures, preparer)


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.999])
def test_an_entry_cut_short_is_rebuilt(store, pictures, preparer, kept):
    build(store, pictures)
    entry = store.entry(pictures[0])
    os.truncate(entry, int(entry.stat().st_size * kept))
    with pytest.raises(InputError, match="not in the prepared store"):
        store.load(pictures[0])
    assert counts(build(store, pictures)) == (1, len(pictures) - 1)
    assert holds_all(store, pictures, preparer)


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


def test_a_killed_worker_is_named_in_one_line(store, pictures):
    done = threading.Event()

    def kill_one_worker():
        while len(multiprocessing.active_children()) < 2:
            if done.wait(0.01):
                return
        done.wait(0.2)  # Python's pool may hang if a worker dies while another one is being started
        multiprocessing.active_children()[0].kill()  # it still imports torch, which takes longer

    killer = threading.Thread(target=kill_one_worker)
    killer.start()
    try:
        with pytest.raises(InputError, match="fewer `workers` than 2") as caught:
            build(store, pictures, workers=2)
    finally:
        done.set()
        killer.join()
    assert "\n" not in str(caught.value)


def test_worker_processes_say_what_is_wrong_with_liqe(tmp_path, pictures):
    weights = tmp_path / "LIQE.pt"
    torch.save({"weight": torch.zeros(2)}, weights)
    store = PreparedStore(tmp_path / "store", Preparation(liqe=str(weights)))
    with pytest.raises(InputError, match=r"LIQE\.pt has the layout 'unknown'"):
        build(store, pictures, workers=2)


# Pictures that fail


@pytest.fixture
def with_a_bad_one(pictures):
    Path(pictures[0]).write_text("no image")
    return pictures


def failures(store):
    return pd.read_csv(store.folder / "failed.csv")


def test_a_bad_picture_is_listed_and_does_not_stop_the_rest(store, with_a_bad_one, preparer):
    report = build(store, with_a_bad_one, max_failed=0.5)
    assert counts(report) == (len(with_a_bad_one) - 1, 0)
    assert [path for path, _ in report.failed] == with_a_bad_one[:1]
    listed = failures(store)
    assert listed["image"].tolist() == with_a_bad_one[:1]
    assert "is not an image that can be read" in listed["error"][0]
    assert holds_all(store, with_a_bad_one[1:], preparer)


def test_worker_processes_list_a_bad_picture_too(built_by_workers):
    store, report, pictures = built_by_workers
    assert [path for path, _ in report.failed] == failures(store)["image"].tolist() == pictures[:1]


def test_a_missing_picture_is_listed_too(store, pictures):
    build(store, [*pictures, "gone.png"], max_failed=0.5)
    assert failures(store)["image"].tolist() == ["gone.png"]


def test_too_many_bad_pictures_end_the_build_after_the_rest_is_prepared(store, with_a_bad_one):
    with pytest.raises(InputError, match="1 of 8 pictures could not be prepared") as caught:
        build(store, with_a_bad_one, max_failed=0.1)
    assert str(store.folder / "failed.csv") in str(caught.value)
    assert with_a_bad_one[0] in str(caught.value)
    assert len(entries(store)) == len(with_a_bad_one) - 1


def test_the_share_that_may_fail_may_fail(store, with_a_bad_one):
    assert len(build(store, with_a_bad_one, max_failed=1 / 8).failed) == 1


def test_the_list_of_failures_vanishes_once_they_are_mended(store, with_a_bad_one):
    build(store, with_a_bad_one, max_failed=0.5)
    hopper().resize((60, 70)).save(with_a_bad_one[0])
    assert counts(build(store, with_a_bad_one)) == (1, len(with_a_bad_one) - 1)
    assert not (store.folder / "failed.csv").exists()


def test_a_picture_that_was_not_prepared_cannot_be_loaded(store, pictures):
    build(store, pictures[:1])
    with pytest.raises(InputError) as caught:
        store.load(pictures[1])
    assert pictures[1] in str(caught.value)
    assert "python -m piqa.prepare" in str(caught.value)


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
