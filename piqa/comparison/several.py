"""More than two devices: Bradley-Terry with scenes as blocks, ranks with their uncertainty, and the two-way effect.

Only devices of the same scene are compared, so that a device that met strong company is not punished for it, as it
would be by its plain mean. Both models take one value for each device in each scene, the mean of its repeats.

Bradley-Terry: P(i better than j in a scene) = logistic(b_i - b_j), fitted by maximum likelihood to what the pairs of
each scene say (a win 1, a tie 0.5, or a preference between 0 and 1). Pairs of one scene are not independent: the
covariance is the sandwich summed over scenes. A device that wins or loses everywhere has no finite strength; then a
tie of half a pair's weight with every opponent is added, which is said.

References: Bradley and Terry, Biometrika 1952; Liang and Zeger, Biometrika 1986 (sandwich over clusters).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.special import expit

from piqa.comparison.intervals import LEVEL, Array

DRAWS = 4_000  # of strengths, for the intervals of ranks
STEPS = 100  # of Newton's method, which takes about eight
Places = NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class PairsOfScenes:
    """Outcomes of pairs of devices in scenes.

    Attributes:
        scene: Number of the scene, shape (pairs,).
        first, second: Numbers of the devices.
        outcome: How far the first is better: 1, 0.5 of a tie, 0, or a preference.
        devices: How many devices there are.
    """

    scene: Places
    first: Places
    second: Places
    outcome: Array
    devices: int


@dataclass(frozen=True, eq=False)
class Ranking:
    """Devices in order of their strengths.

    Attributes:
        strength: Of each device, logits with mean 0; NaN for all where the devices are not connected.
        low, high: Ends of their 95 % intervals.
        rank: 1 is the best.
        rank_low, rank_high: The best and the worst rank of the 95 % interval.
        covariance: Of the strengths, shape (devices, devices).
        scenes: How many scenes it rests on.
        note: What must be known of it; "" for nothing.
    """

    strength: Array
    low: Array
    high: Array
    rank: Places
    rank_low: Places
    rank_high: Places
    covariance: Array
    scenes: int
    note: str = ""


def bradley_terry(pairs: PairsOfScenes, seed: int = 0) -> Ranking:
    """Fit the strengths of devices, with scenes as blocks.

    Args:
        pairs: Their outcomes.
        seed: Of the draws for the intervals of ranks.
    """
    scenes = len(np.unique(pairs.scene))
    if _components(pairs, "weak") > 1:
        nothing, none = np.full(pairs.devices, np.nan), np.zeros(pairs.devices, np.intp)
        note = "some devices share no scene with the others, not even through third ones: there is no common ranking"
        return Ranking(nothing, nothing, nothing, none, none, none, np.diag(nothing), scenes, note)
    note, prior = "", 0.0
    if _components(pairs, "strong") > 1:
        prior = 0.5
        note = "a device wins or loses everywhere: strengths are drawn together by a tie of half a pair's weight"
    strength = _fit(pairs, prior)
    covariance = _sandwich(pairs, strength, prior, scenes)
    freedom = max(scenes - 1, 1)
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * np.sqrt(np.maximum(np.diag(covariance), 0))
    low, high = _rank_ends(strength, covariance, freedom, seed)
    return Ranking(strength, strength - half, strength + half, ranks(strength), low, high, covariance, scenes, note)


def ranks(strength: Array) -> Places:
    """Return ranks, 1 for the highest; equal strengths share the better rank."""
    return np.asarray(stats.rankdata(-strength, method="min"), np.intp)


def _components(pairs: PairsOfScenes, connection: str) -> int:
    """Return into how many parts the devices fall; `strong`: by wins in both directions."""
    wins, losses = pairs.outcome > 0, pairs.outcome < 1
    start = np.concatenate([pairs.first[wins], pairs.second[losses]])
    end = np.concatenate([pairs.second[wins], pairs.first[losses]])
    graph = coo_matrix((np.ones(len(start)), (start, end)), shape=(pairs.devices, pairs.devices))
    return int(connected_components(graph, directed=True, connection=connection)[0])


def _met(pairs: PairsOfScenes) -> Array:
    """Return 1 for each two devices that met, shape (devices, devices)."""
    met = np.zeros((pairs.devices, pairs.devices))
    met[pairs.first, pairs.second] = met[pairs.second, pairs.first] = 1.0
    return met


def _fit(pairs: PairsOfScenes, prior: float) -> Array:
    """Return strengths of mean 0 by Newton's method."""
    strength = np.zeros(pairs.devices)
    met = prior * _met(pairs)
    for _ in range(STEPS):
        gradient = np.bincount(pairs.first, _residual(pairs, strength), pairs.devices)
        gradient -= np.bincount(pairs.second, _residual(pairs, strength), pairs.devices)
        gradient += (met * (0.5 - expit(strength[:, None] - strength[None, :]))).sum(axis=1)
        step = np.linalg.pinv(_information(pairs, strength, met), hermitian=True) @ gradient
        strength = strength + np.clip(step, -2, 2)
        strength -= strength.mean()
        if np.abs(step).max() < 1e-10:
            break
    return np.asarray(strength)


