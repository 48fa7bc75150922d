"""Preparing files into entries of the store, in this process or in several."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from itertools import islice
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import torch

from piqa.errors import InputError
from piqa.preparation.store_entry import Packable, write_entry
from piqa.system.memory import KEPT_BY_WORKER, keep_freed_memory

PER_WORKER = 8  # images that justify starting one more process, which takes seconds
AHEAD = 2  # jobs at most that a worker has been given, so that it need not wait for the next
PATIENCE = 60  # seconds that a worker may take to finish an image when all is over

Job = tuple[str, Path]  # a file and the entry to be
Done = tuple[Path, bool, str | None]  # the entry, whether there is a face, and why it could not be prepared
Answer = TypeVar("Answer")
Made = TypeVar("Made", bound=Packable, covariant=True)


class Recipe(Protocol[Made]):
    """How items are prepared: `piqa.preparation.portrait.Preparation` or `piqa.preparation.video.ClipPreparation`."""

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
        InputError: If an entry cannot be written, the networks that prepare cannot be had, or a worker is killed.
    """
    if workers <= 1:
        made = cache(partial(recipe.preparer, device))
        for job in jobs:
            yield _raised(_prepare_one(made, job))
    else:
        yield from _in_workers(jobs, recipe, device, workers)


def _in_workers(jobs: Sequence[Job], recipe: Recipe[Packable], device: str, workers: int) -> Iterator[Done]:
    """Every worker has a pipe of its own and shares nothing with the others.

    So the end of one, at whatever moment, closes its pipe and is seen at once; an executor of the standard library may
    wait for ever when one is killed while the others are being started. This process' own end closes all pipes, and
    the workers end by themselves.
    """
    context = multiprocessing.get_context("spawn")  # a forked child may not use torch's threads or CUDA
    pool: dict[Connection, SpawnProcess] = {}
    busy: dict[Connection, int] = {}  # jobs that a worker has been given
    waiting = iter(jobs)
    try:
        for _ in range(workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, recipe, device), daemon=True)
            process.start()
            theirs.close()
            pool[ours], busy[ours] = process, 0
        for ours in pool:
            for job in islice(waiting, AHEAD):
                _talk(pool, ours, partial(ours.send, job))
                busy[ours] += 1
        while any(busy.values()):
            for ours in cast(list[Connection], wait([ours for ours, count in busy.items() if count])):
                done = _talk(pool, ours, ours.recv)
                busy[ours] -= 1
                for job in islice(waiting, 1):
                    _talk(pool, ours, partial(ours.send, job))
                    busy[ours] += 1
                yield _raised(done)
    finally:
        for ours in pool:
            ours.close()  # each finishes the image that it is at
        for process in pool.values():
            process.join(PATIENCE)
            process.kill()
            process.join()


def _talk(pool: Mapping[Connection, SpawnProcess], ours: Connection, act: Callable[[], Answer]) -> Answer:
    """Sends or receives; InputError if the worker at the other end is no more."""
    try:
        return act()
    except (EOFError, OSError) as error:
        process = pool[ours]
        process.join(PATIENCE)
        code = process.exitcode or 0
        how = f"was killed by signal {-code}, probably for want of memory" if code < 0 else f"ended with status {code}"
        raise InputError(
            f"a preparing process {how}; what is prepared stays; go on with fewer `workers` than {len(pool)}"
        ) from error


def _work(theirs: Connection, recipe: Recipe[Packable], device: str) -> None:
    """What a worker does until its pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process; the first of them closes the pipes
    torch.set_num_threads(1)  # the processes share the cores among them
    keep_freed_memory(KEPT_BY_WORKER)
    made = cache(partial(recipe.preparer, device))
    while True:
        try:
            job = theirs.recv()
        except (EOFError, OSError):
            return
        done = _prepare_one(made, job)
        try:
            theirs.send(done)
        except OSError:  # nobody waits for it any more
            return


def _prepare_one(made: Callable[[], Callable[[str], Packable]], job: Job) -> Done | InputError:
    """What was done, or the error that ends it all; a bad file costs itself alone. `made` gives what prepares."""
    path, entry = job
    try:
        preparer = made()
        try:
            item = preparer(path)
        except InputError as error:
            with suppress(OSError):
                entry.unlink()  # there may be a damaged one, which is now known to be of no use
            return entry, False, str(error)
        write_entry(entry, item, path)
    except InputError as error:
        return error
    return entry, getattr(item, "face_found", True), None


def _raised(done: Done | InputError) -> Done:
    if isinstance(done, InputError):
        raise done
    return done
