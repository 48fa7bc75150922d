"""Formats of phones and cameras are read, or refused by the name of what was found."""

import io
import struct
import sys
import zipfile
import zlib

import numpy as np
import pytest
from inputs import test_image
from orientations import STORED_AS
from PIL import ExifTags, Image, features
from portraits import collins
from refusals import refusal

from piqa.preparation import icc
from piqa.preparation.heif import nclx
from piqa.preparation.image_file import decode_image, open_image

pillow_heif = pytest.importorskip("pillow_heif")
needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")


def saved(image, **options):
    buffer = io.BytesIO()
    if options["format"] == "HEIF":
        del options["format"]
        pillow_heif.from_pillow(image).save(buffer, **options)
    else:
        image.save(buffer, **options)
    return buffer.getvalue()


def portrait():
    return collins().resize((200, 160))


def opened(content, **settings):
    return np.asarray(decode_image(content, "image", **settings)).astype(int)


# HEIC and AVIF


KINDS = ["HEIF", pytest.param("AVIF", marks=needs_avif)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_todays_formats_of_phones_are_read(kind, mode):
    expected = np.asarray(portrait().convert(mode).convert("RGB")).astype(int)
    assert np.abs(opened(saved(portrait().convert(mode), format=kind, quality=95)) - expected).mean() < 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_phone_held_upright_is_turned_once(kind, orientation):
    turn = STORED_AS[orientation]
    stored = portrait() if turn is None else portrait().transpose(turn)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    found = opened(saved(stored, format=kind, quality=95, exif=exif.tobytes()))
    assert found.shape == (160, 200, 3)
    assert np.abs(found - np.asarray(portrait())).mean() < 4


@pytest.mark.parametrize("kind", KINDS)
def test_the_profile_of_a_phone_counts(kind):
    profile = icc.cicp_profile(12, 13)
    pixels = portrait()
    pixels.info["icc_profile"] = profile
    content = saved(pixels, format=kind, quality=95, icc_profile=profile)
    expected = opened(saved(portrait(), format="PNG", icc_profile=profile), colour="srgb")
    assert np.abs(opened(content, colour="srgb") - expected).mean() < 3
    assert np.abs(opened(content, colour="stored") - np.asarray(portrait())).mean() < 3


def nclx_of(kind, primaries, transfer):
    """An image whose boxes name code points; Pillow writes those of sRGB into AVIF, which are replaced."""
    content = saved(portrait(), format=kind, quality=95)
    place = content.find(b"colrnclx") + 8
    assert place > 8
    return content[:place] + struct.pack(">HH", primaries, transfer) + content[place + 4 :]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("points", [(1, 13), (12, 13), (9, 16)])
def test_code_points_are_found_in_the_boxes(kind, points):
    assert nclx(nclx_of(kind, *points)) == points


@pytest.mark.parametrize("content", [b"", b"\0\0\0\x08meta", bytes(100), b"\0\0\0\x01meta" + b"\xff" * 30])
def test_boxes_that_are_none_have_no_code_points(content):
    assert nclx(content) is None


@pytest.mark.parametrize("kind", KINDS)
def test_code_points_count_where_there_is_no_profile(kind):
    content = nclx_of(kind, 12, 13)
    expected = opened(saved(portrait(), format="PNG", icc_profile=icc.cicp_profile(12, 13)), colour="srgb")
    assert np.abs(opened(content, colour="srgb") - expected).mean() < 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_of_phones_is_refused(kind, transfer):
    assert "HDR image" in refusal(decode_image, nclx_of(kind, 9, transfer), "a.heic")


def test_a_jpeg_called_heic_is_read(tmp_path):
    (tmp_path / "IMG_0003.HEIC").write_bytes(saved(portrait(), format="JPEG"))
    assert open_image(tmp_path / "IMG_0003.HEIC").size == (200, 160)


def test_without_its_reader_heic_is_named_with_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    line = refusal(decode_image, saved(portrait(), format="HEIF"), "IMG_0001.jpg")
    assert "HEIC" in line and 'pip install "dn-piqa[heif]"' in line and "convert it" in line


@pytest.mark.parametrize("damage", ["cut", "header alone"])
def test_a_damaged_heic_is_refused(damage):
    content = saved(portrait(), format="HEIF")
    content = content[: len(content) // 2] if damage == "cut" else content[:24] + bytes(2000)
    assert "HEIC" in refusal(decode_image, content, "IMG_0001.HEIC")


@needs_avif
def test_a_damaged_avif_is_not_blamed_on_pillow():
    line = refusal(decode_image, saved(portrait(), format="AVIF")[:100], "a.avif")
    assert "begins as AVIF and is damaged" in line


@needs_avif
def test_without_its_reader_avif_is_named(monkeypatch):
    monkeypatch.delitem(Image.OPEN, "AVIF")
    assert "it is AVIF; install Pillow 11.3" in refusal(decode_image, saved(portrait(), format="AVIF"), "a.avif")


def test_a_heic_that_claims_too_much_is_refused():
    content = saved(portrait(), format="HEIF")
    place = content.find(b"ispe") + 8
    claimed = content[:place] + struct.pack(">II", 30_000, 20_000) + content[place + 8 :]
    assert "claims 30000 x 20000 pixels" in refusal(decode_image, claimed, "a.heic")


def test_reading_heic_changes_nothing_in_pillow():
    before = dict(Image.OPEN)
    opened(saved(portrait(), format="HEIF"))
    assert before.keys() == Image.OPEN.keys()


# Named, not read


def zipped():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "a")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"8BPS\0\1\0\0\0\0\0\0\0\3\0\0\0\x10\0\0\0\x10\0\x08\0\3", "Photoshop"),
        (b"%PDF-1.7\n", "a PDF"),
        (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg">', "SVG"),
        (b"<svg>", "SVG"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0isommp42", "a video"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "a video"),
        (b"RIFF\0\1\0\0AVI LIST", "a video"),
        (b"\x1a\x45\xdf\xa3", "a video"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "PostScript"),
        (b"FUJIFILMCCD-RAW 0201", "RAF"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "CR3"),
        (b"IIRO\x08\0\0\0", "ORF"),
        (b"IIU\0\x08\0\0\0", "RW2"),
    ],
)
def test_what_is_not_read_is_named(start, words):
    line = refusal(decode_image, start + bytes(2000), "IMG_0001.jpg")
    assert "not an image that can be read" in line and words in line
    assert "convert it" in line or "develop it first" in line