def _residual(pairs: PairsOfScenes, strength: Array) -> Array:
    return np.asarray(pairs.outcome - expit(strength[pairs.first] - strength[pairs.second]))


def _information(pairs: PairsOfScenes, strength: Array, met: Array) -> Array:
    chance = expit(strength[pairs.first] - strength[pairs.second])
    weight = np.zeros((pairs.devices, pairs.devices))
    np.add.at(weight, (pairs.first, pairs.second), chance * (1 - chance))
    added = expit(strength[:, None] - strength[None, :])
    weight = weight + weight.T + met * added * (1 - added)
    return np.asarray(np.diag(weight.sum(axis=1)) - weight)


def _sandwich(pairs: PairsOfScenes, strength: Array, prior: float, scenes: int) -> Array:
    """Return the robust covariance, scenes as clusters, with the usual factor S / (S - 1) for few of them."""
    bread = np.linalg.pinv(_information(pairs, strength, prior * _met(pairs)), hermitian=True)
    number = np.unique(pairs.scene, return_inverse=True)[1]
    scores = np.zeros((scenes, pairs.devices))
    residual = _residual(pairs, strength)
    np.add.at(scores, (number, pairs.first), residual)
    np.add.at(scores, (number, pairs.second), -residual)
    return np.asarray(bread @ (scores.T @ scores) @ bread * scenes / max(scenes - 1, 1))


def _rank_ends(strength: Array, covariance: Array, freedom: int, seed: int) -> tuple[Places, Places]:
    """Return the 95 % interval of each rank, from draws of the strengths (multivariate t)."""
    generator = np.random.default_rng(seed)
    values, vectors = np.linalg.eigh((covariance + covariance.T) / 2)
    root = vectors * np.sqrt(np.maximum(values, 0))
    wide = np.sqrt(freedom / generator.chisquare(freedom, size=(DRAWS, 1)))
    drawn = strength + wide * (generator.standard_normal((DRAWS, len(strength))) @ root.T)
    places = stats.rankdata(-drawn, axis=1, method="min")
    ends = np.quantile(places, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0, method="nearest")
    own = ranks(strength)
    return np.minimum(ends[0].astype(np.intp), own), np.maximum(ends[1].astype(np.intp), own)


def two_way_effect(value: Array, scene: Sequence[int] | Places, device: Sequence[int] | Places) -> Array:
    """Return each device's effect in the least-squares fit value = scene + device, of mean 0 over devices.

    Args:
        value: One for each device in each scene.
        scene: Number of the scene, 0..S-1.
        device: Number of the device, 0..D-1.

    Examples:
        >>> two_way_effect(np.array([1.0, 0.0, 7.0, 6.0]), [0, 0, 1, 1], [0, 1, 0, 1]).tolist()
        [0.5, -0.5]
    """
    s, d = np.asarray(scene, np.intp), np.asarray(device, np.intp)
    scenes, devices = int(s.max()) + 1, int(d.max()) + 1
    counts = np.zeros((scenes, devices))
    np.add.at(counts, (s, d), 1.0)
    sizes = np.maximum(counts.sum(axis=1), 1)
    sums = np.bincount(s, value, scenes)
    # Normal equations of the devices, the scenes eliminated.
    left = np.diag(counts.sum(axis=0)) - counts.T @ (counts / sizes[:, None])
    right = np.bincount(d, value, devices) - counts.T @ (sums / sizes)
    effect = np.linalg.pinv(left, hermitian=True) @ right
    return np.asarray((effect - effect.mean()).round(12))
