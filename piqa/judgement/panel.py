"""Simulated raters with known habits, for proofs, demonstrations and tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from piqa.errors import InputError
from piqa.judgement.answers import SAME, SIDES, answers_table
from piqa.judgement.thurstone import SIGMA

Habit = Literal["honest", "coin", "left", "right"]
HABITS = ("honest", "coin", "left", "right")


@dataclass(frozen=True)
class SimulatedRater:
    """A rater with a habit.

    Attributes:
        name: As in the table of answers.
        habit: "honest": Thurstone's Case V; "coin" flips one; "left" and "right" always answer that side.
        left_bias: What the left image gains for an honest rater, in JOD.
        noise: Sd of an honest rater's noise of a difference, in units of that of Case V.
        same_below: An honest rater says "same" where the seen difference is smaller, in JOD; 0: never.

    Raises:
        InputError: If the habit is unknown.
    """

    name: str
    habit: Habit = "honest"
    left_bias: float = 0.0
    noise: float = 1.0
    same_below: float = 0.0

    def __post_init__(self) -> None:
        if self.habit not in HABITS:
            raise InputError(f"`habit` must be one of {', '.join(HABITS)}, not {self.habit!r}")

    def answer(self, score_a: float, score_b: float, left: str, rng: np.random.Generator) -> str:
        """Return "a", "b" or "same" for a pair with true scores in JOD, of which `left` is on the left."""
        if self.habit == "coin":
            return SIDES[int(rng.integers(2))]
        if self.habit != "honest":
            return left if self.habit == "left" else ("b" if left == "a" else "a")
        seen = score_a - score_b + SIGMA * self.noise * rng.standard_normal()
        seen += self.left_bias if left == "a" else -self.left_bias
        if abs(seen) < self.same_below:
            return SAME
        return "a" if seen > 0 else "b"

    def rate(self, mos: float, rng: np.random.Generator, bias: float = 0.0, std: float = 0.7) -> int:
        """Return a rating from 1 to 5 of an image whose true mean opinion score is `mos`."""
        if self.habit == "coin":
            return int(rng.integers(1, 6))
        return int(np.clip(np.rint(mos + bias + std * self.noise * rng.standard_normal()), 1, 5))


def random_answers(
    scores: Mapping[str, Mapping[str, float]],
    raters: Iterable[SimulatedRater],
    answers_per_rater: int,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the answers of simulated raters to random pairs, with random sides; as of `answers_table`.

    Args:
        scores: True scores in JOD by scene and image.
        raters: Who answers.
        answers_per_rater: How many pairs each sees, of all scenes alike.
        seed: Of all draws.
    """
    rng = np.random.default_rng(seed)
    scenes = [(scene, list(images.items())) for scene, images in scores.items() if len(images) > 1]
    rows = []
    for rater in raters:
        for _ in range(answers_per_rater):
            scene, images = scenes[int(rng.integers(len(scenes)))]
            one, other = rng.choice(len(images), 2, replace=False).tolist()
            left = SIDES[int(rng.integers(2))]
            winner = rater.answer(images[one][1], images[other][1], left, rng)
            pair = {"image_a": images[one][0], "image_b": images[other][0], "winner": winner, "left": left}
            rows.append(pair | {"scene": scene, "rater": rater.name})
    return answers_table(rows)