def test_an_archive_is_named():
    assert "a zip archive" in refusal(decode_image, zipped(), "photos.jpg")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty; copy it anew"),
        (bytes(5000), "it holds nothing but zeros; copy it anew"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0f\nsize 9\n", "it is a pointer of Git LFS"),
        (b"\n<!DOCTYPE html><html><head><title>404", "it is a web page"),
    ],
)
def test_what_stands_in_the_place_of_an_image_is_named(content, words):
    assert f"a.jpg is not an image that can be read: {words}" in refusal(decode_image, content, "a.jpg")


def test_what_has_no_name_is_refused_all_the_same():
    assert refusal(decode_image, b"device,score\n", "a.csv") == "a.csv is not an image that can be read"


# Rarer modes, each against another reading or the pixels that were written


def test_jpegs_of_four_inks_are_not_inverted():
    image = Image.new("CMYK", (16, 16), (200, 20, 60, 10))
    found = opened(saved(image, format="JPEG", quality=100))  # Pillow writes Adobe's marker, and inverted values
    assert np.abs(found[8, 8] - (255 - np.array([200, 20, 60])) * (245 / 255)).max() <= 2


def test_jpegs_of_luminance_chrominance_and_black_are_turned_into_inks():
    content = saved(Image.new("CMYK", (16, 16), (80, 140, 100, 30)), format="JPEG", quality=100)
    place = content.find(b"Adobe") + 11  # how the values are to be read: 0 as inks, 2 as YCCK
    assert content[place] == 0
    stored = 255 - np.array([80, 140, 100])  # Adobe inverts them
    red_green_blue = np.asarray(Image.new("YCbCr", (1, 1), tuple(stored.tolist())).convert("RGB"))[0, 0].astype(int)
    found = opened(content[:place] + b"\2" + content[place + 1 :])[8, 8]
    assert np.abs(found - (255 - red_green_blue) * (225 / 255)).max() <= 2


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("grey", [False, True])
def test_png_of_8_and_16_bits_within_a_level(bits, alpha, grey):
    values = test_image(12, 16, seed=2).astype(np.uint16) * (257 if bits == 16 else 1)
    if bits == 16:
        values = np.minimum(values + test_image(12, 16, seed=4), 65535)
    samples = values[..., :1] if grey else values
    opacity = test_image(12, 16, seed=3)[..., :1].astype(np.uint16) * (257 if bits == 16 else 1)
    content = png(np.concatenate([samples, opacity], axis=2) if alpha else samples, bits)
    share = opacity / (2**bits - 1) if alpha else 1.0
    expected = samples / (2**bits - 1) * 255 * share + 255 * (1 - share)
    assert np.abs(opened(content) - expected).max() <= (2 if alpha else 1)


def png(samples, bits):
    """A PNG of any depth without filters."""
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[samples.shape[2]]
    rows = samples.astype(f">u{bits // 8}").reshape(len(samples), -1)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", samples.shape[1], samples.shape[0], bits, colour, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for name, part in ((b"IHDR", header), (b"IDAT", body), (b"IEND", b"")):
        content += struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part))
    return content


@pytest.mark.parametrize("kind", ["BMP", "GIF", "JPEG2000", "PCX", "PPM", "SGI", "TGA", "WEBP", "ICO", "QOI", "DDS"])
def test_older_formats_agree_with_what_was_written(kind):
    image = portrait().resize((64, 64))
    settings = {"WEBP": {"lossless": True}, "ICO": {"sizes": [(64, 64)], "bitmap_format": "bmp"}}.get(kind, {})
    image = image.quantize(64) if kind == "GIF" else image
    try:
        content = saved(image, format=kind, **settings)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow writes no {kind}")
    assert np.abs(opened(content) - np.asarray(image.convert("RGB"))).max() <= (8 if kind == "JPEG2000" else 0)


@pytest.mark.parametrize("most", [1023, 4095, 65535])
def test_deep_portable_greymaps_fill_the_scale(most):
    grey = np.linspace(0, most, 12 * 16).astype(">u2").reshape(12, 16)
    content = b"P5\n16 12\n%d\n" % most + grey.tobytes()
    assert np.abs(opened(content)[..., 0] - grey / most * 255).max() <= 1


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_deep_jpeg_2000_fills_the_scale(bits):
    grey = np.linspace(0, 2**bits - 1, 64 * 64).astype(np.uint16).reshape(64, 64)
    shifted = grey.astype(int) - 2 ** (bits - 1) + 2**15  # values are stored less half of the scale
    content = bytearray(saved(Image.fromarray(shifted.astype(np.uint16)), format="JPEG2000", no_jp2=True))
    place = content.find(b"\xff\x51") + 40  # SIZ: the depth of the first component, less one
    assert content[place] == 15
    content[place] = bits - 1
    assert np.abs(opened(bytes(content))[..., 0] - grey / (2**bits - 1) * 255).max() <= 1
