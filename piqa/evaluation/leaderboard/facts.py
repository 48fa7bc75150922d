"""What a leaderboard was computed from and how: the facts beside its values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

from piqa.evaluation.statistics.bootstrap import Levels

PROTOCOLS = {
    "official": "median over scenes, raw predictions",
    "authors": "mean over scenes; PLCC, MAE and RMSE after a logistic fit in each scene",
    "calibrated": "median over scenes, after one monotonic mapping fitted on training scenes only",
}


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is evaluated, as far as it is known.

    Args:
        table: Name of the table, or of the files that hold the labels.
        split: The part of the table: `train`, `val` or `test`.
        attribute: What was judged, such as PIQ23's `exposure`.
        official_split: Name of the published split of the dataset that this is.
        command: The command line.
        test_crops: Crops of each image that models scored, if there are models.
    """

    table: str | None = None
    split: str | None = None
    attribute: str | None = None
    official_split: str | None = None
    command: str | None = None
    test_crops: str | None = None


@dataclass(frozen=True, kw_only=True)
class LeaderboardFacts(Subject):
    """What a leaderboard was computed from, and how.

    Args:
        images: Number of images.
        scenes: Number of scenes.
        seed, bootstrap_samples, levels: As in `StatisticsOptions`.
        permutations, draws, max_missing: As in `LeaderboardOptions`.
        clear, near: As in `PairBands`.
        protocols: Each protocol's sentence.
        unavailable: By protocol and model, why there are no values.
        calibration_images: By model, the number of training images behind its mapping.
        missing: By model, the images without a prediction.
        unmatched: By model, the predictions for images that are not in the table.
        failed: By model, the images that are missing because they are broken.
    """

    images: int
    scenes: int
    seed: int
    bootstrap_samples: int
    levels: Levels
    permutations: int
    draws: int
    max_missing: float
    clear: float
    near: float
    protocols: Mapping[str, str] = field(default_factory=lambda: dict(PROTOCOLS))
    unavailable: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    calibration_images: Mapping[str, int] = field(default_factory=dict)
    missing: Mapping[str, Sequence[str]] = field(default_factory=dict)
    unmatched: Mapping[str, Sequence[str]] = field(default_factory=dict)
    failed: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("images", "scenes", "bootstrap_samples", "permutations", "draws"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` is {getattr(self, name)}; at least 1 is needed")
        if self.scenes > self.images:
            raise ValueError(f"{self.scenes} scenes have {self.images} images; a scene needs an image")
        unknown = (self.protocols.keys() | self.unavailable.keys()) - PROTOCOLS.keys()
        if unknown:
            raise ValueError(f"unknown protocol {sorted(unknown)[0]!r}; the protocols are {', '.join(PROTOCOLS)}")

    def to_dict(self) -> dict[str, object]:
        """Return the facts by name, as JSON has them; `command` and `test_crops` only where they are known."""
        facts = {one.name: getattr(self, one.name) for one in fields(self)}
        last = {name: facts.pop(name) for name in ("command", "test_crops")}
        return facts | {name: value for name, value in last.items() if value is not None}
