"""Build the leaderboard: measure all candidates on the same images and compare them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from piqa.errors import InputError
from piqa.evaluation.leaderboard import frames
from piqa.evaluation.leaderboard.entries import Candidate, MeasuredEntry, check_candidates, measure_candidate
from piqa.evaluation.leaderboard.entry_measures import BOARD_VALUES
from piqa.evaluation.leaderboard.facts import LeaderboardFacts, Subject
from piqa.evaluation.leaderboard.leaderboard import KINDS, Leaderboard
from piqa.evaluation.pairs import PairBands, reliability, worst_pairs
from piqa.evaluation.statistics.bootstrap import Resamples
from piqa.evaluation.statistics.noise_ceiling import DRAWS, noise_ceiling
from piqa.evaluation.statistics.options import StatisticsOptions
from piqa.evaluation.statistics.significance import PERMUTATIONS
from piqa.system.progress import progress


@dataclass(frozen=True)
class LeaderboardOptions:
    """How a leaderboard is computed.

    Args:
        statistics: How confidence intervals are computed.
        pairs: What clear pairs and near ties are.
        max_missing: Largest fraction of the images that a candidate may leave without a prediction, in [0, 1).
        permutations: Sign patterns drawn for the permutation test.
        draws: Draws of the noise ceiling.

    Raises:
        InputError: If a setting is not possible.
    """

    statistics: StatisticsOptions = field(default_factory=StatisticsOptions)
    pairs: PairBands = field(default_factory=PairBands)
    max_missing: float = 0.0
    permutations: int = PERMUTATIONS
    draws: int = DRAWS

    def __post_init__(self) -> None:
        for name in ("permutations", "draws"):
            if getattr(self, name) < 1:
                raise InputError(f"`{name}` is {getattr(self, name)}; at least 1 is needed")
        if not 0 <= self.max_missing < 1:
            raise InputError(f"`max_missing` is {self.max_missing}; a fraction of at least 0 and below 1 is needed")


def build_leaderboard(
    truth: pd.DataFrame,
    candidates: Sequence[Candidate],
    *,
    training: pd.DataFrame | None = None,
    published: pd.DataFrame | None = None,
    subject: Subject | None = None,
    options: LeaderboardOptions | None = None,
) -> Leaderboard:
    """Measure all candidates on the same images and the same resamples, and compare them.

    Args:
        truth: The images, one row each: `image`, `scene`, `score`, and where known `score_std` (without it there is no
            ceiling), `condition`, `device` and `path`.
        candidates: The candidates; names must differ.
        training: `image` and `score` of the training images, for the calibrated protocol; none of them is in `truth`.
        published: Published results for the same table and split, as from `published.published_entries`.
        subject: What is evaluated.
        options: How.

    Raises:
        InputError: If there is no candidate, a name repeats, a prediction is not finite, or too many images have none.
    """
    options = options or LeaderboardOptions()
    statistics, bands = options.statistics, options.pairs
    check_candidates(truth, candidates, options.max_missing)
    truth = truth.sort_values(["scene", "image"]).reset_index(drop=True)  # no value depends on the order of a file
    sizes = truth.groupby("scene", sort=True).size().to_list()
    drawn = Resamples(sizes, statistics.bootstrap_samples, statistics.seed, statistics.levels)
    entries = []
    with progress(len(candidates) * (len(sizes) + drawn.total), task="bootstrap", unit="scenes") as advance:
        for one in candidates:
            entries.append(measure_candidate(truth, one, training, drawn, bands, advance))
    entries.sort(key=_place)
    models = [entry for entry in entries if entry.candidate.kind == "model"]
    comparisons = frames.comparisons(truth, entries, drawn, bands, options.permutations, statistics.seed)
    ceiling = noise_ceiling(truth, options.draws, statistics.seed) if "score_std" in truth else None
    ours, others = {entry.name for entry in entries}, pd.DataFrame()
    if published is not None:
        apart = [f"{name} (published)" if name in ours else name for name in published["model"]]
        others = published.assign(model=apart)
    return Leaderboard(
        facts=_facts(truth, entries, subject or Subject(), options),
        entries=frames.entries(truth, entries, others, ceiling),
        measures=frames.measures(entries, others, ceiling, comparisons),
        scenes=frames.stack(entries, frames.scenes),
        groups=frames.stack(entries, frames.groups),
        comparisons=comparisons,
        pairs=frames.stack(entries, lambda entry: frames.pairs(entry, bands)),
        reliability=frames.stack(models, lambda entry: reliability(entry.known)),
        failures=frames.stack(models, lambda entry: worst_pairs(entry.known)),
        predictions=frames.stack(entries, lambda entry: entry.known[["image", "scene", "score", "prediction"]]),
    )


def _place(entry: MeasuredEntry) -> tuple[int, float]:
    """Sort naive entries first, in their order; then models by falling official SROCC, those without one last."""
    value = entry.measured.value(BOARD_VALUES[0]) if entry.candidate.kind == "model" else 0.0
    return KINDS.index(entry.candidate.kind), float("inf") if value != value else -value


def _facts(
    truth: pd.DataFrame, entries: Sequence[MeasuredEntry], subject: Subject, options: LeaderboardOptions
) -> LeaderboardFacts:
    calibrated = [entry for entry in entries if entry.mapping is not None]
    return LeaderboardFacts(
        **vars(subject),
        **vars(options.statistics),
        **vars(options.pairs),
        images=len(truth),
        scenes=int(truth["scene"].nunique()),
        permutations=options.permutations,
        draws=options.draws,
        max_missing=options.max_missing,
        unavailable={"calibrated": {entry.name: entry.reason for entry in entries if entry.mapping is None}},
        calibration_images={entry.name: entry.calibration_images for entry in calibrated},
        missing={entry.name: entry.missing for entry in entries if entry.missing},
        unmatched={entry.name: list(entry.candidate.unmatched) for entry in entries if entry.candidate.unmatched},
        failed={entry.name: list(entry.candidate.failed) for entry in entries if entry.candidate.failed},
    )
