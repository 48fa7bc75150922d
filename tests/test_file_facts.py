"""What a file says of itself is read; where it was taken, and by whom, never is."""

import io
import warnings
from dataclasses import asdict, fields

import numpy as np
import pytest
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngImageFile
from portraits import collins

from piqa.preparation import image_bounds
from piqa.preparation.file_facts import FileFacts, file_facts, read_file_facts

Base, GPS = ExifTags.Base, ExifTags.GPS
OWNER = {
    Base.Artist: "Jane Owner",
    Base.Copyright: "Jane Owner 2026",
    0xA430: "Jane Owner",  # CameraOwnerName
    0xA431: "SERIAL-4711",  # BodySerialNumber
    Base.XPAuthor: "Jane Owner".encode("utf-16-le"),
    Base.ImageDescription: "Jane at 51.5 north",
    Base.HostComputer: "Jane's laptop",
}


def exif():
    """A block as a camera writes it, with an owner and a place."""
    block = Image.Exif()
    block[Base.Make], block[Base.Model], block[Base.Software] = "Maker", "Model\0", "Program 1"
    for tag, text in OWNER.items():
        block[tag] = text
    shot = block.get_ifd(ExifTags.IFD.Exif)
    shot[Base.ExposureTime], shot[Base.FNumber], shot[Base.ISOSpeedRatings] = 1 / 125, 1.8, 800
    shot[Base.FocalLength], shot[Base.FocalLengthIn35mmFilm] = 50.0, 75
    shot[0xA430], shot[0xA431] = "Jane Owner", "SERIAL-4711"
    place = block.get_ifd(ExifTags.IFD.GPSInfo)
    place[GPS.GPSLatitudeRef], place[GPS.GPSLatitude] = "N", (51.0, 30.0, 0.0)
    return block


def saved(format="JPEG", **settings):
    content = io.BytesIO()
    settings = {name: value.tobytes() if name == "exif" else value for name, value in settings.items()}
    collins().resize((64, 64)).save(content, format, **settings)
    return content.getvalue()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_settings_of_the_shot_are_read(format):
    facts = file_facts(saved(format, exif=exif()))
    assert facts.format == format and facts.device == "Maker Model" and facts.software == "Program 1"
    assert facts.exposure_time == pytest.approx(1 / 125) and facts.f_number == pytest.approx(1.8)
    assert (facts.iso, facts.focal_length, facts.focal_length_35mm) == (800, 50.0, 75)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_place_and_owner_are_never_read(format):
    content = saved(format, exif=exif())
    assert b"Jane" in content or format == "PNG"
    text = str(asdict(file_facts(content)))
    assert not any(word in text for word in ("Jane", "51.", "SERIAL", "GPS"))


def test_there_is_no_room_for_a_place_or_an_owner():
    names = {field.name for field in fields(FileFacts)}
    assert names == {
        *("format", "quantization", "subsampling", "exposure_time", "f_number", "iso"),
        *("focal_length", "focal_length_35mm", "device", "software"),
    }


def test_tables_and_subsampling_of_a_jpeg_are_read():
    facts = file_facts(saved(quality=50, subsampling="4:2:0"))
    assert len(facts.quantization) == 2 and len(facts.quantization[0]) == 64
    assert facts.subsampling == ((2, 2), (1, 1), (1, 1))
    assert facts.quantization[0][0] == 16  # the first number of ITU-T T.81's table, which is that of quality 50


@pytest.mark.parametrize("at", range(16, 60, 4))
def test_a_damaged_exif_block_costs_neither_the_tables_nor_a_warning(at):
    content = bytearray(saved(quality=90, exif=exif()))
    content[at + 8 : at + 12] = b"\xff\xfe\xff\xfe"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        facts = file_facts(bytes(content))
    assert facts.format == "JPEG" and len(facts.quantization) == 2


@pytest.mark.parametrize("number", [0.0, float("inf"), -1.0, 1e12])
def test_numbers_that_are_none_of_a_camera_are_left_out(number):
    block = Image.Exif()
    block.get_ifd(ExifTags.IFD.Exif)[Base.ExposureTime] = number
    assert file_facts(saved(exif=block)).exposure_time is None


def test_a_name_of_a_megabyte_is_cut():
    block = Image.Exif()
    block[Base.Software] = "x" * 60_000 + "\n<script>"
    assert file_facts(saved(exif=block)).software == "x" * 80


@pytest.mark.parametrize("content", [b"", b"no image", b"\xff\xd8\xff", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_what_is_no_image_says_nothing(content):
    assert file_facts(content).quantization == ()


def test_a_png_without_exif_is_not_decoded_to_look_for_it(monkeypatch):
    def refuse(self):
        raise AssertionError("decoded")

    content = saved("PNG")
    monkeypatch.setattr(PngImageFile, "load", refuse)
    assert file_facts(content) == FileFacts(format="PNG")


def test_a_large_image_gives_no_warning(monkeypatch, tmp_path):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    Image.fromarray(np.zeros((100, 100), np.uint8)).save(tmp_path / "large.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_file_facts(tmp_path / "large.png").format == "PNG"
    assert Image.MAX_IMAGE_PIXELS == 1000 < image_bounds.MAX_PIXELS
