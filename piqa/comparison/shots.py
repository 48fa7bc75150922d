"""The shots of a comparison: images of scenes, each taken by one device, with the score that it was given."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from piqa.comparison.intervals import Array
from piqa.errors import InputError
from piqa.system.csv_text import listed
from piqa.system.phrases import Phrase, as_phrase

DATA_FAULT = 4  # exit status
SHOWN = 3  # names of a line, at most


class DataError(InputError):
    """The shots cannot be compared: too many scenes or files are missing, or scenes stand there twice."""

    exit_status = DATA_FAULT


@dataclass(frozen=True)
class Shot:
    """One image.

    Attributes:
        image: What it is called.
        scene: Its scene.
        device: Who took it, as a key of `DeviceNames`.
        condition: Of the scene, such as `Night`; "" where none is known.
        file: Where it lies on the disk; "" where only its score is known.
        score: Higher is better; NaN as long as there is none.
        std: Its standard deviation, where the model states one; else NaN.
    """

    image: str
    scene: str
    device: str
    condition: str = ""
    file: str = ""
    score: float = float("nan")
    std: float = float("nan")


class DeviceNames:
    """Spellings of the devices' names: what differs in case, blanks and signs alone is one device.

    Examples:
        >>> names = DeviceNames()
        >>> names.key("Huawei Mate 30 Pro 5G"), names.key("HuaweiMate30Pro5G")
        ('huaweimate30pro5g', 'huaweimate30pro5g')
        >>> names.title("huaweimate30pro5g"), names.merged()
        ('Huawei Mate 30 Pro 5G', ['Huawei Mate 30 Pro 5G, HuaweiMate30Pro5G'])
    """

    def __init__(self) -> None:
        self._spellings: dict[str, dict[str, None]] = {}

    def key(self, name: str) -> str:
        """Return the name in lower-case letters and digits, and note its spelling; InputError if nothing is left."""
        key = normalised(name)
        if not key:
            raise InputError(f"the device {name!r} has neither a letter nor a digit in its name; rename it")
        self._spellings.setdefault(key, {}).setdefault(name.strip())
        return key

    def title(self, key: str) -> str:
        """Return the first spelling of a device."""
        return next(iter(self._spellings.get(key, {key: None})))

    def merged(self) -> list[str]:
        """Return the spellings of each device that stands under several."""
        return [", ".join(spellings) for spellings in self._spellings.values() if len(spellings) > 1]


def normalised(name: str) -> str:
    """Return a name in lower-case letters and digits alone."""
    return "".join(sign for sign in unicodedata.normalize("NFKC", name).casefold() if sign.isalnum())


@dataclass
class Account:
    """What was left out, and what must be known of the shots.

    Attributes:
        devices: The names.
        matched_by: How scenes were matched, in words.
        unreadable: Why shots have no score, by image.
        repeated: Shots left out, as the same device has the same content in the same scene.
        same_content: Two shots of different devices with the same content: swapped or copied files, or builds that
            change nothing.
        unpaired: Scenes with one device alone.
        scenes: How many there are in all.
        shots: Likewise.
        notes: What else is told.
    """

    devices: DeviceNames = field(default_factory=DeviceNames)
    matched_by: str = ""
    unreadable: dict[str, str] = field(default_factory=dict)
    repeated: list[str] = field(default_factory=list)
    same_content: list[tuple[str, str]] = field(default_factory=list)
    unpaired: list[str] = field(default_factory=list)
    scenes: int = 0
    shots: int = 0
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return what was left out, a line a kind, with the first names."""
        lines = list(self.notes)
        if merged := self.devices.merged():
            spellings = "{count} devices stand under several spellings, and count once each: {names}"
            lines.append(Phrase(spellings, count=len(merged), names=_named(merged, "; ")))
        if self.matched_by:
            lines.append(Phrase("scenes are matched by {column}", column=as_phrase(self.matched_by)))
        if self.unpaired:
            alone, names = "{count} of {scenes} scenes have fewer than two devices: {names}", _named(self.unpaired)
            lines.append(Phrase(alone, count=len(self.unpaired), scenes=self.scenes, names=names))
        if self.unreadable:
            first = as_phrase(next(iter(self.unreadable.values())))
            without = "{count} of {images} images have no score; the first: {reason}"
            lines.append(Phrase(without, count=len(self.unreadable), images=self.shots, reason=first))
        if self.repeated:
            copies = "{count} copies of a device's shots of a scene are left out: {names}"
            lines.append(Phrase(copies, count=len(self.repeated), names=_named(self.repeated)))
        if self.same_content:
            pairs = [f"{a} = {b}" for a, b in self.same_content]
            same = "{count} images of two devices have the same content: {names}"
            lines.append(Phrase(same, count=len(pairs), names=_named(pairs, "; ")))
        return lines

    def check(self, max_missing: float) -> None:
        """Raise DataError where a larger share of scenes or images than allowed is missing."""
        for missing, total, what in (
            (
                len(self.unpaired),
                self.scenes,
                f"scenes have fewer than two devices, such as {listed(self.unpaired[:1])}",
            ),
            (
                len(self.unreadable),
                self.shots,
                f"images have no score; the first: {next(iter(self.unreadable.values()), '')}",
            ),
        ):
            if missing > max_missing * total:
                raise DataError(f"{missing} of {total} {what}; mend them, or raise `max_missing` (now {max_missing:g})")


