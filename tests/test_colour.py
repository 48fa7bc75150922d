"""On request, an image's own description of its colours is followed; without one, or as `stored`, nothing changes."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms
from portraits import collins
from refusals import refusal

from piqa.preparation import icc
from piqa.preparation.image_file import decode_image

SRGB = ImageCms.createProfile("sRGB")
SRGB_ICC = ImageCms.ImageCmsProfile(SRGB).tobytes()
DISPLAY_P3 = icc.cicp_profile(12, 13)
ADOBE = icc.power_profile(icc.ADOBE_RGB_GAMMA, icc.ADOBE_RGB)
PROPHOTO = icc.power_profile(1.8, ((0.7347, 0.2653), (0.1596, 0.8404), (0.0366, 0.0001), (0.3457, 0.3585)))
LINEAR = icc.power_profile(1.0)
PROFILES = {"Display P3": DISPLAY_P3, "Adobe RGB": ADOBE, "ProPhoto": PROPHOTO, "linear": LINEAR}
# Largest mean and 99th percentile of the differences to the sRGB original, in levels of 255, of a lossless 8-bit file
# (what is lost by 8 bits in the wider space); measured: 0.11 and 1, 0.11 and 1, 0.27 and 1, 0.46 and 5.
BOUNDS = {"Display P3": (0.2, 1), "Adobe RGB": (0.2, 1), "ProPhoto": (0.5, 2), "linear": (0.8, 7)}


def portrait():
    return collins().resize((120, 100))


def in_space(profile, image=None):
    """The same colours, written in another space."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    result = ImageCms.profileToProfile(image or portrait(), SRGB, source, renderingIntent=1, outputMode="RGB")
    del result.info["icc_profile"]  # which saving would embed
    return result


def saved(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, **{"format": "PNG", **options})
    return buffer.getvalue()


def with_chunks(content, **chunks):
    """A PNG with further chunks after its header."""
    added = b""
    for name, body in chunks.items():
        named = name.encode() + body
        added += struct.pack(">I", len(body)) + named + struct.pack(">I", zlib.crc32(named))
    return content[:33] + added + content[33:]


def opened(content, colour="srgb"):
    return np.asarray(decode_image(content, "image", colour=colour)).astype(int)


def differences(content, original=None):
    return np.abs(opened(content) - np.asarray(original or portrait()))


# ICC profiles


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_every_profile_gives_the_colours_of_srgb(name, kind):
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    content = saved(in_space(PROFILES[name]), format=kind, icc_profile=PROFILES[name], **options)
    difference = differences(content)
    mean, most = BOUNDS[name]
    assert difference.mean() <= mean and np.percentile(difference, 99) <= most
    assert np.abs(opened(content, "stored") - np.asarray(portrait())).mean() > 2 * mean


@pytest.mark.parametrize("name", PROFILES)
def test_as_stored_nothing_is_converted(name):
    pixels = in_space(PROFILES[name])
    assert np.array_equal(opened(saved(pixels, icc_profile=PROFILES[name]), "stored"), np.asarray(pixels))


def test_the_conversion_is_that_of_little_cms():
    pixels = in_space(DISPLAY_P3)
    source = ImageCms.ImageCmsProfile(io.BytesIO(DISPLAY_P3))
    expected = ImageCms.profileToProfile(pixels, source, SRGB, renderingIntent=1, outputMode="RGB")
    assert np.array_equal(opened(saved(pixels, icc_profile=DISPLAY_P3)), np.asarray(expected))


@pytest.mark.parametrize("profile", [SRGB_ICC, icc.cicp_profile(1, 13), icc.cicp_profile(2, 2)])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_srgb_stays_exactly_as_it_is(profile, kind):
    content = saved(portrait(), format=kind, icc_profile=profile)
    assert np.array_equal(opened(content), opened(content, "stored"))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "CMYK"])
def test_without_a_description_nothing_changes(mode):
    content = saved(portrait().convert(mode), format="TIFF" if mode == "CMYK" else "PNG")
    assert np.array_equal(opened(content), opened(content, "stored"))


@pytest.mark.parametrize("profile", [b"no profile", ADOBE[:200], DISPLAY_P3[:-40], bytes(500)])
def test_a_damaged_profile_is_none(profile):
    content = saved(portrait(), icc_profile=profile)
    assert np.array_equal(opened(content), np.asarray(portrait()))


def test_a_profile_of_another_kind_of_image_is_none():
    grey = icc.power_profile(1.0, grey=True)
    assert np.array_equal(opened(saved(portrait(), icc_profile=grey)), np.asarray(portrait()))
    content = saved(portrait().convert("L"), icc_profile=DISPLAY_P3)
    assert np.array_equal(opened(content), opened(content, "stored"))


@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.6])
def test_the_profile_of_a_grey_image_counts(gamma):
    grey = np.arange(256, dtype=np.uint8).reshape(8, 32)
    light = (grey / 255) ** gamma
    expected = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    content = saved(Image.fromarray(grey), icc_profile=icc.power_profile(gamma, grey=True))
    shown = opened(content)
    assert np.abs(shown - expected[..., None]).max() <= 1.01
    assert np.ptp(shown, axis=2).max() == 0


