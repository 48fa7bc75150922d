"""No image file costs more time or memory than a picture does, and what is no image file is not waited for."""

import io
import os
import socket
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import GifImagePlugin, Image, PngImagePlugin
from portraits import collins
from refusals import refusal

from piqa.errors import FileAccessError, InputError
from piqa.preparation import image_bounds, image_file
from piqa.preparation.image_bounds import MAX_SCANS, check_scans, check_size
from piqa.preparation.image_file import decode_image, open_image


def saved(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


def resident(what):
    """Memory of this process in bytes: now (VmRSS), or at its peak (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(what))


# The file itself


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "portrait.jpg")
    assert "is a pipe" in refusal(open_image, tmp_path / "portrait.jpg")


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no such sockets")
def test_a_socket_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("portrait.jpg")
        assert "is a socket" in refusal(open_image, "portrait.jpg")


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/random", "/dev/tty"])
def test_a_device_is_refused(path):
    if not Path(path).exists():
        pytest.skip("this system has no such device")
    assert "is a device" in refusal(open_image, path)


def test_a_link_to_a_pipe_is_refused_as_well(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "portrait.jpg").symlink_to("pipe")
    assert "is a pipe" in refusal(open_image, tmp_path / "portrait.jpg")


def test_a_folder_is_no_passing_fault(tmp_path):
    with pytest.raises(InputError) as caught:
        open_image(tmp_path)
    assert not isinstance(caught.value, FileAccessError)


def test_a_name_that_no_file_can_have_is_refused():
    assert "no path" in refusal(open_image, "a\0.jpg")


@pytest.mark.parametrize(
    ("name", "words"),
    [("gone.jpg", "No such file"), ("a" * 300 + ".jpg", "too long"), ("circle.jpg", "symbolic links")],
)
def test_what_the_machine_refuses_is_told_apart_from_what_the_file_is(tmp_path, name, words):
    (tmp_path / "circle.jpg").symlink_to("circle.jpg")
    with pytest.raises(FileAccessError, match=words):
        open_image(tmp_path / name)


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_a_fault_while_reading_is_the_machines(tmp_path, monkeypatch, error):
    path = tmp_path / "portrait.png"
    collins().resize((20, 20)).save(path)

    class Failing(io.BytesIO):
        def read(self, *_):
            raise error

    monkeypatch.setattr(Path, "open", lambda *_, **__: Failing())
    with pytest.raises(FileAccessError, match=error.strerror):
        open_image(path)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("start", [b"", b"\xff\xd8\xff\xe0", b"II*\0"])
def test_a_sparse_file_of_5_gigabytes_is_not_read(tmp_path, start):
    path = tmp_path / "portrait.jpg"
    path.write_bytes(start)
    os.truncate(path, 5_000_000_000)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = resident("VmRSS")
    assert "MB that are read" in refusal(open_image, path)
    assert resident("VmHWM") - before < 50_000_000


def test_a_file_that_begins_as_no_image_is_read_up_to_a_lower_bound(tmp_path, monkeypatch):
    monkeypatch.setattr(image_bounds, "MAX_UNKNOWN_BYTES", 1000)
    (tmp_path / "notes.txt").write_bytes(b"x" * 1001)
    assert "0.001 MB" in refusal(open_image, tmp_path / "notes.txt")


# Scans of a JPEG


def of_scans(count, side):
    """A progressive JPEG whose last scan is repeated."""
    content = saved(Image.new("L", (side, side), 128), format="JPEG", progressive=True)
    scan, end = content.rfind(b"\xff\xda"), content.rfind(b"\xff\xd9")
    return content[:end] + content[scan:end] * (count - content.count(b"\xff\xda")) + content[end:]


def test_a_jpeg_of_300_scans_is_refused_before_it_is_opened(monkeypatch):
    content = of_scans(300, 5000)
    assert len(content) < 120_000
    monkeypatch.setattr(Image, "open", pytest.fail)  # decoding takes minutes
    assert f"more than {MAX_SCANS} scans" in refusal(decode_image, content, "a.jpg")


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_progressive_jpegs_as_encoders_write_them_are_read(mode):
    content = saved(collins().convert(mode), format="JPEG", progressive=True)
    assert content.count(b"\xff\xda") >= 6
    assert decode_image(content, "a.jpg").size == (512, 512)


def test_a_colour_in_each_scan_is_read_and_many_are_refused():
    content = saved(collins(), format="JPEG")
    scan, end = content.find(b"\xff\xda"), content.rfind(b"\xff\xd9")
    check_scans(content[:end] + content[scan:end] * 100 + content[end:])  # decoders stop after the first
    one_colour = content[: scan + 4] + b"\1\1\0\0\x3f\0" + content[scan + 14 : end]
    assert f"more than {MAX_SCANS} scans" in refusal(check_scans, one_colour + one_colour[scan:] * 100 + content[end:])


def test_scans_up_to_the_limit_are_read():
    assert decode_image(of_scans(MAX_SCANS, 64), "a.jpg").size == (64, 64)
    assert f"more than {MAX_SCANS} scans" in refusal(decode_image, of_scans(MAX_SCANS + 1, 64), "a.jpg")


def test_what_follows_the_picture_is_not_counted():
    picture = saved(collins(), format="JPEG", progressive=True)
    check_scans(picture + b"\xff\xda" * 1000)  # such as the film of a moving photograph


def test_previews_in_the_header_are_not_counted():
    picture = saved(collins(), format="JPEG", progressive=True)
    check_scans(picture[:2] + b"\xff\xe1" + struct.pack(">H", 2002) + b"\xff\xda" * 1000 + picture[2:])


# Claims


def png(width, height, rows, mode="RGB"):
    """A PNG of black rows."""
    bits, colour, samples = {"1": (1, 0, 1), "L": (8, 0, 1), "RGB": (8, 2, 3)}[mode]
    packer = zlib.compressobj(9)
    row = bytes(1 + (width * samples * bits + 7) // 8)
    body = b"".join(packer.compress(row) for _ in range(rows)) + packer.flush()
    content = b"\x89PNG\r\n\x1a\n"
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    for name, part in ((b"IHDR", header), (b"IDAT", body), (b"IEND", b"")):
        content += struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part))
    return content


@pytest.mark.parametrize("mode", ["1", "L"])
def test_a_large_picture_that_holds_almost_nothing_is_told(mode):
    content = png(17_000, 17_000, 17_000, mode)
    line = refusal(decode_image, content, "a.png")
    assert "claims 17000 x 17000 pixels" in line and f"{len(content):,} bytes" in line


def test_a_small_jpeg_that_claims_to_be_large_is_told():
    content = bytearray(saved(collins(), format="JPEG"))
    place = content.find(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", 17_000, 17_000)
    assert "claims 17000 x 17000 pixels" in refusal(decode_image, bytes(content), "a.jpg")


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_flat_pictures_of_usual_sizes_are_read(kind):
    options = {"compression": "tiff_adobe_deflate"} if kind == "TIFF" else {"lossless": True} if kind == "WEBP" else {}
    flat = Image.new("RGB", (3000, 2000), (90, 120, 200))
    assert decode_image(saved(flat, format=kind, **options), "a").size == (3000, 2000)


def test_a_large_photograph_has_far_more_bytes_than_are_asked_for():
    enlarged = collins().resize((8000, 8000))  # 64 million pixels, smoother than any photograph
    content = saved(enlarged, format="JPEG", quality=30)
    check_size(enlarged.size, content, lossless=False)
    assert len(content) > 3 * 64_000_000 * image_bounds.LOSSY_SHARE


# More pixels than are read


def png_header(width, height):
    """A PNG that claims a size and ends there."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    start = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + start + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


def test_a_header_that_claims_60000_by_60000_pixels_is_refused(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(60000, 60000))
    assert "300 million" in refusal(open_image, path)


def test_a_decompression_bomb_is_refused_before_it_grows(tmp_path, monkeypatch):
    for module in (image_file, image_bounds):
        monkeypatch.setattr(module, "MAX_PIXELS", 1_000_000)
    path = tmp_path / "bomb.png"
    Image.new("L", (1001, 1000)).save(path)
    assert path.stat().st_size < 3000
    assert "1 million" in refusal(open_image, path)


def test_a_bomb_inside_an_icon_is_refused(tmp_path, monkeypatch):
    for module in (image_file, image_bounds):
        monkeypatch.setattr(module, "MAX_PIXELS", 1_000_000)
    inner = saved(Image.new("RGB", (1001, 1000)), format="PNG")
    icon = struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22) + inner
    path = tmp_path / "icon.png"
    path.write_bytes(icon)
    assert "1 million" in refusal(open_image, path)


