"""Read TIFF files by what their tags say: the page that is a whole picture, its depth, and what no reader gets right.

Pillow decodes some layouts wrongly without a word. `_pillow_errs` tells which (tests/test_tiff.py tries them all);
tifffile reads those, as far as it needs no further codecs. What remains is refused by its name.
"""

from __future__ import annotations

import io
import logging
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from piqa.errors import InputError

if TYPE_CHECKING:
    import tifffile

SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF and BigTIFF
MAX_PAGES = 100  # directories that are looked at; fewer in a large file, as a tag of each may claim all of it
ENOUGH_PAGES, BYTES_OF_MORE_PAGES = 6, 500_000_000
MAX_BYTES = 2_000_000_000  # of decoded samples: 300 million pixels of 16-bit RGB take 1.8 GB
MAX_SEGMENTS = 200_000  # strips or tiles; each costs tifffile a call
SAMPLES_AT_A_TIME = 4_000_000

SUBFILE, OLD_SUBFILE, WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 254, 255, 256, 257, 258, 259, 262
FILL_ORDER, MAKE, OFFSETS, ORIENTATION, SAMPLES, ROWS, COUNTS, MOST, PLANAR = (
    266,
    271,
    273,
    274,
    277,
    278,
    279,
    281,
    284,
)
TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS, SUB_DIRECTORIES, EXTRA, KIND = 322, 323, 324, 325, 330, 338, 339
SUBSAMPLING, ICC_PROFILE, DNG_VERSION = 530, 34675, 50706

UNCOMPRESSED, JPEG, WEBP = 1, 7, 50001
DEFLATE = (8, 32946)
TIFFFILE_COMPRESSIONS = {UNCOMPRESSED, *DEFLATE, 32773}  # the last is PackBits; they need no further codec
COMPRESSIONS = {1, 2, 3, 4, 5, 7, 8, 32773, 32946, 34925, 50000, 50001}  # those of libtiff that hold plain samples
RAW_COMPRESSIONS = {32767, 32769, 32770, 34713, 65000, 65535}  # Sony, packed and Samsung, Nikon, Kodak, Pentax
RAW_PHOTOMETRICS = {32803, 34892}  # a mosaic, and what became of one without colours of any standard
RAW_KINDS = {"NIKON": "NEF", "SONY": "ARW", "PENTAX": "PEF", "RICOH": "PEF", "SAMSUNG": "SRW", "EASTMAN": "DCR"}
RAW_KINDS |= {"KODAK": "DCR", "HASSELBLAD": "3FR", "PHASE ONE": "IIQ", "LEICA": "RWL", "CANON": "CR2", "EPSON": "ERF"}

WHITE_IS_ZERO, GREY, RGB, PALETTE, SEPARATED, YCBCR = 0, 1, 2, 3, 5, 6
PHOTOMETRICS = {0: "grey", 1: "grey", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr"}
PHOTOMETRICS |= {8: "CIELAB", 9: "ICCLAB", 10: "ITULAB", 32844: "LogL", 32845: "LogLuv"}
COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3}  # samples of a pixel without alpha
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
KINDS = {1: "unsigned", 2: "signed", 3: "float", 4: "undefined", 5: "complex", 6: "complex"}
ASSOCIATED, UNASSOCIATED = 1, 2

PILLOW = {  # photometric interpretation -> bits of unsigned samples that Pillow reads right
    WHITE_IS_ZERO: {1, 2, 4, 8},
    GREY: {1, 2, 4, 8, 12, 16},
    RGB: {8, 16},
    PALETTE: {1, 2, 4, 8},
    SEPARATED: {8, 16},
    YCBCR: {8},
}


