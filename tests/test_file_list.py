import inspect
import os
import sys
from pathlib import Path

import pytest
from tiny_models import write_images

from piqa.errors import InputError
from piqa.scoring import file_list
from piqa.scoring.file_list import expand
from piqa.system.ownership import claim_folder


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found_in(folder):
    """Names of the files of a folder that are meant, and the lines that tell what is not."""
    told = []
    files = expand([str(folder)], tell=told.append)
    return [str(Path(file).relative_to(folder)) for file in files], told


def test_a_folder_gives_its_images_in_order_of_name(tmp_path):
    touch(tmp_path, "b.jpg", "a/z.PNG", "a.webp", "a/b/1.tiff", "c/notes.txt", "a b.jpeg", "A.jpg", "report.pdf")
    ordered = sorted(path for path in tmp_path.rglob("*") if path.suffix not in ("", ".txt", ".pdf"))
    files = expand([str(tmp_path)], tell=lambda line: None)
    assert files == [str(path) for path in ordered] and len(ordered) == 6


def test_an_image_meant_twice_comes_once(tmp_path, monkeypatch):
    touch(tmp_path, "a.jpg", "sub/b.jpg")
    monkeypatch.chdir(tmp_path)
    files = expand(["sub/b.jpg", ".", "./a.jpg", "sub/../a.jpg", str(tmp_path / "sub")])
    assert files == [str(Path("sub/b.jpg")), "a.jpg"]


def test_a_name_that_a_spreadsheet_would_run_is_spelled_with_its_folder(tmp_path, monkeypatch):
    touch(tmp_path, "=1+1.jpg", "+a.jpg", "sub/=2.jpg")
    (tmp_path / "list.txt").write_text("@sum.jpg\n-1.jpg\na=b.jpg\n")
    monkeypatch.chdir(tmp_path)
    files = expand(["=1+1.jpg", "+a.jpg", "sub"], "list.txt")
    assert files == ["./=1+1.jpg", "./+a.jpg", str(Path("sub/=2.jpg")), "./@sum.jpg", "./-1.jpg", "a=b.jpg"]


def test_a_list_names_images_that_need_not_be_there(tmp_path):
    touch(tmp_path, "a.jpg")
    names = tmp_path / "names.txt"
    names.write_bytes(b"x/1.jpg\r\n\n  2.jpg\n\xff.jpg\nx/1.jpg\n")
    files = expand([str(tmp_path / "a.jpg")], str(names))
    assert files == [str(tmp_path / "a.jpg"), "x/1.jpg", "  2.jpg", "\udcff.jpg"]


def test_a_link_to_a_folder_is_not_followed(tmp_path):
    touch(tmp_path, "images/a.jpg")
    (tmp_path / "images" / "round").symlink_to(tmp_path / "images")
    assert found_in(tmp_path / "images") == (["a.jpg"], [])


def test_nothing_to_score_is_told(tmp_path):
    with pytest.raises(InputError, match="nothing to score"):
        expand([])
    with pytest.raises(InputError, match=r"cannot read .*no.txt"):
        expand([], str(tmp_path / "no.txt"))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_list_from_an_editor_that_marks_its_encoding_is_read(tmp_path, encoding):
    names = tmp_path / "names.txt"
    names.write_bytes("caf\u00e9.jpg\r\nb.jpg\r\n".encode(encoding))
    assert expand([], str(names)) == ["caf\u00e9.jpg", "b.jpg"]


# What cannot be looked up


def test_links_that_lead_nowhere_are_left_out_and_counted(tmp_path):
    touch(tmp_path, "a.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "gone.jpg").symlink_to("/nowhere/b.jpg")
    assert found_in(tmp_path) == (["a.jpg"], ["2 files were left out: 2 behind a broken link"])


def test_a_pipe_in_a_folder_is_not_opened(tmp_path):
    touch(tmp_path, "a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe")
    assert found_in(tmp_path) == (["a.jpg"], ["2 files were left out: 2 pipes or devices"])


def closed(monkeypatch, *names):
    """Make folders of these names unreadable, for root too."""
    scandir = os.scandir

    def refuse(path):
        if Path(path).name in names:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(file_list.os, "scandir", refuse)


def test_a_folder_that_cannot_be_read_costs_a_line_and_not_the_others(tmp_path, monkeypatch):
    touch(tmp_path, "a.jpg", "lost+found/b.jpg", "z/c.jpg")
    closed(monkeypatch, "lost+found")
    files, (line,) = found_in(tmp_path)
    assert files == ["a.jpg", "z/c.jpg"]
    assert line.startswith(f"the folder {tmp_path / 'lost+found'} was left out: Permission denied")


def test_where_nothing_can_be_read_the_reason_is_told(tmp_path, monkeypatch):
    touch(tmp_path, "closed/b.jpg")
    closed(monkeypatch, "closed")
    with pytest.raises(InputError, match=r"nothing to score; the folder .*closed was left out: Permission denied"):
        expand([str(tmp_path / "closed")])


def test_names_that_cannot_be_looked_up_cost_their_row_but_one_that_is_absent_is_refused(tmp_path):
    touch(tmp_path, "a.jpg")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    named = [str(tmp_path / name) for name in ("a.jpg", "loop.jpg", "x" * 300)]
    assert expand(named) == named
    with pytest.raises(InputError, match=r"no file or folder .*absent.jpg"):
        expand([*named, str(tmp_path / "absent.jpg")])


def test_deeply_nested_folders_are_listed(tmp_path, monkeypatch):
    deep = Path(*["d"] * 120)
    (tmp_path / deep).mkdir(parents=True)
    touch(tmp_path / deep, "a.jpg")
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 100)
    try:
        files = expand([str(tmp_path)])
    finally:
        sys.setrecursionlimit(limit)
    assert files == [str(tmp_path / deep / "a.jpg")]


