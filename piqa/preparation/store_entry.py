"""One entry of the prepared store: arrays and facts in one file, read in parts, with checksums that tell flipped bytes.

An entry is a safetensors file. Images lie in it as (height, 3, width), a clip as (frames, height, 3, width): rows in
one piece, so that a crop reads its own rows alone, and every channel in one piece, as networks take them. The tensor
`checksums` (uint32) holds CRC-32s: one of the facts and of every array's name, type and shape; then, array after array
by name, one of every `BAND` rows of an image, or one of any other array. A crop checks the bands that it touches.
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

FORMAT = "2"  # of the file; entries of another format are prepared anew
CHECKSUMS = "checksums"
BAND = 16  # rows; a crop reads up to 30 rows too many, and calls crc32 once for every 20 kB
TYPES = {"uint8": "U8", "float32": "F32"}  # what arrays may hold, in numpy's words and in safetensors'

_READING = (OSError, SafetensorError, ValueError)  # what reading a file of the wrong content may raise


class Packable(Protocol):
    """A Portrait or a Clip."""

    def pack(self) -> tuple[dict[str, np.ndarray], dict[str, str]]:
        """Arrays and facts, losslessly."""


class EntryNotFoundError(Exception):
    """There is no such entry."""


class EntryDamagedError(Exception):
    """An entry is not what was written, or was written by another version."""


class StoredImage:
    """An image in an entry: slicing it reads the rows that are asked for, and checks them.

    Args:
        part: Reads from the file, as safetensors' `get_slice` gives it.
        checksums: Expected CRC-32 of every band.
        shape: (height, 3, width), as it is stored.
        frame: Its number, for a frame of a clip.

    Attributes:
        shape: (height, width, 3), as it is seen.
    """

    def __init__(self, part: Any, checksums: np.ndarray, shape: Sequence[int], frame: int | None = None) -> None:
        self._part, self._checksums = part, checksums
        self._at = () if frame is None else (frame,)
        self.shape = shape[0], shape[2], shape[1]

    def __getitem__(self, window: tuple[slice, slice]) -> np.ndarray:
        """Rows and columns, uint8, (rows, columns, 3).

        Raises:
            EntryDamagedError: If a band that is read is not what was written.
        """
        top, bottom, _ = window[0].indices(self.shape[0])
        first, last = top // BAND, math.ceil(bottom / BAND)
        try:
            lines: np.ndarray = self._part[(*self._at, slice(first * BAND, min(last * BAND, self.shape[0])))]
        except _READING as error:
            raise EntryDamagedError(str(error)) from error
        _compare(_band_checksums(lines), self._checksums[first:last])
        start = top - first * BAND
        return lines[start : start + bottom - top].swapaxes(1, 2)[:, window[1]]


class Entry:
    """An entry that is open for reading, whose header is sound.

    Attributes:
        facts: As they were packed.
    """

    def __init__(self, file: Any) -> None:
        self.facts: dict[str, str] = file.metadata() or {}
        if self.facts.get("format") != FORMAT:
            raise EntryDamagedError(f"it is of format {self.facts.get('format', '1')}, not {FORMAT}")
        names = sorted(set(file.keys()) - {CHECKSUMS})
        self._parts = {name: file.get_slice(name) for name in names}
        self._shapes = {name: tuple(part.get_shape()) for name, part in self._parts.items()}
        checksums: np.ndarray = file.get_tensor(CHECKSUMS)
        types = [part.get_dtype() for part in self._parts.values()]
        _compare([_header_checksum(self.facts, names, types, list(self._shapes.values()))], checksums[:1])
        ends = np.cumsum([1, *(_count(self._shapes[name]) for name in names)])
        self._checksums = dict(zip(names, np.split(checksums, ends)[1:], strict=False))

    def read(self, late: bool = False) -> dict[str, Any]:
        """The arrays by name, checked.

        Args:
            late: Leave images in the file: each is a StoredImage, to be read while the entry is open, and a clip a
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
            array: np.ndarray = self._parts[name][slice(None)]
        except _READING as error:
            raise EntryDamagedError(str(error)) from error
        _compare(_checksums(array), self._checksums[name])
        return array.swapaxes(-1, -2) if _is_image(array.shape) else array


@contextmanager
def open_entry(path: Path) -> Iterator[Entry]:
    """Opens an entry for reading.

    Raises:
        EntryNotFoundError: If it is not there.
        InputError: If it may not be read.
        EntryDamagedError: If it is cut short, its header is not what was written, or another version wrote it.
    """
    try:
        file = safe_open(path, framework="numpy")
    except FileNotFoundError as error:
        raise EntryNotFoundError(str(error)) from error
    except PermissionError as error:
        raise InputError(f"cannot read {path}: {error.strerror or 'permission denied'}; whose is it?") from error
    except _READING as error:
        raise EntryDamagedError(str(error)) from error
    with file:
        try:
            entry = Entry(file)
        except _READING as error:
            raise EntryDamagedError(str(error)) from error
        yield entry


def write_entry(path: Path, item: Packable, source: str) -> None:
    """Writes a Portrait or Clip, atomically.

    Raises:
        InputError: If there is no room or no right to write.
    """
    packed, facts = item.pack()
    arrays = {
        name: np.ascontiguousarray(array.swapaxes(-1, -2) if _is_image(array.shape) else array)
        for name, array in sorted(packed.items())
    }
    source = Path(source).name.encode(errors="replace").decode()  # a header is Unicode, a file's name any bytes
    facts = facts | {"source": source, "format": FORMAT}
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
    """Checksums of an array that is stored in this shape."""
    return math.prod(shape[:-3]) * math.ceil(shape[-3] / BAND) if _is_image(shape) else 1


def _checksums(array: np.ndarray) -> list[int]:
    """Of an array as it is stored."""
    if not _is_image(array.shape):
        return [zlib.crc32(array.data)]
    return [checksum for frame in array.reshape(-1, *array.shape[-3:]) for checksum in _band_checksums(frame)]


def _band_checksums(lines: np.ndarray) -> list[int]:
    return [zlib.crc32(lines[row : row + BAND].data) for row in range(0, len(lines), BAND)]


def _header_checksum(
    facts: Mapping[str, str], names: Sequence[str], types: Sequence[str], shapes: Sequence[tuple[int, ...]]
) -> int:
    return zlib.crc32(json.dumps([dict(facts), names, types, shapes], sort_keys=True).encode())


def _compare(found: list[int], expected: np.ndarray) -> None:
    if found != expected.tolist():
        raise EntryDamagedError("its content does not agree with its checksums")
