"""Prepare files as entries of the store, in this process or in several."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

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


EntryJob = tuple[str, Path]  # a file to prepare, and the entry to write


class EntryResult(NamedTuple):
    """What became of a job: the entry, whether it shows a face, was turned for it, and why it has failed, if so."""

    entry: Path
    face_found: bool
    turned: bool
    fault: str | None


def worker_count(device: str, workers: int | None, files: int) -> int:
    """Return the number of processes: as asked for, or one a core (at most 4 on a GPU) and fewer for few files."""
    most = core_count() if device == "cpu" else min(MOST_ON_GPU, core_count())
    return min(most, files // PER_WORKER) if workers is None else workers


def prepare(
    jobs: Sequence[EntryJob], preparation: ItemPreparation[Packable], device: str, workers: int
) -> Generator[EntryResult, None, None]:
    """Prepare files and write their entries, in worker processes where there are at least 2; yield what became of each.

    Raises:
        InputError: If an entry cannot be written, the networks that prepare cannot be had, or a worker is killed.
    """
    try:
        yield from map_in_workers(partial(_entry_writer, preparation, device), jobs, workers if workers > 1 else 0)
    except InputError as error:
        raise InputError(f"{error}; what was prepared is kept") from error


def _entry_writer(preparation: ItemPreparation[Packable], device: str) -> Callable[[EntryJob], EntryResult]:
    preparer = preparation.preparer(device)

    def write(job: EntryJob) -> EntryResult:
        """Prepare a file and write its entry; a file that cannot be read is a result, not an error."""
        source, entry = job
        try:
            item = preparer(source)
        except InputError as error:
            with suppress(OSError):
                entry.unlink()  # a damaged entry may be there, and can no longer be mended
            return EntryResult(entry, False, False, str(error))
        write_entry(entry, item, source)
        return EntryResult(entry, getattr(item, "face_found", True), getattr(item, "turned", 0) > 0, None)

    return write
