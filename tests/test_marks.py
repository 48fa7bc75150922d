"""Marks of picks in sidecars: what is written, what of the user's stays, and how it is all taken back."""

import os
import shutil
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from sidecar_files import BOMB, BROKEN, DARKTABLE, FOREIGN, LIGHTROOM

from piqa.errors import InputError
from piqa.moments import marks_journal
from piqa.moments.moment import Moment, Shot
from piqa.moments.pick import PickedMoment, RankedShot
from piqa.moments.user_marks import LABEL, PICK_LABEL, RATING
from piqa.moments.xmp import DATE, OWN, MarkOptions, undo_marks, write_marks
from piqa.moments.xmp_packet import read_packet


def moment(*files, pick=0, close=False, name="m", companions=()):
    shots = [Shot(str(file), tuple(map(str, companions)) if not place else ()) for place, file in enumerate(files)]
    ranked = [
        RankedShot(shot, place + 1, place == pick, 1.5 - place, 0.78 if place == 0 else None, None, "")
        for place, shot in enumerate(shots)
    ]
    return PickedMoment(Moment(name, tuple(shots), "burst", ""), tuple(ranked), 0.78, close)


@pytest.fixture
def photos(tmp_path):
    """A folder with two photographs, whose time stamps are those of another day."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a.jpg", "b.jpg"):
        Image.new("RGB", (8, 8)).save(folder / name)
        os.utime(folder / name, (1e9, 1e9))
    return folder


@pytest.fixture
def options(tmp_path, photos):
    return MarkOptions(tmp_path / "out" / "marks.jsonl", photos, model="demo")


def marks(sidecar):
    packet = read_packet(sidecar.read_bytes())
    return {name[1]: packet.value(name) for name in packet.places if name not in (DATE,)}


def names(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_only_the_pick_gets_a_sidecar_and_no_picture_is_touched(photos, options):
    before = {path: path.read_bytes() for path in photos.iterdir()}
    done = write_marks([moment(photos / "a.jpg", photos / "b.jpg")], options)
    assert (done.written, done.left) == (1, [])
    assert names(photos) == ["a.jpg", "a.jpg.xmp", "b.jpg"]
    assert marks(photos / "a.jpg.xmp") == {
        "about": "", "Rating": "5", "Label": "Green", "PickLabel": "3",
        "moment": "m", "rank": "1", "score": "1.5", "probability": "0.78", "model": "demo",
    }  # fmt: skip
    assert all(path.read_bytes() == content and path.stat().st_mtime == 1e9 for path, content in before.items())
    stamp = (photos / "a.jpg.xmp").stat().st_mtime_ns
    assert write_marks([moment(photos / "a.jpg", photos / "b.jpg")], options).unchanged == 1
    assert (photos / "a.jpg.xmp").stat().st_mtime_ns == stamp
    assert undo_marks(options.journal).restored == 1
    assert names(photos) == ["a.jpg", "b.jpg"] and not options.journal.exists()


@pytest.mark.parametrize("content", [DARKTABLE, LIGHTROOM], ids=["darktable", "Lightroom"])
def test_a_sidecar_of_another_program_is_merged_into_and_comes_back_byte_for_byte(photos, options, content):
    sidecar = photos / "a.jpg.xmp"
    sidecar.write_bytes(content)
    sidecar.chmod(0o600)
    write_marks([moment(photos / "a.jpg", photos / "b.jpg")], options)
    assert sidecar.stat().st_mode & 0o777 == 0o600
    assert read_packet(sidecar.read_bytes()).value(RATING) == "5"
    for kept in (
        b"hierarchicalSubject",
        b"history",
        b"kept by hand",
        b"CDATA",
        b"crs:Exposure2012 = '+0.35'",
        b"<?xpacket end",
    ):
        assert sidecar.read_bytes().count(kept) == content.count(kept)
    assert undo_marks(options.journal).restored == 1
    assert sidecar.read_bytes() == content


def test_a_label_of_the_user_stays_and_the_rating_of_windows_follows(photos, options):
    (photos / "a.jpg.xmp").write_bytes(LIGHTROOM)
    write_marks([moment(photos / "a.jpg", photos / "b.jpg")], options)
    packet = read_packet((photos / "a.jpg.xmp").read_bytes())
    assert packet.value(LABEL) == "Red"
    assert packet.value(("http://ns.microsoft.com/photo/1.0", "Rating")) == "99"


@pytest.mark.parametrize(("stars", "written"), [("5", "5"), ("3", "4"), ("", "4"), ("0", "4"), ("many", "many")])
def test_a_rating_is_never_lowered(photos, options, stars, written):
    (photos / "a.jpg.xmp").write_bytes(DARKTABLE.replace(b'Rating="2"', f'Rating="{stars}"'.encode()))
    write_marks([moment(photos / "a.jpg", photos / "b.jpg")], replace(options, rating=4))
    assert read_packet((photos / "a.jpg.xmp").read_bytes()).value(RATING) == written


def test_marks_within_the_picture_count_as_the_users(photos, options):
    exif = Image.Exif()
    exif[18246] = 5
    Image.new("RGB", (8, 8)).save(photos / "a.jpg", exif=exif)
    labelled = DARKTABLE.replace(b'xmp:Rating="2"', b'xmp:Rating="4" xmp:Label="Red"')
    Image.new("RGB", (8, 8)).save(photos / "b.jpg", xmp=labelled)
    Image.new("RGB", (8, 8)).save(photos / "c.jpg", xmp=labelled.replace(b"4", b"-1"))
    done = write_marks([moment(photos / "a.jpg", photos / "b.jpg")], replace(options, rating=4, reject=True))
    assert read_packet((photos / "a.jpg.xmp").read_bytes()).value(RATING) is None
    assert done.left == ["b.jpg is left alone: you have rated it, so it is not rejected"]
    done = write_marks([moment(photos / "b.jpg"), moment(photos / "c.jpg", name="n")], options)
    packet = read_packet((photos / "b.jpg.xmp").read_bytes())
    assert (packet.value(RATING), packet.value(LABEL)) == ("5", None)
    assert done.left == ["c.jpg is left alone: you have rejected it, which stays so"]


@pytest.mark.parametrize(
    "mark", [b'xmp:Rating="-1"', b'xmp:Rating="2" d:PickLabel="1" xmlns:d="http://www.digikam.org/ns/1.0/"']
)
def test_what_the_user_has_rejected_stays_so(photos, options, mark):
    content = DARKTABLE.replace(b'xmp:Rating="2"', mark)
    (photos / "a.jpg.xmp").write_bytes(content)
    done = write_marks([moment(photos / "a.jpg", photos / "b.jpg")], options)
    assert (photos / "a.jpg.xmp").read_bytes() == content
    assert "you have rejected it" in done.left[0]


def test_others_are_rejected_only_on_request_and_never_where_it_is_close(photos, options):
    options = replace(options, reject=True)
    write_marks([moment(photos / "a.jpg", photos / "b.jpg", close=True)], options)
    assert names(photos) == ["a.jpg", "a.jpg.xmp", "b.jpg"]
    write_marks([moment(photos / "a.jpg", photos / "b.jpg")], options)
    packet = read_packet((photos / "b.jpg.xmp").read_bytes())
    assert (packet.value(RATING), packet.value(PICK_LABEL), packet.value(LABEL)) == ("-1", "1", None)


def test_another_pick_takes_the_marks_of_the_first_one_back(photos, options):
    (photos / "a.jpg.xmp").write_bytes(DARKTABLE)
    write_marks([moment(photos / "a.jpg", photos / "b.jpg")], options)
    done = write_marks([moment(photos / "a.jpg", photos / "b.jpg", pick=1)], options)
    assert (done.written, done.taken_back) == (1, 1)
    assert (photos / "a.jpg.xmp").read_bytes() == DARKTABLE
    write_marks([moment(photos / "a.jpg", photos / "b.jpg")], replace(options, rating=3))
    assert read_packet((photos / "a.jpg.xmp").read_bytes()).value(RATING) == "3"  # our own 5 was no rating of the user
    assert undo_marks(options.journal).restored == 1
    assert (photos / "a.jpg.xmp").read_bytes() == DARKTABLE and not (photos / "b.jpg.xmp").exists()


def test_a_sidecar_that_was_changed_since_loses_only_what_is_still_ours(photos, options):
    sidecar = photos / "a.jpg.xmp"
    sidecar.write_bytes(DARKTABLE)
    write_marks([moment(photos / "a.jpg", photos / "b.jpg")], options)
    sidecar.write_bytes(
        sidecar.read_bytes().replace(b"<!-- kept by hand -->", b"<!-- edited -->").replace(b'="Green"', b'="Blue"')
    )
    done = undo_marks(options.journal)
    assert (done.restored, done.cleaned) == (0, 1)
    packet = read_packet(sidecar.read_bytes())
    assert (packet.value(RATING), packet.value(LABEL), packet.value(PICK_LABEL)) == ("2", "Blue", None)
    assert not any(uri == OWN for uri, _ in packet.places)
    assert b"<!-- edited -->" in sidecar.read_bytes()


def test_a_mark_that_the_user_changed_is_not_written_again(photos, options):
    sidecar = photos / "a.jpg.xmp"
    shots = photos / "a.jpg", photos / "b.jpg"
    write_marks([moment(*shots)], options)
    sidecar.write_bytes(sidecar.read_bytes().replace(b'Rating="5"', b'Rating="1"'))
    for name in ("one", "two"):
        write_marks([moment(*shots, name=name)], options)
        packet = read_packet(sidecar.read_bytes())
        assert (packet.value(RATING), packet.value((OWN, "moment"))) == ("1", name)
    undo_marks(options.journal)
    assert read_packet(sidecar.read_bytes()).value(RATING) == "1"


def test_raw_and_jpeg_share_one_rating(photos, options):
    for name in ("a.CR3", "a.MOV"):
        (photos / name).write_bytes(b"x")
    shots = [moment(photos / "a.jpg", photos / "b.jpg", companions=[photos / "a.CR3", photos / "a.MOV"])]
    assert write_marks(shots, replace(options, names="name.xmp")).written == 1
    assert names(photos) == ["a.CR3", "a.MOV", "a.jpg", "a.xmp", "b.jpg"]
    undo_marks(options.journal)
    assert write_marks(shots, options).written == 2
    assert marks(photos / "a.CR3.xmp") == marks(photos / "a.jpg.xmp")


def test_sidecars_of_either_form_are_updated_where_they_are(photos, options):
    (photos / "a.XMP").write_bytes(DARKTABLE)
    write_marks([moment(photos / "a.jpg", photos / "b.jpg")], options)
    assert "a.XMP" in names(photos) and "a.jpg.xmp" not in names(photos)
    undo_marks(options.journal)
    (photos / "a.jpg.xmp").write_bytes(LIGHTROOM)
    assert write_marks([moment(photos / "a.jpg", photos / "b.jpg")], options).written == 2


def test_a_sidecar_that_two_shots_would_share_is_left_alone(photos, options):
    shutil.copy(photos / "a.jpg", photos / "a.png")
    done = write_marks([moment(photos / "a.jpg", photos / "a.png")], replace(options, names="name.xmp"))
    assert done.left == ["a.xmp is the sidecar of several shots (a.jpg, a.png) and is left alone"]
    assert "a.xmp" not in names(photos)


def test_names_that_differ_in_case_alone_have_sidecars_of_their_own(photos, options):
    shutil.copy(photos / "a.jpg", photos / "A.JPG")
    if len(names(photos)) == 2:
        pytest.skip("this volume does not tell cases apart")
    (photos / "a.jpg.xmp").write_bytes(DARKTABLE)
    write_marks([moment(photos / "A.JPG", photos / "b.jpg")], options)
    assert (photos / "a.jpg.xmp").read_bytes() == DARKTABLE
    assert "A.JPG.xmp" in names(photos)


def test_a_sidecar_whose_name_has_another_normal_form_is_found(photos, options):
    composed, decomposed = (unicodedata.normalize(form, "Zoë.jpg") for form in ("NFC", "NFD"))
    shutil.copy(photos / "a.jpg", photos / composed)
    (photos / f"{decomposed}.xmp").write_bytes(DARKTABLE)
    write_marks([moment(photos / composed, photos / "b.jpg")], options)
    assert len(names(photos)) == 4
    assert read_packet((photos / f"{decomposed}.xmp").read_bytes()).value(RATING) == "5"


def test_a_linked_sidecar_stays_a_link(photos, options, tmp_path):
    (tmp_path / "kept.xmp").write_bytes(DARKTABLE)
    (photos / "a.jpg.xmp").symlink_to(tmp_path / "kept.xmp")
    (photos / "b.jpg.xmp").symlink_to(tmp_path / "nowhere.xmp")
    done = write_marks([moment(photos / "a.jpg"), moment(photos / "b.jpg", name="n")], options)
    assert (photos / "a.jpg.xmp").is_symlink()
    assert read_packet((tmp_path / "kept.xmp").read_bytes()).value(RATING) == "5"
    assert done.left == ["b.jpg is left alone: it is a link to a file that is not there"]
    undo_marks(options.journal)
    assert (tmp_path / "kept.xmp").read_bytes() == DARKTABLE


@pytest.mark.parametrize("content", [BOMB, BROKEN, FOREIGN, b""], ids=["bomb", "broken", "foreign", "empty"])
def test_a_broken_or_foreign_sidecar_is_left_alone_with_a_line(photos, options, content):
    (photos / "a.jpg.xmp").write_bytes(content)
    done = write_marks([moment(photos / "a.jpg"), moment(photos / "b.jpg", name="n")], options)
    assert (photos / "a.jpg.xmp").read_bytes() == content
    assert done.written == 1 and len(done.left) == 1 and done.left[0].startswith("a.jpg is left alone: it ")


def test_sidecars_go_into_a_mirror_of_a_folder_that_cannot_be_written(photos, options, tmp_path, monkeypatch):
    (photos / "day").mkdir()
    shutil.copy(photos / "a.jpg", photos / "day" / "c.jpg")
    (photos / "day" / "c.jpg.xmp").write_bytes(DARKTABLE)
    monkeypatch.setattr(os, "access", lambda path, mode: not Path(path).is_relative_to(photos))
    done = write_marks([moment(photos / "day" / "c.jpg")], options)
    assert "`--sidecars FOLDER`" in done.left[0]
    before = names(photos)
    mirrored = replace(options, sidecars=tmp_path / "mirror")
    assert write_marks([moment(photos / "day" / "c.jpg")], mirrored).written == 1
    sidecar = tmp_path / "mirror" / "day" / "c.jpg.xmp"
    assert b"darktable:history" in sidecar.read_bytes()  # what stands beside the picture, and the marks
    assert names(photos) == before and (photos / "day" / "c.jpg.xmp").read_bytes() == DARKTABLE
    undo_marks(options.journal)
    assert not sidecar.exists()


@pytest.mark.parametrize("content", [None, DARKTABLE], ids=["new", "merged"])
def test_a_run_that_is_killed_before_a_sidecar_is_written_is_continued_and_undone(
    photos, options, monkeypatch, content
):
    if content is not None:
        (photos / "a.jpg.xmp").write_bytes(content)
    shots = [moment(photos / "a.jpg", photos / "b.jpg")]
    with monkeypatch.context() as patch:
        patch.setattr("piqa.moments.xmp.replace_sidecar", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            write_marks(shots, options)
    with options.journal.open("a") as file:
        file.write('{"sidecar": "../pho')
    assert write_marks(shots, options).written == 1
    undo_marks(options.journal)
    assert (photos / "a.jpg.xmp").exists() == (content is not None)
    assert content is None or (photos / "a.jpg.xmp").read_bytes() == content


def test_a_sidecar_that_changes_while_it_is_marked_is_left_alone(photos, options, monkeypatch):
    sidecar = photos / "a.jpg.xmp"
    sidecar.write_bytes(DARKTABLE)
    note = marks_journal.Journal.note
    monkeypatch.setattr(
        marks_journal.Journal, "note", lambda self, entry: (note(self, entry), sidecar.write_bytes(LIGHTROOM))
    )
    done = write_marks([moment(photos / "a.jpg")], options)
    assert sidecar.read_bytes() == LIGHTROOM
    assert done.left == ["a.jpg is left alone: another program has just written it; run the command again"]
    undo_marks(options.journal)
    assert sidecar.read_bytes() == LIGHTROOM


def test_what_cannot_be_undone_stays_in_the_journal(photos, options):
    write_marks([moment(photos / "a.jpg"), moment(photos / "b.jpg", name="n")], options)
    marked = (photos / "a.jpg.xmp").read_bytes()
    (photos / "a.jpg.xmp").write_bytes(BROKEN)
    done = undo_marks(options.journal)
    assert done.restored == 1 and "a.jpg.xmp keeps its marks" in done.left[0]
    (photos / "a.jpg.xmp").write_bytes(marked)
    assert undo_marks(options.journal).restored == 1
    assert names(photos) == ["a.jpg", "b.jpg"]


def test_marks_are_undone_where_photographs_and_output_were_moved_together(photos, options, tmp_path):
    write_marks([moment(photos / "a.jpg", photos / "b.jpg")], options)
    assert str(tmp_path) not in options.journal.read_text()
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("photos", "out"):
        (tmp_path / name).rename(moved / name)
    assert undo_marks(moved / "out" / "marks.jsonl").restored == 1
    assert names(moved / "photos") == ["a.jpg", "b.jpg"]


def test_a_picture_that_has_vanished_gets_no_orphan(photos, options):
    shots = [moment(photos / "a.jpg", companions=[photos / "a.CR3"]), moment(photos / "b.jpg", name="n")]
    (photos / "b.jpg").unlink()
    done = write_marks(shots, options)
    assert done.left == ["b.jpg gets no marks: it is no longer there"]
    assert names(photos) == ["a.jpg", "a.jpg.xmp"]


def test_a_rating_without_meaning_is_refused(options):
    with pytest.raises(InputError, match="1 to 5 stars"):
        replace(options, rating=0)