@dataclass(frozen=True)
class Page:
    """The page of a TIFF that is read.

    Attributes:
        content: The file, its header naming this page as the first.
        tags: The page's tags as Pillow reads them.
    """

    content: bytes
    tags: TiffImagePlugin.ImageFileDirectory_v2

    def number(self, tag: int, default: int) -> int:
        """Return the first number of a tag."""
        return _numbers(self.tags, tag, default)[0]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.number(WIDTH, 0), self.number(HEIGHT, 0)

    @property
    def bits(self) -> int:
        """The bits of a sample; 0 where they differ."""
        found = set(_numbers(self.tags, BITS, 1))
        return found.pop() if len(found) == 1 else 0

    @property
    def planar(self) -> bool:
        """Whether each colour stands in a plane of its own."""
        return self.number(PLANAR, 1) == 2 and self.number(SAMPLES, 1) > 1

    @property
    def lossy(self) -> bool:
        """Whether the samples are compressed by JPEG or WebP."""
        return self.number(COMPRESSION, 1) in (JPEG, WEBP)

    @property
    def white(self) -> int:
        """The value of full white, of integers.

        `MaxSampleValue` shall not change how an image looks, says TIFF 6.0; but where it is of the form 2^k - 1, fewer
        than the bits hold and more than 8, it tells the depth of a sensor whose values were stored as they came.
        """
        most, full = self.number(MOST, 0), 2**self.bits - 1
        return most if 255 < most < full and most & (most + 1) == 0 else full

    def __str__(self) -> str:
        photometric = self.number(PHOTOMETRIC, -1)
        planes = " in separate planes" if self.planar else ""
        kind = KINDS.get(self.number(KIND, 1), "unknown")
        colours = PHOTOMETRICS.get(photometric, f"photometric interpretation {photometric}")
        return f"a TIFF of {self.bits or 'mixed'}-bit {kind} {colours}{planes} (compression {self._compression})"

    @property
    def _compression(self) -> str:
        number = self.number(COMPRESSION, 1)
        return TiffImagePlugin.COMPRESSION_INFO.get(number, str(number)).replace("raw", "none")


