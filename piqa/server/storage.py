"""The files of a server: originals, and the pictures that pages show.

data/photos/PROJECT/PHOTO/original      as it was uploaded; gone with `--keep none` once all is scored
data/photos/PROJECT/PHOTO/preview.jpg   upright, sRGB, without metadata; likewise thumbnail.jpg and map_NAME.png
data/photos/PROJECT/PHOTO/pictures.json what the maps show
data/results/PROJECT/            what jobs made of a project: report.pdf, JOB.html of a comparison of devices
data/incoming/SERVER.../                what is being received; removed when the request ends, or the server has
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

from piqa.server.records import Photo
from piqa.server.refusals import FULL, RequestError
from piqa.system.files import HERE, OLD
from piqa.system.ownership import claim_folder

WHAT = "data of a server"
ORIGINAL = "original"


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
        """Remove an original."""
        (self.folder(project, photo) / ORIGINAL).unlink(missing_ok=True)

    def remove(self, project: str, photo: str | None = None) -> None:
        """Remove all files of a photo, or of a whole project with what was made of it."""
        shutil.rmtree(self._photos / project / (photo or ""), ignore_errors=True)
        if photo is None:
            shutil.rmtree(self._results / project, ignore_errors=True)

    def results(self, project: str) -> Path:
        """Return the folder of what jobs make of a project: its PDF, comparisons of devices."""
        folder = self._results / project
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @contextmanager
    def incoming(self) -> Iterator[Path]:
        """Yield a folder for the files of a request; it is gone when the block ends.

        Raises:
            RequestError: If there is no room.
        """
        if shutil.disk_usage(self._disk).free < self._free_bytes:
            raise RequestError(507, FULL)
        folder = self._incoming / f"{HERE}.{os.getpid()}.{uuid4().hex}"
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

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
