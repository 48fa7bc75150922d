"""The format of an image file is told by its first bytes, whatever its name says."""

import io

import pytest
from PIL import Image, features

from piqa.preparation.image_formats import FIRST_BYTES, PHOTO_ENDINGS, format_of

NAMES = {"JPEG": "JPEG", "PNG": "PNG", "GIF": "GIF", "BMP": "BMP", "TIFF": "TIFF", "PPM": "PNM", "WEBP": "WebP"}
NAMES |= {"JPEG2000": "JPEG 2000", "QOI": "QOI", "DDS": "DDS"}
NAMES |= {"AVIF": "AVIF"} if features.check("avif") else {}


@pytest.mark.parametrize("pillow", NAMES)
def test_what_pillow_writes_is_told(pillow):
    file = io.BytesIO()
    Image.new("RGB", (9, 7), "red").save(file, pillow)
    assert format_of(file.getvalue()[:FIRST_BYTES]) == NAMES[pillow]


@pytest.mark.parametrize(
    ("start", "name", "found"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "", "HEIC"),
        (b"\0\0\0\x24ftypmif1\0\0\0\0mif1heicMiPr", "", "HEIC"),  # an iPhone's edited picture
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1miaf", "", "HEIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "", "AVIF"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "a.jpg", "camera RAW (CR3)"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "a.mov", None),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "", None),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "", "JPEG XL"),
        (b"\xff\x0a\xfa\x7f", "", "JPEG XL"),
        (b"II*\0\x10\0\0\0CR\2\0", "", "camera RAW (CR2)"),
        (b"MM\0*\0\0\0\x08", "DSC_1.NEF", "camera RAW (NEF)"),
        (b"II*\0\x08\0\0\0", "scan", "TIFF"),
        (b"FUJIFILMCCD-RAW 0201", "", "camera RAW (RAF)"),
        (b"BM is how the letter begins", "", None),
        (b"\0\5\x16\7\0\2\0\0Mac OS X        ", "._a.jpg", None),
        (b"\0\0\0\xffftyp", "", None),
        (b"", "a.jpg", None),
    ],
)
def test_formats_of_phones_and_cameras_are_told_from_videos_and_text(start, name, found):
    assert format_of(start, name) == found


def test_endings_of_photographs_are_in_lower_case_with_their_dot():
    assert {".heic", ".dng", ".cr3", ".jxl"} <= PHOTO_ENDINGS
    assert all(ending.startswith(".") and ending == ending.lower() for ending in PHOTO_ENDINGS)
