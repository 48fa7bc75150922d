"""Every layout of a TIFF is read right, as it was written and as tifffile reads it, or refused by its name."""

import io
import itertools
import struct
import zlib

import numpy as np
import pytest
import tifffile
from inputs import test_image
from PIL import Image
from portraits import collins
from refusals import refusal
from tiff_files import (
    CMYK,
    DEFLATE,
    FLOAT,
    GREY,
    GREY_WHITE_IS_0,
    LAB,
    LZW,
    NONE,
    PACKBITS,
    PALETTE,
    RGB,
    SIGNED,
    UNSIGNED,
    YCBCR,
    Layout,
    tiff,
)

from piqa.preparation.image_file import decode_image

COMPRESSIONS = (NONE, LZW, DEFLATE, PACKBITS)
COLOURS = np.asarray(collins().resize((50, 40)))
PALETTE_OF_256 = test_image(1, 256, seed=3)[0].astype(int)


def opened(content):
    return np.asarray(decode_image(content, "a.tif")).astype(int)


def at_depth(values, bits, kind):
    """8-bit values on the full scale of a depth; floats go from 0 to 1."""
    if kind == FLOAT:
        return values / 255
    full = 2 ** (bits - (kind == SIGNED)) - 1
    return np.rint(values / 255 * full).astype(np.int64)


def samples_of(photometric, bits, kind):
    """The samples of a small portrait, the 8-bit RGB that they stand for, and tags that go with them."""
    full = 1.0 if kind == FLOAT else 2 ** (bits - (kind == SIGNED)) - 1
    if photometric == PALETTE:
        numbers = COLOURS[..., [0]].astype(int) * 2**bits // 256
        table = PALETTE_OF_256[: 2**bits]
        return numbers, table[numbers[..., 0]], {320: ("H", (table.T.reshape(-1) * 257).tolist())}
    if photometric in (GREY, GREY_WHITE_IS_0):
        samples = at_depth(COLOURS[..., [1]], bits, kind)
        shown = np.repeat(samples, 3, axis=2) / full * 255
        return (full - samples if photometric == GREY_WHITE_IS_0 else samples), shown, {}
    if photometric == CMYK:
        samples = at_depth(np.pad(255 - COLOURS, ((0, 0), (0, 0), (0, 1))), bits, kind)
        return samples, 255 - samples[..., :3] / full * 255, {}
    if photometric == YCBCR:
        samples = at_depth(np.asarray(Image.fromarray(COLOURS).convert("YCbCr")), bits, kind)
        return samples, COLOURS, {530: ("H", [1, 1])}
    samples = at_depth(COLOURS, bits, kind)
    return samples, samples / full * 255, {}


def layouts(photometric, bits, kind, tags):
    """All ways to store these samples."""
    predictors = (1, 2) if kind == UNSIGNED and bits in (8, 16, 32) else (1,)
    planes = (False,) if photometric in (GREY, GREY_WHITE_IS_0, PALETTE) else (False, True)
    for planar, compression, order, predictor, tile in itertools.product(
        planes, COMPRESSIONS, "<>", predictors, (0, 16)
    ):
        if predictor == 1 or compression in (LZW, DEFLATE):
            yield Layout(photometric, bits, compression, planar, order, kind, predictor, tile=tile, tags=tags)


@pytest.mark.parametrize("photometric", [GREY_WHITE_IS_0, GREY, RGB, PALETTE, CMYK, YCBCR, LAB])
@pytest.mark.parametrize(
    ("bits", "kind"),
    [(bits, UNSIGNED) for bits in (1, 2, 4, 8, 10, 12, 14, 16, 32)]
    + [(bits, SIGNED) for bits in (8, 16, 32)]
    + [(bits, FLOAT) for bits in (16, 32, 64)],
)
def test_a_layout_is_read_right_or_refused_by_name(photometric, bits, kind):
    if photometric == PALETTE and (bits > 8 or kind != UNSIGNED):
        pytest.skip("no palette has so many colours")
    samples, shown, tags = samples_of(photometric, bits, kind)
    for layout in layouts(photometric, bits, kind, tags):
        content = tiff(samples, layout)
        try:
            found = opened(content)
        except ValueError as error:
            assert f"{bits}-bit" in str(error) and "convert it to 8-bit RGB" in str(error), layout
            continue
        assert np.abs(found - shown).max() <= (3 if photometric == YCBCR else 1.01), layout


