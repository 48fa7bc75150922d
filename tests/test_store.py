"""The prepared store gives back what preparing afresh gives, and prepares only what it lacks."""

import json
import os
import shutil
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from portraits import collins, hopper
from stores import NOISE, SETTINGS, build, counts, entries, holds_all, same, write_images

import piqa.preparation.digests
from piqa.errors import InputError
from piqa.preparation.portrait import Portrait, Preparation, Preparer
from piqa.preparation.store import MANY, PreparedStore


@pytest.fixture
def images(tmp_path):
    return write_images(tmp_path / "images")


@pytest.fixture
def store(tmp_path):
    return PreparedStore(tmp_path / "store", SETTINGS)


@pytest.fixture(scope="module")
def preparer():
    return Preparer(SETTINGS)


@contextmanager
def threads(number):
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def preparations(monkeypatch):
    """The images that are opened from now on, as they are."""
    opened = []
    prepare = Preparer.__call__

    def call(self, path):
        opened.append(str(path))
        return prepare(self, path)

    monkeypatch.setattr(Preparer, "__call__", call)
    return opened


# Equality with preparing afresh


@pytest.mark.parametrize("number", [1, 2])
def test_the_store_gives_what_preparing_afresh_gives(store, images, preparer, number):
    with threads(number):
        report = build(store, images)
    assert counts(report) == (len(images), 0)
    assert holds_all(store, images, preparer)


@pytest.fixture(scope="module")
def built_by_workers(tmp_path_factory):
    """A store that two worker processes built, its report and its images, of which the first is bad."""
    folder = tmp_path_factory.mktemp("workers")
    images = write_images(folder / "images")
    Path(images[0]).write_text("no image")
    store = PreparedStore(folder / "store", SETTINGS)
    return store, build(store, images, workers=2, max_failed=0.5), images


def test_worker_processes_give_the_same(built_by_workers, preparer):
    store, report, images = built_by_workers
    assert counts(report) == (len(images) - 1, 0)
    assert report.no_face == NOISE - 1
    assert holds_all(store, images[1:], preparer)


@pytest.mark.slow
def test_of_many_images_the_first_are_prepared_by_the_workers_too(tmp_path, monkeypatch):
    for number in range(MANY):
        Image.new("RGB", (40, 40), (number, 0, 0)).save(tmp_path / f"{number}.png")
    monkeypatch.setattr(Preparation, "preparer", None)  # here; the workers import it anew
    store = PreparedStore(tmp_path / "store", Preparation(short_side=32, face_rule="none"))
    assert build(store, tmp_path.glob("*.png"), workers=2).prepared == MANY


@pytest.mark.slow
def test_liqe_logits_are_the_same_from_every_number_of_workers_and_threads(tmp_path, images, official_checkpoint):
    settings = Preparation(short_side=64, liqe=str(official_checkpoint("liqe")))
    with threads(1):
        afresh = Preparer(settings)(images[-1])
    assert afresh.liqe_logits.shape == (495,)
    for name, workers, number in (("alone", 0, 2), ("workers", 2, 1)):
        store = PreparedStore(tmp_path / name, settings)
        with threads(number):
            build(store, images[-1:], workers=workers)
        assert same(store.load(images[-1]), afresh), name


def test_no_face_comes_back_as_the_whole_image(store, images):
    build(store, images)
    portrait = store.load(images[0])
    assert not portrait.face_found
    assert np.array_equal(portrait.face_crop, portrait.whole)


def test_images_without_a_face_are_counted_when_prepared_and_when_reused(store, images):
    assert build(store, images).no_face == NOISE
    assert build(store, images).no_face == NOISE


# Reuse


def test_a_complete_store_opens_no_image_again(tmp_path, store, images, monkeypatch):
    build(store, images)
    opened = preparations(monkeypatch)
    assert counts(build(PreparedStore(tmp_path / "store", SETTINGS), images)) == (0, len(images))
    assert opened == []