def _named(items: Sequence[str], separator: str = ", ") -> str:
    """Return the first three items, and how many more there are."""
    if len(items) <= SHOWN:
        return listed(items, separator)
    return Phrase("{names} and {more} more", names=listed(items[:SHOWN], separator), more=len(items) - SHOWN)


class Scenes:
    """Scores by scene and device.

    Args:
        shots: All with a score.

    Attributes:
        names: The scenes, in the order in which they came.
        devices: The devices, likewise.
    """

    def __init__(self, shots: Iterable[Shot]) -> None:
        self._cells: dict[tuple[str, str], list[Shot]] = {}
        names: dict[str, str] = {}
        devices: dict[str, None] = {}
        for shot in shots:
            self._cells.setdefault((shot.scene, shot.device), []).append(shot)
            names[shot.scene] = names.get(shot.scene) or shot.condition
            devices.setdefault(shot.device)
        self._conditions = names
        self.names, self.devices = list(names), list(devices)

    @property
    def conditions(self) -> list[str]:
        """The conditions that are named, in order."""
        return sorted({condition for condition in self._conditions.values() if condition})

    def condition(self, scene: str) -> str:
        """Return a scene's condition; "" where none is known."""
        return self._conditions[scene]

    def shots(self, scene: str, device: str) -> Sequence[Shot]:
        """Return the shots of a scene by a device; none where it has none."""
        return self._cells.get((scene, device), ())

    def scores(self, scene: str, device: str) -> Array:
        """Return their scores."""
        return np.array([shot.score for shot in self.shots(scene, device)], np.float64)

    def stds(self, scene: str, device: str) -> Array:
        """Return the standard deviations of these scores, NaN where none is stated."""
        return np.array([shot.std for shot in self.shots(scene, device)], np.float64)

    def shared(self, a: str, b: str) -> list[str]:
        """Return the scenes that both devices have shots of."""
        return [name for name in self.names if (name, a) in self._cells and (name, b) in self._cells]

    def typical(self, scene: str, device: str) -> Shot:
        """Return the shot whose score is in the middle of its repeats: the lower one of two."""
        ordered = sorted(self.shots(scene, device), key=lambda shot: (shot.score, shot.image))
        return ordered[(len(ordered) - 1) // 2]


def require_pairs(shots: Sequence[Shot], account: Account, named: Sequence[Shot] = ()) -> list[Shot]:
    """Return the shots of scenes that more than one device has, and note the other scenes.

    Args:
        shots: Those that count.
        account: Gets the scenes.
        named: All that were named, of which some may have no score; by default none but `shots`.

    Raises:
        DataError: If there are fewer than two devices, or no scene is shared.
    """
    by_scene: dict[str, set[str]] = {shot.scene: set() for shot in named}
    for shot in shots:
        by_scene.setdefault(shot.scene, set()).add(shot.device)
    devices = {shot.device for shot in shots}
    if len(devices) < 2:
        found = ", ".join(account.devices.title(device) for device in devices) or "none"
        raise DataError(f"two devices are needed for a comparison, found: {found}")
    account.scenes = len(by_scene)
    account.unpaired = [scene for scene, found in by_scene.items() if len(found) < 2]
    kept = [shot for shot in shots if len(by_scene[shot.scene]) > 1]
    if not kept:
        raise DataError(
            f"no scene is shared by two devices ({account.scenes} scenes, such as {listed(account.unpaired)}); give "
            f"the same names to images of one scene, choose how they are matched with `match`, or name scenes in a CSV"
        )
    return kept
