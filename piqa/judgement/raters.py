"""How reliable each rater is: likelihood of the answers, side bias, repeats, known answers and time.

A rater is shown to be an outlier, and is left out only by who decides that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.special import gammaln, log_ndtr
from scipy.stats import binomtest

from piqa.judgement.answers import SAME
from piqa.judgement.scaling import ScalingOptions, components, counted, fit_scene
from piqa.judgement.thurstone import SIGMA, Array, Counts
from piqa.judgement.wins import RaterTally
from piqa.system.progress import progress

SCORE_LIMIT = 1.5  # of the rater score, above which pwcmp's authors advise a look at a rater
DOUBT = -1.64  # z below which a high rater score counts: 5 % of honest raters
UNLIKELY = -3.09  # z that one honest rater in 1000 falls below
SIDE_LIMIT = 0.001  # p of the binomial test of the left side
KNOWN_LIMIT, KNOWN_LEAST = 0.7, 3  # share of known answers that are right, of so many at least
FAST_SECONDS, FAST_LIMIT = 0.5, 0.5  # an answer that is too fast, and the share of them that is shown


def judge_raters(answers: pd.DataFrame, options: ScalingOptions | None = None) -> pd.DataFrame:
    """Return one row a rater, sorted by name.

    Args:
        answers: As of `piqa.judgement.answers.answers_table`.
        options: How the answers of the other raters are scaled.

    Returns:
        The columns

        - `rater`, `answers`: how many count for the scale,
        - `likelihood`: mean log10 likelihood of the answers to a pair under the scale of all others,
        - `rater_score`: its distance below the first quartile of the raters in interquartile ranges, 0 above it,
        - `z`: likelihood of the single answers against its expectation, about standard normal for honest raters,
        - `agreement`: share of the answers that go with the scale of the others,
        - `left`, `left_p`: share of answers for the left image, and two-sided p of the binomial test of one half,
        - `repeats`, `repeat_rate`: hidden repeats, and the share that is answered alike,
        - `gold`, `gold_rate`: known answers, and the share that is right,
        - `seconds`, `fast`: median time, and the share of answers below half a second,
        - `longest_run`: answers for one side in a row,
        - `outlier`, `why`: whether one of these is out of the ordinary, and which.

        NaN where nothing is known.

    Raises:
        InputError: If there are no answers.

    Reference: rater score as in pwcmp's `pw_outlier_analysis`, with quartiles at (i - 0.5) / n.
    """
    options = replace(options or ScalingOptions(), bootstrap=0, disconnected="mark")
    used, _ = counted(answers, options)
    fits = _fits_to_others(used, options)
    names = sorted(fits)
    likelihood = np.array([fits[name].likelihood for name in names])
    low, high = np.nanquantile(likelihood, [0.25, 0.75], method="hazen") if np.isfinite(likelihood).any() else (0, 0)
    rows = []
    for name, value in zip(names, likelihood.tolist(), strict=True):
        fit = fits[name]
        row: dict[str, object] = {
            "rater": name,
            "answers": fit.answers,
            "likelihood": value,
            "rater_score": (low - value) / (high - low) if value < low and high > low else 0.0,
            "z": fit.z,
            "agreement": fit.agreement,
        }
        row |= _habits(answers[(answers["rater"] == name).to_numpy(bool)])
        why = _reasons(row)
        rows.append(row | {"outlier": bool(why), "why": "; ".join(why)})
    return pd.DataFrame(rows)


@dataclass
class _FitToOthers:
    """Sums over the answers of one rater, under the scale of all others."""

    answers: int = 0
    log10: float = 0.0
    pairs: int = 0
    surprise: float = 0.0
    variance: float = 0.0
    alike: float = 0.0
    decided: int = 0

    @property
    def likelihood(self) -> float:
        return self.log10 / self.pairs if self.pairs else math.nan

    @property
    def z(self) -> float:
        return self.surprise / math.sqrt(self.variance) if self.variance else math.nan

    @property
    def agreement(self) -> float:
        return self.alike / self.decided if self.decided else math.nan


def _fits_to_others(used: pd.DataFrame, options: ScalingOptions) -> dict[str, _FitToOthers]:
    """Return how each rater's answers fit to the scale of the others, over all scenes."""
    found = {str(name): _FitToOthers() for name in pd.unique(used["rater"])}
    with progress(used["scene"].nunique(), task="raters", unit="scenes") as advance:
        for _, rows in used.groupby("scene", sort=False):
            images = sorted({*rows["image_a"], *rows["image_b"]})
            tally = RaterTally.of(rows, images)
            every = tally.counts()
            of_all = fit_scene(every, components(every), _lenient(options))
            kept = replace(_lenient(options), prior_sd=of_all.prior_sd) if options.prior == "normal" else options
            for number, name in enumerate(tally.raters):
                own = tally.counts((np.arange(len(tally.raters)) == number).astype(np.float64))
                found[name].answers += round(float(own.total.sum()))
                if len(tally.raters) > 1:
                    others = tally.counts((np.arange(len(tally.raters)) != number).astype(np.float64))
                    _add(found[name], own, others, kept)
            advance(1)
    return found


def _lenient(options: ScalingOptions) -> ScalingOptions:
    """Return options that also hold where one rater is missing: no prior would need answers both ways."""
    return replace(options, prior="normal") if options.prior == "none" else options


