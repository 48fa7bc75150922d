"""Which pictures of several databases make a training step: a fixed number from each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from torch.utils.data import Sampler

from piqa.data.sampler import Draw, Step
from piqa.errors import InputError

LIQE_PICTURES = {
    "LIVE": 4,
    "CSIQ": 4,
    "BID": 4,
    "CLIVE": 4,
    "KonIQ-10k": 16,
    "KADID-10k": 16,
}  # of a step, as published
LIQE_STEPS = 200  # of an epoch, as published


class MixSampler(Sampler[Step]):
    """The steps of an epoch over several databases.

    Every step holds a mini-batch of each database, which is one group: pictures are compared inside it alone. A draw's
    `group` is the place of its database in `pictures`, the same in every step. A database is gone through in random
    order without repetition, and again in another when it is used up; the few that do not fill
    a last mini-batch sit that pass out, so that no picture is twice in one. Pictures of small databases thus come more
    often, as in LIQE's training.

    The sequence of steps over all processes depends on the seed, the epoch, `pictures` and `steps` alone. Each process
    takes an even share of every mini-batch (sizes differ by one at most) and compares inside its share: 16 pictures on
    one process are 120 pairs, on two processes 2 x 28. The expected gradient stays the same, its noise grows a little.

    Args:
        databases: Database of each row of the training table.
        pictures: Pictures in a step by database, over all processes; databases that it does not name are not drawn.
        steps: Steps of an epoch.
        seed: Of everything that is drawn.
        rank: Number of this process.
        world: Number of processes.

    Raises:
        InputError: If a database has too few pictures for a step, or a step too few for every process to compare two.
    """

    def __init__(
        self,
        databases: Sequence[str],
        pictures: Mapping[str, int] = LIQE_PICTURES,
        steps: int = LIQE_STEPS,
        seed: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if steps < 1 or not pictures:
            raise InputError(f"a mixed epoch needs at least one step and one database, not `steps` {steps}")
        names = np.asarray(databases, dtype=object)
        self._rows = [np.flatnonzero(names == name) for name in pictures]
        self._sizes = list(pictures.values())
        self._steps, self._seed, self._rank, self._world = steps, seed, rank, world
        self._epoch = 0
        for name, rows, size in zip(pictures, self._rows, self._sizes, strict=True):
            if size < 2 * world:
                raise InputError(
                    f"{size} pictures of {name} in a step do not give each of {world} process(es) two to compare; "
                    f"raise them to {2 * world}, or leave the database out"
                )
            if len(rows) < size:
                raise InputError(
                    f"{name} has {len(rows)} training pictures, fewer than the {size} of a step; there are pictures of "
                    f"{', '.join(sorted(set(databases)))}"
                )

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch whose steps are drawn next; Lightning calls it."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[Step]:
        batches = [self._mini_batches(number) for number in range(len(self._rows))]
        rng = np.random.default_rng([self._seed, self._epoch, 0])
        for step in range(self._steps):
            draws: list[Draw] = []
            for group, of_database in enumerate(batches):
                rows = of_database[step]
                seeds = rng.integers(2**31, size=len(rows))  # of all processes' pictures, so that all draw alike
                mine = slice(self._rank, None, self._world)
                draws += [Draw(int(row), group, int(seed)) for row, seed in zip(rows[mine], seeds[mine], strict=True)]
            # Every process has a part of every database: its own number of groups is the mean over processes.
            yield Step(tuple(draws), float(len(batches)))

    def _mini_batches(self, number: int) -> np.ndarray:
        """The rows of a database's mini-batches of an epoch, (steps, pictures)."""
        rows, size = self._rows[number], self._sizes[number]
        rng = np.random.default_rng([self._seed, self._epoch, 1 + number])
        whole = len(rows) // size  # mini-batches of one pass
        passes = [rng.permutation(rows)[: whole * size] for _ in range(math.ceil(self._steps / whole))]
        return np.concatenate(passes).reshape(-1, size)[: self._steps]
