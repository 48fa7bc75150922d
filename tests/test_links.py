"""Folders of picks: names, what a later run takes back, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from piqa.errors import InputError
from piqa.moments.links import JOURNAL, check_place, place_picks
from piqa.system.ownership import MARKER


@pytest.fixture
def photos(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for name in ("1.jpg", "2.jpg"):
            (tmp_path / folder / name).write_bytes(f"{folder} {name}".encode())
    return tmp_path


def content(folder):
    return {one.name: one.read_bytes() for one in folder.iterdir() if one.name not in (JOURNAL, MARKER)}


@pytest.mark.parametrize("copy", [False, True])
def test_names_that_stand_twice_get_a_number(photos, copy):
    (photos / "b" / "1.JPG").write_bytes(b"case")
    files = [str(photos / one) for one in ("a/1.jpg", "b/1.jpg", "b/1.JPG")]
    done = place_picks(files, photos / "out", copy)
    assert (done.placed, done.taken_back, list(done.left)) == (3, 0, [])
    assert content(photos / "out") == {"1.jpg": b"a 1.jpg", "1-2.jpg": b"b 1.jpg", "1-3.JPG": b"case"}
    assert all(one.is_symlink() != copy for one in (photos / "out").glob("1*"))
    assert all(Path(file).exists() for file in files)


@pytest.mark.parametrize("copy", [False, True])
def test_a_later_run_takes_back_its_own_and_nothing_else(photos, copy):
    out = photos / "out"
    place_picks([str(photos / "a/1.jpg"), str(photos / "a/2.jpg")], out, copy)
    (out / "2.jpg").unlink()
    (out / "2.jpg").write_bytes(b"retouched")  # somebody's own now
    (out / "note.txt").write_bytes(b"mine")
    done = place_picks([str(photos / "b/1.jpg"), str(photos / "b/2.jpg")], out, copy)
    assert content(out) == {
        "1.jpg": b"b 1.jpg",
        "2.jpg": b"retouched",
        "2-2.jpg": b"b 2.jpg",
        "note.txt": b"mine",
    }
    done = place_picks([], out, copy)
    assert (done.placed, done.taken_back) == (0, 2)
    assert content(out) == {"2.jpg": b"retouched", "note.txt": b"mine"}
    assert (photos / "a/1.jpg").read_bytes() == b"a 1.jpg"


def test_links_may_become_copies_and_links_again(photos):
    file, out = str(photos / "a/1.jpg"), photos / "out"
    for copy in (False, True, False):
        place_picks([file], out, copy)
        assert (out / "1.jpg").is_symlink() != copy
        assert (photos / "a/1.jpg").read_bytes() == b"a 1.jpg"
        assert not (photos / "a/1.jpg").is_symlink()


def test_a_file_that_is_gone_is_told(photos):
    done = place_picks([str(photos / "a/1.jpg"), str(photos / "a/9.jpg")], photos / "out")
    assert done.placed == 1
    assert "9.jpg is not there" in done.left[0]


def test_a_folder_of_others_is_left_alone(photos):
    with pytest.raises(InputError, match="holds files that are not piqa's"):
        place_picks([str(photos / "a/1.jpg")], photos / "b")
    assert set(content(photos / "b")) - {".piqa.lock"} == {"1.jpg", "2.jpg"}


def test_picks_are_not_placed_among_the_images(photos):
    with pytest.raises(InputError, match="lies in"):
        check_place(photos / "a" / "picks", [str(photos / "a")])
    check_place(photos / "picks", [str(photos / "a"), str(photos / "a/1.jpg")])
