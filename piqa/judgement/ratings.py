"""The table of ratings, and mean opinion scores (MOS) from it by the model of biased and inconsistent raters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.special import ndtri

from piqa.errors import InputError
from piqa.judgement.answers import KINDS, optional_numbers, renamed
from piqa.judgement.thurstone import Array
from piqa.system.csv_text import as_numbers, read_csv, require_columns, row_list, with_rows
from piqa.system.phrases import Phrase

NEEDED = ("image", "scene", "rater", "rating")
OPTIONAL = ("seconds", "kind", "time")
COLUMNS = (*NEEDED, *OPTIONAL)
MOST_ROUNDS, CLOSE, EPSILON = 1000, 1e-8, 1e-8  # of the fit, as in the code of P.910
LEAST_NOISE = 0.5  # of the median inconsistency of the raters
BT500_SHARE, BT500_BALANCE = 0.05, 0.3  # of far ratings, and of how one-sided they are


def ratings_table(rows: Iterable[Mapping[str, object]] = (), source: str | Path = "the ratings") -> pd.DataFrame:
    """Make the table of ratings from rows, such as those of a database, in the order in which they were given.

    Returns:
        The columns `COLUMNS`, one row a rating: `image`, `scene`, `rater` (text), `rating` (float), and `seconds`,
        `kind` and `time` as of `piqa.judgement.answers.answers_table`; kinds are "new", "repeat" and "training".

    Raises:
        InputError: If a row cannot be used.
    """
    listed_rows = list(rows)
    found = {name: ["" if row.get(name) is None else row[name] for row in listed_rows] for name in COLUMNS}
    frame = pd.DataFrame(found, index=pd.RangeIndex(1, len(listed_rows) + 1), columns=list(COLUMNS), dtype=object)
    return check_ratings(frame, source)


def read_ratings(csv: str | Path, columns: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Read ratings from a CSV with the columns `image, scene, rater, rating`; see `ratings_table`.

    Args:
        csv: The file.
        columns: Names of the columns where they differ, ours to theirs.

    Raises:
        InputError: If the file or a row cannot be used.
    """
    frame = renamed(read_csv(csv, numbers=["rating", "seconds"], names=COLUMNS), columns, COLUMNS, csv)
    require_columns(frame, NEEDED, csv, "rename it, or map it in `columns`, such as {rating: opinion}")
    return check_ratings(frame, csv)


def check_ratings(frame: pd.DataFrame, source: str | Path) -> pd.DataFrame:
    """Check a table of ratings and give its columns their types; the index is the row that messages name.

    Raises:
        InputError: At the first check that fails, naming the rows concerned.
    """
    table = pd.DataFrame(index=frame.index)
    for name in COLUMNS:
        column = frame[name] if name in frame else pd.Series("", frame.index, dtype=object)
        table[name] = column if name in ("rating", "seconds") else column.fillna("").astype(str)
    for name in ("image", "scene", "rater"):
        if (empty := table[name] == "").any():
            raise InputError(f"{source} has no {name} in {row_list(table.index[empty])}; fill it in or delete them")
    table["kind"] = table["kind"].str.strip().str.lower().replace("", "new")
    if (unknown := ~table["kind"].isin(KINDS)).any():
        shown = with_rows(table["kind"][unknown].map(repr))
        raise InputError(f"the kind in {source} must be one of {', '.join(KINDS)}, found {shown}; correct them")
    table["rating"] = as_numbers(table["rating"], source)
    table["seconds"] = optional_numbers(table["seconds"], source)
    return table


