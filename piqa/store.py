"""The prepared store: every picture decoded, its face found and its LIQE logits computed once, kept losslessly.

    store/
      digests.json                      path -> size, times of change, digest: unchanged files are not read again
      <settings>/settings.json          the preparation's settings in words
      <settings>/<ab>/<digest>.safetensors   one Portrait; named by the image file's content
      <settings>/failed.csv             pictures that could not be prepared, and why

An entry's name tells its source and settings, so a changed picture or setting simply has no entry yet. Entries are
written atomically and never changed: any number of processes may read and build at once, and a killed build goes on
where it stopped. A PIQ23 picture takes about 1.6 MB (8 GB for all 5116): recompression would change the very quality
that is being judged.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast

import numpy as np
import pandas as pd
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from piqa.device import pick_device
from piqa.digests import Digests
from piqa.errors import InputError
from piqa.files import replacing

MANY, SAMPLE = 100, 8  # from how many files on the room that they will take is estimated, and from how many
PER_WORKER = 8  # pictures that justify starting one more process, which takes seconds


@dataclass
class BuildReport:
    """What a build did, in pictures.

    Attributes:
        prepared: Newly prepared.
        reused: Found in the store.
        no_face: Of both, those whose face crop is the whole image because no face was found.
        failed: Path and reason of every picture that could not be prepared.
    """

    prepared: int = 0
    reused: int = 0
    no_face: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.prepared} prepared, {self.reused} reused, {self.no_face} no face, {len(self.failed)} failed"


class Packable(Protocol):
    """A Portrait or a Clip."""

    def pack(self) -> tuple[dict[str, np.ndarray], dict[str, str]]:
        """Arrays and facts, losslessly."""


Item = TypeVar("Item", bound=Packable)
Made = TypeVar("Made", bound=Packable, covariant=True)


class Recipe(Protocol[Made]):
    """How items are prepared: `piqa.portrait.Preparation` or `piqa.video.ClipPreparation`."""

    def __hash__(self) -> int: ...

    def key(self, digest: Callable[[str], str]) -> str:
        """Short name of everything that an item depends on, apart from its source file."""

    def preparer(self, device: str) -> Callable[[str], Made]:
        """What turns a file into an item, or raises InputError."""

    def unpack(self, arrays: Mapping[str, np.ndarray], facts: Mapping[str, str], path: str) -> Made:
        """The item that was packed."""


class PreparedStore(Generic[Item]):
    """Portraits or Clips on disk, by source file and settings.

    Args:
        folder: The store; made if absent. Several datasets and settings may share one.
        settings: How they are prepared.
    """

    def __init__(self, folder: str | Path, settings: Recipe[Item]) -> None:
        self.root = Path(folder)
        self.settings = settings
        self._digests = Digests(self.root / "digests.json")
        self.folder = self.root / settings.key(self._digests.of)

    def entry(self, path: str | Path) -> Path:
        """Where the Portrait of an image file is kept, whether it is there yet or not.

        Raises:
            InputError: If the image file cannot be read.
        """
        digest = self._digests.of(str(path))
        return self.folder / digest[:2] / f"{digest}.safetensors"

    def load(self, path: str | Path) -> Item:
        """The Portrait of an image file, or the Clip of a video file.

        Raises:
            InputError: If it has not been prepared, or its motion features are asked for and cannot be read.
        """
        entry = self.entry(path)
        try:
            with safe_open(entry, framework="numpy") as file:
                arrays = {name: file.get_tensor(name) for name in file.keys()}
                return self.settings.unpack(arrays, file.metadata(), str(path))
        except InputError:
            raise
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path} is not in the prepared store {self.root}; run `python -m piqa.prepare`"
            ) from error

    def build(
        self,
        paths: Iterable[str | Path],
        device: str = "auto",
        workers: int | None = None,
        max_failed: float = 0.01,
        progress: bool = True,
    ) -> BuildReport:
        """Prepares what is missing.

        Args:
            paths: Image files; the same file may come twice.
            device: Where face detector and LIQE run: `cpu`, `cuda`, ... or `auto`.
            workers: Processes; None takes one a core (at most 4 on a GPU), fewer for few pictures; 0 is this process.
            max_failed: Share of pictures, in [0, 1], that may fail before the build ends with an error.
            progress: Whether to draw a progress bar.

        Returns:
            The counts. Failed pictures are also listed in `failed.csv`.

        Raises:
            InputError: If the store cannot be written or more than `max_failed` of the pictures fail. What was prepared
                stays.
        """
        names = list(dict.fromkeys(map(str, paths)))
        report = BuildReport()
        self._describe()
        with _bar(not progress) as bar:
            task = bar.add_task("reading", total=len(names), counts="")
            missing: dict[Path, list[str]] = {}
            for path, found in self._look_up(names, report):
                bar.update(task, advance=1)
                if found is None:
                    missing.setdefault(self.entry(path), []).append(path)
                else:
                    report.reused += 1
                    report.no_face += not found
            self._digests.save()
            bar.update(task, description="preparing", total=sum(map(len, missing.values())), completed=0)
            jobs = [(same[0], entry) for entry, same in missing.items()]
            for entry, face_found, fault in self._prepare_all(jobs, str(pick_device(device)), workers, bar):
                same = missing[entry]  # files of the same content share an entry
                if fault is None:
                    report.prepared += len(same)
                    report.no_face += len(same) * (not face_found)
                else:
                    report.failed += [(name, fault) for name in same]
                bar.update(task, advance=len(same), counts=str(report))
        self._judge(report, len(names), max_failed)
        return report

    def _describe(self) -> None:
        described = self.folder / "settings.json"
        if not described.is_file():
            with replacing(described) as temporary:
                temporary.write_text(json.dumps(asdict(cast(Any, self.settings)), indent=2) + "\n", encoding="utf-8")

    def _look_up(self, paths: Sequence[str], report: BuildReport) -> Iterator[tuple[str, bool | None]]:
        """For each readable path: whether its entry shows a face, or None where there is no sound entry."""

        def look(path: str) -> tuple[str, bool | None, str | None]:
            try:
                return path, entry_has_face(self.entry(path)), None
            except InputError as error:
                return path, None, str(error)

        with ThreadPoolExecutor(max_workers=min(8, (os.cpu_count() or 1) * 2)) as pool:
            for path, found, fault in pool.map(look, paths):
                if fault is None:
                    yield path, found
                else:
                    report.failed.append((path, fault))

    def _prepare_all(
        self, jobs: Sequence[tuple[str, Path]], device: str, workers: int | None, bar: Progress
    ) -> Iterator[tuple[Path, bool, str | None]]:
        """Prepares all; of many a sample first, so that the room which the rest will take is known before."""
        sample = [] if len(jobs) < MANY else list(jobs[:: len(jobs) // SAMPLE])[:SAMPLE]
        sizes = []
        for done in self._prepare(sample, device, workers=0):
            sizes += [done[0].stat().st_size] if done[2] is None else []
            yield done
        rest = [job for job in jobs if job not in set(sample)]
        if sizes:
            needed, free = sum(sizes) / len(sizes) * len(rest) / 1e9, shutil.disk_usage(self.root).free / 1e9
            bar.console.print(
                f"{len(rest)} files will take about {needed:.2f} GB in {self.root}; {free:.0f} GB are free"
            )
            if needed > free:
                raise InputError(
                    f"{len(rest)} files would take about {needed:.0f} GB in {self.root} but {free:.0f} GB are free; "
                    "make room or name another `store`; videos take less with `data.clip.encoding: webp`"
                )
        yield from self._prepare(rest, device, workers)

    def _prepare(
        self, jobs: Sequence[tuple[str, Path]], device: str, workers: int | None
    ) -> Iterator[tuple[Path, bool, str | None]]:
        if workers is None:
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            workers = min(cores if device == "cpu" else min(4, cores), len(jobs) // PER_WORKER)
        if not jobs:
            return
        if workers <= 1:
            preparer = self.settings.preparer(device)
            for job in jobs:
                yield _prepare_one(preparer, *job)
            return
        context = multiprocessing.get_context("spawn")  # a forked child may not use torch's threads or CUDA
        pool = ProcessPoolExecutor(workers, context)
        try:
            for future in as_completed([pool.submit(_work, self.settings, device, *job) for job in jobs]):
                yield future.result()
        except BrokenProcessPool as error:
            raise InputError(
                f"a preparing process was killed, probably for want of memory; what is prepared stays in {self.root}; "
                f"go on with fewer `workers` than {workers}"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)

    def _judge(self, report: BuildReport, total: int, max_failed: float) -> None:
        listing = self.folder / "failed.csv"
        if not report.failed:
            with suppress(FileNotFoundError):
                listing.unlink()
            return
        with replacing(listing) as temporary:
            pd.DataFrame(sorted(report.failed), columns=["image", "error"]).to_csv(temporary, index=False)
        if len(report.failed) > max_failed * total:
            raise InputError(
                f"{len(report.failed)} of {total} pictures could not be prepared, more than the share of "
                f"{max_failed:g} that may fail; all are listed in {listing}; the first: {min(report.failed)[1]}"
            )


def write_entry(entry: Path, item: Packable, source: str) -> None:
    """Writes a Portrait or Clip, atomically.

    Raises:
        InputError: If there is no room or no right to write.
    """
    arrays, facts = item.pack()
    with replacing(entry) as temporary:
        try:
            tensors = {name: np.ascontiguousarray(values) for name, values in arrays.items()}
            save_file(tensors, temporary, facts | {"source": Path(source).name})
        except SafetensorError as error:  # how safetensors reports a full disk
            raise OSError(str(error)) from error


def entry_has_face(entry: Path) -> bool | None:
    """Whether an entry shows a face, from its header alone; None where there is no sound entry. A Clip tells of none.

    safetensors compares the header with the file's length, so an entry that was cut short counts as absent.
    """
    try:
        with safe_open(entry, framework="numpy") as file:
            return bool(file.metadata().get("face_box") != "null")
    except (OSError, SafetensorError, AttributeError):
        return None


@cache
def _own_preparer(settings: Recipe[Packable], device: str) -> Callable[[str], Packable]:
    """The one preparer of a worker process."""
    torch.set_num_threads(1)  # the processes share the cores among them
    return settings.preparer(device)


def _work(settings: Recipe[Packable], device: str, path: str, entry: Path) -> tuple[Path, bool, str | None]:
    return _prepare_one(_own_preparer(settings, device), path, entry)


def _prepare_one(preparer: Callable[[str], Packable], path: str, entry: Path) -> tuple[Path, bool, str | None]:
    """Prepares and writes one file. A bad file is an answer; a store that cannot be written is an exception."""
    try:
        item = preparer(path)
    except InputError as error:
        return entry, False, str(error)
    write_entry(entry, item, path)
    return entry, getattr(item, "face_found", True), None


def _bar(disable: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[counts]}"),
        disable=disable,
    )
