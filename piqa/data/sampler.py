"""Which portraits make a training step: whole groups of one scene, so that every pair in a group is a comparison."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

from piqa.errors import InputError

Groups = list[list[int]]


@dataclass(frozen=True)
class Draw:
    """One portrait in a step.

    Attributes:
        index: Its row in the training table.
        group: Number of its group, unique in the epoch.
        seed: Of its augmentation, so that it does not depend on which worker process draws it.
    """

    index: int
    group: int
    seed: int


@dataclass(frozen=True)
class Step:
    """What one process sees in one training step.

    Attributes:
        draws: Its portraits, group by group.
        groups: Groups of the step over all processes, divided by the number of processes: what this process divides its
            sum over groups by, so that the average of all processes' gradients is the gradient of the whole step.
    """

    draws: tuple[Draw, ...]
    groups: float


def scene_groups(scenes: Sequence[str], size: int, rng: np.random.Generator) -> Groups:
    """Every portrait once, in groups of one scene.

    A scene of n portraits gives ceil(n / size) groups whose sizes differ by one at most, but none of a single portrait.

    Args:
        scenes: Scene of each portrait; each scene at least twice.
        size: Portraits in a group, at most (a scene of three makes one group even for a size of two).
        rng: Draws who is with whom.
    """
    groups: Groups = []
    for rows in _rows_by_scene(scenes):
        count = math.ceil(len(rows) / size)
        if len(rows) // count < 2:
            count = max(1, len(rows) // 2)
        groups += [part.tolist() for part in np.array_split(rng.permutation(rows), count)]
    return groups


def reference_pairs(scenes: Sequence[str], rng: np.random.Generator) -> Groups:
    """The published construction: each portrait with each of two partners, drawn uniformly from its scene.

    Partners are drawn with replacement and may be the portrait itself, as counted in the released pair list.
    """
    pairs: Groups = []
    for rows in _rows_by_scene(scenes):
        partners = rng.choice(rows, size=(len(rows), 2))
        pairs += [[int(row), int(partner)] for row, two in zip(rows, partners, strict=True) for partner in two]
    return pairs


def _rows_by_scene(scenes: Sequence[str]) -> list[np.ndarray]:
    names, position = np.unique(np.asarray(scenes, dtype=object).astype(str), return_inverse=True)
    return [np.flatnonzero(position == number) for number in range(len(names))]


class StepSampler(Sampler[Step]):
    """The steps of an epoch.

    The sequence of steps over all processes depends on the seed, the epoch and `groups_per_step` alone; each process
    takes its share of every step's groups, so all have the same number of steps and no group is split.

    Args:
        make_groups: The groups of an epoch, from a random generator.
        groups_per_step: Groups in one step, over all processes. The steps of an epoch differ by one group at most.
        seed: Of everything that is drawn.
        frozen: Draw the groups once for all epochs (as the published pair list) and only shuffle them.
        rank: Number of this process.
        world: Number of processes.

    Raises:
        InputError: If a step cannot give every process a group.
    """

    def __init__(
        self,
        make_groups: Callable[[np.random.Generator], Groups],
        groups_per_step: int,
        seed: int = 0,
        frozen: bool = False,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self._make_groups = make_groups
        self._seed, self._frozen, self._rank, self._world = seed, frozen, rank, world
        self._epoch = 0
        total = len(self._groups())  # the same in every epoch: it follows from the scenes' sizes
        if groups_per_step < world:
            raise InputError(
                f"{groups_per_step} groups a step do not give each of {world} processes one; raise `groups`"
            )
        if total < world:
            raise InputError(f"the training scenes make {total} groups, fewer than the {world} processes; use fewer")
        self._steps = min(math.ceil(total / groups_per_step), total // world)

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch whose steps are drawn next; Lightning calls it."""
        self._epoch = epoch

    def _groups(self) -> Groups:
        return self._make_groups(np.random.default_rng([self._seed, 0 if self._frozen else self._epoch]))

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[Step]:
        groups = self._groups()
        rng = np.random.default_rng([self._seed, self._epoch, 1])
        for numbers in np.array_split(rng.permutation(len(groups)), self._steps):
            seeds = [rng.integers(2**31, size=len(groups[number])) for number in numbers]
            draws = [
                Draw(index, int(number), int(seed))
                for number, own in list(zip(numbers, seeds, strict=True))[self._rank :: self._world]
                for index, seed in zip(groups[number], own, strict=True)
            ]
            yield Step(tuple(draws), len(numbers) / self._world)
