"""Files of a folder become shots: what belongs together, what is left out, what is at fault."""

import os
import unicodedata
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from piqa.errors import InputError
from piqa.moments.shots import find_shots

BASE = ExifTags.Base


def write(path, time=None, shade=0, camera="One", **tags):
    """Write a tiny JPEG that was taken at this second of an afternoon, if at any."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[BASE.Make] = camera
    if time is not None:
        exif.get_ifd(ExifTags.IFD.Exif)[BASE.DateTimeOriginal] = f"2024:05:01 15:{time // 60:02d}:{time % 60:02d}"
    Image.new("L", (8, 8), shade).save(path, "JPEG", exif=exif)


def found(folder):
    """The shots of a folder as a dictionary of names to names of companions."""
    names = {}
    for shot in find_shots([str(folder)]).shots:
        assert shot.file not in names
        names[os.path.relpath(shot.file, folder)] = {os.path.relpath(file, folder) for file in shot.companions}
    return names


def test_raw_jpeg_film_and_edits_are_one_shot_whatever_their_case(tmp_path):
    write(tmp_path / "IMG_1234.JPG", 0)
    (tmp_path / "img_1234.cr2").write_bytes(b"II*\0")
    (tmp_path / "IMG_1234.mov").write_bytes(b"film")
    (tmp_path / "Img_1234.aae").write_bytes(b"<plist/>")
    write(tmp_path / "IMG_1235.JPG", 1)
    assert found(tmp_path) == {"IMG_1234.JPG": {"img_1234.cr2", "IMG_1234.mov", "Img_1234.aae"}, "IMG_1235.JPG": set()}


def test_two_forms_of_unicode_are_one_name(tmp_path):
    name = "Caf\u00e9"
    write(tmp_path / f"{unicodedata.normalize('NFC', name)}.jpg", 0)
    (tmp_path / f"{unicodedata.normalize('NFD', name)}.nef").write_bytes(b"II*\0")
    assert [len(companions) for companions in found(tmp_path).values()] == [1]


def test_an_edited_copy_of_apples_stands_for_its_shot(tmp_path):
    write(tmp_path / "IMG_1234.jpg", 0)
    write(tmp_path / "IMG_E1234.jpg", 0, shade=9)
    (tmp_path / "IMG_O1234.aae").write_bytes(b"<plist/>")
    assert found(tmp_path) == {"IMG_E1234.jpg": {"IMG_1234.jpg", "IMG_O1234.aae"}}


def test_a_pixels_two_files_are_one_shot_and_the_cover_stands_for_it(tmp_path):
    shot = "PXL_20240501_120000123"
    write(tmp_path / f"{shot}.PORTRAIT-02.ORIGINAL.jpg", 0)
    write(tmp_path / f"{shot}.PORTRAIT-01.COVER.jpg", 0, shade=9)
    (tmp_path / f"{shot}.RAW-02.ORIGINAL.dng").write_bytes(b"II*\0")
    names = {f"{shot}.PORTRAIT-02.ORIGINAL.jpg", f"{shot}.RAW-02.ORIGINAL.dng"}
    assert found(tmp_path) == {f"{shot}.PORTRAIT-01.COVER.jpg": names}


def test_one_name_in_two_folders_or_on_two_days_is_two_shots(tmp_path):
    write(tmp_path / "a" / "DSC_1.jpg", 0)
    write(tmp_path / "b" / "DSC_1.jpg", 0, shade=9)
    write(tmp_path / "c" / "DSC_1.jpg", 0)
    write(tmp_path / "c" / "dsc_1.jpeg", 50, shade=9)
    assert len(found(tmp_path)) == 4


def test_two_pictures_of_one_name_without_a_time_are_two_shots(tmp_path):
    write(tmp_path / "a.jpg")
    write(tmp_path / "A.jpeg", shade=9)
    assert len(found(tmp_path)) == 2


def test_a_raw_file_of_another_time_is_a_shot_of_its_own(tmp_path):
    write(tmp_path / "a.jpg", 0)
    write(tmp_path / "other.jpg", 100)
    raw = (tmp_path / "other.jpg").read_bytes().split(b"Exif\0\0")[1]
    (tmp_path / "other.jpg").unlink()
    (tmp_path / "a.dng").write_bytes(raw)
    assert found(tmp_path) == {"a.jpg": set(), "a.dng": set()}


def test_a_copy_of_the_same_bytes_beside_it_is_no_shot_of_its_own(tmp_path):
    write(tmp_path / "a.jpg", 0)
    write(tmp_path / "a (1).jpg", 0)
    write(tmp_path / "b.jpg", 0, shade=9)
    write(tmp_path / "elsewhere" / "a.jpg", 0)
    assert found(tmp_path) == {"a (1).jpg": {"a.jpg"}, "b.jpg": set(), "elsewhere/a.jpg": set()}


def test_a_shot_takes_its_time_from_the_file_that_tells_it(tmp_path):
    write(tmp_path / "a.jpg")
    write(tmp_path / "x.jpg", 7)
    (tmp_path / "a.dng").write_bytes((tmp_path / "x.jpg").read_bytes().split(b"Exif\0\0")[1])
    (tmp_path / "x.jpg").unlink()
    (shot,) = find_shots([str(tmp_path)]).shots
    assert shot.file.endswith("a.jpg")
    assert shot.seconds % 60 == 7


def test_what_is_no_picture_is_told_in_one_line_each(tmp_path):
    write(tmp_path / "a.jpg", 0)
    (tmp_path / "film.mov").write_bytes(b"film")
    (tmp_path / "lost.aae").write_bytes(b"<plist/>")
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / ".thumbnails").mkdir()
    write(tmp_path / ".thumbnails" / "a.jpg", 0)
    left_out = find_shots([str(tmp_path)]).left_out
    assert len(left_out) == 2
    assert left_out[0].startswith("2 files were left out")
    assert left_out[1] == (
        "2 files beside no picture were left out: 1 .mov, 1 .aae; name a film itself to have its frames"
    ) or left_out[1].startswith("2 files beside no picture were left out: 1 .aae, 1 .mov")


def test_files_that_cannot_be_read_are_shots_with_a_fault(tmp_path, monkeypatch):
    write(tmp_path / "a.jpg", 0)
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "circle.jpg").symlink_to("circle.jpg")
    write(tmp_path / "vanishing.jpg", 1)
    stat = os.stat

    def vanishes(path, *more, **named):
        if str(path).endswith("vanishing.jpg"):
            (tmp_path / "vanishing.jpg").unlink(missing_ok=True)
        return stat(path, *more, **named)

    monkeypatch.setattr("piqa.moments.shots.os.stat", vanishes)
    (tmp_path / "noise.jpg").write_bytes(b"noise")
    listed = tmp_path / "list.txt"
    listed.write_text("gone.jpg\n")
    faults = {Path(shot.file).name: shot.fault for shot in find_shots([str(tmp_path)], str(listed)).shots}
    assert faults["a.jpg"] == faults["noise.jpg"] == ""  # whether it is an image is not known yet
    assert "is empty" in faults["empty.jpg"]
    assert "No such file" in faults["vanishing.jpg"]
    assert "No such file" in faults["gone.jpg"]
    assert all("\n" not in fault for fault in faults.values())


def test_a_folder_without_a_picture_is_an_error(tmp_path):
    (tmp_path / "film.mov").write_bytes(b"film")
    with pytest.raises(InputError, match="there is no picture in"):
        find_shots([str(tmp_path)])
    with pytest.raises(InputError, match="there is no file or folder"):
        find_shots([str(tmp_path / "nowhere")])


def test_the_files_are_opened_once_each(tmp_path, monkeypatch):
    for number in range(30):
        write(tmp_path / f"IMG_{number}.jpg", number, shade=number)
    opened = []
    from piqa.moments import shots

    read = shots.read_capture_facts
    monkeypatch.setattr(shots, "read_capture_facts", lambda path: opened.append(path) or read(path))
    monkeypatch.setattr(shots, "digest_of", lambda path: pytest.fail("read whole"))
    find_shots([str(tmp_path)])
    assert len(opened) == len(set(opened)) == 30
