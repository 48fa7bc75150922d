"""Shots become moments: by what cameras noted, then by time and likeness, never by a chain of likenesses.

The order of evidence: identifiers of bursts; exposure brackets; names of bursts; time, for each camera, with likeness.
Shots whose files tell no time stay alone unless asked for; then likeness alone joins them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from operator import attrgetter

from piqa.moments.alone import find_alike
from piqa.moments.brackets import find_brackets
from piqa.moments.looks import Looks
from piqa.moments.moment import Kind, Moment, Shot
from piqa.moments.moment_names import moment_names
from piqa.moments.options import GroupingOptions
from piqa.moments.series import find_series, is_quick

BURST = "the camera wrote one burst identifier into them"
BRACKET = "their exposures are even steps, one right after the other"
NAMED = "their names are those of one burst"
QUICK = "one camera took them within fractions of a second"
SERIES = "one camera took them one after the other, and they look alike"
SERIES_OF_CAMERAS = "they were taken one after the other, and look alike"
ALIKE = "they look alike; their files tell no time"
SCENE = "they are one scene, as it was given"
Found = tuple[Kind, str, tuple[Shot, ...]]


def group(
    shots: Sequence[Shot],
    options: GroupingOptions | None = None,
    *,
    scenes: Mapping[str, str] | None = None,
    looks: Looks | None = None,
) -> list[Moment]:
    """Return the moments of shots: each shot is in one moment, in the order of time, then of names.

    The same shots give the same moments, in whatever order they come.

    Args:
        shots: As `find_shots` returns them.
        options: The thresholds.
        scenes: The scene of each file; then scenes are the moments and nothing else counts. Shots without a scene
            are singles.
        looks: How files look, where they are known already, as of a film's frames; else the files are read, if it
            depends on it.
    """
    options, looks = options or GroupingOptions(), looks or Looks()
    ordered = sorted(shots, key=_order)
    found = list(_of_scenes(ordered, scenes) if scenes is not None else _by_evidence(ordered, options, looks))
    found.sort(key=lambda one: _order(one[2][0]))
    names = moment_names([members for _, _, members in found])
    return [
        Moment(name, members, kind, evidence)
        if len(members) > 1 or kind == "scene"
        else Moment(name, members, "single", "")
        for name, (kind, evidence, members) in zip(names, found, strict=True)
    ]


def _of_scenes(shots: Sequence[Shot], scenes: Mapping[str, str]) -> Iterator[Found]:
    by_scene: defaultdict[str, list[Shot]] = defaultdict(list)
    for shot in shots:
        if shot.file in scenes:
            by_scene[scenes[shot.file]].append(shot)
        else:
            yield "single", "", (shot,)
    for members in by_scene.values():
        yield "scene", SCENE, tuple(members)


def _by_evidence(shots: Sequence[Shot], options: GroupingOptions, looks: Looks) -> Iterator[Found]:
    """Yield moments by each kind of evidence in turn, from the shots that the ones before left over."""
    left = list(shots)
    steps: list[tuple[Kind, str, Callable[[Sequence[Shot]], Iterable[tuple[Shot, ...]]]]] = [
        ("burst", BURST, partial(_sharing, key=attrgetter("burst"))),
        ("bracket", BRACKET, partial(_on_each_clock, find=find_brackets, options=options)),
        ("burst", NAMED, partial(_sharing, key=attrgetter("series"))),
    ]
    for kind, evidence, find in steps:
        found = list(find(left))
        yield from ((kind, evidence, members) for members in found)
        taken = {shot.file for members in found for shot in members}
        left = [shot for shot in left if shot.file not in taken]
    by_time = SERIES_OF_CAMERAS if options.clocks else SERIES
    for members in _on_each_clock(left, partial(find_series, looks=looks), options):
        quick = all(is_quick(before, after, options) for before, after in pairwise(members))
        yield ("burst", QUICK, members) if quick else ("series", by_time, members)
    untimed = [shot for shot in left if shot.seconds is None]
    for members in find_alike(untimed, options.alone, looks) if options.similar else ((shot,) for shot in untimed):
        yield "series", ALIKE, members


def _sharing(shots: Sequence[Shot], key: Callable[[Shot], str | None]) -> Iterator[tuple[Shot, ...]]:
    """Yield several shots of one camera that share a key."""
    by_key: defaultdict[tuple[str | None, str], list[Shot]] = defaultdict(list)
    for shot in shots:
        if name := key(shot):
            by_key[(shot.camera, name)].append(shot)
    yield from (tuple(members) for members in by_key.values() if len(members) > 1)


def _on_each_clock(
    shots: Sequence[Shot],
    find: Callable[[Sequence[Shot], GroupingOptions], Iterable[tuple[Shot, ...]]],
    options: GroupingOptions,
) -> Iterator[tuple[Shot, ...]]:
    """Yield what is found among shots whose times may be compared, for each clock.

    A clock is a camera's. Where its times are ahead of UTC by different minutes, as on a journey, each of these is a
    clock of its own, and so are the times that do not tell.
    """
    by_camera: defaultdict[str | None, list[Shot]] = defaultdict(list)
    for shot in shots:
        if shot.seconds is not None:
            by_camera[None if options.clocks else shot.camera].append(shot)
    for own in by_camera.values():
        offsets = {shot.offset for shot in own}
        for offset in sorted(offsets, key=str) if len(offsets - {None}) > 1 else [None]:
            yield from find([shot for shot in own if len(offsets - {None}) < 2 or shot.offset == offset], options)


def _order(shot: Shot) -> tuple[bool, float, str]:
    return shot.seconds is None, shot.seconds or 0.0, shot.file
