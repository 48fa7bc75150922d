"""Images that are scored, explained or compared for one answer, and then forgotten."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from piqa.errors import InputError, late_imports
from piqa.report.facts import Facts, MapPicture, score_pictures
from piqa.report.portraits import ScoreSaid
from piqa.scoring.scorer import Scorer
from piqa.server.measured import ERROR, PICTURES, Task
from piqa.server.models import Model
from piqa.server.names import below_root, display_name
from piqa.server.photo_job import score_of
from piqa.server.photos import ScoreSeen, maps_in, report_facts
from piqa.server.refusals import RequestError, line_of
from piqa.server.uploads import Upload, receive
from piqa.system.phrases import Phrase

if TYPE_CHECKING:
    from piqa.explanation.explainer import Explainer, ImageFeatures, ScoreExplanation
    from piqa.server.app import Services

LOOK = 1.0  # seconds between two looks whether the client is still there
MOST_EXPLAINED = 32  # images of one request; each takes a pass through the networks, and 49 with maps


@dataclass
class Given:
    """An image of a request.

    Attributes:
        name: What it is called.
        file: Where it lies; None where it was not taken.
        error: Why not, or why it could not be measured.
        facts: What was measured.
        maps: Of what was measured, as data.
        scores: By model.
        said: Explanations of the scores, by model.
    """

    name: str
    file: Path | None
    error: str | None = None
    facts: Facts | None = None
    maps: list[MapPicture] = field(default_factory=list)
    scores: dict[str, ScoreSeen] = field(default_factory=dict)
    said: dict[str, ScoreSaid] = field(default_factory=dict)

    @property
    def factors(self) -> Mapping[str, float | None]:
        """The value of each factor; empty where nothing was measured."""
        return {} if self.facts is None else self.facts.values


class Once:
    """Answers requests on images that are not kept.

    Args:
        services: Of the server.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._explainer = lru_cache(None)(_explainer)

    @asynccontextmanager
    async def given(self, request: Request) -> AsyncIterator[list[Given]]:
        """Yield the images of a request, uploaded or named below the server's root; errors as of `receive`.

        Those that were uploaded are gone when the block ends.
        """
        async with self._services.storage.incoming() as folder:
            received = await receive(request, folder, self._services.settings.limits)
            images = [
                Given(one.name, one.path) if isinstance(one, Upload) else Given(one[0], None, one[1])
                for one in received.images  # in their order, by which a client knows them
            ]
            for name in received.names:
                try:
                    path = await run_in_threadpool(below_root, self._services.settings.root, name)
                    images.append(Given(display_name(name), path))
                except InputError as error:
                    images.append(Given(display_name(name[:200]), None, line_of(error)))
            if not images:
                raise RequestError(400, Phrase("the request holds no image"))
            yield images

    async def score(self, request: Request, images: Sequence[Given], models: Sequence[Model]) -> None:
        """Score images by models.

        Raises:
            RequestError: If too many images wait.
        """
        there = [image for image in images if image.file is not None]
        for model in models:
            model.queue.check_room(len(there))
        files = [str(image.file) for image in there]
        waiting = _all(model.queue.submit(files) for model in models)
        rows = iter(await self._results(request, waiting))
        for model in models:
            for image in there:
                row = next(rows)
                line = str(row).replace(str(image.file), image.name)
                kept = {"error": line, "score": None} if isinstance(row, Exception) else None
                image.scores[model.name] = ScoreSeen(**(kept or score_of(row, image.file, image.name)))

    async def measure(self, request: Request, images: Sequence[Given], maps: bool = False) -> None:
        """Measure images; with `maps` their maps are made, too. Errors as of `score`."""
        there = [image for image in images if image.file is not None]
        pool = self._services.measuring
        pool.check_room(len(there))
        folders = await run_in_threadpool(self._folders_of_maps, there) if maps else [None] * len(there)
        tasks = [Task(str(image.file), image.name, folder) for image, folder in zip(there, folders, strict=True)]
        results = await self._results(request, _all([pool.submit(task, urgent=True)] for task in tasks))
        for image, found, folder in zip(there, results, folders, strict=True):
            if isinstance(found, Exception) or found[ERROR] is not None:
                error = str(found) if isinstance(found, Exception) else found[ERROR]
                image.error = error.replace(str(image.file), image.name)
                continue
            image.facts = report_facts(found)
            if folder is not None:
                image.maps = await run_in_threadpool(_maps_as_data, Path(folder))

    async def explain(self, request: Request, images: Sequence[Given], models: Sequence[Model], maps: bool) -> None:
        """Explain the scores that models give images, each against the others of the request."""
        there = [image for image in images if image.file is not None and image.error is None]
        if len(there) > MOST_EXPLAINED:
            raise RequestError(
                413,
                Phrase(
                    "{images} images are more than are explained at once, {most}",
                    images=len(there),
                    most=MOST_EXPLAINED,
                ),
            )
        for model in models:
            calls = _all([model.queue.call(self._features_of(str(image.file)))] for image in there)
            found = await self._results(request, calls)
            good = [one for one in found if not isinstance(one, Exception)]
            works = [
                self._explain_of(own, [one for other, one in enumerate(good) if other != place], maps)
                for place, own in enumerate(good)
            ]
            said = iter(await self._results(request, _all([model.queue.call(work)] for work in works)))
            for image, features in zip(there, found, strict=True):
                explained = features if isinstance(features, Exception) else next(said)
                if isinstance(explained, Exception):
                    line = str(explained).replace(str(image.file), image.name)
                    image.scores[model.name] = ScoreSeen(None, line)
                else:
                    image.scores[model.name] = ScoreSeen(explained.score)
                    image.said[model.name] = _said(explained)

    def _folders_of_maps(self, images: Sequence[Given]) -> list[str | None]:
        """Make a folder beside each uploaded image; return them, None of an image below the root."""
        folders = [None if self._is_named(image) else f"{image.file}.pictures" for image in images]
        for folder in folders:
            if folder is not None:
                Path(folder).mkdir(exist_ok=True)
        return folders

    def _is_named(self, image: Given) -> bool:
        """Whether an image lies below the root, where nothing is written."""
        root = self._services.settings.root
        return root is not None and image.file is not None and image.file.is_relative_to(root.resolve())

    def _features_of(self, file: str) -> Callable[[Scorer], ImageFeatures]:
        return lambda scorer: self._explainer(scorer).features(file)

    def _explain_of(
        self, own: ImageFeatures, others: Sequence[ImageFeatures], maps: bool
    ) -> Callable[[Scorer], ScoreExplanation]:
        return lambda scorer: self._explainer(scorer).explain(own, others, maps=maps)

    async def _results(self, request: Request, futures: Sequence[Future[Any]]) -> list[Any]:
        """Return results, or the exception of each; what waits is given up where the client is gone.

        Raises:
            RequestError: If it takes too long.
            ClientDisconnect: If the client is gone.
        """
        late = asyncio.get_running_loop().time() + self._services.settings.limits.request_seconds
        pending = {asyncio.wrap_future(future) for future in futures}
        try:
            while pending:
                _, pending = await asyncio.wait(pending, timeout=LOOK)
                if pending and await request.is_disconnected():
                    raise ClientDisconnect
                if pending and asyncio.get_running_loop().time() > late:
                    raise RequestError(
                        503, Phrase("this took longer than a request may take; ask for a job instead"), 60
                    )
        finally:
            for future in futures:
                future.cancel()
        return [_result(future) for future in futures]


