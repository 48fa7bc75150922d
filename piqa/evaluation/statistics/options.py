"""The settings of confidence intervals and tests, with their validation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from piqa.errors import InputError
from piqa.evaluation.statistics.bootstrap import Levels


@dataclass(frozen=True)
class StatisticsOptions:
    """How confidence intervals are computed.

    Args:
        bootstrap_samples: Number of bootstrap resamples.
        levels: What the bootstrap resamples: scenes and the images of each (`both`), `scenes` or `images`.
        seed: Seed of the bootstrap, of the permutation test and of the noise ceiling.

    Raises:
        InputError: If a setting is not possible.
    """

    bootstrap_samples: int = 2000
    levels: Levels = "both"
    seed: int = 0

    def __post_init__(self) -> None:
        samples = self.bootstrap_samples
        if samples < 1:
            raise InputError(f"`bootstrap_samples` is {samples}; at least 1 is needed, 2000 give stable intervals")
        if self.levels not in get_args(Levels):
            raise InputError(f"`levels` is {self.levels!r}; choose one of {', '.join(get_args(Levels))}")
        if self.seed < 0:
            raise InputError(f"`seed` is {self.seed}; a whole number of at least 0 is needed")
