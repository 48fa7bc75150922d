"""`python -m piqa.explain`: whole runs on a few small images."""

import base64
import io
import json
import re
import socket
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pandas as pd
import pytest
from PIL import ExifTags, Image, ImageEnhance
from PIL.TiffImagePlugin import IFDRational
from portraits import collins, hopper
from tiny_models import write_tiny_model

from piqa import Scorer, explain
from piqa.explanation.explainer import Explainer
from piqa.factors.families import FACTORS
from piqa.factors.measure import PREPARATION, FactorMeasurer
from piqa.report import measuring

HOSTILE = 'a "b" & <script>alert(1)<\\script>\n\N{GRINNING FACE}.png'
SECRETS = ("Olga Owner", "SN-4711-0815", "Copyright Olga", "Platform 9")


def private_exif() -> Image.Exif:
    """What a camera may tell of place and owner, beside its settings."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "Maker", "X <b>100</b>"
    exif[ExifTags.Base.Artist], exif[ExifTags.Base.Copyright] = SECRETS[0], SECRETS[2]
    shot = exif.get_ifd(ExifTags.IFD.Exif)
    shot[ExifTags.Base.ExposureTime], shot[ExifTags.Base.FNumber] = IFDRational(1, 125), IFDRational(28, 10)
    shot[ExifTags.Base.ISOSpeedRatings], shot[ExifTags.Base.FocalLength] = 400, IFDRational(50)
    shot[ExifTags.Base.CameraOwnerName], shot[ExifTags.Base.BodySerialNumber] = SECRETS[0], SECRETS[1]
    place = exif.get_ifd(ExifTags.IFD.GPSInfo)
    place[ExifTags.GPS.GPSAreaInformation] = b"ASCII\0\0\0" + SECRETS[3].encode()
    place[ExifTags.GPS.GPSLatitudeRef], place[ExifTags.GPS.GPSLatitude] = "N", (48.0, 51.0, 29.0)
    return exif


def write_photos(folder: Path) -> Path:
    folder.mkdir()
    collins().save(folder / "collins.jpg", exif=private_exif())
    hopper().resize((256, 300)).save(folder / HOSTILE)
    collins().rotate(90, expand=True).resize((300, 300)).save(folder / "side.png")
    Image.new("RGB", (90, 60), (90, 120, 90)).save(folder / "wall.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    return folder


def run(*arguments: object) -> None:
    explain.main([*map(str, arguments), "--workers", "0"])


def texts(report: Path) -> dict[str, str]:
    return {str(file.relative_to(report)): file.read_bytes().decode() for file in report.rglob("*") if file.is_file()}


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """A report on five images: two portraits, one of them on its side, a hostile name, no face, a broken file."""
    folder = tmp_path_factory.mktemp("explained")
    photos = write_photos(folder / "photos")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the network was asked"))
        run(photos, "--out", folder / "report")
    return folder / "report"


@pytest.fixture(scope="module")
def table(report):
    return pd.read_csv(report / "factors.csv").set_index("file")


def page_of(report: Path, start: str) -> str:
    (page,) = (report / "portraits").glob(f"{start}*.html")
    return page.read_text()


def test_every_image_has_its_row_and_every_factor_its_column(table):
    assert table.index.tolist() == [HOSTILE, "broken.jpg", "collins.jpg", "side.png", "wall.png"]
    assert {*FACTORS} | {f"{name}_percentile" for name in FACTORS} <= {*table.columns}
    assert table.loc["collins.jpg", "eye_distance"] == pytest.approx(43, abs=3)
    assert "score" not in table.columns


def test_a_broken_image_costs_its_row_and_is_named_on_the_index(report, table):
    assert "broken.jpg is a damaged" in table.loc["broken.jpg", "error"]
    assert table["error"].notna().sum() == 1
    index = (report / "index.html").read_text()
    assert "1 image was not measured" in index and "broken.jpg is a damaged" in index


def test_without_a_face_the_whole_image_is_measured_and_the_page_says_so(report, table):
    row = table.loc["wall.png"]
    assert not row["face_found"] and pd.isna(row["eye_distance"]) and row["megapixels"] > 0
    assert "No face was found" in page_of(report, "wall")


def test_a_turned_image_is_shown_upright_and_said_to_be_turned(report, table):
    assert table.loc["side.png", "turned"] == 90
    assert "turned clockwise by 90 degrees" in page_of(report, "side")


def test_a_hostile_name_stays_text_and_names_no_file(report):
    pages = [page.name for page in (report / "portraits").iterdir()]
    assert all(re.fullmatch(r"[\w-]+\.html", page, re.ASCII) for page in pages) and len(pages) == 4
    for page in report.rglob("*.html"):
        assert "<script>alert" not in page.read_text()
    assert "&lt;script&gt;alert" in (report / "index.html").read_text()


def test_camera_settings_enter_the_page_and_owner_and_place_enter_no_file(report):
    page = page_of(report, "collins")
    assert all(words in page for words in ("1/125 s", "f/2.8", "ISO 400", "50 mm", "Maker X &lt;b&gt;100&lt;/b&gt;"))
    for name, text in texts(report).items():
        assert not [secret for secret in SECRETS if secret in text], name


def test_embedded_pictures_are_small_and_hold_no_metadata(report):
    for page in (report / "portraits").iterdir():
        found = re.findall(r"data:image/\w+;base64,([^\"]+)", page.read_text())
        assert found
        for encoded in found:
            with Image.open(io.BytesIO(base64.b64decode(encoded))) as picture:
                assert not picture.getexif() and max(picture.size) <= 1000
                assert not {"exif", "icc_profile", "xmp", "comment"} & {*picture.info}


def test_no_file_tells_where_the_images_lie(report):
    for name, text in texts(report).items():
        assert str(report.parent) not in text, name


def test_pages_lead_to_each_other_and_fetch_nothing(report):
    index = (report / "index.html").read_text()
    for page in (report / "portraits").iterdir():
        text = page.read_text()
        assert f'href="portraits/{page.name}"' in index
        for link in re.findall(r'<a href="([^"#]+)"', text):
            assert (page.parent / link).is_file()
        assert "default-src 'none'" in text and not re.search(r'(?:src|href)="(?!data:)[a-z]+:', text)


class Counting(FactorMeasurer):
    """Measures without looking for faces, which takes longest; keeps what it was asked for, and stops where told."""

    def __init__(self, device):
        super().__init__(replace(PREPARATION, face_rule="none"))

    asked: ClassVar[list[str]] = []
    stop_at: ClassVar[str] = ""

    def __call__(self, image):
        if Path(image).name == self.stop_at:
            raise KeyboardInterrupt
        self.asked.append(Path(image).name)
        return super().__call__(image)


@pytest.fixture
def counting(monkeypatch):
    monkeypatch.setattr(measuring, "FactorMeasurer", Counting)
    monkeypatch.setattr(Counting, "asked", [])
    return Counting


@pytest.fixture
def small(tmp_path):
    """A folder of four small images, one of them broken."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, image in {"a.jpg": collins(), "b.jpg": hopper(), "c.png": collins().rotate(9)}.items():
        image.resize((96, 96)).save(folder / name)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    return folder


