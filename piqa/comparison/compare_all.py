"""All pairs of devices, over all scenes and by condition, and where there are more than two, their common ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np

from piqa.comparison.intervals import Array
from piqa.comparison.pair import PairResult, Settings, compare_pair, preferred_in
from piqa.comparison.several import PairsOfScenes, Ranking, bradley_terry, two_way_effect
from piqa.comparison.shots import Scenes
from piqa.evaluation.statistics.significance import holm
from piqa.system.progress import progress


@dataclass(frozen=True, eq=False)
class Comparison:
    """What is known of the devices.

    Attributes:
        scenes: Their scores.
        settings: How they are compared.
        pairs: Every two devices, in the order of the devices.
        by_condition: Every two devices under each condition.
        ranking: Of more than two devices; None of two.
        effects: Each device's effect in the two-way fit scene + device; empty for two.
    """

    scenes: Scenes
    settings: Settings
    pairs: Sequence[PairResult]
    by_condition: Sequence[PairResult] = ()
    ranking: Ranking | None = None
    effects: Array = field(default_factory=lambda: np.zeros(0))

    def pair(self, a: str, b: str, condition: str = "") -> PairResult:
        """Return A against B, in this order; without a scene where they share none."""
        return compare_pair(self.scenes, a, b, self.settings, condition)

    def conditions_of(self, a: str, b: str) -> dict[str, PairResult]:
        """Return A against B under each condition in which they share a scene."""
        found = {name: self.pair(a, b, name) for name in self.scenes.conditions}
        return {name: pair for name, pair in found.items() if pair.scenes}


def compare_devices(scenes: Scenes, settings: Settings) -> Comparison:
    """Compare all devices.

    Holm's correction runs over the pairs of all scenes, and apart from them over the pairs of all conditions; pairs
    with too few scenes for a verdict are no tests and take no part.
    """
    two = list(combinations(scenes.devices, 2))
    conditions = scenes.conditions
    pairs, by_condition = [], []
    with progress(len(two), task="comparing", unit="pairs") as advance:
        for a, b in two:
            pairs.append(compare_pair(scenes, a, b, settings))
            by_condition += [compare_pair(scenes, a, b, settings, condition) for condition in conditions]
            advance(1)
    pairs = _adjusted([pair for pair in pairs if pair.scenes])
    by_condition = _adjusted([pair for pair in by_condition if pair.scenes])
    if len(scenes.devices) < 3:
        return Comparison(scenes, settings, pairs, by_condition)
    ranking = bradley_terry(outcomes_of(scenes, settings), settings.seed)
    connected = bool(np.isfinite(ranking.strength).all())
    return Comparison(scenes, settings, pairs, by_condition, ranking, effects_of(scenes) if connected else np.zeros(0))


def outcomes_of(scenes: Scenes, settings: Settings) -> PairsOfScenes:
    """Return what each scene says of each two of its devices: P(A better) where it is known, else the outcome."""
    rows: list[tuple[int, int, int, float]] = []
    for number, name in enumerate(scenes.names):
        cells = [(place, scenes.scores(name, device)) for place, device in enumerate(scenes.devices)]
        for (first, a), (second, b) in combinations([cell for cell in cells if len(cell[1])], 2):
            if settings.preference is not None and settings.test != "sign":
                devices = scenes.devices[first], scenes.devices[second]
                outcome = preferred_in(scenes, name, *devices, settings.pair)
            else:
                outcome = 0.5 + 0.5 * float(np.sign(a.mean() - b.mean()))
            rows.append((number, first, second, outcome))
    columns = list(zip(*rows, strict=True))
    scene, first_place, second_place = (np.asarray(column, np.intp) for column in columns[:3])
    return PairsOfScenes(scene, first_place, second_place, np.asarray(columns[3]), len(scenes.devices))


def effects_of(scenes: Scenes) -> Array:
    """Return each device's effect in the two-way fit scene + device of the mean scores."""
    value, scene, device = [], [], []
    for number, name in enumerate(scenes.names):
        for place, key in enumerate(scenes.devices):
            if len(scores := scenes.scores(name, key)):
                value.append(float(scores.mean()))
                scene.append(number)
                device.append(place)
    return two_way_effect(np.asarray(value), scene, device)


def _adjusted(pairs: Sequence[PairResult]) -> list[PairResult]:
    raw = [pair.p if pair.enough and not pair.all_tied else float("nan") for pair in pairs]
    return [replace(pair, p_adjusted=p) for pair, p in zip(pairs, holm(raw).tolist(), strict=True)]
