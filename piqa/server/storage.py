"""The files of a server: originals, and the pictures that pages show.

data/photos/PROJECT/PHOTO/original      as it was uploaded; gone with `--keep none` once all is scored
data/photos/PROJECT/PHOTO/preview.jpg   upright, sRGB, without metadata; likewise thumbnail.jpg and map_NAME.png
data/photos/PROJECT/PHOTO/pictures.json what the maps show
data/results/PROJECT/            what jobs made of a project: report.pdf, JOB.html of a comparison of devices
data/incoming/SERVER.../                what is being received; removed when the request ends, or the server has
data/unsettled/SERVER...                which photos are being added or deleted; where that server has ended, the
                                        database says whether their files stay
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from anyio import CancelScope
from fastapi.concurrency import run_in_threadpool

from piqa.server.records import Photo
from piqa.server.refusals import FULL, RequestError
from piqa.system.files import HERE, OLD
from piqa.system.ownership import claim_folder

WHAT = "data of a server"
ORIGINAL = "original"
ID = re.compile("[0-9a-f]{32}")
COPIES = ("full.jpg", "judged*")  # of all pixels of an original


class Storage:
    """The files of a server.

    Args:
        data: Its folder; one that holds something else is refused.
        free_bytes: Room on the disk below which nothing is received.
    """

    def __init__(self, data: Path, free_bytes: int) -> None:
        claim_folder(data, WHAT, made_before=lambda folder: (folder / "piqa.sqlite").exists())
        self._photos, self._incoming, self._free_bytes = data / "photos", data / "incoming", free_bytes
        self._results = data / "results"
        self._disk = data
        self._photos.mkdir(exist_ok=True)
        self._incoming.mkdir(exist_ok=True)
        self._unsettled = data / "unsettled"
        self._unsettled.mkdir(exist_ok=True)
        self._remove_leftovers()

    def folder(self, project: str, photo: str) -> Path:
        """Return the folder of a photo."""
        return self._photos / project / photo

    def original(self, photo: Photo, root: Path | None) -> Path | None:
        """Return the file of a photo; None where it is forgotten, or there is no root any more."""
        if photo.source is not None:
            return None if root is None else root / photo.source
        path = self.folder(photo.project_id, photo.id) / ORIGINAL
        return path if path.exists() else None

    def adopt(self, received: Path, project: str, photo: str) -> None:
        """Move a file that was received to its place, whole or not at all."""
        folder = self.folder(project, photo)
        folder.mkdir(parents=True, exist_ok=True)
        received.replace(folder / ORIGINAL)

    def forget(self, project: str, photo: str) -> None:
        """Remove an original, and copies of all its pixels."""
        folder = self.folder(project, photo)
        for path in [folder / ORIGINAL, *(path for name in COPIES for path in folder.glob(name))]:
            path.unlink(missing_ok=True)

    def remove(self, project: str, photo: str | None = None) -> None:
        """Remove all files of a photo, or of a whole project with what was made of it."""
        shutil.rmtree(self._photos / project / (photo or ""), ignore_errors=True)
        if photo is None:
            shutil.rmtree(self._results / project, ignore_errors=True)

    @contextmanager
    def unsettled(self) -> Iterator[Callable[[str, str | None], None]]:
        """Yield a function that notes a photo, or a whole project, whose files and rows do not come or go at once."""
        path = self._unsettled / f"{HERE}.{os.getpid()}.{uuid4().hex}"

        def note(project: str, photo: str | None) -> None:
            with suppress(OSError), path.open("a", encoding="utf-8") as file:  # what fills a disk can be deleted
                file.write(f"{project}/{photo or ''}\n")

        try:
            yield note
        finally:
            path.unlink(missing_ok=True)

    def settle(self, is_there: Callable[[str, str | None], bool]) -> None:
        """Remove what servers that were killed had noted, and the database does not have.

        Args:
            is_there: Whether the database has a project, or a photo of one.
        """
        for path in self._unsettled.iterdir():
            if not (_server_is_gone(path.name) or time.time() - path.stat().st_mtime > OLD):
                continue
            for line in path.read_text(encoding="utf-8").splitlines():
                project, _, photo = line.partition("/")
                known = ID.fullmatch(project) and (not photo or ID.fullmatch(photo))
                if known and not is_there(project, photo or None):
                    self.remove(project, photo or None)
            path.unlink(missing_ok=True)

    def results(self, project: str) -> Path:
        """Return the folder of what jobs make of a project: its PDF, comparisons of devices."""
        folder = self._results / project
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @asynccontextmanager
    async def incoming(self) -> AsyncIterator[Path]:
        """Yield a folder for the files of a request, gone when the block ends; no other request waits for the disk.

        Raises:
            RequestError: If there is no room.
        """
        folder = self._incoming / f"{HERE}.{os.getpid()}.{uuid4().hex}"
        try:
            await run_in_threadpool(self._make_room, folder)
            yield folder
        finally:  # of a request that is given up as well
            with CancelScope(shield=True):
                await run_in_threadpool(shutil.rmtree, folder, ignore_errors=True)

    def _make_room(self, folder: Path) -> None:
        if shutil.disk_usage(self._disk).free < self._free_bytes:
            raise RequestError(507, FULL)
        folder.mkdir()

    def _remove_leftovers(self) -> None:
        """Remove what servers that were killed were receiving."""
        for folder in self._incoming.iterdir():
            with suppress(OSError):
                if _server_is_gone(folder.name) or time.time() - folder.stat().st_mtime > OLD:
                    shutil.rmtree(folder, ignore_errors=True)


def _server_is_gone(name: str) -> bool:
    """Whether a name begins with the place and number of a process that has ended."""
    found = re.match(rf"{HERE}\.(\d+)\.", name)
    return found is not None and process_is_gone(int(found[1]))


def process_is_gone(number: int) -> bool:
    """Whether a process of this machine has ended."""
    if os.name != "posix":
        return False
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return True
    except OSError:  # another user's process: it is there
        return False
    return False
