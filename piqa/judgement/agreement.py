"""How far raters agree: split halves, Krippendorff's alpha, intraclass correlation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.stats import spearmanr

from piqa.judgement.answers import SAME
from piqa.judgement.ratings import fit_biased
from piqa.judgement.scaling import ScalingOptions, components, counted, fit_scene
from piqa.judgement.thurstone import Array
from piqa.judgement.wins import RaterTally
from piqa.system.progress import progress

Level = Literal["nominal", "ordinal", "interval"]
SPLITS = 20


@dataclass(frozen=True)
class SplitHalf:
    """How the scores of two random halves of the raters agree.

    Attributes:
        srocc: Mean over splits and scenes of Spearman's correlation of the halves' scores.
        full: The same for the whole panel, by Spearman and Brown: 2 r / (1 + r); NaN where the halves disagree.
        splits: How many splits gave a correlation.
    """

    srocc: float
    full: float
    splits: int


def spearman_brown(correlation: float) -> float:
    """Return the reliability of the mean of two halves whose correlation is given.

    Examples:
        >>> round(spearman_brown(0.916), 3)
        0.956
    """
    return 2 * correlation / (1 + correlation)


def split_half_of_pairs(
    answers: pd.DataFrame, options: ScalingOptions | None = None, splits: int = SPLITS, seed: int = 0
) -> SplitHalf:
    """Scale the answers of two random halves of the raters apart, many times, and correlate within scenes.

    Args:
        answers: As of `piqa.judgement.answers.answers_table`.
        options: How they are scaled; each half has the sd of the prior that all have together.
        splits: How many.
        seed: Draws them.
    """
    options = replace(options or ScalingOptions(), bootstrap=0, disconnected="mark")
    options = replace(options, prior="normal") if options.prior == "none" else options
    used, _ = counted(answers, options)
    names = np.array(sorted(pd.unique(used["rater"])))
    rng = np.random.default_rng(seed)
    halves = [rng.permutation(len(names)) < len(names) // 2 for _ in range(splits)]
    found = np.full((splits, used["scene"].nunique()), np.nan)
    with progress(found.shape[1], task="agreement", unit="scenes") as advance:
        for place, (_, rows) in enumerate(used.groupby("scene", sort=False)):
            images = sorted({*rows["image_a"], *rows["image_b"]})
            tally = RaterTally.of(rows, images)
            every = tally.counts()
            sd = fit_scene(every, components(every), options).prior_sd
            kept = replace(options, prior_sd=sd) if options.prior == "normal" else options
            here = np.searchsorted(names, tally.raters)
            for split, half in enumerate(halves):
                first, second = (_half_scores(tally, member[here], kept) for member in (half, ~half))
                found[split, place] = _srocc(first, second)
            advance(1)
    return _summed(found)


def split_half_of_ratings(votes: Array, scene: ArrayLike, splits: int = SPLITS, seed: int = 0) -> SplitHalf:
    """Fit the votes of two random halves of the raters apart, many times, and correlate within scenes.

    Args:
        votes: Shape (images, raters); NaN where a rater did not rate.
        scene: Of each image.
        splits: How many.
        seed: Draws them.
    """
    number, names = pd.factorize(np.asarray(scene))
    rng, raters = np.random.default_rng(seed), votes.shape[1]
    found = np.full((splits, len(names)), np.nan)
    for split in range(splits):
        half = rng.permutation(raters) < raters // 2
        first, second = (_half_mos(votes[:, member]) for member in (half, ~half))
        for place in range(len(names)):
            found[split, place] = _srocc(first[number == place], second[number == place])
    return _summed(found)


def pair_units(answers: pd.DataFrame) -> Array:
    """Return the answers as units for `krippendorff_alpha`: two rows a pair, a column a rater.

    A cell is 1 where the image whose name comes first was preferred, 0 where the other one, 0.5 for "same". Of several
    answers of a rater to a pair the first counts. Each pair stands there twice, the second time the other way round:
    else the disagreement that chance explains would depend on the names, and raters who agree that `a` to `z` fall in
    quality would seem to agree by chance.
    """
    used = answers[(answers["kind"] == "new").to_numpy(bool)]
    swapped = (used["image_a"] > used["image_b"]).to_numpy(bool)
    low, high = used["image_a"].where(~swapped, used["image_b"]), used["image_b"].where(~swapped, used["image_a"])
    share = np.where(used["winner"] == SAME, 0.5, np.where(used["winner"] == "a", 1.0, 0.0))
    unit, _ = pd.factorize(pd.MultiIndex.from_arrays([used["scene"], low, high]))
    rater, _ = pd.factorize(used["rater"])
    cells = pd.DataFrame({"unit": unit, "rater": rater, "share": np.where(swapped, 1 - share, share)})
    cells = cells.drop_duplicates(["unit", "rater"])
    units = np.full((unit.max(initial=-1) + 1, rater.max(initial=-1) + 1), np.nan)
    units[cells["unit"], cells["rater"]] = cells["share"]
    return np.concatenate([units, 1 - units])


def krippendorff_alpha(units: Array, level: Level = "interval") -> float:
    """Return Krippendorff's alpha, 1 - observed / expected disagreement: 1 for agreement, 0 for chance.

    Args:
        units: Values, shape (units, raters); NaN where there is none. Units with one value do not count.
        level: Of the values: "nominal", "ordinal" or "interval".

    Returns:
        NaN where it is not defined: fewer than two values in every unit, or all values alike.

    Examples:
        >>> units = np.array([[1, 1], [2, 2], [3, 3], [1, 2.0]])
        >>> round(krippendorff_alpha(units), 4)
        0.8205

    Reference: Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011.
    """
    units = units[np.isfinite(units).sum(1) > 1]
    values, place = np.unique(units[np.isfinite(units)], return_inverse=True)
    if len(values) < 2:
        return math.nan
    counts = np.zeros((len(units), len(values)))
    np.add.at(counts, (np.nonzero(np.isfinite(units))[0], place.ravel()), 1)
    size = counts.sum(1)
    weighted = counts / (size - 1)[:, None]
    coincidences = counts.T @ weighted - np.diag(weighted.sum(0))
    totals = coincidences.sum(0)
    distance = _distances(values, totals, level)
    observed = float((coincidences * distance).sum())
    expected = float((np.outer(totals, totals) - np.diag(totals)).ravel() @ distance.ravel()) / (totals.sum() - 1)
    return float(1 - observed / expected)


def _distances(values: Array, totals: Array, level: Level) -> Array:
    """Return the squared difference of every two values, shape (values, values)."""
    if level == "nominal":
        return 1 - np.eye(len(values))
    if level == "ordinal":  # how many values lie between two of them, these counted half
        middle = np.cumsum(totals) - totals / 2
        return np.asarray((middle[:, None] - middle) ** 2)
    return np.asarray((values[:, None] - values) ** 2)


@dataclass(frozen=True)
class ICC:
    """Intraclass correlations of complete ratings, raters a random sample.

    Attributes:
        single: ICC(2,1), of one rater's ratings.
        mean: ICC(2,k), of the mean of all raters.
        consistency: ICC(3,1), of one rater's ratings where all raters' biases are taken out.
        images, raters: How many complete ones there are.
    """

    single: float
    mean: float
    consistency: float
    images: int
    raters: int


def icc(votes: Array) -> ICC:
    """Return intraclass correlations over the images that all raters rated; NaN where there are fewer than two.

    Args:
        votes: Shape (images, raters); NaN where a rater did not rate.

    Reference: Shrout and Fleiss 1979.
    """
    rows = votes[np.isfinite(votes).all(1)]
    images, raters = rows.shape
    if images < 2 or raters < 2:
        return ICC(math.nan, math.nan, math.nan, images, raters)
    mean = rows.mean()
    of_images = raters * float(((rows.mean(1) - mean) ** 2).sum()) / (images - 1)
    of_raters = images * float(((rows.mean(0) - mean) ** 2).sum()) / (raters - 1)
    left = rows - rows.mean(1, keepdims=True) - rows.mean(0) + mean
    error = float((left**2).sum()) / ((images - 1) * (raters - 1))
    gain = of_images - error
    single = of_images + (raters - 1) * error + raters * (of_raters - error) / images
    average = of_images + (of_raters - error) / images
    consistent = of_images + (raters - 1) * error
    with np.errstate(divide="ignore", invalid="ignore"):
        found = [float(np.divide(gain, part)) for part in (single, average, consistent)]
    return ICC(found[0], found[1], found[2], images, raters)


def _half_scores(tally: RaterTally, member: NDArray[np.bool_], options: ScalingOptions) -> Array:
    """Return the scores by some of the raters; NaN for images that they did not see."""
    counts = tally.counts(member.astype(np.float64))
    if not len(counts.total):
        return np.full(tally.images, np.nan)
    score = fit_scene(counts, components(counts), options).score
    seen = np.zeros(tally.images, bool)
    seen[counts.first] = seen[counts.second] = True
    return np.where(seen, score, np.nan)


def _half_mos(votes: Array) -> Array:
    """Return the scores by some of the raters; NaN for images that they did not rate."""
    score = np.full(len(votes), np.nan)
    rated = np.isfinite(votes).any(1)
    if rated.any():
        kept = votes[rated]
        score[rated] = fit_biased(kept[:, np.isfinite(kept).any(0)]).score
    return score


def _srocc(first: Array, second: Array) -> float:
    both = np.isfinite(first) & np.isfinite(second)
    first, second = first[both].round(9), second[both].round(9)
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan
    return float(spearmanr(first, second).statistic)


def _summed(found: Array) -> SplitHalf:
    """Return the mean over scenes, then over splits."""
    defined = np.isfinite(found)
    if not defined.any():
        return SplitHalf(math.nan, math.nan, 0)
    rows = found[defined.any(1)]
    mean = float(np.nanmean(np.nanmean(rows, 1)))
    # The formula tells what a longer test gains; halves that disagree measure nothing, and it runs to minus infinity.
    return SplitHalf(mean, spearman_brown(mean) if mean >= 0 else math.nan, len(rows))
