"""Simulated raters with known habits, for proofs, demonstrations and tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

Habit = Literal["honest", "coin", "left", "right"]


@dataclass(frozen=True)
class SimulatedRater:
    """A rater with a habit.

    Attributes:
        name: As in the table of answers.
        habit: "honest": Thurstone's Case V; "coin" flips one; "left" and "right" always answer that side.
        left_bias: What the left image gains for an honest rater, in JOD.
        noise: Sd of an honest rater's noise of a difference, in units of that of Case V.
        same_below: An honest rater says "same" where the seen difference is smaller, in JOD; 0: never.
    """

    name: str
    habit: Habit = "honest"
    left_bias: float = 0.0
    noise: float = 1.0
    same_below: float = 0.0

    def answer(self, score_a: float, score_b: float, left: str, rng: np.random.Generator) -> str:
        """Return "a", "b" or "same" for a pair with true scores in JOD, of which `left` is on the left."""
        raise NotImplementedError

    def rate(self, mos: float, rng: np.random.Generator, bias: float = 0.0, std: float = 0.7) -> int:
        """Return a rating from 1 to 5 of an image whose true mean opinion score is `mos`."""
        raise NotImplementedError
