"""Preparing files into entries of the store, in this process or in several."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from piqa.entry import Packable, write_entry
from piqa.errors import InputError

PER_WORKER = 8  # pictures that justify starting one more process, which takes seconds

Job = tuple[str, Path]  # a file and the entry to be
Done = tuple[Path, bool, str | None]  # the entry, whether there is a face, and why it could not be prepared
Made = TypeVar("Made", bound=Packable, covariant=True)


class Recipe(Protocol[Made]):
    """How items are prepared: `piqa.portrait.Preparation` or `piqa.video.ClipPreparation`."""

    def __hash__(self) -> int: ...

    def key(self, digest: Callable[[str], str]) -> str:
        """Short name of everything that an item depends on, apart from its source file."""

    def preparer(self, device: str) -> Callable[[str], Made]:
        """What turns a file into an item, or raises InputError."""

    def unpack(self, arrays: Mapping[str, Any], facts: Mapping[str, str], path: str) -> Made:
        """The item that was packed."""


def worker_count(device: str, workers: int | None, files: int) -> int:
    """Processes to start: as many as asked for, or one a core (at most 4 on a GPU) and fewer for few files."""
    if workers is not None:
        return workers
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores if device == "cpu" else min(4, cores), files // PER_WORKER)


def prepare(jobs: Sequence[Job], recipe: Recipe[Packable], device: str, workers: int) -> Iterator[Done]:
    """Prepares files and writes their entries; yields what is done, in any order.

    Args:
        jobs: What to prepare.
        recipe: How.
        device: Where face detector and LIQE run.
        workers: Processes; 0 and 1 are this process.

    Raises:
        InputError: If an entry cannot be written or the networks that prepare cannot be had.
        RuntimeError: If a worker is killed; `telling_of_killed_workers` puts that in one line.
    """
    task = _Preparing(recipe, device)
    if workers <= 1:
        for job in jobs:
            yield _raised(task[job])
        return
    # torch's loader rather than an executor: it notices workers that die at any moment, as concurrent.futures of
    # Python 3.11 does not while it starts more of them, and its workers end by themselves once this process is killed.
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "This DataLoader will create"
        )  # more processes than cores are the user's word
        loader = DataLoader(
            task,
            batch_size=None,
            sampler=jobs,
            num_workers=workers,
            collate_fn=_as_is,
            multiprocessing_context="spawn",  # a forked child may not use torch's threads or CUDA
            generator=torch.Generator(),  # leaves the caller's random numbers alone
            in_order=False,
        )
    for done in loader:
        yield _raised(done)


@contextmanager
def telling_of_killed_workers(store: Path, workers: int) -> Iterator[None]:
    """Puts the death of a worker into one line; torch raises it wherever the main thread happens to be."""
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker"):
            raise
        raise InputError(
            f"a preparing process was killed, probably for want of memory; what is prepared stays in {store}; "
            f"go on with fewer `workers` than {workers}"
        ) from error


class _Preparing(Dataset[Done | InputError]):
    """A job gives what was done, or the InputError that must end it all: raised, torch would wrap it in a traceback."""

    def __init__(self, recipe: Recipe[Packable], device: str) -> None:
        self._recipe, self._device = recipe, device
        self._preparer: Callable[[str], Packable] | None = None  # each process makes its own

    def __getitem__(self, job: Job) -> Done | InputError:
        path, entry = job
        try:
            self._preparer = self._preparer or self._recipe.preparer(self._device)
            try:
                item = self._preparer(path)
            except InputError as error:  # a bad file costs itself alone
                entry.unlink(missing_ok=True)  # there may be a damaged one, which is now known to be of no use
                return entry, False, str(error)
            write_entry(entry, item, path)
        except InputError as error:
            return error
        return entry, getattr(item, "face_found", True), None


def _raised(done: Done | InputError) -> Done:
    if isinstance(done, InputError):
        raise done
    return done


def _as_is(done: Any) -> Any:
    return done