def test_unchanged_images_are_not_even_read_again(tmp_path, store, images, monkeypatch):
    build(store, images)
    read = []
    monkeypatch.setattr(piqa.preparation.digests, "digest_of", read.append)
    build(PreparedStore(tmp_path / "store", SETTINGS), images)
    assert read == []


@pytest.mark.parametrize("content", ["", "[1, 2]", "5", '{"cut'])
def test_a_spoilt_memory_of_digests_costs_only_reading(tmp_path, store, images, content):
    build(store, images)
    (tmp_path / "store" / "digests.json").write_text(content)
    assert counts(build(PreparedStore(tmp_path / "store", SETTINGS), images)) == (0, len(images))


def test_the_same_content_under_two_names_is_one_entry(tmp_path, store, images, monkeypatch):
    copy = tmp_path / "copy.png"
    shutil.copy(images[0], copy)
    opened = preparations(monkeypatch)
    assert counts(build(store, [images[0], copy])) == (2, 0)
    assert len(opened) == len(entries(store)) == 1
    assert same(store.load(images[0]), store.load(copy))


def test_the_same_file_named_twice_counts_once(store, images):
    assert counts(build(store, [images[0], images[0]])) == (1, 0)


def test_a_moved_image_is_not_prepared_again(tmp_path, store, images):
    build(store, images[:1])
    moved = shutil.move(images[0], tmp_path / "moved.png")
    assert counts(build(store, [moved])) == (0, 1)


def test_two_builds_of_one_store_remember_the_digests_of_both(tmp_path, images, monkeypatch):
    first, second = (PreparedStore(tmp_path / "store", SETTINGS) for _ in range(2))
    build(first, images[:4])
    build(second, images[4:])
    read = []
    monkeypatch.setattr(piqa.preparation.digests, "digest_of", read.append)
    build(PreparedStore(tmp_path / "store", SETTINGS), images)
    assert read == []


# What changed is prepared anew, and only that


def test_a_changed_image_is_prepared_anew(store, images, preparer, monkeypatch):
    build(store, images)
    hopper().resize((300, 200)).save(images[0])
    opened = preparations(monkeypatch)
    assert counts(build(store, images)) == (1, len(images) - 1)
    assert opened == [images[0]]
    assert holds_all(store, images, preparer)


def test_a_changed_image_of_the_same_size_and_time_is_noticed(tmp_path, preparer):
    image, store = tmp_path / "one.bmp", PreparedStore(tmp_path / "store", SETTINGS)
    for colour in ("red", "blue"):
        Image.new("RGB", (40, 30), colour).save(image)
        os.utime(image, ns=(0, 0))  # as unpacking an archive does
        build(store, [image])
        assert same(store.load(image), preparer(image))
        time.sleep(0.02)  # the clock of a file system may tick every 10 ms only


def test_a_changed_setting_prepares_anew_beside_the_old(tmp_path, store, images):
    build(store, images)
    other = PreparedStore(tmp_path / "store", Preparation(short_side=80))
    assert counts(build(other, images)) == (len(images), 0)
    assert min(other.load(images[0]).whole.shape[:2]) == 80
    assert counts(build(store, images)) == (0, len(images))


def test_a_store_tells_its_settings_in_words(store, images):
    build(store, images[:1])
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


# Images that fail


@pytest.fixture
def with_a_bad_one(images):
    Path(images[0]).write_text("no image")
    return images


def failures(store):
    return pd.read_csv(store.folder / "failed.csv")


def test_a_bad_image_is_listed_and_does_not_stop_the_rest(store, with_a_bad_one, preparer):
    report = build(store, with_a_bad_one, max_failed=0.5)
    assert counts(report) == (len(with_a_bad_one) - 1, 0)
    assert [path for path, _ in report.failed] == with_a_bad_one[:1]
    listed = failures(store)
    assert listed["image"].tolist() == with_a_bad_one[:1]
    assert "is not an image that can be read" in listed["error"][0]
    assert holds_all(store, with_a_bad_one[1:], preparer)


