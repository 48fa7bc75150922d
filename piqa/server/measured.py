"""Measure photos in processes of their own, and write the pictures that pages show of them."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import math
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image

from piqa.errors import InputError
from piqa.factors.measure import FactorMeasurer
from piqa.moments.capture_facts import read_capture_facts
from piqa.preparation.file_facts import file_facts
from piqa.preparation.image_bounds import read_file
from piqa.preparation.image_file import decode_image
from piqa.report.facts import PHOTO_QUALITY, PHOTO_SIDE, Facts, facts_of, pictures_of
from piqa.report.parts import measures
from piqa.scoring.image_batches import NO_STAMP
from piqa.server.disk import is_full
from piqa.server.refusals import RequestError
from piqa.system.device import core_count
from piqa.system.files import replacing
from piqa.system.json_text import plain, write_json
from piqa.system.phrases import Phrase, packed
from piqa.system.worker_pool import worker

CORES_PER_WORKER = 2
SECONDS_EACH = 1.0  # of an image, about
MOST_WORKERS = 8  # half a gigabyte each
FULL_QUALITY = 92  # of a copy at its full size
PREVIEW, THUMBNAIL, FULL, PICTURES = "preview.jpg", "thumbnail.jpg", "full.jpg", "pictures.json"
CAPTURE, ERROR = "capture", "error"


@cache
def measured_with() -> str:
    """Return the digest of all that measured values depend on, apart from the image."""
    return hashlib.blake2b(json.dumps(plain(measures()), sort_keys=True).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class Task:
    """What is to be measured, or copied.

    Attributes:
        file: The image.
        name: What it is called in messages.
        folder: Where its pictures are written; None for no pictures.
        full: Whether a copy at full size is all that is wanted.
    """

    file: str
    name: str
    folder: str | None = None
    full: bool = False


class Measuring:
    """Does tasks in a worker process; a bad image costs itself alone."""

    def __init__(self) -> None:
        self._measure = FactorMeasurer()

    def __call__(self, task: Task) -> dict[str, Any]:
        """Return facts as JSON holds them: `piqa.report.facts.Facts`, and `capture`, without any place."""
        try:
            content = read_file(task.file)
            image = decode_image(content, task.name, "srgb")
            if task.full:
                assert task.folder is not None
                _save(image, Path(task.folder) / FULL, FULL_QUALITY)
                return {ERROR: None}
            found = self._measure.measure(image, file_facts(content), task.name)
            if task.folder is not None:
                _write_pictures(pictures_of(found), Path(task.folder))
            return asdict(facts_of(found, NO_STAMP)) | {CAPTURE: _capture(task.file)}
        except InputError as error:
            if is_full(error):
                raise  # which is no fault of the image
            return _failed(str(error).replace(task.file, task.name))
        # Whatever a hostile image does to a library, the other images are not at fault.
        except Exception as error:
            return _failed(f"{task.name} could not be measured ({type(error).__name__}: {error})")


class MeasuringPool:
    """Threads, each with a worker process, that do tasks in the order of their urgency and arrival.

    Args:
        workers: Number of processes; None for what suits the cores.
        most: Urgent tasks that may wait.
    """

    def __init__(self, workers: int | None = None, most: int = 256) -> None:
        count = max(1, min(core_count() // CORES_PER_WORKER, MOST_WORKERS)) if workers is None else workers
        self._waiting: queue.PriorityQueue[tuple[int, int, Task | None, Future[dict[str, Any]]]] = queue.PriorityQueue()
        self._numbers, self._most, self._urgent = itertools.count(), most, 0
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, name=f"measuring-{one}") for one in range(count)]

    @property
    def workers(self) -> int:
        """The number of processes."""
        return len(self._threads)

    def start(self) -> None:
        """Start the threads; a process starts with the first task."""
        for thread in self._threads:
            thread.start()

    def check_room(self, images: int) -> None:
        """Check that so many urgent tasks may wait, as of `ModelQueue.check_room`."""
        if images > self._most:
            raise RequestError(
                413,
                Phrase(
                    "{images} images are more than may wait at once ({most}); ask for a job instead",
                    images=images,
                    most=self._most,
                ),
            )
        if self._urgent + images > self._most:
            seconds = math.ceil(self._urgent * SECONDS_EACH / self.workers)
            wait = Phrase(
                "{images} images wait already; try again in {seconds} s", images=self._urgent, seconds=seconds
            )
            raise RequestError(503, wait, seconds)

    def submit(self, task: Task, *, urgent: bool = False) -> Future[dict[str, Any]]:
        """Return what a task's result will be; an urgent one, for which a client waits, goes first."""
        future: Future[dict[str, Any]] = Future()
        if urgent:
            with self._lock:
                self.check_room(1)
                self._urgent += 1
            future.add_done_callback(self._one_less)
        self._waiting.put((0 if urgent else 1, next(self._numbers), task, future))
        return future

    def _one_less(self, _: object) -> None:
        with self._lock:
            self._urgent -= 1

    def close(self) -> None:
        """End all processes after the tasks that they are at."""
        with suppress(queue.Empty):
            while True:
                self._waiting.get_nowait()[3].cancel()
        for _ in self._threads:
            self._waiting.put((-1, next(self._numbers), None, Future()))
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _work(self) -> None:
        with ExitStack() as stack:
            do: Callable[[Task], dict[str, Any]] | None = None
            while True:
                _, _, task, future = self._waiting.get()
                if task is None:
                    return
                if not future.set_running_or_notify_cancel():
                    continue
                try:
                    do = do or stack.enter_context(worker(Measuring))
                    future.set_result(do(task))
                except InputError as error:
                    if is_full(error):
                        future.set_exception(error)
                        continue
                    stack.close()  # the process was killed: the next task gets a new one
                    do = None
                    future.set_result(_failed(f"{task.name} could not be measured; it may need too much memory"))
                except BaseException as error:
                    future.set_exception(error)


def _failed(reason: str) -> dict[str, Any]:
    return asdict(Facts(NO_STAMP, reason))


def _capture(file: str) -> dict[str, Any]:
    with suppress(InputError):
        return asdict(read_capture_facts(file))
    return {}


def _write_pictures(pictures: Any, folder: Path) -> None:
    """Write pictures as files; their list comes last, so that where it is they are."""
    if not folder.is_dir():  # what was deleted meanwhile must not come back
        raise InputError(Phrase("it was deleted meanwhile"))
    named = {PREVIEW: pictures.photo, THUMBNAIL: pictures.thumbnail}
    named |= {f"map_{one.name}.png": one.picture for one in pictures.maps}
    for name, uri in named.items():
        with replacing(folder / name) as temporary:
            temporary.write_bytes(base64.b64decode(uri.partition(",")[2]))
    maps = [
        {"name": one.name, "title": one.title, "legend": one.legend, "limits": packed(one.limits)}
        for one in pictures.maps
    ]
    write_json({"maps": maps, "side": PHOTO_SIDE, "quality": PHOTO_QUALITY}, folder / PICTURES, indent=None)


def _save(image: Image.Image, path: Path, quality: int) -> None:
    image = image.copy()
    image.info.clear()
    with replacing(path) as temporary:
        image.save(temporary, format="JPEG", quality=quality)