def _all(submitted: Iterable[Sequence[Future[Any]]]) -> list[Future[Any]]:
    """Return futures as they are submitted; where one is refused, for a full queue, those before it are given up."""
    futures: list[Future[Any]] = []
    try:
        for some in submitted:
            futures += some
    except BaseException:
        for future in futures:
            future.cancel()
        raise
    return futures


def _result(future: Future[Any]) -> Any:
    if future.cancelled():
        return InputError(Phrase("the server was stopped"))
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, InputError):
        return error
    return InputError(Phrase("this image could not be read ({error})", error=type(error).__name__))


def _explainer(scorer: Scorer) -> Explainer:
    with late_imports():
        from piqa.explanation.explainer import Explainer
    return Explainer(scorer)


def _said(found: ScoreExplanation) -> ScoreSaid:
    maps = score_pictures(found.maps)
    return ScoreSaid(found.score, found.reference_score, dict(found.shares), list(found.notes), maps)


def _maps_as_data(folder: Path) -> list[MapPicture]:
    """Return maps that were written as files, with their pictures as data."""

    def data(name: str) -> str:
        content = base64.b64encode((folder / f"map_{name}.png").read_bytes()).decode()
        return f"data:image/png;base64,{content}"

    return maps_in(folder / PICTURES, data)
