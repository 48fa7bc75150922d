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
from running import is_running
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
    write_images,
)

from piqa import prepare
from piqa.errors import InputError
from piqa.preparation import store_build
from piqa.preparation.portrait import STORED_WHOLE, Preparation, Preparer
from piqa.preparation.store import PreparedStore
from piqa.system.worker_pool import map_in_workers


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images")


@pytest.fixture
def store(tmp_path):
    return PreparedStore(tmp_path / "store", SETTINGS)


@pytest.fixture(scope="module")
def preparer():
    return Preparer(SETTINGS)


# Processes that are killed


def test_a_build_killed_while_writing_goes_on_where_it_stopped(tmp_path, store, images, preparer):
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
    process = python(script, tmp_path / "store", *images)
    process.communicate(timeout=300)
    assert process.returncode == -9
    assert len(entries(store)) == 2
    assert len(leftovers(store)) == 1
    assert counts(build(store, images)) == (len(images) - 2, 2)
    assert holds_all(store, images, preparer)
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
def test_a_killed_worker_is_told_in_one_line_and_nothing_hangs(store, images, preparer, alive, delay):
    done = threading.Event()
    killer = threading.Thread(target=kill_a_worker, args=(alive, delay, done))
    killer.start()
    try:
        with within(300), pytest.raises(InputError, match="fewer `workers` than 2") as caught:
            build(store, images, workers=2)
    finally:
        done.set()
        killer.join()
    assert "was killed by signal 9" in str(caught.value) and "\n" not in str(caught.value)
    assert multiprocessing.active_children() == []
    report = build(store, images)
    assert report.prepared + report.reused == len(images)
    assert holds_all(store, images, preparer)


@pytest.mark.slow
def test_a_worker_killed_at_work_costs_nothing_that_was_done(store, images, preparer, monkeypatch):
    def killed_at_work(*arguments):
        for number, result in enumerate(map_in_workers(*arguments)):
            if number == 3:
                multiprocessing.active_children()[0].kill()
            yield result

    many = [*images, *write_more(images[0], 60)]
    with monkeypatch.context() as patched:
        patched.setattr(store_build, "map_in_workers", killed_at_work)
        with within(300), pytest.raises(InputError, match="what was prepared is kept"):
            build(store, many, workers=2)
    there = len(entries(store))
    assert 0 < there < len(many)
    assert counts(build(store, many)) == (len(many) - there, there)
    assert holds_all(store, many, preparer)
    assert leftovers(store) == []


def write_more(image, count):
    """Paths of that many more images, each of another colour."""
    folder = Path(image).parent
    for number in range(count):
        Image.new("RGB", (40, 40 + number), (number, 0, 0)).save(folder / f"more_{number}.png")
    return sorted(map(str, folder.glob("more_*.png")))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="children are looked up through /proc")
def test_the_workers_of_a_killed_build_end_too(tmp_path, store, images):
    many = [*images, *write_more(images[0], 300)]
    script = "PreparedStore(sys.argv[1], SETTINGS).build(sys.argv[2:], workers=2, progress=False)"
    process = python(script, tmp_path / "store", *many)
    with within(300):
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


def test_two_processes_may_build_at_once(tmp_path, store, images, preparer):
    script = """
own, other, *images = sys.argv[2:]
open(own, "w").close()
while not os.path.exists(other):
    time.sleep(0.005)
report = PreparedStore(sys.argv[1], SETTINGS).build(images, workers=0, progress=False)
assert report.prepared + report.reused == len(images), report
"""
    ready = tmp_path / "first", tmp_path / "second"
    processes = [
        python(script, tmp_path / "store", *order, *images) for order in (ready, reversed(ready))
    ]  # they begin together
    errors = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert holds_all(store, images, preparer)
    assert counts(build(store, images)) == (0, len(images))
    assert leftovers(store) == []


def test_worker_processes_say_what_is_wrong_with_liqe(tmp_path, images):
    weights = tmp_path / "LIQE.pt"
    torch.save({"weight": torch.zeros(2)}, weights)
    store = PreparedStore(tmp_path / "store", Preparation(liqe=str(weights)))
    with pytest.raises(InputError, match=r"LIQE\.pt has the layout 'unknown'"):
        build(store, images, workers=2)


# Entries that are damaged


@pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.999])
def test_an_entry_cut_short_is_prepared_anew_by_a_build(store, images, preparer, kept):
    build(store, images)
    entry = store.entry(images[0])
    os.truncate(entry, int(entry.stat().st_size * kept))
    report = build(store, images)
    assert counts(report) == (1, len(images) - 1)
    assert "; 1 had damaged or outdated entries" in str(report)
    assert holds_all(store, images, preparer)


