from pathlib import Path

import pytest

from piqa.errors import InputError
from piqa.scoring.file_list import expand


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_a_folder_gives_its_images_in_order_of_name(tmp_path):
    touch(tmp_path, "b.jpg", "a/z.PNG", "a.webp", "a/b/1.tiff", "c/notes.txt", "a b.jpeg", "A.jpg", "report.pdf")
    ordered = sorted(path for path in tmp_path.rglob("*") if path.suffix not in ("", ".txt", ".pdf"))
    assert expand([str(tmp_path)]) == [str(path) for path in ordered] and len(ordered) == 6


def test_an_image_meant_twice_comes_once(tmp_path, monkeypatch):
    touch(tmp_path, "a.jpg", "sub/b.jpg")
    monkeypatch.chdir(tmp_path)
    files = expand(["sub/b.jpg", ".", "./a.jpg", "sub/../a.jpg", str(tmp_path / "sub")])
    assert files == [str(Path("sub/b.jpg")), "a.jpg"]


def test_a_list_names_images_that_need_not_be_there(tmp_path):
    touch(tmp_path, "a.jpg")
    names = tmp_path / "names.txt"
    names.write_bytes(b"x/1.jpg\r\n\n  2.jpg\n\xff.jpg\nx/1.jpg\n")
    files = expand([str(tmp_path / "a.jpg")], str(names))
    assert files == [str(tmp_path / "a.jpg"), "x/1.jpg", "  2.jpg", "\udcff.jpg"]


def test_a_link_to_a_folder_is_not_followed(tmp_path):
    touch(tmp_path, "images/a.jpg")
    (tmp_path / "images" / "round").symlink_to(tmp_path / "images")
    assert expand([str(tmp_path / "images")]) == [str(tmp_path / "images" / "a.jpg")]


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