@dataclass(frozen=True)
class RatingScaling:
    """Mean opinion scores, and what the raters are like.

    Attributes:
        scores: Columns `image`, `score` (MOS, on the scale of the ratings), `scene`, `score_std` (its standard error
            by the raters' inconsistencies; NaN where no image has two raters), `low`, `high` (ends of the interval),
            `answers` (ratings), `mean` (plain mean) and `rating_std` (sd of the image's ratings about the score, less
            biases; NaN of one rating).
        raters: Columns `rater`, `answers`, `bias` (what the rater adds), `inconsistency` (sd of what is left),
            `bt500` (whether the screening of BT.500 rejects the rater), `repeats`, `repeat_rate` (repeats that are at
            most 1 away from the first rating), `seconds` (median), `outlier` and `why`.
        sos: a of SOS^2 = a (MOS - low)(high - MOS), the spread of opinions; NaN where it is not defined.
        notes: What a reader must know, each one sentence.
    """

    scores: pd.DataFrame
    raters: pd.DataFrame
    sos: float
    notes: tuple[str, ...] = ()


def scale_ratings(ratings: pd.DataFrame, level: float = 0.95, ends: tuple[float, float] = (1, 5)) -> RatingScaling:
    """Return mean opinion scores by the model of P.910, Appendix VI: rating = score + bias of the rater + noise.

    All scenes are scaled together, as a rater's bias is the same in all. The score is the mean of what is left of the
    ratings without the biases, weighted by the raters' consistency; the biases have mean 0.

    Args:
        ratings: As of `ratings_table`.
        level: Of the intervals.
        ends: Lowest and highest rating, for `sos`.

    Raises:
        InputError: If there are no ratings, a rater rated an image twice, a rating is beyond the ends, or no rater
            connects the images of a scene.
    """
    used = ratings[(ratings["kind"] == "new").to_numpy(bool)]
    if not len(used):
        raise InputError(Phrase("there are no ratings to scale; collect some, or look at their kinds"))
    if (beyond := ~used["rating"].between(*ends)).any():
        raise InputError(
            f"ratings must lie between {ends[0]:g} and {ends[1]:g}, found {with_rows(used['rating'][beyond])}; correct "
            "them, or state the scale with `rating_low` and `rating_high`"
        )
    votes, keys, raters = _as_matrix(used)
    _check_connected(votes, keys)
    fit = fit_biased(votes)
    half = float(ndtri((1 + level) / 2)) * fit.score_std
    scores = pd.DataFrame({"image": [image for _, image in keys], "score": fit.score})
    scores["scene"], scores["score_std"] = [scene for scene, _ in keys], fit.score_std
    scores["low"], scores["high"] = fit.score - half, fit.score + half
    scores["answers"] = np.isfinite(votes).sum(1)
    scores["mean"], scores["rating_std"] = np.nanmean(votes, 1), fit.rating_std
    rejected = bt500_rejects(votes)
    table = pd.DataFrame([_habits(ratings, name) for name in raters])
    table.insert(1, "answers", np.isfinite(votes).sum(0))
    table.insert(2, "bias", fit.bias)
    table.insert(3, "inconsistency", fit.inconsistency)
    table.insert(4, "bt500", rejected)
    why = [_reasons(*row) for row in zip(_far_out(fit.inconsistency), rejected, fit.inconsistency, strict=True)]
    table["outlier"], table["why"] = [bool(words) for words in why], ["; ".join(words) for words in why]
    others = (ratings["kind"] != "new").sum()
    other_kinds = "{count} ratings of other kinds do not count for the scores"
    notes = [Phrase(other_kinds, count=int(others))] if others else []
    if np.isnan(fit.score_std).any():
        notes.append(Phrase("no image has two raters, so that the standard errors are not known"))
    return RatingScaling(scores, table, sos_parameter(votes, ends), tuple(notes))


@dataclass(frozen=True)
class BiasedFit:
    """What `fit_biased` finds.

    Attributes:
        score: Shape (images,).
        score_std: Its standard error, from the inconsistencies of who rated the image; NaN if no image has two raters.
            The published code gives `rating_std` / sqrt(votes), which knows nothing of the weights, and is 0 where two
            raters agree.
        rating_std: Population sd of what is left of the image's ratings; NaN of one rating.
        bias: Shape (raters,), with mean 0.
        inconsistency: Population sd of what is left of the rater's ratings.
    """

    score: Array
    score_std: Array
    rating_std: Array
    bias: Array
    inconsistency: Array