# What is an image


def test_photographs_of_phones_and_cameras_are_never_left_out_in_silence(tmp_path):
    touch(tmp_path, "1.HEIC", "2.heif", "3.avif", "4.jxl", "5.CR2", "6.nef", "7.dng", "8.arw", "9.jpg")
    files, told = found_in(tmp_path)
    assert len(files) == 9 and told == []


def test_images_with_a_strange_ending_or_none_are_known_by_their_content(tmp_path):
    (image,) = write_images(tmp_path, 1)
    for name in ("IMG_0005", "photo.jpg_large", "copy.bak", "holiday.2019"):
        (tmp_path / name).write_bytes(Path(image).read_bytes())
    (tmp_path / "README").write_text("no image")
    (tmp_path / "clip.MOV").write_bytes(b"\0\0\0\x14ftypqt  \0\0\0\0qt  ")
    touch(tmp_path, "clip2.mov", "1.json")
    files, told = found_in(tmp_path)
    assert files == ["00000.jpg", "IMG_0005", "copy.bak", "holiday.2019", "photo.jpg_large"]
    assert told == ["4 files were left out: 2 .mov, 1 .json, 1 without an ending"]


def test_only_files_of_an_unknown_ending_are_opened(tmp_path, monkeypatch):
    touch(tmp_path, *(f"{number}.jpg" for number in range(50)), "a.txt", "b.mp4", "c.xmp", "unknown")
    opened = []
    monkeypatch.setattr(file_list, "_is_image_inside", lambda path: opened.append(Path(path).name))
    found_in(tmp_path)
    assert opened == ["unknown"]


def test_thumbnails_and_service_files_of_other_programs_are_left_out_and_counted(tmp_path):
    touch(tmp_path, "a.jpg", "@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", ".thumbnails/a.jpg", "._a.jpg", "__MACOSX/._a.jpg")
    touch(
        tmp_path, ".picasaoriginals/a.jpg", "Thumbs.db", ".trashed-1699-b.jpg", "$RECYCLE.BIN/x.jpg", "sub/.hidden.jpg"
    )
    files, told = found_in(tmp_path)
    assert files == ["a.jpg"]
    assert told == ["9 files were left out: 9 hidden or of another program, such as thumbnails"]


def test_a_hidden_folder_that_is_named_is_listed(tmp_path):
    touch(tmp_path, ".photos/a.jpg")
    assert found_in(tmp_path / ".photos") == (["a.jpg"], [])


@pytest.mark.parametrize(
    ("what", "left_out"), [("report of portraits", True), ("folder of picks", False), ("demo dataset", False)]
)
def test_images_of_piqas_own_results_are_no_photographs_unless_their_folder_is_named(tmp_path, what, left_out):
    touch(tmp_path, "a.jpg", "out/sheet/a.jpg", "out/index.html")
    claim_folder(tmp_path / "empty", what)
    (tmp_path / "empty" / ".piqa.json").rename(tmp_path / "out" / ".piqa.json")
    files, told = found_in(tmp_path)
    if left_out:
        assert (files, told) == (["a.jpg"], ["1 file was left out: 1 of piqa's own results"])
    else:
        assert files == ["a.jpg", "out/sheet/a.jpg"]
    assert found_in(tmp_path / "out")[0] == ["sheet/a.jpg"]


def test_a_folder_without_images_says_what_it_holds(tmp_path):
    touch(tmp_path, "a.mov", "b.mov")
    with pytest.raises(InputError, match=r"no image in the folder .*; 2 files were left out: 2 .mov"):
        expand([str(tmp_path)])


def test_many_kinds_are_told_together(tmp_path):
    touch(tmp_path, "a.jpg", *(f"x.{letter}" for letter in "bcdefghij"))
    _, (line,) = found_in(tmp_path)
    assert line.startswith("9 files were left out: ") and line.endswith("3 of other kinds")