MUST_BE_READ = [(photometric, bits) for photometric in (GREY_WHITE_IS_0, GREY, PALETTE) for bits in (1, 2, 4, 8)]
MUST_BE_READ += [(GREY, 16), (RGB, 8), (RGB, 16), (CMYK, 8), (CMYK, 16)]


@pytest.mark.parametrize(("photometric", "bits"), MUST_BE_READ)
def test_usual_layouts_are_read_however_they_are_stored(photometric, bits):
    samples, shown, tags = samples_of(photometric, bits, UNSIGNED)
    for layout in layouts(photometric, bits, UNSIGNED, tags):
        assert np.abs(opened(tiff(samples, layout)) - shown).max() <= 1.01, layout


@pytest.mark.parametrize("photometric", [GREY_WHITE_IS_0, GREY, RGB, CMYK])
@pytest.mark.parametrize("bits", [16, 32, 64])
def test_floats_are_read_where_tifffile_needs_no_codec(photometric, bits):
    samples, shown, _ = samples_of(photometric, bits, FLOAT)
    for layout in layouts(photometric, bits, FLOAT, {}):
        if layout.compression != LZW:
            assert np.abs(opened(tiff(samples, layout)) - shown).max() <= 1, layout


@pytest.mark.parametrize("layout", [Layout(RGB, 16, NONE, planar=True), Layout(RGB, 8, DEFLATE), Layout(GREY, 16)])
def test_the_files_of_these_tests_are_read_by_tifffile_as_meant(layout):
    samples, _, _ = samples_of(layout.photometric, layout.bits, UNSIGNED)
    found = tifffile.imread(io.BytesIO(tiff(samples, layout)))
    assert np.array_equal(np.moveaxis(found, 0, -1) if layout.planar else found.reshape(samples.shape), samples)


def test_12_bits_fill_the_scale():
    samples, shown, _ = samples_of(GREY, 12, UNSIGNED)
    assert np.abs(opened(tiff(samples, Layout(GREY, 12))) - shown).max() <= 0.51


@pytest.mark.parametrize("photometric", [GREY, RGB])
def test_a_sensors_depth_within_16_bits_is_told_by_the_largest_value(photometric):
    samples, shown, _ = samples_of(photometric, 12, UNSIGNED)
    tags = {281: ("H", [4095] * samples.shape[2])}
    assert np.abs(opened(tiff(samples, Layout(photometric, 16, tags=tags))) - shown).max() <= 0.51


@pytest.mark.parametrize("most", [250, 255, 4000])
def test_another_largest_value_changes_nothing(most):
    samples, shown, _ = samples_of(RGB, 16, UNSIGNED)
    content = tiff(samples, Layout(RGB, 16, tags={281: ("H", [most] * 3)}))
    assert np.abs(opened(content) - shown).max() <= 1.01


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compression", [NONE, LZW])
@pytest.mark.parametrize(
    ("bits", "planar", "extra"),
    [(8, False, 0), (8, False, 1), (8, False, 2), (8, True, 2), (16, False, 1), (16, False, 2), (16, True, 2)],
)
@pytest.mark.parametrize("photometric", [GREY, RGB])
def test_alpha_is_laid_on_white(photometric, bits, planar, extra, compression, order):
    samples, shown, _ = samples_of(photometric, 8, UNSIGNED)
    alpha = test_image(40, 50, seed=5)[..., [0]].astype(int)
    share = alpha / 255 if extra else 1.0
    stored = np.rint(samples * share).astype(int) if extra == 1 else samples
    content = tiff(
        np.concatenate([stored, alpha], axis=2) * (257 if bits == 16 else 1),
        Layout(photometric, bits, compression, planar, order, extra=(extra,)),
    )
    try:
        found = opened(content)
    except ValueError as error:
        assert "convert it to 8-bit RGB" in str(error)
        return
    assert np.abs(found - (shown * share + 255 * (1 - share))).max() <= 3