def _add(sums: _FitToOthers, own: Counts, others: Counts, options: ScalingOptions) -> None:
    """Add the answers of a rater in a scene, where those of the others connect their images."""
    component = components(others)
    fit = fit_scene(others, component, _lenient(options))
    kept = component[own.first] == component[own.second]
    first, second, wins, total = own.first[kept], own.second[kept], own.wins[kept], own.total[kept]
    mean = fit.score[first] - fit.score[second]
    sums.log10 += float(_log_binomial(wins, total, mean / SIGMA).sum()) / math.log(10)
    sums.pairs += len(total)
    decided = np.floor(wins) + np.floor(total - wins)  # halves are answers "same", two of them look like one of each
    variance = np.diag(fit.covariance)
    spread = np.maximum(variance[first] + variance[second] - 2 * fit.covariance[first, second], 0)
    x = mean / np.sqrt(SIGMA**2 + spread)  # the others' scale is not certain either
    log_p, log_q = np.asarray(log_ndtr(x)), np.asarray(log_ndtr(-x))
    p, q = np.exp(log_p), np.exp(log_q)
    won = np.floor(wins)
    sums.surprise += float((won * log_p + (decided - won) * log_q - decided * (p * log_p + q * log_q)).sum())
    sums.variance += float((decided * p * q * (log_p - log_q) ** 2).sum())
    sums.alike += float((np.where(mean > 0, won, decided - won) * (mean != 0)).sum())
    sums.decided += int(decided[mean != 0].sum())


def _log_binomial(wins: Array, total: Array, x: Array) -> Array:
    """Return the logarithm of the binomial probability of wins of total, each won with Phi(x)."""
    ways = gammaln(total + 1) - gammaln(wins + 1) - gammaln(total - wins + 1)
    return np.asarray(ways + wins * log_ndtr(x) + (total - wins) * log_ndtr(-x))


def _habits(own: pd.DataFrame) -> dict[str, object]:
    """Return what the answers of one rater show without a scale."""
    own = own[(own["kind"] != "training").to_numpy(bool)]
    sided = own[((own["left"] != "") & (own["winner"] != SAME)).to_numpy(bool)]
    is_left = (sided["left"] == sided["winner"]).to_numpy(bool)
    again = own[(own["kind"] == "repeat").to_numpy(bool)]
    alike = _alike(own, again)
    gold = own[((own["kind"] == "gold") & (own["expected"] != "")).to_numpy(bool)]
    seconds = own["seconds"].dropna().to_numpy(np.float64)
    left, times = int(is_left.sum()), len(is_left)
    return {
        "left": left / times if times else math.nan,
        "left_p": float(binomtest(left, times).pvalue) if times else math.nan,
        "repeats": len(alike),
        "repeat_rate": float(np.mean(alike)) if alike else math.nan,
        "gold": len(gold),
        "gold_rate": float((gold["winner"] == gold["expected"]).mean()) if len(gold) else math.nan,
        "seconds": float(np.median(seconds)) if len(seconds) else math.nan,
        "fast": float(np.mean(seconds < FAST_SECONDS)) if len(seconds) else math.nan,
        "longest_run": _longest_run(is_left),
    }


def _alike(own: pd.DataFrame, again: pd.DataFrame) -> list[bool]:
    """Return for each repeat whether it was answered as the first time; those without a first time are left out."""
    if not len(again):
        return []
    rows = own[(own["kind"] == "new").to_numpy(bool)][::-1]  # of several first times the first
    first = {(row["scene"], frozenset((row["image_a"], row["image_b"]))): _chosen(row) for _, row in rows.iterrows()}
    keys = [((row["scene"], frozenset((row["image_a"], row["image_b"]))), _chosen(row)) for _, row in again.iterrows()]
    return [first[key] == chosen for key, chosen in keys if key in first]


def _chosen(row: pd.Series[str]) -> str:
    """Return the image that was chosen, or "" for "same"."""
    return "" if row["winner"] == SAME else str(row[f"image_{row['winner']}"])


def _longest_run(is_left: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> int:
    if not len(is_left):
        return 0
    changes = np.flatnonzero(np.diff(is_left.astype(np.int8))) + 1
    return int(np.diff(np.concatenate([[0], changes, [len(is_left)]])).max())


def _reasons(row: Mapping[str, object]) -> list[str]:
    """Return why a rater deserves a look, one entry each; none of an ordinary one."""
    value = {name: float(cell) for name, cell in row.items() if isinstance(cell, int | float)}
    why = []
    if value["z"] < UNLIKELY:
        why.append(f"answers are less likely than those of the others (z = {value['z']:.1f})")
    elif value["rater_score"] > SCORE_LIMIT and value["z"] < DOUBT:
        why.append(f"rater score {value['rater_score']:.1f}, above {SCORE_LIMIT:g}")
    if value["left_p"] < SIDE_LIMIT:
        why.append(f"{value['left']:.0%} of the answers are for the left image (p = {value['left_p']:.1g})")
    if value["gold"] >= KNOWN_LEAST and value["gold_rate"] < KNOWN_LIMIT:
        why.append(f"{value['gold_rate']:.0%} of {value['gold']:.0f} known answers are right")
    if value["fast"] > FAST_LIMIT:
        why.append(f"{value['fast']:.0%} of the answers took less than {FAST_SECONDS:g} seconds")
    return why
