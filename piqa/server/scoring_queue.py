"""One queue and one thread a model: images of many clients go through the network together."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from piqa.errors import InputError
from piqa.scoring.image_batches import BatchPreparer, ImageBatch
from piqa.scoring.scorer import Row, Scorer
from piqa.server.refusals import RequestError
from piqa.server.settings import ModelSettings
from piqa.system.phrases import Phrase
from piqa.system.worker_pool import worker

Result = TypeVar("Result")
Answer = Future[Any]
Work = Callable[[Scorer], object]
FIRST_GUESS = 0.5  # seconds an image, until some were scored
SMOOTHING = 0.1  # of the mean time an image


@dataclass
class _Item:
    """An image that waits for its score, or a function for which the scorer is needed."""

    answer: Answer
    file: str = ""
    work: Work | None = None
    batch: ImageBatch | None = None


@dataclass
class _Lines:
    """What waits: requests, for which somebody waits, go before what is scored in the background."""

    urgent: deque[_Item] = field(default_factory=deque)
    later: deque[_Item] = field(default_factory=deque)

    def take(self) -> _Item | None:
        """Return the next one; None where nothing waits."""
        return self.urgent.popleft() if self.urgent else self.later.popleft() if self.later else None


class ModelQueue:
    """Scores images with one model, from one thread.

    Args:
        name: What clients call the model.
        scorer: It is used by the thread alone once this has started.
        scoring: How it scores.
        most: Images of requests that may wait.
        batch_size: Images in one pass through the network.
        workers: Processes that decode images and find faces; 0 does it in the thread.
    """

    def __init__(
        self, name: str, scorer: Scorer, scoring: ModelSettings, most: int, batch_size: int, workers: int
    ) -> None:
        self.name, self.scorer, self.most = name, scorer, most
        self.columns = scorer.columns
        self._scoring, self._batch_size, self._workers = scoring, batch_size, workers
        self._lines, self._changed = _Lines(), threading.Condition()
        self._ready: queue.Queue[_Item] = queue.Queue(maxsize=2 * max(1, workers) + batch_size)
        self._open, self._mean = True, FIRST_GUESS
        targets = [self._score_all, *[self._prepare_all] * workers]
        self._threads = [threading.Thread(target=one, name=f"{name}-{at}") for at, one in enumerate(targets)]

    def start(self) -> None:
        """Start to score."""
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """The number of images of requests that wait."""
        return len(self._lines.urgent)

    def check_room(self, images: int) -> None:
        """Check that so many images may wait.

        Raises:
            RequestError: If the queue is too full, with the seconds after which another try may succeed.
        """
        if images > self.most:
            raise RequestError(
                413,
                Phrase(
                    "{images} images are more than may wait at once ({most}); ask for a job instead",
                    images=images,
                    most=self.most,
                ),
            )
        if self.waiting + images > self.most:
            seconds = max(1, math.ceil(self.waiting * self._mean))
            wait = Phrase(
                "{images} images wait already; try again in {seconds} s", images=self.waiting, seconds=seconds
            )
            raise RequestError(503, wait, seconds)

    def submit(self, files: Sequence[str]) -> list[Future[Row]]:
        """Return what the rows of a request's images will be, as of `Scorer.rows`; all of them, or none.

        Raises:
            RequestError: As of `check_room`.
        """
        items = [_Item(Future(), file) for file in files]
        with self._changed:
            self.check_room(len(items))
            self._lines.urgent += items
            self._changed.notify_all()
        return [item.answer for item in items]

    def submit_later(self, file: str) -> Future[Row]:
        """Return what the row of an image will be that is scored when no request waits."""
        item = _Item(Future(), file)
        with self._changed:
            self._lines.later.append(item)
            self._changed.notify_all()
        return item.answer

    def call(self, work: Callable[[Scorer], Result]) -> Future[Result]:
        """Return what a function will return that needs the scorer, which no other thread may use.

        Raises:
            RequestError: As of `check_room`.
        """
        item = _Item(Future(), work=work)
        with self._changed:
            self.check_room(1)
            self._lines.urgent.append(item)
            self._changed.notify_all()
        return item.answer

    def close(self) -> None:
        """End after what is being scored; what waits is cancelled."""
        with self._changed:
            self._open = False
            while (item := self._lines.take()) is not None:
                item.answer.cancel()
            self._changed.notify_all()
        for thread in self._threads:
            while thread.is_alive():
                self._drop_ready()  # whoever waits to put something there can end
                thread.join(0.1)
        self._drop_ready()

    def _drop_ready(self) -> None:
        while not self._ready.empty():
            self._ready.get_nowait().answer.set_exception(InputError(Phrase("the server was stopped")))

    def _next(self, wait: bool) -> _Item | None:
        """Return what is next of what waits; None where nothing is, or the queue is closed."""
        with self._changed:
            while self._open:
                while (item := self._lines.take()) is not None:
                    if item.answer.set_running_or_notify_cancel():
                        return item
                if not wait:
                    return None
                self._changed.wait()
        return None

    def _score_all(self) -> None:
        take = self._next if not self._workers else self._next_ready
        while self._open:
            item = take(True)
            if item is None:
                continue
            items: list[_Item] = []
            while item is not None and item.work is None:
                items.append(item)
                item = take(False) if len(items) < self._batch_size else None
            if items:
                self._score(items)
            if item is not None and item.work is not None:
                _answer(item, partial(item.work, self.scorer))

    def _next_ready(self, wait: bool) -> _Item | None:
        """Return what is next of what was prepared by the worker processes."""
        try:
            return self._ready.get(timeout=0.2) if wait else self._ready.get_nowait()
        except queue.Empty:
            return None

    def _score(self, items: list[_Item]) -> None:
        """Score images together; where that fails as a whole, each alone, so that a bad one costs itself."""
        start = time.monotonic()
        try:
            rows = [row for batch in self._batches(items) for row in self.scorer.rows(batch)]
            if len(rows) != len(items):
                raise RuntimeError(f"{len(rows)} rows of {len(items)} images")
        except Exception as error:
            if len(items) > 1:
                for item in items:
                    self._score([item])
            else:
                items[0].answer.set_exception(error)
            return
        for item, row in zip(items, rows, strict=True):
            item.answer.set_result(row)
        passed = (time.monotonic() - start) / len(items)
        self._mean += SMOOTHING * (passed - self._mean)

    def _batches(self, items: list[_Item]) -> Generator[ImageBatch, None, None] | Iterator[ImageBatch]:
        prepared = [item.batch for item in items if item.batch is not None]
        if prepared:
            return iter([joined(prepared)])
        files = [item.file for item in items]
        return self.scorer.batches(files, test_crops=self._scoring.test_crops, batch_size=len(files))

    def _prepare_all(self) -> None:
        """Prepare images, one after another, in a process of this thread's own."""
        scorer = self.scorer
        seen = (scorer.crop_size, self._scoring.test_crops, set(scorer.engine.inputs), None, scorer.view)
        make = partial(BatchPreparer, scorer.preparation, *seen, faces=scorer.engine.faces)
        with ExitStack() as stack:
            do: Callable[[list[str]], ImageBatch] | None = None
            try:
                do = stack.enter_context(worker(make))
                do([])  # it loads what it needs: the first image need not wait for that
            except Exception:  # which the first image meets again
                stack.close()
                do = None
            while self._open:
                item = self._next(True)
                if item is None:
                    return
                if item.work is None:
                    try:
                        do = do or stack.enter_context(worker(make))
                        item.batch = do([item.file])
                    except Exception as error:  # the process was killed: the next image gets a new one
                        stack.close()
                        do = None
                        item.answer.set_exception(error)
                        continue
                self._ready.put(item)


def _answer(item: _Item, work: Callable[[], object]) -> None:
    try:
        item.answer.set_result(work())
    except Exception as error:
        item.answer.set_exception(error)


def joined(batches: Sequence[ImageBatch]) -> ImageBatch:
    """Return batches of one image each as one batch."""
    first = replace(batches[0], crops={}, windows=None, window_counts=[], files=[], stamps=[], errors=[])
    first.face_boxes, first.turned, first.factors = [], [], []
    crops: dict[str, list[Any]] = {}
    windows = []
    for one in batches:
        first.files += one.files
        first.stamps += one.stamps
        first.errors += one.errors
        first.face_boxes += one.face_boxes
        first.turned += one.turned
        first.window_counts += one.window_counts
        windows += [] if one.windows is None else [one.windows]
        for name, values in one.crops.items():
            crops.setdefault(name, []).extend(values)
    for name, images in crops.items():
        same = len({image.shape for image in images}) == 1
        first.crops[name] = np.stack(images) if same else images
    first.windows = np.concatenate(windows) if windows else None
    return first
