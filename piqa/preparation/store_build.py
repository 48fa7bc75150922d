"""Prepare files as entries of the store, in this process or in several."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from piqa.errors import InputError
from piqa.preparation.store_entry import Packable, StoredArrays, write_entry
from piqa.system.device import core_count
from piqa.system.worker_pool import map_in_workers

PER_WORKER = 8  # images that justify starting one more process, which takes seconds
MOST_ON_GPU = 4  # processes that share a GPU

Made = TypeVar("Made", bound=Packable, covariant=True)


class ItemPreparation(Protocol[Made]):
    """How items are prepared: `piqa.preparation.portrait.Preparation` or `piqa.preparation.video.ClipPreparation`."""

    def __hash__(self) -> int: ...

    def key(self, digest: Callable[[str], str]) -> str:
        """Return a short name of everything that an item depends on, apart from its source file."""

    def preparer(self, device: str) -> Callable[[str], Made]:
        """Return a function that prepares a file, or raises InputError."""

    def unpack(self, arrays: StoredArrays, facts: Mapping[str, str], path: str) -> Made:
        """Return the item that was packed."""


@dataclass(frozen=True)
class EntryJob:
    """A file to prepare, and the entry to write."""

    source: str
    entry: Path


@dataclass(frozen=True)
class EntryResult:
    """What became of a job.

    Attributes:
        entry: The entry.
        face_found: Whether it shows a face.
        fault: Why the file could not be prepared; None where it was.
    """

    entry: Path
    face_found: bool
    fault: str | None


def worker_count(device: str, workers: int | None, files: int) -> int:
    """Return the number of processes: as asked for, or one a core (at most 4 on a GPU) and fewer for few files."""
    if workers is not None:
        return workers
    cores = core_count()
    return min(cores if device == "cpu" else min(MOST_ON_GPU, cores), files // PER_WORKER)


def prepare(
    jobs: Sequence[EntryJob], preparation: ItemPreparation[Packable], device: str, workers: int
) -> Generator[EntryResult, None, None]:
    """Prepare files and write their entries; yield what became of each, in order.

    Args:
        jobs: What to prepare.
        preparation: How.
        device: Where face detector and LIQE run.
        workers: Number of processes; 0 and 1 are this process.

    Raises:
        InputError: If an entry cannot be written, the networks that prepare cannot be had, or a worker is killed.
    """
    work = partial(_EntryWriter, preparation, device)
    try:
        yield from map_in_workers(work, jobs, workers if workers > 1 else 0)
    except InputError as error:
        raise InputError(f"{error}; what was prepared is kept") from error


class _EntryWriter:
    """Prepares files with the networks that it holds."""

    def __init__(self, preparation: ItemPreparation[Packable], device: str) -> None:
        self._prepare = preparation.preparer(device)

    def __call__(self, job: EntryJob) -> EntryResult:
        """Prepare a file and write its entry; a file that cannot be read is a result, not an error.

        Raises:
            InputError: If the entry cannot be written.
        """
        try:
            item = self._prepare(job.source)
        except InputError as error:
            with suppress(OSError):
                job.entry.unlink()  # a damaged entry may be there, and can no longer be mended
            return EntryResult(job.entry, False, str(error))
        write_entry(job.entry, item, job.source)
        return EntryResult(job.entry, getattr(item, "face_found", True), None)
