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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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

_READING = (OSError, SafetensorError, ValueError)  # what reading a damaged file may raise


StoredArrays = Mapping[str, Any]  # arrays by name; in place of images there may be StoredImages, or a list of them


class _Slice(Protocol):
    """A tensor in a file, as safetensors' `get_slice` gives it."""

    def get_shape(self) -> list[int]: ...

    def get_dtype(self) -> str: ...

    def __getitem__(self, window: object) -> np.ndarray: ...


class _File(Protocol):
    """An open safetensors file."""

    def metadata(self) -> dict[str, str] | None: ...

    def keys(self) -> list[str]: ...

    def get_slice(self, name: str) -> _Slice: ...

    def get_tensor(self, name: str) -> np.ndarray: ...


class Packable(Protocol):
    """A Portrait or a Clip."""

    def pack(self) -> tuple[dict[str, np.ndarray], dict[str, str]]:
        """Return arrays and facts, without loss."""


class EntryNotFoundError(Exception):
    """There is no such entry."""


class EntryDamagedError(Exception):
    """The entry is not what was written, or was written by another version."""


class StoredImage:
    """An image in an entry: slicing it reads the rows of the slice, and verifies them.

    Args:
        part: Reads from the file.
        checksums: Expected CRC-32 of each band.
        shape: (height, 3, width), as stored.
        frame: Its number, for a frame of a clip.

    Attributes:
        shape: (height, width, 3), as sliced.
    """

    def __init__(self, part: _Slice, checksums: np.ndarray, shape: Sequence[int], frame: int | None = None) -> None:
        self._part, self._checksums = part, checksums
        self._at = () if frame is None else (frame,)
        self.shape = shape[0], shape[2], shape[1]

    def __getitem__(self, window: tuple[slice, slice]) -> np.ndarray:
        """Return rows and columns, uint8, (rows, columns, 3).

        Raises:
            EntryDamagedError: If a band that is read is not what was written.
        """
        top, bottom, _ = window[0].indices(self.shape[0])
        first, last = top // CHECKSUM_ROWS, math.ceil(bottom / CHECKSUM_ROWS)
        try:
            lines = self._part[(*self._at, slice(first * CHECKSUM_ROWS, min(last * CHECKSUM_ROWS, self.shape[0])))]
        except _READING as error:
            raise EntryDamagedError(str(error)) from error
        _compare(_band_checksums(lines), self._checksums[first:last])
        start = top - first * CHECKSUM_ROWS
        return lines[start : start + bottom - top].swapaxes(1, 2)[:, window[1]]


class StoreEntry:
    """An entry that is open for reading, with a verified header.

    Attributes:
        facts: As they were packed.
    """

    def __init__(self, file: _File) -> None:
        self.facts: dict[str, str] = file.metadata() or {}
        if self.facts.get("format") != ENTRY_FORMAT:
            raise EntryDamagedError(f"it is of format {self.facts.get('format', '1')}, not {ENTRY_FORMAT}")
        names = sorted(set(file.keys()) - {CHECKSUMS})
        self._parts = {name: file.get_slice(name) for name in names}
        self._shapes = {name: tuple(part.get_shape()) for name, part in self._parts.items()}
        checksums = file.get_tensor(CHECKSUMS)
        types = [part.get_dtype() for part in self._parts.values()]
        _compare([_header_checksum(self.facts, names, types, list(self._shapes.values()))], checksums[:1])
        ends = np.cumsum([1, *(_count(self._shapes[name]) for name in names)])
        self._checksums = dict(zip(names, np.split(checksums, ends)[1:], strict=False))

    def read(self, late: bool = False) -> StoredArrays:
        """Return the arrays by name, verified.

        Args:
            late: Leave images in the file: each is a StoredImage, to be read while the entry is open, and a clip is a
                list of them.

        Raises:
            EntryDamagedError: If anything that is read is not what was written.
        """
        to_leave = [name for name, shape in self._shapes.items() if late and _is_image(shape)]
        return {name: self._left(name) if name in to_leave else self._whole(name) for name in self._parts}

    def _left(self, name: str) -> StoredImage | list[StoredImage]:
        part, checksums, shape = self._parts[name], self._checksums[name], self._shapes[name]
        if len(shape) == 3:
            return StoredImage(part, checksums, shape)
        return [StoredImage(part, own, shape[1:], n) for n, own in enumerate(checksums.reshape(shape[0], -1))]

    def _whole(self, name: str) -> np.ndarray:
        try:
            array = self._parts[name][slice(None)]
        except _READING as error:
            raise EntryDamagedError(str(error)) from error
        _compare(_checksums(array), self._checksums[name])
        return array.swapaxes(-1, -2) if _is_image(array.shape) else array


@contextmanager
def open_entry(path: Path) -> Iterator[StoreEntry]:
    """Open an entry for reading.

    Raises:
        EntryNotFoundError: If there is none.
        InputError: If it may not be read.
        EntryDamagedError: If it is truncated, its header is not what was written, or another version wrote it.
    """
    try:
        file = safe_open(path, framework="numpy")
    except FileNotFoundError as error:
        raise EntryNotFoundError(str(error)) from error
    except PermissionError as error:
        raise InputError(f"cannot read {path}: {error.strerror or 'permission denied'}; check its owner") from error
    except _READING as error:
        raise EntryDamagedError(str(error)) from error
    with file:
        try:
            entry = StoreEntry(file)
        except _READING as error:
            raise EntryDamagedError(str(error)) from error
        yield entry


def write_entry(path: Path, item: Packable, source: str) -> None:
    """Write a Portrait or Clip, atomically.

    Raises:
        InputError: If there is no room or no right to write.
    """
    packed, facts = item.pack()
    arrays = {
        name: np.ascontiguousarray(array.swapaxes(-1, -2) if _is_image(array.shape) else array)
        for name, array in sorted(packed.items())
    }
    source = Path(source).name.encode(errors="replace").decode()  # headers are Unicode, names of files any bytes
    facts = facts | {"source": source, "format": ENTRY_FORMAT}
    types, shapes = [TYPES[array.dtype.name] for array in arrays.values()], [array.shape for array in arrays.values()]
    checksums = [_header_checksum(facts, list(arrays), types, shapes)]
    for array in arrays.values():
        checksums += _checksums(array)
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


def _header_checksum(
    facts: Mapping[str, str], names: Sequence[str], types: Sequence[str], shapes: Sequence[tuple[int, ...]]
) -> int:
    return zlib.crc32(json.dumps([dict(facts), names, types, shapes], sort_keys=True).encode())


def _compare(found: list[int], expected: np.ndarray) -> None:
    if found != expected.tolist():
        raise EntryDamagedError("its content does not agree with its checksums")
