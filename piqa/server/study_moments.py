"""The moments of a project's photos, as scenes of a study: from what was noted of each photo when it was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

from piqa.moments.capture_facts import read_capture_facts
from piqa.moments.file_names import named_burst
from piqa.moments.grouping import group
from piqa.moments.moment import Shot
from piqa.server.measured import CAPTURE
from piqa.server.records import Photo
from piqa.system.progress import without_progress


def moments_of(photos: Sequence[Photo], files: Mapping[str, Path]) -> dict[str, str]:
    """Return the moment of each photo that is not alone in one; a moment is called by its first photo.

    Args:
        photos: Of one project.
        files: The file of each photo, by its id; photos without one are left out.
    """
    by_file = {str(files[photo.id]): photo for photo in photos if photo.id in files}
    with without_progress():
        moments = group([shot_of(file, photo) for file, photo in by_file.items()])
    found: dict[str, str] = {}
    for moment in moments:
        names = [by_file[shot.file].name for shot in moment.shots]
        if len(names) > 1:
            found |= dict.fromkeys(names, str(PurePosixPath(names[0]).with_suffix("")))
    return found


def shot_of(file: str, photo: Photo) -> Shot:
    """Return a photo of a project as a shot, with the facts of its capture."""
    facts: dict[str, Any] = photo.facts.get(CAPTURE) or asdict(read_capture_facts(file))
    own = {name: value for name, value in facts.items() if name != "content"}
    named = named_burst(photo.name)
    series = None if named is None else f"{PurePosixPath(photo.name).parent}/{named.key}"
    return Shot(file=file, series=series, **own)