def test_the_next_run_measures_only_what_is_new_changed_or_failed(small, tmp_path, counting, capsys):
    run(small, "--out", tmp_path / "report")
    (small / "c.png").unlink()
    ImageEnhance.Brightness(collins().resize((96, 96))).enhance(0.4).save(small / "b.jpg")
    collins().resize((64, 64)).save(small / "d.png")
    counting.asked.clear()
    run(small, "--out", tmp_path / "report")
    assert counting.asked == ["b.jpg", "broken.jpg", "d.png"]
    assert "going on after 1 images" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "report" / "factors.csv")
    assert table["file"].tolist() == ["a.jpg", "b.jpg", "broken.jpg", "d.png"]
    assert {page.name for page in (tmp_path / "report" / "portraits").iterdir()} == {"a.html", "b.html", "d.html"}


def test_what_was_measured_before_ctrl_c_is_kept(small, tmp_path, counting, monkeypatch, capsys):
    monkeypatch.setattr(counting, "stop_at", "c.png")
    with pytest.raises(SystemExit) as end:
        run(small, "--out", tmp_path / "report")
    assert end.value.code == 130 and "give the command again to go on" in capsys.readouterr().err
    assert not (tmp_path / "report" / "index.html").exists()
    monkeypatch.setattr(counting, "stop_at", "")
    counting.asked.clear()
    run(small, "--out", tmp_path / "report")
    assert counting.asked == ["broken.jpg", "c.png"]
    assert len(pd.read_csv(tmp_path / "report" / "factors.csv")) == 4


