"""Any image file becomes the same upright RGB pixels that a person sees, or one line that says why not."""

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from inputs import test_image
from orientations import STORED_AS
from PIL import ExifTags, Image, ImageFile, TiffImagePlugin, features
from portraits import collins

from piqa.errors import InputError
from piqa.preparation import image_file
from piqa.preparation.image_file import decode_image, open_image


def pixels(height=12, width=16):
    return test_image(height, width, seed=1)


def saved(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


def opened(content):
    image = decode_image(content, "image")
    assert image.mode == "RGB"
    return np.asarray(image)


def png_header(width, height):
    """A PNG that claims a size and ends there."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    start = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def resident(what):
    """Memory of this process in bytes: now (VmRSS), or at its peak (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))


def refusal(path):
    """The one line with which a file is refused, which names it."""
    with pytest.raises(InputError) as caught:
        open_image(path)
    line = str(caught.value)
    assert str(path) in line
    assert "\n" not in line
    return line


# Orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_every_exif_orientation_gives_the_upright_pixels(orientation, kind):
    upright = Image.fromarray(pixels())
    turn = STORED_AS[orientation]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored = upright if turn is None else upright.transpose(turn)
    assert np.array_equal(opened(saved(stored, format=kind, exif=exif)), pixels())


def test_a_turned_jpeg_stands_upright():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    content = saved(collins().transpose(Image.Transpose.ROTATE_90), format="JPEG", quality=95, exif=exif)
    difference = np.abs(opened(content).astype(int) - np.asarray(collins()))
    assert difference.mean() < 3


def test_orientation_counts_in_16_bits_too():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    grey = np.arange(12 * 16, dtype=np.uint16).reshape(12, 16) * 257
    stored = Image.fromarray(grey).transpose(Image.Transpose.ROTATE_90)
    assert np.array_equal(opened(saved(stored, format="PNG", exif=exif))[..., 0], grey // 257)


def test_odd_exif_does_not_cost_the_image():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.XResolution] = TiffImagePlugin.IFDRational(72)
    raw = exif.tobytes().replace(struct.pack("<HH", 282, 5), struct.pack("<HH", 282, 2))  # a rational said to be text
    raw = raw.replace(struct.pack(">HH", 282, 5), struct.pack(">HH", 282, 1))
    content = saved(Image.fromarray(pixels()).transpose(Image.Transpose.ROTATE_90), format="PNG", exif=raw)
    assert np.array_equal(opened(content), pixels())


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_an_unreadable_exif_block_does_not_cost_the_image(kind):
    upright = Image.fromarray(pixels())
    content = saved(upright, format=kind, exif=b"Exif\0\0MM\0")
    assert np.array_equal(opened(content), opened(saved(upright, format=kind)))


# Modes and formats


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_rgb_stays_as_it_is(kind):
    assert np.array_equal(opened(saved(Image.fromarray(pixels()), format=kind)), pixels())


def test_black_and_white_becomes_0_and_255():
    mask = pixels()[..., 0] > 100
    assert np.array_equal(opened(saved(Image.fromarray(mask), format="PNG")), np.where(mask[..., None], 255, [0, 0, 0]))


def test_grey_becomes_three_equal_channels():
    grey = pixels()[..., 0]
    assert np.array_equal(opened(saved(Image.fromarray(grey), format="PNG")), np.stack([grey] * 3, axis=-1))


def test_a_palette_gives_its_colours():
    indexed = Image.new("P", (3, 1))
    indexed.putpalette([10, 20, 30, 200, 100, 0, 5, 255, 5])
    indexed.putdata([0, 1, 2])
    assert opened(saved(indexed, format="PNG")).tolist() == [[[10, 20, 30], [200, 100, 0], [5, 255, 5]]]


def test_a_transparent_palette_entry_is_white():
    indexed = Image.new("P", (3, 1))
    indexed.putpalette([10, 20, 30, 200, 100, 0, 5, 255, 5])
    indexed.putdata([0, 1, 2])
    shown = opened(saved(indexed, format="PNG", transparency=1))
    assert shown.tolist() == [[[10, 20, 30], [255, 255, 255], [5, 255, 5]]]


@pytest.mark.parametrize(
    ("mode", "stored", "shown"),
    [
        ("LA", (0, 255), [0, 0, 0]),
        ("LA", (0, 0), [255, 255, 255]),
        ("LA", (55, 51), [215, 215, 215]),  # 0.2 * 55 + 0.8 * 255
        ("RGBA", (200, 100, 0, 255), [200, 100, 0]),
        ("RGBA", (200, 100, 0, 0), [255, 255, 255]),
        ("RGBA", (255, 155, 55, 51), [255, 235, 215]),  # 0.2 * colour + 0.8 * 255
    ],
)
def test_transparency_is_laid_on_white(mode, stored, shown):
    assert opened(saved(Image.new(mode, (2, 2), stored), format="PNG"))[0, 0].tolist() == shown


