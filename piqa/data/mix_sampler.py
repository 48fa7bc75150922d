"""Draw training steps from several databases: a fixed number of images from each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from piqa.data.sampler import Draw, EpochSampler, Step, StepShare
from piqa.errors import InputError

LIQE_IMAGES = {"LIVE": 4, "CSIQ": 4, "BID": 4, "CLIVE": 4, "KonIQ-10k": 16, "KADID-10k": 16}  # of a step, as published
LIQE_STEPS = 200  # of an epoch, as published


class MixSampler(EpochSampler):
    """The steps of an epoch over several databases.

    Every step holds a mini-batch of each database, which is one group: images are compared inside it only. A draw's
    `group` is the place of its database in `images`, the same in every step. A pass through a database takes its images
    in random order without repetition; the next pass takes another order. The few that do not fill the last mini-batch
    of a pass are left out of it, so that no image is twice in a mini-batch. Images of small databases thus come more
    often, as in LIQE's training.

    The sequence of steps over all processes depends on the seed, the epoch, `images` and `steps` alone. Each process
    takes an even share of every mini-batch (sizes differ by one at most) and compares inside its share: 16 images are
    120 pairs in one process, 2 x 28 in two. The expected gradient stays the same; its variance grows a little.

    Args:
        databases: Database of each row of the training table.
        images: Images in a step by database, over all processes; other databases are not drawn.
        steps: Steps of an epoch.
        seed: Seed of everything that is drawn.
        share: Which part of every step this process takes.

    Raises:
        InputError: If a database has too few images for a step, or a step too few for every share to compare two.
    """

    def __init__(
        self,
        databases: Sequence[str],
        images: Mapping[str, int] = LIQE_IMAGES,
        steps: int = LIQE_STEPS,
        seed: int = 0,
        share: StepShare = StepShare(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__(steps, share)
        if steps < 1 or not images:
            raise InputError(f"a mixed epoch needs at least one step and one database, not `steps` {steps}")
        names = np.asarray(databases, dtype=object)
        self._rows = [np.flatnonzero(names == name) for name in images]
        self._sizes = list(images.values())
        self._seed = seed
        for name, rows, size in zip(images, self._rows, self._sizes, strict=True):
            if size < 2 * share.total:
                raise InputError(
                    f"{size} images of {name} in a step do not give each of {share.world} process(es) x "
                    f"{share.accumulation_steps} accumulated batch(es) two to compare; raise them to {2 * share.total} "
                    "in `data.sampling.images_per_database`, or leave it out"
                )
            if len(rows) < size:
                raise InputError(
                    f"{name} has {len(rows)} training images, fewer than the {size} of a step; there are images of "
                    f"{', '.join(sorted(set(databases)))}"
                )

    def __iter__(self) -> Iterator[Step]:
        batches = [self._mini_batches(number) for number in range(len(self._rows))]
        rng = np.random.default_rng([self._seed, self.epoch, 0])
        first, share = self.first, self.share
        for step in range(self.steps):
            rows = [of_database[step] for of_database in batches]
            # All processes draw the seeds of all images, so that they draw alike.
            seeds = [rng.integers(2**31, size=len(own)) for own in rows]
            for batch in range(share.accumulation_steps if step >= first else 0):
                mine = share.of_batch(batch)
                draws = [
                    Draw(int(row), group, int(seed))
                    for group, (own, of_own) in enumerate(zip(rows, seeds, strict=True))
                    for row, seed in zip(own[mine], of_own[mine], strict=True)
                ]
                # Every share has a part of every database: its own number of groups is the mean over shares.
                yield Step(tuple(draws), float(len(batches)))

    def _mini_batches(self, number: int) -> np.ndarray:
        """Return the rows of a database's mini-batches of an epoch, (steps, images)."""
        rows, size = self._rows[number], self._sizes[number]
        rng = np.random.default_rng([self._seed, self.epoch, 1 + number])
        whole = len(rows) // size  # mini-batches of one pass
        passes = [rng.permutation(rows)[: whole * size] for _ in range(math.ceil(self.steps / whole))]
        return np.concatenate(passes).reshape(-1, size)[: self.steps]
