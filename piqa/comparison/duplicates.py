"""Images that stand there twice: copies are no new evidence, and a scene that is counted twice is refused."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from piqa.comparison.shots import Account, DataError, Scenes, Shot
from piqa.system.files import digest_of


def without_copies(shots: Sequence[Shot], account: Account) -> list[Shot]:
    """Return the shots without copies of a device's own shots of a scene; files of equal size alone are read.

    The same content by two devices stays, and is noted: files were swapped or copied, or two builds change nothing.

    Raises:
        DataError: If a device has the same content in two scenes, which are then one scene that would count twice.
    """
    left_out = set()
    for group in _same_content(shots):
        seen: dict[str, Shot] = {}
        for shot in group:
            first = seen.setdefault(shot.device, shot)
            if first is shot:
                continue
            if first.scene != shot.scene:
                raise DataError(
                    f"{first.image} and {shot.image} have the same content but count as two scenes, {first.scene} and "
                    f"{shot.scene}; remove the duplicated scene"
                )
            left_out.add(shot.file)
            account.repeated.append(shot.image)
        kept = list(seen.values())
        account.same_content += [(kept[0].image, other.image) for other in kept[1:]]
    return [shot for shot in shots if shot.file not in left_out]


def _same_content(shots: Sequence[Shot]) -> Iterator[list[Shot]]:
    """Yield groups of shots whose files have the same bytes; a file that cannot be read is in none."""
    sizes: dict[int, list[Shot]] = {}
    for shot in shots:
        try:
            sizes.setdefault(os.stat(shot.file).st_size, []).append(shot)  # noqa: PTH116 -- of 50,000
        except (OSError, ValueError):
            continue
    for size, group in sizes.items():
        if size == 0 or len(group) < 2:
            continue
        contents: dict[str, list[Shot]] = {}
        for shot in group:
            try:
                contents.setdefault(digest_of(shot.file), []).append(shot)
            except OSError:
                continue
        yield from (same for same in contents.values() if len(same) > 1)


def check_no_scene_twice(scenes: Scenes) -> None:
    """Raise DataError where two scenes have the same scores for the same devices, to the last digit.

    Scenes whose scores are all whole numbers, as ratings are, may agree by chance and are not looked at.
    """
    seen: dict[tuple[tuple[str, tuple[float, ...]], ...], str] = {}
    for name in scenes.names:
        cells = [(device, tuple(sorted(scenes.scores(name, device)))) for device in scenes.devices]
        content = tuple((device, scores) for device, scores in cells if scores)
        if len(content) < 2 or all(score == round(score) for _, scores in content for score in scores):
            continue
        other = seen.setdefault(content, name)
        if other != name:
            raise DataError(
                f"the scenes {other} and {name} have the same scores for the same devices; remove the duplicated scene"
            )