def test_a_palette_with_alpha_is_laid_on_white():
    numbers, shown, tags = samples_of(PALETTE, 8, UNSIGNED)
    alpha = test_image(40, 50, seed=5)[..., [0]].astype(int)
    content = tiff(np.concatenate([numbers, alpha], axis=2), Layout(PALETTE, extra=(2,), tags=tags))
    share = alpha / 255
    assert np.abs(opened(content) - (shown * share + 255 * (1 - share))).max() <= 1


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK", "YCbCr"])
def test_jpeg_inside_a_tiff(mode):
    image = collins().resize((96, 96)).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, format="TIFF", compression="jpeg", quality=95)
    expected = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(opened(buffer.getvalue()) - expected).mean() < 4


@pytest.mark.parametrize("compression", ["group3", "group4"])
def test_fax(compression):
    mask = Image.fromarray(COLOURS[..., 0] > 100)
    buffer = io.BytesIO()
    mask.save(buffer, format="TIFF", compression=compression)
    assert np.array_equal(opened(buffer.getvalue())[..., 0], np.where(COLOURS[..., 0] > 100, 255, 0))


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("orientation", [3, 6])
def test_the_orientation_counts_whichever_library_reads(planar, orientation):
    samples, shown, _ = samples_of(RGB, 16, UNSIGNED)
    turned = np.rot90(samples, 2 if orientation == 3 else 1).copy()
    content = tiff(turned, Layout(RGB, 16, planar=planar, tags={274: ("H", [orientation])}))
    assert np.abs(opened(content) - shown).max() <= 1.01


def test_an_uneven_depth_is_refused():
    content = tiff(samples_of(RGB, 8, UNSIGNED)[0], Layout(RGB, tags={258: ("H", [5, 6, 5])}))
    assert "mixed-bit" in refusal(decode_image, content, "a.tif")


# Pages


def pages(*parts, **options):
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, **options) as out:
        for array, settings in parts:
            out.write(array, metadata=None, **{"photometric": "rgb", **settings})
    return buffer.getvalue()


THUMBNAIL = COLOURS[::2, ::2].copy()
CFA = {"photometric": 32803, "extratags": [(33421, 3, 2, (2, 2), True), (33422, 1, 4, (0, 1, 1, 2), True)]}
MOSAIC = (COLOURS[..., 1].astype(np.uint16) * 16, CFA)


@pytest.mark.parametrize(("bigtiff", "order"), [(False, "<"), (False, ">"), (True, "<")])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_thumbnail_before_the_picture_is_passed_over(bigtiff, order, compression):
    parts = [(THUMBNAIL, {"subfiletype": 1}), (COLOURS, {"compression": compression}), (THUMBNAIL, {})]
    content = pages(*parts, bigtiff=bigtiff, byteorder=order)
    assert np.array_equal(opened(content), COLOURS)


def test_a_bigtiff_of_the_rarer_byte_order_is_refused():
    assert "BigTIFF" in refusal(decode_image, pages((COLOURS, {}), bigtiff=True, byteorder=">"), "a.tif")


def test_the_older_mark_of_a_thumbnail_counts():
    content = pages((THUMBNAIL, {"extratags": [(255, 3, 1, 2, True)]}), (COLOURS, {}))
    assert np.array_equal(opened(content), COLOURS)


def test_a_picture_below_its_thumbnail_is_read():
    content = pages((THUMBNAIL, {"subfiletype": 1, "subifds": 1}), (COLOURS, {"compression": "zlib"}))
    assert np.array_equal(opened(content), COLOURS)


def test_copies_below_the_picture_are_passed_over():
    content = pages((COLOURS, {"subifds": 1}), (THUMBNAIL, {"subfiletype": 1}))
    assert np.array_equal(opened(content), COLOURS)


