"""One entry of the prepared store: arrays and facts in one file, read in parts and verified by checksums.

An entry is a safetensors file. It stores images as (height, 3, width), a clip as (frames, height, 3, width): rows are
contiguous, so that a crop reads only its own rows, and so are channels within a row, as networks take them. The tensor
`checksums` (uint32) holds CRC-32s: one of the facts and of every array's name, type and shape; then, array after array
by name, one of every `CHECKSUM_ROWS` rows (a band) of an image, or one of any other array. A crop checks the bands
that it touches.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from piqa.errors import InputError
from piqa.system.files import replacing

ENTRY_FORMAT = "2"  # of the file; entries of another format are prepared again
CHECKSUMS = "checksums"
CHECKSUM_ROWS = 16  # a crop reads up to 30 rows too many, and calls crc32 once for every 20 kB
TYPES = {"uint8": "U8", "float32": "F32"}  # types of arrays, as numpy and as safetensors call them

_Read = Callable[[object], np.ndarray]  # reads a slice of an array from the file
StoredArrays = Mapping[str, Any]  # arrays by name; in place of images there may be StoredImages, or a list of them


class Packable(Protocol):
    """A Portrait or a Clip."""

    def pack(self) -> tuple[dict[str, np.ndarray], dict[str, str]]:
        """Return arrays and facts, without loss."""


class EntryNotFoundError(Exception):
    """There is no such entry."""


class EntryDamagedError(Exception):
    """The entry is not what was written, or was written by another version."""


@contextmanager
def _damage() -> Iterator[None]:
    """Raise EntryDamagedError in place of what reading a damaged file may raise."""
    try:
        yield
    except (FileNotFoundError, PermissionError):
        raise
    except (OSError, SafetensorError, ValueError) as error:
        raise EntryDamagedError(str(error)) from error


class StoredImage:
    """An image in an entry: slicing it reads the rows of the slice, and verifies them.

    It is made with the CRC-32 of each band, the stored shape, (height, 3, width), and the number of a frame of a clip;
    the attribute `shape` is (height, width, 3), as sliced.
    """

    def __init__(self, read: _Read, checksums: np.ndarray, shape: Sequence[int], *at: int) -> None:
        self._read, self._checksums, self._at = read, checksums, at
        self.shape = shape[0], shape[2], shape[1]

    def __getitem__(self, window: tuple[slice, slice]) -> np.ndarray:
        """Return rows and columns, uint8, (rows, columns, 3); raise EntryDamagedError if they are not as written."""
        top, bottom, _ = window[0].indices(self.shape[0])
        first, last = top // CHECKSUM_ROWS, math.ceil(bottom / CHECKSUM_ROWS)
        with _damage():
            lines = self._read((*self._at, slice(first * CHECKSUM_ROWS, min(last * CHECKSUM_ROWS, self.shape[0]))))
        _compare(_band_checksums(lines), self._checksums[first:last])
        start = top - first * CHECKSUM_ROWS
        return lines[start : start + bottom - top].swapaxes(1, 2)[:, window[1]]


class StoreEntry:
    """An entry that is open for reading, with a verified header; `facts` are as they were packed."""

    def __init__(self, file: Any) -> None:
        self.facts: dict[str, str] = file.metadata() or {}
        if self.facts.get("format") != ENTRY_FORMAT:
            raise EntryDamagedError(f"it is of format {self.facts.get('format', '1')}, not {ENTRY_FORMAT}")
        names = sorted(set(file.keys()) - {CHECKSUMS})
        slices = [file.get_slice(name) for name in names]
        types, shapes = [part.get_dtype() for part in slices], [tuple(part.get_shape()) for part in slices]
        checksums = file.get_tensor(CHECKSUMS)
        _compare([_header_checksum(self.facts, names, types, shapes)], checksums[:1])
        own = np.split(checksums, np.cumsum([1, *map(_count, shapes)]))[1:-1]
        parts = zip([part.__getitem__ for part in slices], own, shapes, strict=True)
        self._parts: dict[str, tuple[_Read, np.ndarray, tuple[int, ...]]] = dict(zip(names, parts, strict=True))

    def read(self, late: bool = False) -> StoredArrays:
        """Return the arrays by name, verified; raise EntryDamagedError if they are not what was written.

        Args:
            late: Leave images in the file: each is a StoredImage, to be read while the entry is open, and a clip is a
                list of them.
        """
        return {name: (_left if late and _is_image(part[2]) else _whole)(*part) for name, part in self._parts.items()}


def _left(read: _Read, checksums: np.ndarray, shape: tuple[int, ...]) -> StoredImage | list[StoredImage]:
    if len(shape) == 3:
        return StoredImage(read, checksums, shape)
    return [StoredImage(read, own, shape[1:], n) for n, own in enumerate(checksums.reshape(shape[0], -1))]


def _whole(read: _Read, checksums: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    with _damage():
        array = read(slice(None))
    _compare(_checksums(array), checksums)
    return array.swapaxes(-1, -2) if _is_image(shape) else array


@contextmanager
def open_entry(path: Path) -> Iterator[StoreEntry]:
    """Open an entry for reading.

    Raises:
        EntryNotFoundError: If there is none.
        InputError: If it may not be read.
        EntryDamagedError: If it is truncated, its header is not what was written, or another version wrote it.
    """
    try:
        with _damage():
            file = safe_open(path, framework="numpy")
    except FileNotFoundError as error:
        raise EntryNotFoundError(str(error)) from error
    except PermissionError as error:
        raise InputError(f"cannot read {path}: {error.strerror or 'permission denied'}; check its owner") from error
    with file:
        with _damage():
            entry = StoreEntry(file)
        yield entry


def write_entry(path: Path, item: Packable, source: str) -> None:
    """Write a Portrait or Clip, atomically; raise InputError if there is no room or no right to write."""
    packed, facts = item.pack()
    arrays = {
        name: np.ascontiguousarray(array.swapaxes(-1, -2) if _is_image(array.shape) else array)
        for name, array in sorted(packed.items())
    }
    source = Path(source).name.encode(errors="replace").decode()  # headers are Unicode, names of files any bytes
    facts = facts | {"source": source, "format": ENTRY_FORMAT}
    types, shapes = [TYPES[array.dtype.name] for array in arrays.values()], [array.shape for array in arrays.values()]
    checksums = [_header_checksum(facts, list(arrays), types, shapes), *chain(*map(_checksums, arrays.values()))]
    content = save(arrays | {CHECKSUMS: np.array(checksums, dtype=np.uint32)}, facts)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def _is_image(shape: Sequence[int]) -> bool:
    return len(shape) > 2


def _count(shape: Sequence[int]) -> int:
    """Return the number of checksums of an array that is stored in this shape."""
    return math.prod(shape[:-3]) * math.ceil(shape[-3] / CHECKSUM_ROWS) if _is_image(shape) else 1


def _checksums(array: np.ndarray) -> list[int]:
    """Return the checksums of an array as it is stored."""
    if not _is_image(array.shape):
        return [zlib.crc32(array.data)]
    return [checksum for frame in array.reshape(-1, *array.shape[-3:]) for checksum in _band_checksums(frame)]


def _band_checksums(lines: np.ndarray) -> list[int]:
    return [zlib.crc32(lines[row : row + CHECKSUM_ROWS].data) for row in range(0, len(lines), CHECKSUM_ROWS)]


def _header_checksum(facts: dict[str, str], *names_types_shapes: list[str] | list[tuple[int, ...]]) -> int:
    return zlib.crc32(json.dumps([facts, *names_types_shapes], sort_keys=True).encode())


def _compare(found: list[int], expected: np.ndarray) -> None:
    if found != expected.tolist():
        raise EntryDamagedError("its content does not agree with its checksums")