def fit_biased(votes: Array) -> BiasedFit:
    """Fit scores, biases and inconsistencies in turns, as in the code of P.910, Appendix VI.

    Args:
        votes: Shape (images, raters); NaN where a rater did not rate.

    The scores may follow one rater, who then seems the more consistent, and decides alone in the end. So no
    inconsistency counts as less than half of the raters' median, and no rater for more than four of that.

    Reference: ITU-T P.910 (10/2023), Appendix VI; Netflix/sureal, `itut_p910_demo`.
    """
    known = np.isfinite(votes)
    filled = np.where(known, votes, 0.0)
    of_image, of_rater = known.sum(1), known.sum(0)
    score = filled.sum(1) / of_image
    bias = np.where(known, votes - score[:, None], 0.0).sum(0) / of_rater
    for _ in range(MOST_ROUNDS):
        before = score
        noise = _sd(np.where(known, votes - score[:, None] - bias, np.nan), 0)
        weight = known / (np.maximum(noise, _floor(noise)) ** 2 + EPSILON)
        score = (weight * (filled - bias)).sum(1) / weight.sum(1)
        bias = np.where(known, votes - score[:, None], 0.0).sum(0) / of_rater
        if float(np.linalg.norm(score - before)) < CLOSE:
            break
    left = np.where(known, votes - score[:, None] - bias, np.nan)
    noise = _sd(left, 0)
    shift = float(bias.mean())
    std = _standard_errors(left, weight / weight.sum(1, keepdims=True))
    rating_std = np.where(of_image > 1, _sd(left, 1), np.nan)
    return BiasedFit(score + shift, std, rating_std, bias - shift, noise)


def _standard_errors(left: Array, shares: Array) -> Array:
    """Return the standard error of each score, from what is left of the ratings and each rater's share in the score.

    The scores follow the raters who decide them, whose residuals are too small by their shares; and each bias is only
    known from the rater's own ratings. A rater whose images nobody else rated says nothing of the own noise, and counts
    as the mean of the others; where there are none, the errors are not known (NaN).
    """
    known = np.isfinite(left)
    of_rater = known.sum(0)
    freedom = np.where(known, 1 - shares, 0.0).sum(0) * (1 - 1 / np.maximum(of_rater, 2))
    variance = np.where(known, left, 0.0) ** 2
    several = freedom > 1e-9
    noise = variance.sum(0) / np.where(several, freedom, 1.0)
    noise = np.where(several, noise, noise[several].mean() if several.any() else np.nan)
    return np.asarray(np.sqrt((shares**2 * noise * (1 + 1 / of_rater)).sum(1)), np.float64)


def bt500_rejects(votes: Array) -> NDArray[np.bool_]:
    """Return which raters the screening of BT.500 rejects, shape (raters,).

    Ratings far above and far below the others' are counted; a rater with many of both kinds is rejected.

    Reference: ITU-R BT.500, as in Netflix/sureal, `subjective_model.py`.
    """
    mean = np.nanmean(votes, 1, keepdims=True)
    left = votes - mean
    std = _sd(left, 1)[:, None]
    fourth = np.nanmean(left**4, 1, keepdims=True)
    kurtosis = np.divide(fourth, std**4, out=np.full_like(std, np.nan), where=std > 0)
    far = np.where((kurtosis >= 2) & (kurtosis <= 4), 2.0, math.sqrt(20)) * std
    known = np.isfinite(votes)
    above = (known & (votes >= mean + far) & (std > 0)).sum(0)
    below = (known & (votes <= mean - far) & (std > 0)).sum(0)
    many = above + below
    share = np.divide(np.abs(above - below), many, out=np.ones(len(many)), where=many > 0)
    return np.asarray((many / known.sum(0) > BT500_SHARE) & (share < BT500_BALANCE), bool)


