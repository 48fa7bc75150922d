"""The job that compares the devices of a project, as `piqa compare` does."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from piqa.comparison.compare_all import compare_devices
from piqa.comparison.duplicates import check_no_scene_twice
from piqa.comparison.factor_table import factor_named, in_steps
from piqa.comparison.page import comparison_page
from piqa.comparison.pair import Settings
from piqa.comparison.shots import Account, Scenes, Shot, require_pairs
from piqa.comparison.verdict import in_words
from piqa.errors import InputError
from piqa.server.jobs import Running
from piqa.server.photos import PhotoSeen
from piqa.server.records import Facts
from piqa.system.csv_text import read_csv, require_columns
from piqa.system.files import replacing
from piqa.system.phrases import Phrase, changed, packed
from piqa.system.progress import without_progress
from piqa.web.text import printable

if TYPE_CHECKING:
    from piqa.server.services import Services

COMPARE = "devices"  # kind of the job
COLUMNS = ("first", "last", "camera", "csv")  # what may tell the device
Places = dict[str, tuple[str, str]]  # scene and device, by the name of the photo


class DevicesJob:
    """Compares the devices of a project by a model's scores, or by a factor.

    Args:
        services: Of the server.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    def __call__(self, job: Running) -> Facts:
        """Write the page of the comparison into the results of the project; return the verdicts as phrases.

        Raises:
            InputError: If the devices have no scene in common, or nothing is known to judge by.
        """
        assert job.project is not None
        photos = [photo for photo in self._services.photos.all(job.project) if photo.state != "waiting"]
        job.tell(0, len(photos))
        account = Account()
        settings, score, judged_by = self._judge(job.arguments)
        column = job.arguments["column"]
        of_model = Phrase("it has no value of {model}", model=judged_by)
        without = of_model if job.arguments.get("model") else Phrase("it has no value of the factor")
        told = job.arguments.get("places") or places_by(column, photos, self._cameras(job.project))
        shots = []
        for photo in photos:
            if photo.name not in told:
                account.unreadable[photo.name] = Phrase("nothing tells its device")
                continue
            scene, device = told[photo.name]
            value = score(photo)
            if value is None:
                account.unreadable[photo.name] = photo.error or without
                continue
            shots.append(Shot(photo.name, scene, account.devices.key(device), score=value))
        account.shots = len(photos)
        counted = require_pairs(shots, account)
        scenes = Scenes(counted)
        check_no_scene_twice(scenes)
        with without_progress():
            found = compare_devices(scenes, settings)
        about = {"judged by": judged_by, "scenes": len(scenes.names), "images": len(counted)}
        page = comparison_page(found, account, None, about, None)
        with replacing(self._services.storage.results(job.project) / f"{job.id}.html") as temporary:
            temporary.write_text(page, encoding="utf-8", errors="replace", newline="\n")
        job.tell(len(photos))
        verdicts = [changed(in_words(pair, account.devices), printable) for pair in found.pairs[:100]]
        notes = [changed(line, printable) for line in account.lines()]
        return {"verdicts": packed(verdicts), "judged_by": judged_by, "notes": packed(notes)}

    def _judge(self, arguments: Mapping[str, str]) -> tuple[Settings, Callable[[PhotoSeen], float | None], str]:
        """Return how pairs are compared, what gives a photo its score, and what that is called."""
        if model := arguments.get("model"):
            preference = self._services.models[model].preference
            settings = Settings(preference=preference, unit=Phrase("units of the model's score"))

            def by_model(photo: PhotoSeen) -> float | None:
                said = photo.scores.get(model)
                return None if said is None else said.score

            return settings, by_model, model
        factor = factor_named(arguments["factor"])

        def by_factor(photo: PhotoSeen) -> float | None:
            value = photo.factors.get(factor.name)
            return None if value is None else in_steps(factor, {"": value})[""]

        return Settings(unit=Phrase("steps")), by_factor, f"the factor {factor.title}"

    def _cameras(self, project: str) -> dict[str, str]:
        kept = self._services.photos.kept_facts(project)
        # Maker and model alone; what is noted of the capture has the serial number of the camera, too.
        return {name: str(facts.get("camera", {}).get("device") or "") for name, facts in kept}


def places_by(column: str, photos: Sequence[PhotoSeen], cameras: Mapping[str, str]) -> Places:
    """Return scene and device of each photo, where they can be told.

    Args:
        column: What tells the device: `first`, the first folder of its name, so that the rest names the scene; `last`,
            the file's own name without its ending, so that its folder is the scene; or `camera`, which is noted in the
            file, so that the folder is the scene.
        photos: All photos.
        cameras: What is noted of each camera, by the name of the photo.

    Examples:
        >>> from types import SimpleNamespace as Seen
        >>> places_by("first", [Seen(name="phone a/hall/1.jpg"), Seen(name="x.jpg")], {})
        {'phone a/hall/1.jpg': ('hall/1', 'phone a')}
    """
    found: Places = {}
    for name in (photo.name for photo in photos):
        path = PurePosixPath(name)
        folder = path.parent.as_posix()
        if column == "first" and len(path.parts) > 1:
            found[name] = (PurePosixPath(*path.parts[1:]).with_suffix("").as_posix(), path.parts[0])
        elif column == "last" and len(path.parts) > 1:
            found[name] = (folder, path.stem)
        elif column == "camera" and (camera := cameras.get(name)):
            found[name] = (folder, camera.strip())
    return found


def places_in(csv: bytes) -> Places:
    """Return scene and device of photos from a CSV `file, device[, scene]`; without a scene the folder is one.

    Raises:
        InputError: If it is no CSV, or lacks a column.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "devices.csv"
        path.write_bytes(csv)
        try:
            frame = read_csv(path, names=("file", "device", "scene"))
            require_columns(frame, ("file", "device"), path, "a list of devices has `file, device`, and maybe `scene`")
        except InputError as error:
            raise InputError(str(error).replace(str(path), "the CSV")) from error
    found: Places = {}
    for row in frame.to_dict("records"):
        name = str(row["file"]).replace("\\", "/")
        place = (str(row.get("scene") or PurePosixPath(name).parent.as_posix()), str(row["device"]))
        if found.setdefault(name, place) != place:
            raise InputError(Phrase("the CSV gives {name} two devices or scenes; keep one of its rows", name=name))
    return found
