"""A synthetic day with two cameras: every kind of moment, and every kind of trap, with its truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from synthetic_moments import BURST, BY_HAND, File, View, crop, shoot

PAUSES = (6.0, 240.0)  # seconds between moments, from and to, on a geometric scale: many within the gap of a series
OTHER_CLOCK = 43.0  # seconds by which the second camera's clock is ahead
NEVER_SET = datetime(1970, 1, 1)
BEFORE_MIDNIGHT = 14 * 3600 - 0.5  # seconds after the begin of the day, which is at 10 o'clock


@dataclass
class Day:
    """Writes down what is shot, with names as cameras count and times as they pass."""

    rng: np.random.Generator
    now: float = 0.0
    count: int = 0
    moments: int = 0

    def next_moment(self) -> str:
        """Let some time pass; return a name for what comes."""
        low, high = np.log(PAUSES)
        self.now += float(np.exp(self.rng.uniform(low, high)))
        self.moments += 1
        return f"moment {self.moments}"

    def file(self, view: View, moment: str, shake: object = BURST, **more: object) -> File:
        """Shoot a view now."""
        self.count += 1
        image = shoot(view, self.rng, shake, more.pop("ev", 0.0))
        stated = {"name": f"DSC_{self.count:04d}.jpg", "moment": moment, "view": str(view), "seconds": self.now} | more
        return File(image=image, **stated)

    def series(self, number: int, pause: tuple[float, float], **more: object) -> Iterator[File]:
        """Shoot a new view a number of times."""
        view, moment = View.draw(self.rng), self.next_moment()
        for _ in range(number):
            yield self.file(view, moment, **more)
            self.now += self.rng.uniform(*pause)


def day(seed: int, snapshots: int = 300, scale: int = 4) -> list[File]:
    """Return the files of a day.

    Args:
        seed: Of all that is random.
        snapshots: Pictures called `x(n).jpg` that are spread over the day, of a fifth as many views.
        scale: How many moments of each kind there are.
    """
    rng = np.random.default_rng(seed)
    one = Day(rng)
    files: list[File] = []
    for kind in rng.permutation((["burst", "hand", "single"] * 2 + ["bracket", "copies"]) * scale):
        size = int(rng.integers(3, 8))
        if kind == "burst":
            files += one.series(size, (0.1, 0.16))
        elif kind == "hand":
            files += one.series(size, (1.2, 9.0), shake=BY_HAND, subseconds=bool(rng.integers(2)))
        elif kind == "single":
            files += one.series(1, (1, 2))
        elif kind == "bracket":
            files += _bracket(one, int(rng.choice([3, 5])))
        else:
            files += _copies(one)
    files += _other_camera(one)
    one.now = BEFORE_MIDNIGHT - PAUSES[1]
    files += _over_midnight(one)
    files += _never_set(one)
    files += _snapshots(rng, snapshots)
    return files


def _bracket(one: Day, frames: int) -> Iterator[File]:
    view, moment = View.draw(one.rng), one.next_moment()
    step = 2.0 if frames == 3 else 1.0
    for number in range(frames):
        ev = step * (number - frames // 2)
        yield one.file(view, moment, ev=ev, bias=ev)
        one.now += 0.4


def _copies(one: Day) -> Iterator[File]:
    """One shot, its copy, a smaller copy saved anew, a crop; and a copy without EXIF, which tells no time."""
    view, moment = View.draw(one.rng), one.next_moment()
    shot = one.file(view, moment)
    small = shot.image.resize((shot.image.width * 5 // 8, shot.image.height * 5 // 8))
    stem = shot.name.removesuffix(".jpg")
    yield shot
    yield replace(shot, name=f"{stem} copy.jpg")
    yield replace(shot, name=f"{stem} small.jpg", image=small, quality=40)
    yield replace(shot, name=f"{stem} cropped.jpg", image=crop(shot.image, one.rng))
    yield replace(shot, name=f"sent/{stem}.jpg", image=small, quality=60, moment=None, seconds=None)


def _other_camera(one: Day) -> Iterator[File]:
    """Two cameras take the same view in turn; the clock of one is ahead."""
    for _ in range(3):
        view, moment = View.draw(one.rng), one.next_moment()
        for _ in range(3):
            yield one.file(view, moment)
            yield one.file(view, f"{moment} of two", camera="Two", seconds=one.now + OTHER_CLOCK)
            one.now += 1.5


def _over_midnight(one: Day) -> Iterator[File]:
    view, moment = View.draw(one.rng), one.next_moment()
    one.now = BEFORE_MIDNIGHT
    for _ in range(6):
        yield one.file(view, moment)
        one.now += 0.2


def _never_set(one: Day) -> Iterator[File]:
    for file in one.series(4, (0.1, 0.2), camera="Three", clock=NEVER_SET):
        yield replace(file, moment=None)


def _snapshots(rng: np.random.Generator, number: int) -> Iterator[File]:
    """Pictures minutes apart, all called alike: each is a moment by itself."""
    views = [View.draw(rng) for _ in range(max(number // 5, 1))]
    for count in range(number):
        view = views[int(rng.integers(len(views)))]
        image, seconds = shoot(view, rng), 86_400 * count / number + rng.uniform(0, 60)
        yield File(f"party/x({count + 1}).jpg", image, f"snapshot {count}", str(view), seconds, "Four")


def drift(seed: int, number: int = 120) -> list[File]:
    """Return a camera that pans slowly from one view to another, a shot every second: neighbours look the same."""
    rng = np.random.default_rng(seed)
    view = View.draw(rng)
    files = []
    for count in range(number):
        share = count / (number - 1)
        moved = replace(view, part=(share, share, 0.5), place=(0.25 + 0.5 * share, *view.place[1:]))
        files.append(File(f"pan_{count:03d}.jpg", shoot(moved, rng), None, str(count), float(count)))
    return files