def test_worker_processes_list_a_bad_image_too(built_by_workers):
    store, report, images = built_by_workers
    assert [path for path, _ in report.failed] == failures(store)["image"].tolist() == images[:1]


def test_a_missing_image_is_listed_too(store, images):
    build(store, [*images, "gone.png"], max_failed=0.5)
    assert failures(store)["image"].tolist() == ["gone.png"]


def test_too_many_bad_images_end_the_build_after_the_rest_is_prepared(store, with_a_bad_one):
    with pytest.raises(InputError, match="1 of 8 images could not be prepared") as caught:
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


def test_a_list_of_failures_keeps_those_of_other_datasets_that_share_the_store(tmp_path, store, with_a_bad_one):
    other = tmp_path / "other.png"
    other.write_text("no image either")
    build(store, [other], max_failed=1.0)
    build(store, with_a_bad_one, max_failed=0.5)
    assert failures(store)["image"].tolist() == sorted([str(other), with_a_bad_one[0]])
    hopper().resize((60, 70)).save(other)
    build(store, [other])
    assert failures(store)["image"].tolist() == with_a_bad_one[:1]


@pytest.mark.parametrize("content", ["", "no, list\n1,2", "image,error\n\x00"])
def test_a_list_of_failures_that_cannot_be_read_is_written_anew(store, with_a_bad_one, content):
    store.folder.mkdir(parents=True)
    (store.folder / "failed.csv").write_text(content)
    build(store, with_a_bad_one, max_failed=0.5)
    assert failures(store)["image"].tolist()[-1:] == with_a_bad_one[:1]


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX alone")
def test_names_that_are_no_unicode_are_prepared_and_listed(tmp_path, store, images, preparer):
    good, bad = (os.fsdecode(os.fsencode(tmp_path) + name) for name in (b"/gut\xe9.png", b"/schlecht\xe9.png"))
    shutil.copy(images[0], good)
    Path(bad).write_text("no image")
    for _ in range(2):
        assert [path for path, _ in build(store, [good, bad], max_failed=0.5).failed] == [bad]
        assert same(store.load(good), preparer(good))


def test_an_image_that_was_not_prepared_cannot_be_loaded(store, images):
    build(store, images[:1])
    with pytest.raises(InputError) as caught:
        store.load(images[1])
    assert images[1] in str(caught.value)
    assert "python -m piqa.prepare" in str(caught.value)


# Facts of a face


def test_points_and_other_faces_come_back_and_older_entries_have_none(tmp_path):
    points = ((1.5, 2.0), (3.0, 2.25), (2.0, 3.0), (1.0, 4.0), (3.5, 4.0))
    pixels = np.zeros((8, 8, 3), np.uint8)
    portrait = Portrait(pixels, pixels, (0.0, 0.0, 4.0, 5.0), None, 0, points, 2)
    arrays, facts = portrait.pack()
    read = Preparation().unpack(arrays, facts, "a.jpg")
    assert read.face_points == points and read.other_faces == 2 and read.face_box == (0.0, 0.0, 4.0, 5.0)
    older = Preparation().unpack(arrays, {"face_box": facts["face_box"]}, "a.jpg")
    assert older.face_points is None and older.other_faces == 0 and older.face_box == portrait.face_box


def test_a_store_keeps_the_points_and_the_other_faces_that_were_found(tmp_path):
    both = Image.new("RGB", (1100, 600), (90, 90, 90))
    both.paste(hopper(), (0, 0))
    both.paste(collins().resize((300, 300)), (700, 100))
    both.save(tmp_path / "both.png")
    settings = Preparation(short_side=40)
    store = PreparedStore(tmp_path / "store", settings)
    build(store, [str(tmp_path / "both.png")])
    kept, fresh = store.load(str(tmp_path / "both.png")), Preparer(settings)(tmp_path / "both.png")
    assert kept.face_points == fresh.face_points is not None and kept.other_faces == fresh.other_faces == 1
    assert kept.face_box == fresh.face_box
