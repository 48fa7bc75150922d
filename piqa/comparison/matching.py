"""Which images of several folders show the same scene: by their paths, their folders, or their names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Literal

Match = Literal["auto", "path", "folder", "stem"]
WORDS = {
    "path": "the path below each folder, without the ending",
    "folder": "the folder in which the images lie",
    "stem": "the image's own name, without folder and ending",
}
ENOUGH = 0.5  # of the images with a partner: the first way that reaches this is taken


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


def match_scenes(files: Mapping[str, tuple[str, Sequence[str]]], match: Match = "auto") -> tuple[str, dict[str, list[str]]]:
    """Return how scenes are matched, and the scene of each image.

    Args:
        files: By device, its folder and its images.
        match: The way, or `auto`: the first of path, folder and stem by which half of the images have a partner, or
            else that by which most have. By the folder, images beside each other are repeats of one scene.

    Returns:
        The way, and by device the scenes in the order of its images.
    """
    ways = ["path", "folder", "stem"] if match == "auto" else [match]
    found = {way: {name: [scene_of(f, root, way) for f in own] for name, (root, own) in files.items()} for way in ways}
    shares = {way: _share_with_partner(scenes) for way, scenes in found.items()}
    if "folder" in shares and len({scene for scenes in found["folder"].values() for scene in scenes}) < 2:
        shares["folder"] = 0.0  # all in one folder is no scene
    enough = [way for way in ways if shares[way] >= ENOUGH]
    way = enough[0] if enough else max(ways, key=lambda one: shares[one])
    return way, found[way]


def _share_with_partner(scenes: Mapping[str, Sequence[str]]) -> float:
    having: dict[str, set[str]] = {}
    for name, own in scenes.items():
        for scene in own:
            having.setdefault(scene, set()).add(name)
    total = sum(map(len, scenes.values()))
    return sum(len(having[scene]) > 1 for own in scenes.values() for scene in own) / max(total, 1)