def sos_parameter(votes: Array, ends: tuple[float, float] = (1, 5)) -> float:
    """Return a of the hypothesis SOS^2 = a (MOS - low)(high - MOS), by least squares through 0 over images.

    Reference: Hossfeld et al. 2011, doi 10.1109/QoMEX.2011.6065690; SOS^2 is the variance of an image's ratings.
    """
    several = np.isfinite(votes).sum(1) > 1
    mean, variance = np.nanmean(votes[several], 1), np.nanvar(votes[several], 1, ddof=1)
    room = (mean - ends[0]) * (ends[1] - mean)
    return float(room @ variance / (room @ room)) if several.any() and (room > 0).any() else math.nan


def votes_matrix(ratings: pd.DataFrame) -> Array:
    """Return the new ratings of a table as votes, shape (images, raters), NaN where a rater did not rate."""
    return _as_matrix(ratings[(ratings["kind"] == "new").to_numpy(bool)])[0]


def _as_matrix(used: pd.DataFrame) -> tuple[Array, list[tuple[str, str]], list[str]]:
    """Return votes, the scene and image of each row, and the rater of each column."""
    if (twice := used.duplicated(["scene", "image", "rater"], keep=False)).any():
        shown = with_rows((used["rater"] + " of " + used["image"])[twice])
        raise InputError(f"raters rated an image twice: {shown}; keep one, or mark the other as a `repeat`")
    image, keys = pd.factorize(pd.MultiIndex.from_frame(used[["scene", "image"]]))
    rater, names = pd.factorize(used["rater"], sort=True)
    votes = np.full((len(keys), len(names)), np.nan)
    votes[image, rater] = used["rating"].to_numpy(np.float64)
    return votes, [(str(scene), str(name)) for scene, name in keys], [str(name) for name in names]


def _check_connected(votes: Array, keys: Sequence[tuple[str, str]]) -> None:
    """Raise InputError if images of a scene have no chain of raters in common: biases hide their difference."""
    images = len(votes)
    image, rater = np.nonzero(np.isfinite(votes))
    size = images + votes.shape[1]
    graph = coo_matrix((np.ones(len(image)), (image, images + rater)), shape=(size, size))
    number = connected_components(graph, directed=False)[1][:images]
    first: dict[str, tuple[int, str]] = {}
    for (scene, name), part in zip(keys, number.tolist(), strict=True):
        known, other = first.setdefault(scene, (part, name))
        if known != part:
            raise InputError(
                f"no rater, nor a chain of them, rated both {other} and {name} of scene {scene}, so that their scores "
                "are not comparable; let one rater rate images of both kinds"
            )


def _sd(values: Array, axis: int) -> Array:
    """Return the population sd without NaN."""
    return np.asarray(np.nanstd(values, axis))


def _floor(noise: Array) -> float:
    """Return the least inconsistency that counts."""
    return LEAST_NOISE * float(np.median(noise))


def _far_out(noise: Array) -> NDArray[np.bool_]:
    """Return which inconsistencies lie far above the others': 1.5 interquartile ranges beyond the third quartile."""
    low, high = np.quantile(noise, [0.25, 0.75], method="hazen")
    return np.asarray((noise > high + 1.5 * (high - low)) & (high > low), bool)


def _habits(ratings: pd.DataFrame, name: str) -> dict[str, object]:
    own = ratings[(ratings["rater"] == name).to_numpy(bool)]
    first = own[(own["kind"] == "new").to_numpy(bool)].set_index(["scene", "image"])["rating"]
    again = own[(own["kind"] == "repeat").to_numpy(bool)].set_index(["scene", "image"])["rating"]
    again = again[again.index.isin(first.index)]
    near = (again - first.reindex(again.index)).abs() <= 1
    seconds = own["seconds"].dropna()
    return {
        "rater": name,
        "repeats": len(near),
        "repeat_rate": float(near.mean()) if len(near) else math.nan,
        "seconds": float(seconds.median()) if len(seconds) else math.nan,
    }


def _reasons(far: bool, rejected: bool, noise: float) -> list[str]:
    why = [f"inconsistency {noise:.2f}, far above the others'"] if far else []
    return why + (["rejected by the screening of BT.500"] if rejected else [])
