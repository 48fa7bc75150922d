"""The prepared store: each image is decoded, its face found and its LIQE logits computed once, and kept without loss.

    store/
      digests.json                      path -> size, times of change, digest: unchanged files are not read again
      <settings>/settings.json          the preparation's settings
      <settings>/<ab>/<digest>.safetensors   one Portrait; named by the digest of the image file
      <settings>/failed.csv             images that could not be prepared, and why

An entry's path follows from its source and settings, so a changed image or setting has no entry yet. Entries are
written atomically and never changed: any number of processes may read and build at once, and a killed build continues
where it stopped. A PIQ23 image takes about 1.6 MB: lossy compression would change the quality that is to be judged.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import pandas as pd
import torch
from rich.console import Console

from piqa.errors import InputError
from piqa.preparation.digests import Digests
from piqa.preparation.portrait import SIZE
from piqa.preparation.store_build import EntryJob, EntryResult, ItemPreparation, prepare, worker_count
from piqa.preparation.store_entry import (
    EntryDamagedError,
    EntryNotFoundError,
    Packable,
    StoreEntry,
    open_entry,
    write_entry,
)
from piqa.system.device import core_count, pick_device
from piqa.system.files import digest_of, remove_leftovers, replacing
from piqa.system.json_text import write_json
from piqa.system.ownership import claim_folder, locked
from piqa.system.progress import progress as show_progress

KIND = "prepared store"
# names of the files in a store, before the parts of a name that `replacing` adds
FILES = re.compile(r"digests\.json|settings\.json|failed\.csv|\.piqa\.json|[0-9a-f]{32}\.safetensors")
SETTINGS = re.compile(r"[0-9a-f]{16}(-\w+)?")  # how `ItemPreparation.key` names a folder
MANY, SAMPLE = 100, 8  # for so many files, the space they need is estimated from a sample of so many

Item = TypeVar("Item", bound=Packable)
Used = TypeVar("Used")
log = logging.getLogger(__name__)


@dataclass
class BuildReport:
    """Counts of images in a build."""

    prepared: int = 0  # newly
    reused: int = 0  # found in the store
    no_face: int = 0  # of both, those without a face; their face crop is the whole image
    failed: list[tuple[str, str]] = field(default_factory=list)  # path, and why it could not be prepared
    replaced: int = 0  # of those newly prepared or failed, the images whose entry was damaged or of another version
    turned: int = 0  # of those prepared and reused, the images that were turned to find a face
    unplaced: int = 0  # of those reused, the images with a face of which it is lost where in the image it is

    def __str__(self) -> str:
        counts = f"{self.prepared} prepared, {self.reused} reused, {self.no_face} no face, {len(self.failed)} failed"
        counts += f"; {self.turned} turned to find a face" if self.turned else ""
        return counts + (f"; {self.replaced} had damaged or outdated entries" if self.replaced else "")


class PreparedStore(Generic[Item]):
    """Portraits or Clips on disk, by source file and settings.

    Args:
        folder: The store; created if absent. Several datasets and settings may share one.
        settings: How images or videos are prepared.

    Examples:
        >>> from piqa import Preparation
        >>> store = PreparedStore("prepared", Preparation(short_side=64, face_rule="none"))
        >>> report = store.build(["a.jpg", "b.jpg"], workers=0, progress=False)
        >>> store.load("a.jpg").whole.shape
        (76, 64, 3)
    """

    def __init__(self, folder: str | Path, settings: ItemPreparation[Item]) -> None:
        self.root = Path(folder)
        self.settings = settings
        self._digests = Digests(self.root / "digests.json")
        self.folder = self.root / settings.key(self._digests.of)
        self._places: dict[str, Path] = {}

    def entry(self, path: str | Path) -> Path:
        """Return the path of the entry of a source file, there or not; raise InputError if the source is unreadable."""
        digest = self._digests.of(str(path))
        return self.folder / digest[:2] / f"{digest}.safetensors"

    def load(self, path: str | Path) -> Item:
        """Return the Portrait of an image file, or the Clip of a video file; mend a damaged entry, with a warning.

        Raises:
            InputError: If it is not prepared, cannot be mended, or its motion features cannot be read.
        """
        return self._use(str(path), self.entry(path), lambda item: item, late=False)

    def read(self, path: str | Path, use: Callable[[Item], Used]) -> Used:
        """Return `use(item)` of an item whose images are left in the file: only the pixels that it slices are read.

        The entry's path is looked up once: only the next build notices a source that changes or disappears after that.

        Args:
            path: As for `load`, which also lists the errors.
            use: Slices `whole`, `face_crop` or `frames`; called again after a damaged entry was prepared again.
        """
        path = str(path)
        if path not in self._places:
            self._places[path] = self.entry(path)
        return self._use(path, self._places[path], use, late=True)

    def _use(self, path: str, place: Path, use: Callable[[Item], Used], late: bool, mended: bool = False) -> Used:
        try:
            with open_entry(place) as entry:
                return use(self.settings.unpack(entry.read(late), entry.facts, path))
        except (EntryNotFoundError, EntryDamagedError) as damage:
            again = f"{place}, just prepared again, is damaged again ({damage}); check the disk"
            absent = f"{path} is not in the prepared store {self.root}; run `python -m piqa.prepare`"
            if mended or isinstance(damage, EntryNotFoundError):
                raise InputError(again if mended else absent) from damage
            self._mend(path, place, damage)
        return self._use(path, place, use, late, mended=True)

    def _mend(self, path: str, place: Path, damage: EntryDamagedError) -> None:
        """Prepare one damaged entry again: slow, as networks are loaded for it, but rare."""
        log.warning(
            f"{place} cannot be used: {damage}. It is prepared again from {path}; "
            "`python -m piqa.prepare --verify true` verifies the whole store"
        )
        try:
            if digest_of(path) != place.stem:
                raise InputError("this is no longer the file that it was prepared from")
            # the networks that prepare must not change the random numbers of training
            with torch.random.fork_rng(devices=[]):
                item = self.settings.preparer("cpu")(path)
        except (InputError, OSError) as error:
            raise InputError(f"{place} is damaged and cannot be prepared again from {path}: {error}") from error
        write_entry(place, item, path)

    def build(
        self,
        paths: Iterable[str | Path],
        device: str = "auto",
        workers: int | None = None,
        max_failed: float = 0.01,
        progress: bool = True,
        verify: bool = False,
        alone: bool = False,
    ) -> BuildReport:
        """Prepare all files that have no entry yet. A store that lacks nothing is not written.

        Args:
            paths: Image or video files; the same file may be listed twice.
            device: Where face detector and LIQE run: `cpu`, `cuda`, ... or `auto`.
            workers: Number of processes; None: one a core (at most 4 on a GPU), fewer for few files; 0: this one.
            max_failed: Fraction of the files, in [0, 1], that may fail.
            progress: Whether to show progress.
            verify: Read existing entries whole. Otherwise only truncated entries and damaged headers are found and
                replaced now, and other damage when an entry is read.
            alone: Refuse to build while another process does, which would prepare the same files.

        Returns:
            The counts. Failed files are also listed in `failed.csv`.

        Raises:
            InputError: If the store's folder holds files of others or cannot be written, another process builds it
                `alone`, or a larger fraction than `max_failed` fails. What was prepared is kept.
        """
        names, device = list(dict.fromkeys(map(str, paths))), str(pick_device(device))
        report, console = BuildReport(), Console(stderr=True)
        missing = self._missing(names, report, verify, quiet=not progress)
        if missing or report.failed or self._digests.changed:
            claim_folder(self.root, KIND, made_before=self._made_before)
        self._digests.save()
        jobs = [(same[0], entry) for entry, same in missing.items()]
        workers = worker_count(device, workers, len(jobs))
        total = sum(map(len, missing.values()))
        with (
            locked(self.folder, folder=True) if jobs and alone else nullcontext(),
            show_progress(total, console=console, quiet=not progress or not total, task="preparing") as advance,
            closing(self._prepare(jobs, device, workers, console)) as results,
        ):
            if jobs:
                self._describe()
            for result in results:
                same = missing[result.entry]  # files of the same content share an entry
                if result.fault is None:
                    report.prepared += len(same)
                    report.no_face += len(same) * (not result.face_found)
                    report.turned += len(same) * result.turned
                else:
                    report.failed += [(name, result.fault) for name in same]
                advance(len(same), str(report))
        self._judge(report, names, max_failed)
        return report

    def _made_before(self, root: Path) -> bool:
        """Whether a folder without a marker is a store of a former version."""
        described = (path.parent.name for path in root.glob("*/settings.json"))
        return self._digests.known or self.folder.is_dir() or any(map(SETTINGS.fullmatch, described))

    def _describe(self) -> None:
        """Tell the settings, and remove what killed builds have left."""
        if not (described := self.folder / "settings.json").is_file():
            write_json(vars(self.settings), described)
        remove_leftovers(self.root, FILES)

    def _missing(self, paths: Sequence[str], report: BuildReport, verify: bool, quiet: bool) -> dict[Path, list[str]]:
        """Return the entries to be prepared, each with its files; count those that are there or cannot be read."""

        def look(path: str) -> tuple[bool, bool, bool] | Exception:
            """Return whether the entry shows a face, was turned for it, and tells its place, or why it is of no use."""
            try:
                with open_entry(self.entry(path)) as entry:
                    if verify:
                        entry.read()
                    faceless = entry.facts.get("face_box", "null") == "null"  # or a video
                    placed = faceless or SIZE in entry.facts or self._is_placed(entry, path)
                    return entry.facts.get("face_box") != "null", "turned" in entry.facts, placed
            except (InputError, EntryNotFoundError, EntryDamagedError) as error:
                return error

        missing: dict[Path, list[str]] = {}
        with (
            show_progress(len(paths), quiet=quiet, task="reading") as advance,
            ThreadPoolExecutor(max_workers=min(8, 2 * core_count())) as pool,
        ):
            for path, found in zip(paths, pool.map(look, paths), strict=True):
                if isinstance(found, InputError):
                    report.failed.append((path, str(found)))
                    continue
                advance(1)
                if isinstance(found, Exception):
                    report.replaced += isinstance(found, EntryDamagedError)
                    missing.setdefault(self.entry(path), []).append(path)
                else:
                    report.reused += 1
                    report.no_face += not found[0]
                    report.turned += found[1]
                    report.unplaced += not found[2]
        return missing

    def _is_placed(self, entry: StoreEntry, path: str) -> bool:
        """Whether it follows from an old entry where in the image the face is."""
        item = self.settings.unpack(entry.read(late=True), entry.facts, path)
        return getattr(item, "original_size", None) is not None

    def _prepare(
        self, jobs: Sequence[EntryJob], device: str, workers: int, console: Console
    ) -> Generator[EntryResult, None, None]:
        """Prepare all; of many, a sample comes first, from which the space that the rest takes is estimated."""
        sample = list(jobs[:: len(jobs) // SAMPLE])[:SAMPLE] if len(jobs) >= MANY else []
        rest = [job for job in jobs if job not in sample]
        sizes = []
        for number, done in enumerate(prepare([*sample, *rest], self.settings, device, workers), start=1):
            yield done
            if number <= len(sample) and done.fault is None:
                sizes.append(done.entry.stat().st_size)
            if number == len(sample) and sizes:
                self._check_room(sum(sizes) / len(sizes) * len(rest) / 1e9, len(rest), console)

    def _check_room(self, needed: float, files: int, console: Console) -> None:
        free = shutil.disk_usage(self.root).free / 1e9
        console.print(f"{files} files will take about {needed:.2f} GB in {self.root}; {free:.0f} GB are free")
        if needed > free:
            raise InputError(
                f"{files} files would take about {needed:.0f} GB in {self.root} but {free:.0f} GB are free; "
                "free some space or name another `store`; videos take less with `data.clip.encoding: webp`"
            )

    def _judge(self, report: BuildReport, names: Sequence[str], max_failed: float) -> None:
        listing = self.folder / "failed.csv"
        now = {_as_text(name) for name in names}
        failed = [(_as_text(name), _as_text(fault)) for name, fault in report.failed]
        with suppress(OSError, ValueError, KeyError):  # absent or damaged
            table = pd.read_csv(listing, dtype=str, keep_default_na=False)
            listed = zip(table["image"], table["error"], strict=True)
            failed += [(image, error) for image, error in listed if image not in now]  # of other datasets
        if failed:
            with replacing(listing) as temporary:
                pd.DataFrame(sorted(failed), columns=["image", "error"]).to_csv(temporary, index=False)
        else:
            listing.unlink(missing_ok=True)
        if len(report.failed) > max_failed * len(names):
            raise InputError(
                f"{len(report.failed)} of {len(names)} images could not be prepared, more than the fraction of "
                f"{max_failed:g} that may fail; all are listed in {listing}; the first: {min(report.failed)[1]}"
            )


def _as_text(name: str) -> str:
    """Return the name as Unicode, which a table needs; a file's name may be any bytes."""
    return name.encode(errors="backslashreplace").decode()
