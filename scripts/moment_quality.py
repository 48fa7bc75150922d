"""Measure how well pictures become moments, on synthetic folders whose truth is known.

    python scripts/moment_quality.py                 held-out days: with EXIF, and by likeness alone
    python scripts/moment_quality.py --hashes true   beside it, perceptual hashes in place of piqa's looks
    python scripts/moment_quality.py --choose true   the thresholds, on days of their own
    python scripts/moment_quality.py --large 10000   seconds and peak memory of so many pictures

A pair of files counts as found if both are in one moment, and as right if both are so in truth: precision, recall and
F1 are those of pairs, over all pairs of a day. The mean of the days must reach 0.95 with EXIF and 0.85 by likeness
alone, or the script ends with status 1. The worst day is told, too: two views that look alike by chance, one just after
the other, cost a day up to 0.07.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
from moment_cases import day, drift
from synthetic_moments import File, View, crop, shoot

from piqa.moments.alone import find_alike
from piqa.moments.grouping import group
from piqa.moments.looks import Looks
from piqa.moments.moment import Moment, Shot
from piqa.moments.options import GroupingOptions
from piqa.moments.shots import find_shots
from piqa.system.command_line import Parser

CHOSEN_ON = range(4)  # seeds of the days on which the thresholds were chosen
HELD_OUT = range(200, 206)
WITH_EXIF, ALONE = 0.95, 0.85
SIMILARITIES = np.arange(0.5, 0.96, 0.05)


@dataclass(frozen=True)
class Pairs:
    """Counts of pairs."""

    found: int
    true: int
    both: int

    @property
    def precision(self) -> float:
        """Share of the found pairs that are right."""
        return self.both / self.found if self.found else 1.0

    @property
    def recall(self) -> float:
        """Share of the true pairs that are found."""
        return self.both / self.true if self.true else 1.0

    @property
    def f1(self) -> float:
        """Their harmonic mean."""
        return 2 * self.both / (self.found + self.true) if self.found + self.true else 1.0

    def __str__(self) -> str:
        return f"precision {self.precision:.3f}  recall {self.recall:.3f}  F1 {self.f1:.3f}"


def count_pairs(found: Sequence[object], true: Sequence[object]) -> Pairs:
    """Count pairs of files with equal labels, without a table of all pairs; None is equal to nothing."""
    own = [number if label is None else label for number, label in enumerate(true)]

    def pairs(labels: Iterable[object]) -> int:
        return sum(count * (count - 1) // 2 for count in Counter(labels).values())

    return Pairs(pairs(found), pairs(own), pairs(zip(found, own, strict=True)))


class Folder:
    """A day that was written, with EXIF or without it."""

    def __init__(self, files: Sequence[File], *, exif: bool) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            paths = [str(file.write(folder, exif=exif)) for file in files]
            self.shots = find_shots([name]).shots
            self.looks = Looks()
            self.looks.of(shot.file for shot in self.shots)
        self.truth = dict(zip(paths, (file.moment if exif else file.view for file in files), strict=True))

    def measure(self, options: GroupingOptions) -> Pairs:
        """Return how well the files are grouped."""
        return self.pairs_of(group(self.shots, options, looks=self.looks))

    def pairs_of(self, moments: Sequence[Moment]) -> Pairs:
        """Return how well the files of shots and their companions are grouped."""
        found = {
            file: moment.name for moment in moments for shot in moment.shots for file in (shot.file, *shot.companions)
        }
        assert found.keys() == self.truth.keys()
        return count_pairs([found[file] for file in self.truth], list(self.truth.values()))


class Hashes(Looks):
    """Perceptual hashes as looks: bits as signs, one window."""

    def of(self, files: Iterable[str]) -> dict[str, np.ndarray]:
        """Return the hashes of files."""
        return {file: self._known[file] for file in files}


def main(hashes: bool = False, choose: bool = False, large: int = 0) -> None:
    """Measure the grouping.

    Args:
        hashes: Whether to measure perceptual hashes as well.
        choose: Whether to tell the results of many thresholds on other days instead.
        large: Number of pictures of a large folder to measure time and memory on instead.
    """
    if large:
        measure_large(large)
    elif choose:
        tell_thresholds()
    else:
        sys.exit(measure_held_out(hashes))


def measure_held_out(hashes: bool) -> int:
    """Print the results on held-out days; return the exit status."""
    reached: dict[bool, list[float]] = {True: [], False: []}
    for seed in HELD_OUT:
        for exif in (True, False):
            folder = Folder(day(seed), exif=exif)
            pairs = folder.measure(GroupingOptions(similar=not exif))
            reached[exif].append(pairs.f1)
            print(f"day {seed}  {'with EXIF       ' if exif else 'likeness alone  '}  {pairs}", flush=True)
        if hashes:
            tell_hashes(seed)
    tell_drift()
    for name, exif, needed in (("with EXIF", True, WITH_EXIF), ("likeness alone", False, ALONE)):
        print(f"{name}: mean F1 {np.mean(reached[exif]):.3f} (needed {needed}), worst day {min(reached[exif]):.3f}")
    return int(np.mean(reached[True]) < WITH_EXIF or np.mean(reached[False]) < ALONE)


def tell_hashes(seed: int) -> None:
    """Print what perceptual hashes reach by likeness alone, at the threshold that is best on this very day."""
    import imagehash

    files = day(seed)
    truth = [file.view for file in files]
    shots = [Shot(file.name) for file in files]
    for name in ("phash", "dhash", "whash"):
        looks = Hashes()
        for file in files:
            bits = np.asarray(getattr(imagehash, name)(file.image).hash, np.float32).ravel() * 2 - 1
            looks._known[file.name] = (bits / np.linalg.norm(bits))[None].repeat(2, 0).astype(np.float16)
        best = max(
            (_by_name(shots, limit, looks, truth) for limit in np.arange(0.1, 0.9, 0.05)), key=lambda one: one.f1
        )
        print(f"day {seed}  {name}, best threshold  {best}", flush=True)


def _by_name(shots: Sequence[Shot], limit: float, looks: Looks, truth: Sequence[str]) -> Pairs:
    found = {shot.file: number for number, one in enumerate(find_alike(shots, limit, looks)) for shot in one}
    return count_pairs([found[shot.file] for shot in shots], truth)


def tell_drift() -> None:
    """Print how a slow pan of two minutes is cut."""
    folder = Folder(drift(HELD_OUT[0]), exif=True)
    moments = group(folder.shots, looks=folder.looks)
    spans = [moment.shots[-1].seconds - moment.shots[0].seconds for moment in moments]
    print(f"a slow pan of {len(folder.shots)} shots: {len(moments)} moments, the longest {max(spans):.0f} s")


def tell_thresholds() -> None:
    """Print mean and worst F1 for thresholds, on the days for choosing them."""
    timed = [Folder(day(seed), exif=True) for seed in CHOSEN_ON]
    bare = [Folder(day(seed), exif=False) for seed in CHOSEN_ON]
    for gap, similarity in product((15.0, 30.0), SIMILARITIES):
        _tell(f"gap {gap:g}  similarity {similarity:.2f}", timed, GroupingOptions(gap=gap, similarity=similarity))
    for alone in SIMILARITIES:
        _tell(f"alone {alone:.2f}", bare, GroupingOptions(similar=True, alone=alone))


def _tell(name: str, folders: Sequence[Folder], options: GroupingOptions) -> None:
    measured = [folder.measure(options) for folder in folders]
    f1 = [pairs.f1 for pairs in measured]
    precision, recall = (np.mean([getattr(one, name) for one in measured]) for name in ("precision", "recall"))
    print(
        f"{name}  F1 {np.mean(f1):.3f}  worst {min(f1):.3f}  precision {precision:.3f}  recall {recall:.3f}", flush=True
    )


def measure_large(number: int) -> None:
    """Print how long a large folder takes, by time and likeness and by likeness alone, and the peak of memory."""
    with tempfile.TemporaryDirectory() as name:
        for file in large_folder(number):
            file.write(Path(name))
        before, looks = _peak(), Looks()
        with _timed(f"{number} pictures: tags"):
            shots = find_shots([name]).shots
        with _timed("looks and moments by time and likeness"):
            moments = group(shots, GroupingOptions(gap=60), looks=looks)
        with _timed("looks of the others"):
            looks.of(shot.file for shot in shots)
        with _timed("moments by likeness alone"):
            bare = group([replace(shot, seconds=None) for shot in shots], GroupingOptions(similar=True), looks=looks)
    print(f"{len(moments)} and {len(bare)} moments; peak memory {_peak():.0f} MB, {before:.0f} MB before")


def large_folder(number: int) -> Iterator[File]:
    """Yield files of five shots each: one that is drawn, and four that the camera moves by up to 2 %."""
    rng = np.random.default_rng(0)
    seconds = 0.0
    for count in range(number):
        if count % 5 == 0:
            first = shoot(View.draw(rng), rng)
            seconds += rng.uniform(6, 60)
        seconds += 1.5
        image = crop(first, rng, 0.02) if count % 5 else first
        yield File(f"{count // 1000}/DSC_{count:05d}.jpg", image, None, "", seconds)


@contextmanager
def _timed(what: str) -> Iterator[None]:
    wall, processor = time.perf_counter(), time.process_time()
    yield
    print(f"{what}: {time.perf_counter() - wall:.1f} s ({time.process_time() - processor:.1f} s of cores)", flush=True)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    parser = Parser(description=__doc__)
    parser.add_function_arguments(main)
    main(**vars(parser.parse_args()))