def test_a_transparent_colour_of_an_rgb_png_is_white():
    image = Image.fromarray(np.array([[[1, 2, 3], [9, 9, 9]]], dtype=np.uint8))
    assert opened(saved(image, format="PNG", transparency=(1, 2, 3))).tolist() == [[[255, 255, 255], [9, 9, 9]]]


def test_cmyk_without_a_profile_is_converted_simply():
    cyan = saved(Image.new("CMYK", (8, 8), (255, 0, 0, 0)), format="TIFF")
    assert opened(cyan)[0, 0].tolist() == [0, 255, 255]


def test_a_cmyk_jpeg_keeps_its_colours():
    content = saved(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), format="JPEG", quality=100)
    assert np.abs(opened(content)[8, 8].astype(int) - [0, 255, 255]).max() <= 3


def cmyk_profile():
    """A printer whose cyan, magenta and yellow are all the same middle grey (L* 50), as no real inks are."""
    lab = bytearray()
    for corner in range(16):  # C, M, Y, K each without or with full ink, K fastest
        lightness = 255 if corner == 0 else 0 if corner % 2 else 128
        lab += bytes([lightness, 128, 128])
    ramp = bytes(range(256))
    identity = b"".join(struct.pack(">i", 0x10000 * (row == column)) for row in range(3) for column in range(3))
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + ramp * 4 + bytes(lab) + ramp * 3
    text = b"text\0\0\0\0grey\0\0\0\0"
    white = b"XYZ \0\0\0\0" + struct.pack(">iii", 63190, 65536, 54061)
    tags = {b"A2B0": table, b"cprt": text, b"wtpt": white}
    offset, entries, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, content in tags.items():
        content += b"\0" * (-len(content) % 4)
        entries += name + struct.pack(">II", offset + len(body), len(content))
        body += content
    directory = struct.pack(">I", len(tags)) + entries
    header = struct.pack(">I", 128 + len(directory) + len(body)) + b"lcms" + struct.pack(">I", 0x02400000)
    header += b"prtrCMYKLab " + bytes(12) + b"acsp" + bytes(28) + struct.pack(">iii", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + directory + body


def test_cmyk_goes_through_its_profile():
    inks = Image.new("CMYK", (2, 1))
    inks.putdata([(255, 0, 0, 0), (0, 0, 0, 0)])
    ink, paper = opened(saved(inks, format="TIFF", icc_profile=cmyk_profile()))[0].astype(int)
    assert np.abs(ink - 119).max() <= 2  # sRGB of L* 50; without the profile it would be 0, 255, 255
    assert paper.min() >= 253


def test_cmyk_with_a_broken_profile_is_like_without():
    cyan = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    assert opened(saved(cyan, format="TIFF", icc_profile=b"no profile"))[0, 0].tolist() == [0, 255, 255]


def test_16_bit_grey_png_is_scaled_not_clipped():
    grey = np.array([[0, 257, 128 * 257, 65535]], dtype=np.uint16)
    assert opened(saved(Image.fromarray(grey), format="PNG"))[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_16_bit_grey_tiff_is_scaled_not_clipped(tmp_path, byteorder):
    grey = pixels()[..., 0].astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "grey.tiff", grey, byteorder=byteorder, photometric="minisblack")
    assert np.array_equal(np.asarray(open_image(tmp_path / "grey.tiff")), np.stack([pixels()[..., 0]] * 3, axis=-1))


def test_16_bit_rgb_tiff_is_scaled_not_clipped(tmp_path):
    tifffile.imwrite(tmp_path / "rgb.tiff", pixels().astype(np.uint16) * 257, photometric="rgb")
    assert np.array_equal(np.asarray(open_image(tmp_path / "rgb.tiff")), pixels())


@pytest.mark.parametrize("top", [1.0, 255.0])
def test_float_tiff_of_either_convention_is_scaled(top):
    values = np.array([[0, 0.2, 0.6, 1.0]], dtype=np.float32) * top
    assert opened(saved(Image.fromarray(values), format="TIFF"))[0, :, 0].tolist() == [0, 51, 153, 255]


@pytest.mark.parametrize("odd", [np.nan, np.inf, -3.0, 70000.0])
def test_grey_values_of_no_known_scale_are_refused(tmp_path, odd):
    path = tmp_path / "depth.tiff"
    Image.fromarray(np.array([[0, 1, odd]], dtype=np.float32)).save(path)
    assert "fit no known scale" in refusal(path)


def test_the_first_page_is_taken(tmp_path):
    path = tmp_path / "pages.tiff"
    Image.fromarray(pixels()).save(path, save_all=True, append_images=[Image.new("RGB", (30, 30), "red")])
    assert np.array_equal(np.asarray(open_image(path)), pixels())


def test_the_first_image_of_an_mpo_is_taken(tmp_path):
    path = tmp_path / "depth_camera.jpg"
    first, second = Image.new("RGB", (32, 24), (200, 0, 0)), Image.new("RGB", (32, 24), (0, 0, 200))
    first.save(path, format="MPO", save_all=True, append_images=[second], quality=100)
    with Image.open(path) as stored:
        assert stored.format == "MPO"
    assert np.abs(np.asarray(open_image(path))[12, 16].astype(int) - [200, 0, 0]).max() <= 3


def test_lossless_webp_is_read():
    if not features.check("webp"):
        pytest.skip("this Pillow reads no WebP")
    assert np.array_equal(opened(saved(Image.fromarray(pixels()), format="WEBP", lossless=True)), pixels())


@pytest.mark.parametrize("name", ["PORTRAIT.PNG", "portrait.jpg", "portrait"])
def test_the_content_counts_not_the_name(tmp_path, name):
    (tmp_path / name).write_bytes(saved(Image.fromarray(pixels()), format="PNG"))
    assert np.array_equal(np.asarray(open_image(tmp_path / name)), pixels())


# Refusals


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP"])
def test_a_truncated_image_is_refused(tmp_path, monkeypatch, kind):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)  # as WeasyPrint does for the whole process
    path = tmp_path / f"cut.{kind.lower()}"
    content = saved(collins(), format=kind)
    path.write_bytes(content[: len(content) * 6 // 10])
    assert "damaged or truncated" in refusal(path)


def test_damaged_bytes_within_a_png_are_refused(tmp_path):
    content = bytearray(saved(collins(), format="PNG"))
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "flipped.png").write_bytes(content)
    assert "damaged or truncated" in refusal(tmp_path / "flipped.png")


@pytest.mark.parametrize("content", [b"", b"device,score\niPhone,1.5\n", b"\xff\xd8\xff", bytes(5000)])
def test_what_is_no_image_is_refused(tmp_path, content):
    path = tmp_path / "portrait.jpg"
    path.write_bytes(content)
    assert "not an image that can be read" in refusal(path)


def test_a_file_that_another_program_would_open_is_refused(tmp_path):
    path = tmp_path / "portrait.jpg"
    Image.fromarray(pixels()).save(path, format="EPS")
    assert "not an image that can be read" in refusal(path)


def test_a_missing_file_is_refused(tmp_path):
    assert "No such file" in refusal(tmp_path / "gone.jpg")


def test_a_folder_is_refused(tmp_path):
    assert "is a folder" in refusal(tmp_path)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "I;16", "F"])