def whole_page(content: bytes) -> Page:
    """Return the first page that is no reduced copy.

    Raises:
        InputError: If the file is a camera's raw file, or has only reduced copies.
        ValueError: If it has no page.
    """
    if content.startswith(b"MM\0+"):
        raise InputError("a BigTIFF of big-endian byte order is not read; save it as TIFF")
    header = 16 if content[2:3] == b"+" else 8
    first = TiffImagePlugin.ImageFileDirectory_v2(content[:header]).next
    offsets, facts = [first], dict[int, _Facts]()
    most = min(MAX_PAGES, ENOUGH_PAGES + BYTES_OF_MORE_PAGES // len(content))
    while offsets and len(facts) < most:
        offset = offsets.pop(0)
        if offset not in facts and 0 < offset < len(content):
            tags = _directory(content, offset, header)
            facts[offset] = _Facts.of(tags)
            offsets += [tags.next, *_numbers(tags, SUB_DIRECTORIES, 0)]
    _refuse_raw(list(facts.values()))
    for offset, page in facts.items():
        if page.whole:
            tags = _directory(content, offset, header)
            return Page(content if offset == first else _starting_at(content, offset, header), tags)
    if not any(page.tagged for page in facts.values()):
        raise ValueError("it has no page")
    raise InputError("holds only a reduced copy of a picture; export the picture itself as JPEG or PNG")


def _directory(content: bytes, offset: int, header: int) -> TiffImagePlugin.ImageFileDirectory_v2:
    """Read the tags at a place; those of a hostile file may be as large as the file, so few are held at once."""
    tags = TiffImagePlugin.ImageFileDirectory_v2(content[:header])
    stream = io.BytesIO(content)
    stream.seek(offset)
    tags.load(stream)
    return tags


@dataclass(frozen=True)
class _Facts:
    """What is asked of every page: whether it has tags, is a whole picture, is raw; and the maker of the camera."""

    tagged: bool
    whole: bool
    raw: bool
    dng: bool
    make: str

    @classmethod
    def of(cls, tags: TiffImagePlugin.ImageFileDirectory_v2) -> _Facts:
        reduced_or_mask = _numbers(tags, SUBFILE, 0)[0] & 5 or _numbers(tags, OLD_SUBFILE, 0)[0] == 2
        raw = _numbers(tags, PHOTOMETRIC, 1)[0] in RAW_PHOTOMETRICS
        raw = raw or _numbers(tags, COMPRESSION, 1)[0] in RAW_COMPRESSIONS
        make = str(tags[MAKE]).upper() if MAKE in tags else ""
        return cls(len(tags) > 0, len(tags) > 0 and not reduced_or_mask, raw, DNG_VERSION in tags, make)


def _refuse_raw(pages: list[_Facts]) -> None:
    """Refuse a camera's raw file, of which other readers show the preview."""
    if not any(page.raw or page.dng for page in pages):
        return
    kinds = [kind for page in pages for word, kind in RAW_KINDS.items() if word in page.make]
    kind = "DNG" if any(page.dng for page in pages) else kinds[0] if kinds else "in TIFF form"
    raise InputError(f"a camera raw file ({kind}) is not read; develop it first, into JPEG or 8-bit TIFF")


def _starting_at(content: bytes, offset: int, header: int) -> bytes:
    order = "<" if content.startswith(b"II") else ">"
    place = struct.pack(f"{order}{'Q' if header == 16 else 'I'}", offset)
    return content[: header - len(place)] + place + content[header:]


def _numbers(tags: TiffImagePlugin.ImageFileDirectory_v2, tag: int, default: int) -> tuple[int, ...]:
    """Return the integers of a tag; the default where it is absent or of another type."""
    try:
        value = tags.get(tag, default)
        found = tuple(int(one) for one in (value if isinstance(value, tuple) else (value,)))
    except Exception:  # tags are decoded when they are read, and damaged ones fail in many ways
        found = ()
    return found or (default,)


def pillow_reads(page: Page) -> bool:
    """Return whether Pillow reads this layout right; False where tifffile does.

    Raises:
        InputError: If neither does.
    """
    photometric, compression = page.number(PHOTOMETRIC, -1), page.number(COMPRESSION, 1)
    known = photometric in COLOURS and compression in COMPRESSIONS
    if known and page.number(FILL_ORDER, 1) != 1:
        known = page.bits == 1 and compression in (1, 2, 3, 4)  # as fax machines write it
    if known and photometric == YCBCR and compression != JPEG:
        known = compression != UNCOMPRESSED and _numbers(page.tags, SUBSAMPLING, 2) == (1, 1)
    if known and not _pillow_errs(page):
        return True
    if known and tifffile_reads(page):
        return False
    raise InputError(f"{page} is not read; convert it to 8-bit RGB")


def _pillow_errs(page: Page) -> bool:
    """Return whether Pillow reads other pixels than are meant, as far as the layout is known at all."""
    photometric, extra = page.number(PHOTOMETRIC, -1), page.number(SAMPLES, 1) - COLOURS[page.number(PHOTOMETRIC, -1)]
    deep = page.bits > 8
    return (
        page.number(KIND, 1) != UNSIGNED
        or page.bits not in PILLOW[photometric]
        or (page.planar and photometric in (GREY, YCBCR))
        or (page.planar and deep and page.number(COMPRESSION, 1) == UNCOMPRESSED)
        or (photometric == GREY and extra > 0 and (deep or page.number(EXTRA, 0) == ASSOCIATED))
        or (photometric != GREY and deep and page.white != 2**page.bits - 1)
    )


def tifffile_reads(page: Page) -> bool:
    """Return whether tifffile reads this layout without further codecs."""
    kind, photometric = page.number(KIND, 1), page.number(PHOTOMETRIC, -1)
    return (
        page.number(COMPRESSION, 1) in TIFFFILE_COMPRESSIONS
        and page.number(FILL_ORDER, 1) == 1
        and photometric in (WHITE_IS_ZERO, GREY, RGB, SEPARATED)
        and page.bits in {UNSIGNED: (8, 16), FLOAT: (16, 32, 64)}.get(kind, ())
        and COLOURS[photometric] <= page.number(SAMPLES, 1) <= COLOURS[photometric] + 4
    )


def decoded(page: Page) -> Image.Image:
    """Decode a page by tifffile, scaled to 8 bits: grey, RGB or CMYK, with alpha where it has any."""
    import tifffile

    _check_segments(page)
    with _silent("tifffile"), tifffile.TiffFile(io.BytesIO(page.content)) as file:
        first = file.pages[0]
        if not isinstance(first, tifffile.TiffPage):
            raise ValueError("it has no page")
        samples = _samples(first)
    photometric = page.number(PHOTOMETRIC, -1)
    colours = COLOURS[photometric]
    alpha = _numbers(page.tags, EXTRA, 0)[0] if samples.shape[2] > colours else 0
    used = samples[..., : colours + (alpha in (ASSOCIATED, UNASSOCIATED) and colours != 4)]
    shallow = _in_8_bits(used, page)
    if photometric == WHITE_IS_ZERO:
        shallow[..., 0] = 255 - shallow[..., 0]
    mode = {1: "L", 2: "LA", 3: "RGB", 4: "CMYK" if colours == 4 else "RGBA"}[shallow.shape[2]]
    if alpha == ASSOCIATED and mode in ("LA", "RGBA"):
        shallow = _straight(shallow)
    size = (shallow.shape[1], shallow.shape[0])
    image = Image.frombuffer(mode, size, np.ascontiguousarray(shallow), "raw", mode, 0, 1)
    if ICC_PROFILE in page.tags:
        image.info["icc_profile"] = page.tags[ICC_PROFILE]
    image.getexif()[ORIENTATION] = page.number(ORIENTATION, 1)
    return image


@contextmanager
def _silent(name: str) -> Iterator[None]:
    """Keep a logger from writing about odd tags to stderr."""
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _check_segments(page: Page) -> None:
    """Refuse what would cost more time or memory than a picture does, and what lies outside of the file."""
    tiled = TILE_OFFSETS in page.tags
    places = _numbers(page.tags, TILE_OFFSETS if tiled else OFFSETS, -1)
    sizes = _numbers(page.tags, TILE_COUNTS if tiled else COUNTS, 0)
    (width, height), samples = page.size, page.number(SAMPLES, 1)
    if tiled:
        pixels = page.number(TILE_WIDTH, 1) * page.number(TILE_HEIGHT, 1)
    else:
        pixels = width * min(page.number(ROWS, height), height)
    most = pixels * (1 if page.planar else samples) * page.bits // 8  # bytes of a strip or tile
    total = width * height * samples * page.bits // 8
    if total > MAX_BYTES or most > max(4 * total, 1_000_000) or len(places) > MAX_SEGMENTS:
        raise InputError("its samples need more memory than is given to a picture; scale it down")
    if len(places) != len(sizes):
        raise ValueError("its strips or tiles are not all there")
    for place, size in zip(places, sizes, strict=True):
        if place < 0 or size <= 0 or place + size > len(page.content):
            raise ValueError("its strips or tiles lie outside of the file")
        if size > most + most // 50 + 1000 or _inflates_beyond(most, page, place, size):
            raise ValueError("its strips or tiles hold more than they should")


def _inflates_beyond(most: int, page: Page, place: int, size: int) -> bool:
    """Return whether deflated data are more than they should be; tifffile would take memory for all of it."""
    if page.number(COMPRESSION, 1) not in DEFLATE:
        return False
    return len(zlib.decompressobj().decompress(page.content[place : place + size], most + 1)) > most


def _samples(page: tifffile.TiffPage) -> NDArray[np.generic]:
    """Return the samples of a page, (height, width, samples)."""
    separate, depth, height, width, together = page.shaped
    if depth != 1:
        raise InputError("a TIFF of a volume is not read; save one slice of it")
    samples = page.asarray(maxworkers=1).reshape(separate, height, width, together)
    return np.moveaxis(samples, 0, -1)[..., 0, :] if separate > 1 else samples[0]


def _in_8_bits(samples: NDArray[np.generic], page: Page) -> NDArray[np.uint8]:
    """Scale samples so that white becomes 255."""
    least, most = float(samples.min()), float(samples.max())  # NaN where any value is
    white = float(page.white) if page.number(KIND, 1) == UNSIGNED else 1.0 if most <= 1.0 else 255.0
    if not 0 <= least <= most <= white:
        raise InputError(f"values from {least} to {most} fit no known scale ({page}); convert it to 8-bit RGB")
    scaled = np.empty(samples.shape, dtype=np.uint8)
    rows = max(1, SAMPLES_AT_A_TIME // max(1, samples[0].size))
    for top in range(0, len(samples), rows):
        band = samples[top : top + rows].astype(np.float64)
        scaled[top : top + rows] = np.rint(band * (255.0 / white))
    return scaled


def _straight(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Divide colours by the alpha with which they were multiplied."""
    rows = max(1, SAMPLES_AT_A_TIME // max(1, pixels[0].size))
    for top in range(0, len(pixels), rows):
        band = pixels[top : top + rows].astype(np.float64)
        colours = band[..., :-1] * 255 / np.maximum(band[..., -1:], 1)
        pixels[top : top + rows, :, :-1] = np.rint(np.minimum(colours, 255))
    return pixels
