"""Which portraits make a training step: whole groups of one scene, so that every pair in a group is a comparison."""

from __future__ import annotations

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
    """What one process sees at once: its share of a training step, or of a part of it where gradients accumulate.

    Attributes:
        draws: Its portraits, group by group.
        groups: Groups of the step over all processes and accumulation steps, divided by the number of those shares:
            what this share divides its sum over groups by, so that the average of all shares' gradients is the gradient
            of the step.
    """

    draws: tuple[Draw, ...]
    groups: float


def scene_groups(scenes: Sequence[str], size: int, rng: np.random.Generator, multiple: int = 1) -> Groups:
    """Every portrait once, in groups of one scene.

    A scene of n portraits gives ceil(n / size) groups whose sizes differ by one at most, but none of a single portrait.
    Where their number is no multiple of `multiple`, some scenes, drawn in proportion to their size, are split into one
    more group each time until it is, so that all steps of an epoch hold the same number of groups. Of too few portraits
    for that, the groups stay as they are.

    Args:
        scenes: Scene of each portrait; each scene at least twice.
        size: Portraits in a group, at most (a scene of three makes one group even for a size of two).
        rng: Draws who is with whom.
        multiple: What the number of groups shall be a multiple of.
    """
    rows = _rows_by_scene(scenes)
    counts = _group_counts(np.array([len(own) for own in rows]), size, multiple, rng)
    return [
        part.tolist()
        for own, count in zip(rows, counts, strict=True)
        for part in np.array_split(rng.permutation(own), count)
    ]


def _group_counts(portraits: np.ndarray, size: int, multiple: int, rng: np.random.Generator) -> np.ndarray:
    """Groups of each scene, from its number of portraits."""
    most = np.maximum(portraits // 2, 1)
    counts: np.ndarray = np.minimum(-(-portraits // size), most)
    missing = -int(counts.sum()) % multiple
    if counts.sum() + missing > most.sum():
        return counts
    for _ in range(missing):
        weights = np.where(counts < most, portraits, 0)
        counts[rng.choice(len(counts), p=weights / weights.sum())] += 1
    return counts


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


class EpochSampler(Sampler[Step]):
    """The steps of an epoch, of which the first may be done already.

    Args:
        accumulation_steps: Batches whose gradients are accumulated in a step.
    """

    def __init__(self, accumulation_steps: int = 1) -> None:
        self.accumulation_steps = accumulation_steps
        self.epoch = 0
        self._done = (0, 0)

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch whose steps are drawn next; Lightning calls it."""
        self.epoch = epoch

    def skip(self, epoch: int, steps: int) -> None:
        """Leaves out the first steps of one epoch, which an interrupted run has done already."""
        self._done = (epoch, steps)

    @property
    def first(self) -> int:
        """The step of the epoch that is drawn first, from 0."""
        epoch, steps = self._done
        return steps if epoch == self.epoch else 0


class StepSampler(EpochSampler):
    """The steps of an epoch.

    The sequence of steps over all processes depends on the seed, the epoch and `groups_per_step` alone; each process
    takes its share of every step's groups, so all have the same number of steps and no group is split.

    Args:
        make_groups: The groups of an epoch, from a random generator.
        groups_per_step: Groups in one step, over all processes. Where their total is no multiple of it, the epoch has a
            step less, and its steps are larger; they differ by one group at most.
        seed: Of everything that is drawn.
        frozen: Draw the groups once for all epochs (as the published pair list) and only shuffle them.
        rank: Number of this process.
        world: Number of processes.
        accumulation_steps: Batches whose gradients are accumulated in a step.

    Raises:
        InputError: If a step cannot give every process a group for every part.
    """

    def __init__(
        self,
        make_groups: Callable[[np.random.Generator], Groups],
        groups_per_step: int,
        seed: int = 0,
        frozen: bool = False,
        rank: int = 0,
        world: int = 1,
        accumulation_steps: int = 1,
    ) -> None:
        super().__init__(accumulation_steps)
        self._make_groups = make_groups
        self._seed, self._frozen, self._rank, self._world = seed, frozen, rank, world
        check_shares(groups_per_step, world, accumulation_steps)
        total = len(self._groups())  # the same in every epoch: it follows from the scenes' sizes
        if total < world * accumulation_steps:
            raise InputError(
                f"the training scenes make {total} groups, fewer than the {_shares(world, accumulation_steps)} of a "
                f"step; use fewer processes, or a smaller `data.sampling.images_per_group`"
            )
        self._steps = max(1, total // groups_per_step)

    def _groups(self) -> Groups:
        return self._make_groups(np.random.default_rng([self._seed, 0 if self._frozen else self.epoch]))

    def __len__(self) -> int:
        return self._steps * self.accumulation_steps

    def __iter__(self) -> Iterator[Step]:
        groups = self._groups()
        rng = np.random.default_rng([self._seed, self.epoch, 1])
        first, shares = self.first, self._world * self.accumulation_steps
        for step, numbers in enumerate(np.array_split(rng.permutation(len(groups)), self._steps)):
            draws = [
                [Draw(index, int(number), int(rng.integers(2**31))) for index in groups[number]] for number in numbers
            ]
            if step < first:
                continue
            for part in range(self.accumulation_steps):
                own = draws[part * self._world + self._rank :: shares]
                yield Step(tuple(draw for group in own for draw in group), len(numbers) / shares)


def check_shares(groups_per_step: int, world: int, accumulation_steps: int) -> None:
    """Makes sure that a step's groups suffice for all processes and accumulation steps.

    Raises:
        InputError: If they do not.
    """
    if groups_per_step < world * accumulation_steps:
        raise InputError(
            f"{groups_per_step} groups a step do not give each of {_shares(world, accumulation_steps)} one; raise "
            f"`data.sampling.groups_per_step` to {world * accumulation_steps} or more"
            + (", or use fewer processes (`--trainer.devices`)" if world > 1 else "")
        )


def _shares(world: int, accumulation_steps: int) -> str:
    several = [
        f"{count} {what}"
        for count, what in ((world, "processes"), (accumulation_steps, "accumulated batches"))
        if count > 1
    ]
    return " x ".join(several)
