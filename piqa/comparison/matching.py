"""Which images of several folders show the same scene: by their paths, their folders, or their names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Literal

from piqa.system.phrases import Phrase

Match = Literal["auto", "path", "folder", "stem"]
WORDS = {
    "path": Phrase("the path below each folder, without the ending"),
    "folder": Phrase("the folder in which the images lie"),
    "stem": Phrase("the image's own name, without folder and ending"),
}
ENOUGH = 0.5  # of the images with a partner: the first way that reaches this is taken
FOLDERS, REPEATS = 6, 10  # so many folders at least, with so many images of a device on average at most, are scenes


def scene_of(file: str, root: str, way: str) -> str:
    """Return the scene that an image of a folder shows.

    Examples:
        >>> [scene_of("a/hall/1.jpg", "a", way) for way in ("path", "folder", "stem")]
        ['hall/1', 'hall', '1']
    """
    below = PurePath(os.path.relpath(file, root)).with_suffix("")
    if way == "stem":
        return below.name
    return below.as_posix() if way == "path" else below.parent.as_posix()


def match_scenes(
    files: Mapping[str, tuple[str, Sequence[str]]], match: Match = "auto"
) -> tuple[str, dict[str, list[str]]]:
    """Return how scenes are matched, and the scene of each image.

    Args:
        files: By device, its folder and its images.
        match: The way, or `auto`: the first of folder, path and stem by which half of the images have a partner, or
            else that by which most have. By the folder, images beside each other are repeats of one scene; that needs
            six folders or more, and ten images of a device in each at most. Repeats that were taken for scenes would
            feign certainty; scenes that are taken for repeats cost some.

    Returns:
        The way, and by device the scenes in the order of its images.
    """
    ways = ["folder", "path", "stem"] if match == "auto" else [match]
    found = {way: {name: [scene_of(f, root, way) for f in own] for name, (root, own) in files.items()} for way in ways}
    shares = {way: _share_with_partner(scenes) for way, scenes in found.items()}
    if match == "auto" and not _are_scenes(found["folder"]):
        shares["folder"] = 0.0
    enough = [way for way in ways if shares[way] >= ENOUGH]
    way = enough[0] if enough else max(ways, key=lambda one: shares[one])
    return way, found[way]


def _are_scenes(folders: Mapping[str, Sequence[str]]) -> bool:
    """Whether folders can be scenes: not few large ones, such as days."""
    most = max(len(set(own)) for own in folders.values())
    images = sum(map(len, folders.values()))
    return most >= FOLDERS and images <= REPEATS * sum(len(set(own)) for own in folders.values())


def _share_with_partner(scenes: Mapping[str, Sequence[str]]) -> float:
    having: dict[str, set[str]] = {}
    for name, own in scenes.items():
        for scene in own:
            having.setdefault(scene, set()).add(name)
    total = sum(map(len, scenes.values()))
    return sum(len(having[scene]) > 1 for own in scenes.values() for scene in own) / max(total, 1)
