"""Scores from pairs: Thurstone's Case V by maximum likelihood within each scene, in JOD."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[np.float64]
SIGMA = 1.4826  # sd of the noise of a difference, in JOD: P = 0.75 at 1 JOD
Prior = Literal["normal", "pwcmp", "none"]


@dataclass(frozen=True)
class ScalingOptions:
    """How pairs become scores.

    Attributes:
        prior: "normal" on scores with its sd estimated from the answers, "pwcmp" on distances as published, or "none".
        prior_sd: Sd of the normal prior in JOD; None estimates it in each scene.
        ties: "half": an answer "same" is half an answer for each image; "leave_out".
        repeats: Whether hidden repeats count for the scale, too; they are not independent of the first answer.
        bootstrap: Resamples of the raters for the standard errors and intervals; 0 takes those of the likelihood.
        level: Of the intervals.
        disconnected: What becomes of a scene whose answers do not connect all of its images: "refuse", or "mark": the
            column `component` then tells which scores may be compared, and each component is centred on 0.
        seed: Draws the resamples.
    """

    prior: Prior = "normal"
    prior_sd: float | None = None
    ties: Literal["half", "leave_out"] = "half"
    repeats: bool = False
    bootstrap: int = 0
    level: float = 0.95
    disconnected: Literal["refuse", "mark"] = "refuse"
    seed: int = 0


@dataclass(frozen=True)
class Scaling:
    """Scores of images within their scenes.

    Attributes:
        scores: Columns `image`, `score` (JOD, mean 0 in each component), `scene`, `score_std`, `low`, `high` (ends of
            the interval), `answers` (how many the image took part in) and `component` (1, 2, ...).
        scenes: One row a scene: `scene`, `images`, `answers`, `raters`, `same` (how many answers), `components`,
            `prior_sd` (NaN without a normal prior).
        covariances: Of the scores of each scene, in the order of `scores`, shape (images, images).
        notes: What a reader must know, each one sentence.
    """

    scores: pd.DataFrame
    scenes: pd.DataFrame
    covariances: Mapping[str, Array] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def scale_pairs(answers: pd.DataFrame, options: ScalingOptions | None = None) -> Scaling:
    """Scale answers to pairs within each scene.

    Args:
        answers: As of `piqa.judgement.answers.answers_table`.
        options: By default a normal prior and standard errors of the likelihood.

    Raises:
        InputError: If there are no answers, or a scene's scores are not comparable or not finite.
    """
    raise NotImplementedError
