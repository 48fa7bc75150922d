"""Receive images: every byte goes to the disk as it comes, within bounds; a request is never held in memory."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from piqa.errors import InputError
from piqa.server.names import display_name
from piqa.server.refusals import RequestError, line_of, told_when_full
from piqa.server.settings import MIB, Limits
from piqa.system.phrases import Phrase

MOST_FIELDS, FIELD_BYTES, HEADER_BYTES = 50, 4096, 8192
JSON_BYTES = 4 * MIB
DRAINED = 256 * MIB  # of a request that is refused: who does not read to its end would cut off its answer
DRAIN_SECONDS = 20.0


@dataclass(frozen=True)
class Upload:
    """An image that was received: what it is called, where it lies, its bytes and their digest."""

    name: str
    path: Path
    size: int
    digest: str


@dataclass
class Received:
    """What a request brought.

    Attributes:
        images: Its images in their order; of one that was too large, or is called something that no image may be, its
            name, and why.
        fields: Its other fields by name, the last of several.
        names: Images below the server's root that it names, of a request as JSON.
    """

    images: list[Upload | tuple[str, str]] = field(default_factory=list)
    fields: dict[str, Any] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)

    @property
    def uploads(self) -> list[Upload]:
        """The images that were taken."""
        return [one for one in self.images if isinstance(one, Upload)]

    @property
    def refused(self) -> list[tuple[str, str]]:
        """Name of each of the others, and why."""
        return [one for one in self.images if not isinstance(one, Upload)]


async def receive(request: Request, folder: Path, limits: Limits) -> Received:
    """Receive a request: multipart with images, or JSON that names them in `names`.

    Args:
        request: What was asked.
        folder: Where the images are written.
        limits: How much is taken.

    Raises:
        RequestError: If it is neither, is more than is taken, takes too long, or the disk is full.
        starlette.requests.ClientDisconnect: If the client is gone.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    declared = request.headers.get("content-length", "0")
    most = JSON_BYTES if kind == b"application/json" else limits.request_bytes
    body = _Body(request, most, limits.request_seconds)
    if declared.isdigit() and int(declared) > most:
        await body.drain()
        raise body.too_large()
    if kind == b"application/json":
        content = b"".join([chunk async for chunk in body.chunks()])
        return await run_in_threadpool(_from_json, content, limits)
    if kind != b"multipart/form-data" or not (boundary := options.get(b"boundary")):
        await body.drain()
        raise RequestError(415, Phrase("send images as multipart/form-data, or as application/json with their `names`"))
    parts = _Parts(folder, limits)
    parser = MultipartParser(boundary, parts.callbacks)
    try:
        with told_when_full():
            async for chunk in body.chunks():
                await run_in_threadpool(parser.write, chunk)
            if not parts.ended:
                raise RequestError(400, Phrase("the request ends before its last part does"))
    except FormParserError as error:
        await body.drain()
        raise RequestError(400, Phrase("the request is no multipart/form-data: {error}", error=str(error))) from error
    except RequestError:
        await body.drain()
        raise
    finally:
        parts.close()
    return parts.received


