"""How far two ways to score the same images agree: what another precision or engine does to scores and ranks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import spearmanr


@dataclass(frozen=True)
class Agreement:
    """Scores of one way against those of another, on the same images.

    Attributes:
        images: How many were scored.
        largest: Largest absolute difference of two scores of an image.
        spread: Standard deviation of the reference's scores, which tells whether `largest` is much.
        spearman: Rank correlation over all images; None where it is not defined.
        within_scenes: Mean rank correlation inside scenes; None without scenes of three images.
        seconds, reference_seconds: CPU seconds an image, both measured in one run; None where not measured.
    """

    images: int
    largest: float
    spread: float
    spearman: float | None
    within_scenes: float | None = None
    seconds: float | None = None
    reference_seconds: float | None = None

    def to_dict(self) -> dict[str, float | int]:
        """Return what a card or a file keeps."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_dict(cls, content: Mapping[str, float | int]) -> Agreement:
        """Read what `to_dict` gave; entries of later versions are left out."""
        known = {one.name: None for one in fields(cls)} | {"images": 0, "largest": float("nan"), "spread": float("nan")}
        return cls(**(known | {name: value for name, value in content.items() if name in known}))  # type: ignore[arg-type]


def agreement(
    reference: ArrayLike,
    other: ArrayLike,
    scene: ArrayLike | None = None,
    seconds: float | None = None,
    reference_seconds: float | None = None,
) -> Agreement:
    """Compare the scores of the same images; both of shape (images,), at least two.

    Raises:
        ValueError: If the shapes differ, or there are fewer than two images.

    Examples:
        >>> found = agreement([1.0, 2.0, 4.0], [1.0, 2.5, 4.0])
        >>> found.largest, found.spearman
        (0.5, 1.0)
    """
    a, b = np.asarray(reference, np.float64), np.asarray(other, np.float64)
    if a.shape != b.shape or a.ndim != 1 or len(a) < 2:
        raise ValueError(f"expected two vectors of one length, found shapes {a.shape} and {b.shape}")
    within = None
    if scene is not None:
        names = np.asarray(scene)
        found = [_spearman(a[names == name], b[names == name]) for name in np.unique(names)]
        defined = [value for value in found if value is not None]
        within = float(np.mean(defined)) if defined else None
    largest = float(np.abs(a - b).max())
    return Agreement(len(a), largest, float(a.std()), _spearman(a, b), within, seconds, reference_seconds)


def _spearman(a: np.ndarray, b: np.ndarray) -> float | None:
    if len(a) < 3 or len(np.unique(a)) < 2 or len(np.unique(b)) < 2:
        return None
    return float(spearmanr(a, b).statistic)