def test_16_bit_planes_behind_a_thumbnail_are_read():
    planes = np.moveaxis(COLOURS.astype(np.uint16) * 257, -1, 0).copy()
    content = pages((THUMBNAIL, {"subfiletype": 1}), (planes, {"planarconfig": "separate"}))
    assert np.array_equal(opened(content), COLOURS)


def test_a_thumbnail_alone_is_refused():
    assert "reduced copy" in refusal(decode_image, pages((THUMBNAIL, {"subfiletype": 1})), "a.tif")


@pytest.mark.parametrize(
    ("parts", "kind"),
    [
        ([(THUMBNAIL, {"subfiletype": 1, "extratags": [(50706, 1, 4, (1, 4, 0, 0), True)]})], "DNG"),
        ([(COLOURS, {"extratags": [(50706, 1, 4, (1, 4, 0, 0), True)]})], "DNG"),
        (
            [
                (THUMBNAIL, {"subfiletype": 1, "subifds": 1, "extratags": [(271, 2, 0, "NIKON CORPORATION", True)]}),
                MOSAIC,
            ],
            "NEF",
        ),
        ([(THUMBNAIL, {"subifds": 1, "extratags": [(271, 2, 0, "SONY", True)]}), MOSAIC], "ARW"),
        ([(THUMBNAIL, {}), MOSAIC], "raw"),
        ([MOSAIC], "raw"),
    ],
)
def test_a_camera_raw_file_is_refused_by_its_kind(parts, kind):
    line = refusal(decode_image, pages(*parts), "IMG_0001.tif")
    assert "camera raw" in line and kind in line and "develop it first" in line


def test_a_chain_of_pages_that_is_a_circle_ends():
    samples = samples_of(RGB, 8, UNSIGNED)[0]
    content = bytearray(tiff(samples, Layout(RGB, tags={254: ("I", [1])})))
    (start,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, start)
    struct.pack_into("<I", content, start + 2 + 12 * count, start)
    assert "reduced copy" in refusal(decode_image, bytes(content), "a.tif")


def test_a_mask_before_the_picture_is_passed_over():
    content = pages((COLOURS[..., 0] > 0, {"subfiletype": 4, "photometric": "minisblack"}), (COLOURS, {}))
    assert np.array_equal(opened(content), COLOURS)


# Hostile


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_truncated_planes_are_refused(cut, compression):
    planes = np.moveaxis(COLOURS.astype(np.uint16) * 257, -1, 0).copy()
    content = pages((planes, {"planarconfig": "separate", "compression": compression}))
    assert "a.tif is a damaged or truncated image" in refusal(decode_image, content[: int(len(content) * cut)], "a.tif")


def test_strips_outside_of_the_file_are_refused():
    samples = samples_of(RGB, 16, UNSIGNED)[0]
    content = tiff(samples, Layout(RGB, 16, planar=True, rows=40, tags={273: ("I", [8, 10**6, 8])}))
    assert "outside of the file" in refusal(decode_image, content, "a.tif")


def test_a_tile_much_larger_than_the_picture_is_refused():
    samples = samples_of(RGB, 16, UNSIGNED)[0]
    content = tiff(samples, Layout(RGB, 16, planar=True, tile=16, tags={322: ("I", [2**20]), 323: ("I", [2**20])}))
    assert "more memory" in refusal(decode_image, content, "a.tif")


@pytest.mark.parametrize("bits", [16, 32])
def test_a_strip_that_inflates_to_much_more_than_its_rows_is_refused(bits):
    samples = samples_of(RGB, bits, FLOAT)[0]
    content = tiff(samples, Layout(RGB, bits, DEFLATE, kind=FLOAT, rows=40))
    bomb = zlib.compress(bytes(30_000_000), 9)
    content = content + bomb
    tags = {273: ("I", [len(content) - len(bomb)]), 279: ("I", [len(bomb)])}
    for name, (_, values) in tags.items():
        place = content.find(struct.pack("<HHI", name, 4, 1)) + 8
        content = content[:place] + struct.pack("<I", values[0]) + content[place + 4 :]
    assert "more than they should" in refusal(decode_image, content, "a.tif")