def test_images_are_converted_band_by_band_as_in_one_piece(monkeypatch, mode):
    colours = Image.fromarray(pixels(50, 40))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(colours.convert("L"), dtype=np.uint16) * 250)
    else:
        image = colours.convert("RGBA")
        image.putalpha(colours.getchannel("G"))
        image = image.convert(mode)
    content = saved(image, format="TIFF" if mode == "F" else "PNG")
    whole = opened(content)
    monkeypatch.setattr(image_file, "PIXELS_AT_A_TIME", 7 * 40)
    assert np.array_equal(opened(content), whole)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "I;16"])
def test_a_large_image_stands_in_memory_twice_at_most(mode):
    side = 6000
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    content = saved(Image.new(mode, (side, side)), format="PNG", exif=exif, compress_level=1)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = resident("VmRSS")
    decode_image(content, "image")
    grown = resident("VmHWM") - before
    assert grown < 2.5 * 4 * side**2  # Pillow takes 4 bytes for a pixel in colour


def test_want_of_memory_is_not_called_damage(tmp_path, monkeypatch):
    def load(self):
        raise MemoryError

    path = tmp_path / "portrait.png"
    Image.fromarray(pixels()).save(path)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    assert "needs more memory" in refusal(path)


def test_pillow_is_left_as_it_was(tmp_path, monkeypatch):
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png_header(60000, 60000))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 12345)
    filters = list(warnings.filters)
    opened(saved(Image.fromarray(pixels()), format="PNG"))
    refusal(bomb)
    assert Image.MAX_IMAGE_PIXELS == 12345
    assert warnings.filters == filters


def test_no_warning_reaches_the_user(monkeypatch, recwarn):
    monkeypatch.setattr(image_file, "MAX_PIXELS", 1000)
    opened(saved(Image.new("RGB", (30, 30)), format="PNG"))  # above half of the limit Pillow would warn
    assert not recwarn.list


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are listed in /proc only")
def test_no_file_stays_open(tmp_path):
    good, bad = tmp_path / "good.tiff", tmp_path / "bad.jpg"
    Image.fromarray(pixels()).save(good, save_all=True, append_images=[Image.fromarray(pixels())])
    bad.write_bytes(saved(collins(), format="JPEG")[:5000])
    kept = [open_image(good)]
    refusal(bad)
    held = []
    for handle in Path("/proc/self/fd").iterdir():
        try:
            held.append(os.readlink(handle))  # noqa: PTH115 - a handle may name no path
        except FileNotFoundError:
            continue  # the one that listed this folder
    assert not [name for name in held if str(tmp_path) in name]
    assert kept[0].getpixel((0, 0)) == tuple(pixels()[0, 0])
