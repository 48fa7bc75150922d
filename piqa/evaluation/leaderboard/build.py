"""Holds the contest: everyone's predictions of the same scored images become a `Leaderboard`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from piqa.errors import InputError
from piqa.evaluation.leaderboard import frames
from piqa.evaluation.leaderboard.entries import Contestant, Line, check, enter
from piqa.evaluation.leaderboard.entry_measures import FIGURES
from piqa.evaluation.leaderboard.leaderboard import KINDS, PROTOCOLS, Leaderboard
from piqa.evaluation.pairs import Bands, reliability, worst_pairs
from piqa.evaluation.statistics.bootstrap import Levels, resample
from piqa.evaluation.statistics.noise_ceiling import DRAWS, noise_ceiling
from piqa.evaluation.statistics.significance import PERMUTATIONS

OFFICIAL_SROCC = FIGURES[0]


@dataclass(frozen=True)
class Rules:
    """How the contest is held.

    Attributes:
        samples: Resamples of the bootstrap.
        seed: Of resamples, permutations and the ceiling's draws.
        levels: What the bootstrap resamples: scenes and images of each (`both`), or one of the two.
        max_missing: Largest share of the images that a contestant may leave unpredicted, in [0, 1).
        bands: What clear and near pairs are.
        permutations: Patterns of the permutation test.
        draws: Of the noise ceiling.
    """

    samples: int = 2000
    seed: int = 0
    levels: Levels = "both"
    max_missing: float = 0.0
    bands: Bands = field(default_factory=Bands)
    permutations: int = PERMUTATIONS
    draws: int = DRAWS

    def __post_init__(self) -> None:
        if min(self.samples, self.permutations, self.draws) < 1:
            raise InputError(f"at least 1 resample is needed, not {self.samples}; 2000 give steady intervals")
        if not 0 <= self.max_missing < 1:
            raise InputError(f"max_missing is {self.max_missing}; it is a share of the images, at least 0 and below 1")


def hold(
    truth: pd.DataFrame,
    contestants: Sequence[Contestant],
    *,
    training: pd.DataFrame | None = None,
    published: pd.DataFrame | None = None,
    facts: Mapping[str, object] | None = None,
    rules: Rules | None = None,
) -> Leaderboard:
    """Measures everyone on the same images and the same resamples, and compares them.

    Args:
        truth: The images, one row each: `image`, `scene`, `score`, and where known `score_std` (without it there is no
            ceiling), `condition`, `device` and `path`.
        contestants: Who takes part; names must differ.
        training: `image` and `score` of the training images, for the calibrated protocol; none of them is in `truth`.
        published: Other people's lines for the same table and split, as from `published.published`.
        facts: What was measured: `table`, `split`, `attribute`, `official_split`, `command`, ...
        rules: How.

    Raises:
        InputError: If nobody takes part, a name stands twice, a prediction is not finite, or too many images lack one.
    """
    rules = rules or Rules()
    check(truth, contestants, rules.max_missing)
    truth = truth.sort_values(["scene", "image"]).reset_index(drop=True)  # no figure depends on the order of a file
    sizes = [len(rows) for _, rows in truth.groupby("scene", sort=True)]
    drawn = resample(sizes, rules.samples, rules.seed, rules.levels)
    lines = sorted([enter(truth, one, training, drawn, rules.bands) for one in contestants], key=_place)
    models = [line for line in lines if line.contestant.kind == "model"]
    comparisons = frames.compared(truth, lines, drawn, rules.bands, rules.permutations, rules.seed)
    ceiling = noise_ceiling(truth, rules.draws, rules.seed) if "score_std" in truth else None
    others = pd.DataFrame() if published is None else _apart(published, lines)
    return Leaderboard(
        facts=_facts(truth, lines, rules) | dict(facts or {}),
        entries=frames.entries(truth, lines, others, ceiling),
        measures=frames.measures(lines, others, ceiling, comparisons),
        scenes=frames.stack(lines, frames.scenes),
        groups=frames.stack(lines, frames.groups),
        comparisons=comparisons,
        pairs=frames.stack(lines, lambda line: frames.pairs(line, rules.bands)),
        reliability=frames.stack(models, lambda line: reliability(line.known)),
        failures=frames.stack(models, lambda line: worst_pairs(line.known)),
        predictions=frames.stack(lines, lambda line: line.known[["image", "scene", "score", "prediction"]]),
    )


def _place(line: Line) -> tuple[int, float]:
    """Naive lines first, as they came; then models, the highest SROCC first, those without one last."""
    value = line.measured.value(OFFICIAL_SROCC) if line.contestant.kind == "model" else 0.0
    return KINDS.index(line.contestant.kind), float("inf") if value != value else -value


def _apart(published: pd.DataFrame, lines: Sequence[Line]) -> pd.DataFrame:
    """A published line whose name a contestant bears is told apart from it."""
    ours = {line.name for line in lines}
    names = [f"{name} (published)" if name in ours else name for name in published["model"]]
    return published.assign(model=names)


def _facts(truth: pd.DataFrame, lines: Sequence[Line], rules: Rules) -> dict[str, Any]:
    calibrated = [line for line in lines if line.mapping is not None]
    return {
        "table": None,
        "split": None,
        "attribute": None,
        "official_split": None,
        "images": len(truth),
        "scenes": int(truth["scene"].nunique()),
        "seed": rules.seed,
        "samples": rules.samples,
        "levels": rules.levels,
        "permutations": rules.permutations,
        "draws": rules.draws,
        "max_missing": rules.max_missing,
        "clear": rules.bands.clear,
        "near": rules.bands.near,
        "protocols": dict(PROTOCOLS),
        "unavailable": {"calibrated": {line.name: line.reason for line in lines if line.mapping is None}},
        "calibration_images": {line.name: line.trained for line in calibrated},
        "missing": {line.name: line.missing for line in lines if line.missing},
        "unmatched": {line.name: list(line.contestant.unmatched) for line in lines if line.contestant.unmatched},
    }