def test_a_folder_with_other_files_is_left_alone(small, capsys):
    with pytest.raises(SystemExit) as end:
        run(small, "--out", small)
    assert end.value.code == 2 and "are not piqa's report of portraits" in capsys.readouterr().err
    assert len(list(small.iterdir())) == 4


def test_a_file_of_somebody_else_in_the_report_is_not_replaced(small, tmp_path, counting, capsys):
    run(small, "--out", tmp_path / "report")
    page = tmp_path / "report" / "index.html"
    page.write_text("my notes")
    with pytest.raises(SystemExit) as end:
        run(small, "--out", tmp_path / "report")
    assert end.value.code == 2 and "index.html was changed since piqa wrote it" in capsys.readouterr().err
    assert page.read_text() == "my notes"


def test_where_all_images_fail_the_status_says_so_and_the_table_why(tmp_path, counting, capsys):
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(SystemExit) as end:
        run(tmp_path / "bad.jpg", "--out", tmp_path / "report")
    assert end.value.code == 1 and "no image could be measured" in capsys.readouterr().err
    assert "bad.jpg" in pd.read_csv(tmp_path / "report" / "factors.csv")["error"][0]


def test_an_image_that_the_machine_refuses_is_tried_again(small, tmp_path, counting):
    (tmp_path / "list.txt").write_text(f"{small / 'a.jpg'}\n{small / 'later.png'}\n")
    with pytest.raises(SystemExit) as end:
        run("--list", tmp_path / "list.txt", "--out", tmp_path / "report")
    assert end.value.code == 3
    (small / "a.jpg").rename(small / "later.png")  # what is gone now was measured before
    run("--list", tmp_path / "list.txt", "--out", tmp_path / "report")
    assert pd.read_csv(tmp_path / "report" / "factors.csv")["error"].isna().all()


def test_two_images_are_compared_in_print_and_as_a_page(small, tmp_path, counting, capsys):
    ImageEnhance.Brightness(collins().resize((96, 96))).enhance(0.3).save(small / "dark.png")
    run(small / "a.jpg", small / "dark.png", "--compare", "true", "--out", tmp_path / "report")
    said = capsys.readouterr().out
    assert "A: a.jpg\nB: dark.png\n" in said and "steps" in said
    page = (tmp_path / "report" / "comparison.html").read_text()
    assert (
        "What tells them apart" in page and 'href="comparison.html"' in (tmp_path / "report" / "index.html").read_text()
    )


def test_a_comparison_is_printed_when_all_is_written(small, tmp_path, counting, monkeypatch):
    report, there = tmp_path / "report", []

    def printed(*words, **_):
        there.extend((report / "index.html").exists() for word in words if str(word).startswith("A: "))

    monkeypatch.setattr("builtins.print", printed)
    run(small / "a.jpg", small / "b.jpg", "--compare", "true", "--out", report)
    assert there == [True]


def test_with_a_model_the_report_tells_what_the_scores_hang_on(small, tmp_path, counting, capsys):
    write_tiny_model(tmp_path / "model", branches=["whole", "face"], face_rule="none")
    card = tmp_path / "model" / "model.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"licence": {"weights": "our <own>"}}))
    arguments = (small, "--out", tmp_path / "report", "--ckpt_path", tmp_path / "model", "--device", "cpu")
    run(*arguments)
    expected = Scorer.load(tmp_path / "model", device="cpu").score([small / "a.jpg"])["score"][0]
    table = pd.read_csv(tmp_path / "report" / "factors.csv").set_index("file")
    assert table.loc["a.jpg", "score"] == pytest.approx(expected, abs=1e-5)
    page = (tmp_path / "report" / "portraits" / "a.html").read_text()
    assert "score: whole image" in page and "What each branch adds to this difference" in page
    assert "Its licence: weights: our &lt;own&gt;." in (tmp_path / "report" / "index.html").read_text()
    with pytest.MonkeyPatch.context() as patch:  # all of it is kept
        patch.setattr(Explainer, "features", lambda *_: pytest.fail("an image was scored again"))
        run(*arguments)
