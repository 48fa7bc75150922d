"""Draw training steps: whole groups of images of one scene, so that every pair in a group is a comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch.utils.data import Sampler

from piqa.errors import InputError

Groups = list[list[int]]


@dataclass(frozen=True)
class Draw:
    """One image in a step."""

    index: int  # its row in the training table
    group: int  # number of its group, unique in the epoch
    seed: int  # of its augmentation, which thus does not depend on the worker process


@dataclass(frozen=True)
class Step:
    """One batch of one process: its share of a training step.

    `groups` counts the groups of the step over all processes and accumulated batches, divided by the number of those
    shares. This share divides its sum over groups by it, so that the mean of all shares' gradients is the step's.
    """

    draws: tuple[Draw, ...]  # group by group
    groups: float


def scene_groups(scenes: Sequence[str], size: int, rng: np.random.Generator, multiple: int = 1) -> Groups:
    """Draw groups of one scene, with every image in one of them.

    A scene of n images gives ceil(n / size) groups whose sizes differ by one at most, and none of a single image. While
    the number of groups is no multiple of `multiple`, a scene, drawn in proportion to its size, is split into one group
    more, so that all steps of an epoch hold the same number of groups. If there are too few images for that, the groups
    stay as they are.

    Args:
        scenes: Scene of each image; each scene at least twice.
        size: Images in a group, at most (a scene of three makes one group even for a size of two).
        rng: Draws the groups.
        multiple: What the number of groups becomes a multiple of.
    """
    rows = _rows_by_scene(scenes)
    counts = _group_counts(np.array([len(own) for own in rows]), size, multiple, rng)
    return [
        part.tolist()
        for own, count in zip(rows, counts, strict=True)
        for part in np.array_split(rng.permutation(own), count)
    ]


def _group_counts(images: np.ndarray, size: int, multiple: int, rng: np.random.Generator) -> np.ndarray:
    """Return the number of groups of each scene, from its number of images."""
    most = np.maximum(images // 2, 1)
    counts: np.ndarray = np.minimum(-(-images // size), most)
    missing = -int(counts.sum()) % multiple
    if counts.sum() + missing > most.sum():
        return counts
    for _ in range(missing):
        weights = np.where(counts < most, images, 0)
        counts[rng.choice(len(counts), p=weights / weights.sum())] += 1
    return counts


def reference_pairs(scenes: Sequence[str], rng: np.random.Generator) -> Groups:
    """Pair each image with each of two partners drawn uniformly from its scene, as published.

    Partners are drawn with replacement and may be the image itself, as in the released pair list.
    """
    pairs: Groups = []
    for rows in _rows_by_scene(scenes):
        partners = rng.choice(rows, size=(len(rows), 2))
        pairs += [[int(row), int(partner)] for row, two in zip(rows, partners, strict=True) for partner in two]
    return pairs


def _rows_by_scene(scenes: Sequence[str]) -> list[np.ndarray]:
    names, position = np.unique(np.asarray(scenes, dtype=object).astype(str), return_inverse=True)
    return [np.flatnonzero(position == number) for number in range(len(names))]


@dataclass(frozen=True)
class StepShare:
    """Which part of every training step a process takes.

    A step is divided evenly among all processes and, in each, among the batches whose gradients are accumulated.
    """

    rank: int = 0  # number of this process
    world: int = 1  # number of processes
    accumulation_steps: int = 1  # batches whose gradients are accumulated in a step

    @property
    def total(self) -> int:
        """The number of shares of a step."""
        return self.world * self.accumulation_steps

    def of_batch(self, number: int) -> slice:
        """Return the items of a step that make one batch of this process, by the number of the batch."""
        return slice(number * self.world + self.rank, None, self.total)

    def __str__(self) -> str:
        parts = ((self.world, "processes"), (self.accumulation_steps, "accumulated batches"))
        return " x ".join(f"{count} {what}" for count, what in parts if count > 1)


class EpochSampler(Sampler[Step]):
    """Draws a process's share of the training steps of an epoch, the first of which may be done already."""

    def __init__(self, steps: int, share: StepShare) -> None:
        self.steps, self.share = steps, share
        self.epoch = 0
        self._done: dict[int, int] = {}

    def __len__(self) -> int:
        return self.steps * self.share.accumulation_steps

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose steps are drawn next; Lightning calls it."""
        self.epoch = epoch

    def skip(self, epoch: int, steps: int) -> None:
        """Leave out the first steps of one epoch, which an interrupted run has done already."""
        self._done = {epoch: steps}

    @property
    def first(self) -> int:
        """The step of the epoch that is drawn first, from 0."""
        return self._done.get(self.epoch, 0)


class StepSampler(EpochSampler):
    """Draws the steps of an epoch, made of groups.

    The sequence of steps over all processes depends on the seed, the epoch and `groups_per_step` alone; each process
    takes its share of every step's groups, so all have the same number of steps and no group is split.

    Args:
        make_groups: Makes the groups of an epoch with a random generator.
        groups_per_step: Groups in one step, over all processes. Where their total is no multiple of it, the epoch has a
            step less, and its steps are larger; they differ by one group at most.
        seed: Seed of everything that is drawn.
        frozen: Draw the groups once for all epochs (as the published pair list) and only shuffle them.
        share: Which part of every step this process takes.

    Raises:
        InputError: If a step does not have a group for every process and accumulated batch.
    """

    def __init__(
        self,
        make_groups: Callable[[np.random.Generator], Groups],
        groups_per_step: int,
        seed: int = 0,
        frozen: bool = False,
        share: StepShare = StepShare(),
    ) -> None:
        self._make_groups, self._seed, self._frozen = make_groups, seed, frozen
        if groups_per_step < share.total:
            fewer = ", or use fewer processes (`--trainer.devices`)" if share.world > 1 else ""
            raise InputError(
                f"{groups_per_step} groups a step do not give each of {share} one; raise "
                f"`data.sampling.groups_per_step` to {share.total} or more{fewer}"
            )
        total = len(self._groups(epoch=0))  # the same in every epoch: it follows from the scenes' sizes
        if total < share.total:
            raise InputError(
                f"the training scenes make {total} groups, fewer than the {share} of a step; use fewer processes, or "
                "a smaller `data.sampling.images_per_group`"
            )
        super().__init__(max(1, total // groups_per_step), share)

    def _groups(self, epoch: int) -> Groups:
        return self._make_groups(np.random.default_rng([self._seed, 0 if self._frozen else epoch]))

    def __iter__(self) -> Iterator[Step]:
        groups = self._groups(self.epoch)
        rng = np.random.default_rng([self._seed, self.epoch, 1])
        first, share = self.first, self.share
        for step, numbers in enumerate(np.array_split(rng.permutation(len(groups)), self.steps)):
            draws = [
                [Draw(index, int(number), int(rng.integers(2**31))) for index in groups[number]] for number in numbers
            ]
            for batch in range(share.accumulation_steps if step >= first else 0):
                own = draws[share.of_batch(batch)]
                yield Step(tuple(draw for group in own for draw in group), len(numbers) / share.total)