def test_16_bits_are_converted_after_they_are_scaled():
    grey = np.arange(256, dtype=np.uint16).reshape(8, 32) * 257
    profile = icc.power_profile(1.8, grey=True)
    shallow = saved(Image.fromarray((grey // 257).astype(np.uint8)), icc_profile=profile)
    assert np.array_equal(opened(saved(Image.fromarray(grey), icc_profile=profile)), opened(shallow))


def test_colours_are_converted_before_they_are_laid_on_white():
    pixels = in_space(ADOBE).convert("RGBA")
    pixels.putalpha(128)
    share = 128 / 255
    expected = np.asarray(portrait()) * share + 255 * (1 - share)
    assert np.abs(opened(saved(pixels, icc_profile=ADOBE)) - expected).mean() < 1


def test_a_palette_has_a_profile_too():
    pixels = in_space(ADOBE).quantize(64)
    expected = opened(saved(pixels.convert("RGB"), icc_profile=ADOBE))
    assert np.array_equal(opened(saved(pixels, icc_profile=ADOBE)), expected)


def test_another_setting_is_refused():
    assert "choose one of stored, srgb" in refusal(decode_image, saved(portrait()), "a.png", colour="sRGB")


# PNG


def test_the_more_exact_description_of_a_png_counts():
    pixels = in_space(DISPLAY_P3)
    p3 = opened(saved(pixels, icc_profile=DISPLAY_P3))
    gamma = struct.pack(">I", 100_000)
    srgb, cicp = b"\0", bytes([12, 13, 0, 1])
    assert np.array_equal(opened(with_chunks(saved(pixels), gAMA=gamma, sRGB=srgb)), np.asarray(pixels))
    assert np.array_equal(opened(with_chunks(saved(pixels, icc_profile=DISPLAY_P3), sRGB=srgb, gAMA=gamma)), p3)
    found = opened(with_chunks(saved(pixels, icc_profile=LINEAR), cICP=cicp, sRGB=srgb, gAMA=gamma))
    assert np.abs(found - p3).max() <= 1


def test_the_gamma_of_a_png_counts():
    grey = np.arange(256, dtype=np.uint8).reshape(8, 32)
    light = (grey / 255) ** (1 / 0.55)
    expected = 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    for mode in ("L", "RGB"):
        content = with_chunks(saved(Image.fromarray(grey).convert(mode)), gAMA=struct.pack(">I", 55_000))
        assert np.abs(opened(content) - expected[..., None]).max() <= 1.01


def test_gamma_and_primaries_of_a_png_count_together():
    numbers = [31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000]  # white, red, green, blue: Adobe RGB
    content = with_chunks(saved(in_space(ADOBE)), gAMA=struct.pack(">I", 45_470), cHRM=struct.pack(">8I", *numbers))
    assert differences(content).mean() < BOUNDS["Adobe RGB"][0]


@pytest.mark.parametrize(
    "chunks",
    [
        {"gAMA": bytes(4)},
        {"gAMA": b"\xff" * 4},
        {"cICP": bytes([12, 200, 0, 1])},
        {"cICP": bytes([99, 13, 0, 1])},
        {"cICP": b"\0"},
        {"cHRM": bytes(32)},
        {"gAMA": struct.pack(">I", 45_455), "cHRM": bytes(32), "sRGB": b"\0"},
    ],
)
def test_a_description_that_makes_no_sense_is_none(chunks):
    assert np.array_equal(opened(with_chunks(saved(portrait()), **chunks)), np.asarray(portrait()))


# EXIF


@pytest.mark.parametrize(
    ("space", "index", "adobe"),
    [
        (65535, "R03", True),
        (None, "R03", True),
        (2, None, True),
        (1, "R98", False),
        (1, "R03", False),
        (65535, None, False),
    ],
)
def test_a_camera_may_name_adobe_rgb_in_exif(space, index, adobe):
    pixels = in_space(ADOBE)
    exif = Image.Exif()
    details = {} if space is None else {ExifTags.Base.ColorSpace: space}
    if index is not None:
        details[ExifTags.IFD.Interop] = {1: index}
    exif[ExifTags.IFD.Exif] = details
    content = saved(pixels, format="JPEG", quality=95, exif=exif)
    difference = differences(content).mean() < np.abs(opened(content, "stored") - np.asarray(portrait())).mean()
    assert difference == adobe


# HDR and gain maps


@pytest.mark.parametrize("colour", ["stored", "srgb"])
@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_refused_by_its_curve(colour, transfer, name):
    content = with_chunks(saved(portrait()), cICP=bytes([9, transfer, 0, 1]))
    assert f"HDR image ({name})" in refusal(decode_image, content, "a.png", colour=colour)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_hdr_is_recognised_in_a_profile(kind):
    body = b"cicp" + bytes(4) + bytes([9, 16, 0, 1])
    place = len(DISPLAY_P3) + 12
    count = int.from_bytes(DISPLAY_P3[128:132], "big")
    entries = bytearray(DISPLAY_P3[132 : 132 + 12 * count])
    for start in range(4, len(entries), 12):
        entries[start : start + 4] = struct.pack(">I", int.from_bytes(entries[start : start + 4], "big") + 12)
    directory = struct.pack(">I", count + 1) + bytes(entries) + b"cicp" + struct.pack(">II", place, len(body))
    profile = DISPLAY_P3[:128] + directory + DISPLAY_P3[132 + 12 * count :] + body
    assert "HDR image (PQ)" in refusal(decode_image, saved(portrait(), format=kind, icc_profile=profile), "a")


def test_the_older_hdr_png_is_recognised_by_the_name_of_its_profile():
    body = b"ITUR_2100_PQ_FULL\0\0" + zlib.compress(DISPLAY_P3)
    assert "HDR image (PQ)" in refusal(decode_image, with_chunks(saved(portrait()), iCCP=body), "a.png")


def test_the_base_of_an_image_with_a_gain_map_is_read():
    gains = Image.new("L", (30, 25), 100)
    plain = saved(portrait(), format="JPEG", quality=90)
    content = saved(portrait(), format="MPO", save_all=True, append_images=[gains], quality=90)
    assert np.array_equal(opened(content), opened(plain))