class _Body:
    """The bytes of a request, within bounds of their number and of time."""

    def __init__(self, request: Request, most: int, seconds: float) -> None:
        self._stream, self._most, self._read = request.stream(), most, 0
        self._seconds, self._late = seconds, time.monotonic() + seconds

    def too_large(self) -> RequestError:
        taken = "the request has more than the {most:g} MiB that are taken at once"
        return RequestError(413, Phrase(taken, most=self._most / MIB))

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes; RequestError if they are too many, or come too slowly."""
        async for chunk in self._until(self._late):
            if self._read > self._most:
                raise self.too_large()
            yield chunk

    async def drain(self) -> None:
        """Read on to the end, as far as that is soon, and forget what is read."""
        try:
            async for _ in self._until(min(self._late, time.monotonic() + DRAIN_SECONDS)):
                if self._read > self._most + DRAINED:
                    return
        except RequestError:
            return

    async def _until(self, late: float) -> AsyncIterator[bytes]:
        while True:
            try:
                chunk = await asyncio.wait_for(anext(self._stream), max(0.0, late - time.monotonic()))
            except StopAsyncIteration:
                return
            except asyncio.TimeoutError as error:
                raise RequestError(
                    408, Phrase("the request took more than {seconds:g} s to arrive", seconds=self._seconds)
                ) from error
            self._read += len(chunk)
            yield chunk


class _Parts:
    """Takes the parts of a request as the parser finds them."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder, self._limits, self.received = folder, limits, Received()
        self._header, self._value, self._headers = b"", b"", {}  # type: ignore[var-annotated]
        self._file: BinaryIO | None = None
        self._name: str | None = None  # of an image; None in a field
        self._error: str | None = None
        self._field, self._text, self._size, self._files, self._fields = "", b"", 0, 0, 0
        self._digest = hashlib.blake2b(digest_size=16)
        self.ended = False

    @property
    def callbacks(self) -> Any:
        """What the parser calls."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_end,
            "on_part_data": self._data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    def close(self) -> None:
        """Close the file that is being written."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin(self) -> None:
        self._headers, self._header, self._value, self._size, self._text = {}, b"", b"", 0, b""
        self._name = self._error = None

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]
        self._check_headers()

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._check_headers()

    def _check_headers(self) -> None:
        if len(self._header) + len(self._value) > HEADER_BYTES or len(self._headers) > 16:
            raise RequestError(400, Phrase("a part of the request has headers that are too long"))

    def _header_end(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header = self._value = b""

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._field = options.get(b"name", b"").decode("utf-8", "replace")
        given = options.get(b"filename")
        if given is None:
            self._fields += 1
            if self._fields > MOST_FIELDS:
                raise RequestError(413, Phrase("the request has more than {most} fields", most=MOST_FIELDS))
            return
        self._files += 1
        if self._files > self._limits.request_files:
            most = self._limits.request_files
            raise RequestError(413, Phrase("the request has more than {most} images; send {most} at a time", most=most))
        self._name, self._digest = _shown(given), hashlib.blake2b(digest_size=16)
        try:
            self._name = display_name(given.decode("utf-8", "replace"))
        except InputError as error:
            self._error = line_of(error)
        self._file = (self._folder / str(self._files)).open("wb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._size += end - start
        if self._name is None:
            if self._size > FIELD_BYTES:
                longer = "the field {field!r} is longer than {most} bytes"
                raise RequestError(413, Phrase(longer, field=self._field[:50], most=FIELD_BYTES))
            self._text += data[start:end]
        elif self._error is None and self._size > self._limits.image_bytes:
            larger = "{name} has more than the {most:g} MiB that an image may have"
            self._error = Phrase(larger, name=self._name, most=self._limits.image_bytes / MIB)
            assert self._file is not None
            self._file.truncate(0)
        elif self._error is None and self._file is not None:
            piece = data[start:end]
            self._file.write(piece)
            self._digest.update(piece)

    def _part_end(self) -> None:
        if self._name is None:
            self.received.fields[self._field] = self._text.decode("utf-8", "replace")
            return
        assert self._file is not None
        path = Path(self._file.name)
        self.close()
        if self._error is None and self._size == 0:
            self._error = Phrase("{name} is empty", name=self._name)
        if self._error is not None:
            path.unlink(missing_ok=True)
            self.received.images.append((self._name, self._error))
        else:
            self.received.images.append(Upload(self._name, path, self._size, self._digest.hexdigest()))

    def _end(self) -> None:
        self.ended = True


def _shown(given: bytes) -> str:
    """Return the end of a name that is too long, to say which it is."""
    return display_name("..." + given.decode("utf-8", "replace")[-40:])


def _from_json(content: bytes, limits: Limits) -> Received:
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, Phrase("the request is no JSON: {error}", error=str(error))) from error
    names = fields.pop("names", []) if isinstance(fields, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RequestError(422, Phrase('the request names images as {"names": ["day_1/a.jpg", ...]}'))
    if len(names) > limits.request_files:
        too_many = "the request names {images} images; name {most} at a time"
        raise RequestError(413, Phrase(too_many, images=len(names), most=limits.request_files))
    return Received(fields=fields, names=names)