def test_200_megapixel_phone_images_are_not_called_bombs(tmp_path):
    path = tmp_path / "phone.png"
    path.write_bytes(png_header(16320, 12240) + bytes(11_000_000))
    assert "damaged or truncated" in refusal(open_image, path)  # the header passes; there are no pixels behind it


def test_a_strip_that_would_fill_the_memory_once_resized_is_refused(tmp_path):
    path = tmp_path / "strip.png"
    Image.new("RGB", (2, 201)).save(path)
    assert "2 x 201" in refusal(open_image, path)


# Several images in one file


@pytest.mark.parametrize("plugin", [GifImagePlugin.GifImageFile, PngImagePlugin.PngImageFile])
def test_of_many_frames_the_first_alone_is_decoded(monkeypatch, plugin):
    frames = [Image.new("L", (64, 64), 50 * number) for number in range(5)]
    content = saved(frames[0], format=plugin.format, save_all=True, append_images=frames[1:])
    with Image.open(io.BytesIO(content)) as image:
        assert image.n_frames > 1
    monkeypatch.setattr(plugin, "seek", pytest.fail)
    assert decode_image(content, "a").size == (64, 64)


def test_a_frame_larger_than_its_gif_is_no_way_round_the_limit(monkeypatch):
    content = bytearray(saved(Image.new("P", (16, 16)), format="GIF"))
    place = content.find(b"\x2c")  # the frame's descriptor: left, top, width, height
    content[place + 5 : place + 9] = struct.pack("<HH", 65535, 65535)
    with pytest.raises(InputError):
        decode_image(bytes(content), "a.gif")


@pytest.mark.parametrize("kind", ["AVIF", "WEBP"])
def test_animations_give_their_first_frame(kind):
    first, second = Image.new("RGB", (32, 24), (200, 0, 0)), Image.new("RGB", (32, 24), (0, 0, 200))
    try:
        content = saved(first, format=kind, save_all=True, append_images=[second], quality=90)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow writes no {kind}")
    assert np.abs(np.asarray(decode_image(content, "a"))[12, 16].astype(int) - [200, 0, 0]).max() <= 12