def cut_in_half(entry):
    os.truncate(entry, entry.stat().st_size // 2)


def flip_header(entry):
    flip(entry, entry.read_bytes().index(b"face_box"))


DAMAGES = {
    "cut": cut_in_half,
    "header": flip_header,
    "whole image": partial(flip_in, name=STORED_WHOLE),
    "face": partial(flip_in, name="face_crop"),
    "checksums": partial(flip_in, name="checksums"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_entry_is_prepared_anew_when_it_is_loaded(store, images, preparer, caplog, damage):
    image = images[-1]  # one with a face
    build(store, images)
    damage(store.entry(image))
    assert same(store.load(image), preparer(image))
    (warning,) = caplog.messages
    assert str(store.entry(image)) in warning and image in warning and "\n" not in warning
    assert same(store.load(image), preparer(image))
    assert len(caplog.messages) == 1


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_verifying_finds_every_damage(store, images, preparer, damage):
    build(store, images)
    damage(store.entry(images[-1]))
    assert counts(build(store, images, verify=True)) == (1, len(images) - 1)
    assert holds_all(store, images, preparer)
    assert counts(build(store, images, verify=True)) == (0, len(images))


def test_preparing_anew_leaves_the_random_numbers_alone(store, images):
    build(store, images)
    flip_in(store.entry(images[0]), STORED_WHOLE)
    torch.manual_seed(1)
    store.load(images[0])
    drawn = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(3))


def shape_of(portrait):
    return portrait.whole[0:20, 0:20].shape


def test_a_damaged_entry_whose_source_is_gone_is_told_with_both(store, images):
    build(store, images)
    assert store.read(images[0], shape_of) == (20, 20, 3)
    entry = store.entry(images[0])
    flip_header(entry)
    Path(images[0]).unlink()
    with pytest.raises(InputError, match="cannot be prepared again") as caught:
        store.read(images[0], shape_of)
    assert str(entry) in str(caught.value) and images[0] in str(caught.value)


def test_a_damaged_entry_is_not_prepared_from_another_image(store, images):
    build(store, images)
    store.read(images[0], shape_of)
    flip_header(store.entry(images[0]))
    shutil.copy(images[1], images[0])
    with pytest.raises(InputError, match="no longer the file that it was prepared from"):
        store.read(images[0], shape_of)


def test_a_damaged_entry_whose_source_is_spoilt_is_not_kept(store, images, monkeypatch):
    build(store, images)
    flip_header(store.entry(images[0]))

    def fail(self, path):
        raise InputError(f"{path} cannot be read any more")

    monkeypatch.setattr(Preparer, "__call__", fail)
    assert len(build(store, images, max_failed=1.0).failed) == 1
    assert not store.entry(images[0]).exists()


def test_entries_of_another_format_are_prepared_anew(store, images, preparer):
    build(store, images)
    portrait = store.load(images[-1])
    arrays = {STORED_WHOLE: np.ascontiguousarray(portrait.whole)}  # as the first version wrote them
    save_file(arrays, store.entry(images[-1]), {"face_box": "null", "source": "x.png"})
    assert counts(build(store, images)) == (1, len(images) - 1)
    assert holds_all(store, images, preparer)


def test_prepare_verifies_on_request(tiny_config, tmp_path, capsys):
    arguments = ["--config", str(tiny_config), "--data.store.folder", str(tmp_path / "store")]
    prepare.main(arguments)
    flip_in(sorted((tmp_path / "store").rglob("*.safetensors"))[0], STORED_WHOLE)
    prepare.main(arguments)
    assert "0 prepared, 36 reused" in capsys.readouterr().out
    prepare.main([*arguments, "--verify", "true"])
    assert "1 prepared, 35 reused, 36 no face, 0 failed; 1 had damaged" in capsys.readouterr().out


# Whose a folder is


def test_a_folder_of_others_is_left_alone(tmp_path, store, images):
    (tmp_path / "store" / ".vscode").mkdir(parents=True)
    (tmp_path / "store" / ".vscode" / "settings.json").write_text("{}")
    with pytest.raises(InputError, match="are left alone"):
        build(store, images)
    assert [path.name for path in (tmp_path / "store").rglob("*")] == [".vscode", "settings.json"]


@pytest.mark.parametrize("gone", [".piqa.json", "digests.json"])
def test_a_store_of_a_former_version_is_adopted(store, images, gone):
    build(store, images[:1])
    for name in {".piqa.json", gone}:
        (store.root / name).unlink()
    assert counts(build(PreparedStore(store.root, SETTINGS), images[:2])) == (1, 1)
    assert (store.root / ".piqa.json").is_file()


def test_hidden_part_files_of_other_programs_stay(store, images):
    build(store, images[:1])
    theirs = [store.root / ".film.mkv.part", store.root / ".notes.txt.12345678.1.2.part", store.folder / ".x.part"]
    ours = store.folder / ".failed.csv.12345678.1.2.part"
    for path in [*theirs, ours]:
        path.write_text("half")
        os.utime(path, (0, 0))
    build(store, images[:2])
    assert all(path.exists() for path in theirs) and not ours.exists()


def test_a_store_that_lacks_nothing_is_not_written(store, images):
    build(store, images[:2])
    (store.root / ".piqa.json").unlink()  # as version 0.1.0 left it, perhaps on a disk that can only be read
    assert counts(build(PreparedStore(store.root, SETTINGS), images[:2])) == (0, 2)
    assert not (store.root / ".piqa.json").exists()


# Stores that cannot be written


def unwritable(store, images, **options):
    with pytest.raises(InputError) as caught:
        build(store, images, **options)
    line = str(caught.value)
    assert line.startswith(f"cannot write {store.root}")
    assert "\n" not in line
    return line


@pytest.mark.parametrize("name", ["store", "store/below"])
def test_a_file_where_the_store_should_be_is_named(tmp_path, images, name):
    (tmp_path / "store").write_text("taken")
    unwritable(PreparedStore(tmp_path / name, SETTINGS), images)
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
def test_a_full_disk_leaves_a_sound_store(small_disk, images, preparer, workers):
    store = PreparedStore(small_disk / "store", SETTINGS)
    line = unwritable(store, images, workers=workers)
    assert "is there room" in line
    assert leftovers(store) == []
    there = [image for image in images if store.entry(image).exists()]
    assert 0 < len(there) < len(images)
    assert holds_all(store, there, preparer)


def test_a_limit_on_the_size_of_files_leaves_a_sound_store(store, images, preparer):
    resource = pytest.importorskip("resource", reason="limits are a matter of Unix")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, hard))  # less than one entry, more than the store's lists
    try:
        line = unwritable(store, images)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "too large" in line
    assert entries(store) == leftovers(store) == []
    assert counts(build(store, images)) == (len(images), 0)
    assert holds_all(store, images, preparer)
