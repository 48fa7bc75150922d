"""Scores from pairs: Thurstone's Case V by maximum likelihood within each scene, in JOD."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.special import ndtri

from piqa.errors import InputError
from piqa.judgement.answers import SAME
from piqa.judgement.thurstone import Array, Counts, Fit, Places, fit_free, fit_normal, fit_pwcmp
from piqa.judgement.wins import RaterTally
from piqa.system.csv_text import listed
from piqa.system.phrases import Phrase, joined
from piqa.system.progress import progress

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

    Examples:
        >>> from piqa.judgement.answers import answers_table
        >>> pair = {"image_a": "a.jpg", "image_b": "b.jpg", "scene": "hall", "rater": "kim"}
        >>> answers = answers_table([{**pair, "winner": winner} for winner in "aaab"])
        >>> scale_pairs(answers, ScalingOptions(prior="none")).scores[["image", "score"]].round(3).values.tolist()
        [['a.jpg', 0.5], ['b.jpg', -0.5]]
    """
    options = options or ScalingOptions()
    used, notes = counted(answers, options)
    parts = []
    names = pd.unique(used["scene"])
    with progress(len(names), task="scaling", unit="scenes") as advance:
        for name, rows in used.groupby("scene", sort=False):
            parts.append(_scale_scene(str(name), rows, options))
            advance(1)
    notes += [note for part in parts for note in part.notes]
    scores = pd.concat([part.scores for part in parts], ignore_index=True)
    scenes = pd.DataFrame([part.summary for part in parts])
    return Scaling(scores, scenes, {part.name: part.covariance for part in parts}, tuple(notes))


def counted(answers: pd.DataFrame, options: ScalingOptions) -> tuple[pd.DataFrame, list[str]]:
    """Return the answers that make the scale, and notes on the others; raise InputError if there are none."""
    kinds = ("new", "repeat") if options.repeats else ("new",)
    keep = answers["kind"].isin(kinds)
    notes: list[str] = [
        Phrase("{count} answers of the kind {kind} do not count for the scale", count=int(count), kind=str(kind))
        for kind, count in answers.loc[~keep, "kind"].value_counts().items()
    ]
    if options.ties == "leave_out" and (same := keep & (answers["winner"] == SAME)).any():
        notes.append(Phrase("{count} answers `same` are left out", count=int(same.sum())))
        keep &= answers["winner"] != SAME
    if not keep.any():
        raise InputError(Phrase("there are no answers to scale; collect some, or look at their kinds"))
    return answers[keep], notes


@dataclass(frozen=True)
class _Part:
    """A scaled scene."""

    name: str
    scores: pd.DataFrame
    summary: dict[str, object]
    covariance: Array
    notes: list[str]


def _scale_scene(name: str, rows: pd.DataFrame, options: ScalingOptions) -> _Part:
    images = sorted({*rows["image_a"], *rows["image_b"]})
    tally = RaterTally.of(rows, images)
    counts = tally.counts()
    component = components(counts)
    parts = int(component.max()) + 1
    notes = []
    if parts > 1:
        notes.append(_unconnected(name, images, component, options))
    if options.prior == "pwcmp":  # which is constant for two images
        for number in np.flatnonzero(np.bincount(component) == 2):
            _check_finite(counts.among(np.flatnonzero(component == number)), name, "with the prior `pwcmp`")
    fit = fit_scene(counts, component, options, name)
    centre = _centring(component)
    score, covariance = centre @ fit.score, centre @ fit.covariance @ centre
    std = np.sqrt(np.maximum(np.diag(covariance), 0))
    half = float(ndtri((1 + options.level) / 2)) * std
    low, high = score - half, score + half
    if options.bootstrap:
        drawn = _bootstrap(tally, fit, component, options, name)
        covariance, std = np.atleast_2d(np.cov(drawn.T)), drawn.std(0, ddof=1)
        tail = (1 - options.level) / 2
        low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    total = counts.total
    seen = np.bincount(counts.first, total, len(images)) + np.bincount(counts.second, total, len(images))
    scores = pd.DataFrame({"image": images, "score": score, "scene": name, "score_std": std, "low": low, "high": high})
    scores["answers"], scores["component"] = seen.round().astype(int), component + 1
    summary: dict[str, object] = {
        "scene": name,
        "images": len(images),
        "answers": len(rows),
        "raters": len(tally.raters),
        "same": int((rows["winner"] == SAME).sum()),
        "components": parts,
        "prior_sd": fit.prior_sd,
    }
    return _Part(name, scores, summary, covariance, notes)


def fit_scene(counts: Counts, component: Places, options: ScalingOptions, name: str = "") -> Fit:
    """Fit a scene, its components each for itself but for the sd of a normal prior.

    Raises:
        InputError: If without a prior there are no finite scores.
    """
    if options.prior == "normal":
        return fit_normal(counts, options.prior_sd)
    score, covariance = np.zeros(counts.images), np.zeros((counts.images, counts.images))
    for number in range(int(component.max()) + 1):
        places = np.flatnonzero(component == number)
        part = counts.among(places)
        if len(places) == 1:  # nobody compared it
            continue
        if options.prior == "none":
            _check_finite(part, name)
        fit = fit_pwcmp(part) if options.prior == "pwcmp" else fit_free(part)
        score[places], covariance[np.ix_(places, places)] = fit.score - fit.score.mean(), fit.covariance
    return Fit(score, covariance)


def components(counts: Counts) -> Places:
    """Return for each image the number of its component, from 0: answers connect the images of one."""
    return _connected(counts, directed=False)


def _connected(counts: Counts, directed: bool) -> Places:
    won, lost = counts.wins > 0, counts.total - counts.wins > 0
    ends = (
        np.concatenate([counts.first[won], counts.second[lost]]),
        np.concatenate([counts.second[won], counts.first[lost]]),
    )
    graph = coo_matrix((np.ones(len(ends[0])), ends), shape=(counts.images, counts.images))
    return np.asarray(connected_components(graph, directed, connection="strong")[1], np.intp)


def _check_finite(counts: Counts, name: str, how: str = "without a prior") -> None:
    """Raise InputError unless each image lost, over any others, to each other one: else scores run to infinity."""
    groups = int(_connected(counts, directed=True).max()) + 1
    if groups > 1:
        raise InputError(
            f"scene {name} has no finite scores {how}, as its images fall into {groups} groups between which "
            "all answers go one way; take the prior `normal`"
        )


def _unconnected(name: str, images: Sequence[str], component: Places, options: ScalingOptions) -> str:
    """Return the note on a scene that is not connected, or raise it as InputError."""
    groups: list[list[str]] = [[] for _ in range(int(component.max()) + 1)]
    for image, number in zip(images, component, strict=True):
        groups[number].append(image)
    shown = listed([" + ".join(group[:3]) + (" + ..." if len(group) > 3 else "") for group in groups], " | ")
    parts = "scene {scene} falls into {parts} parts that no answer connects: {images}"
    text = Phrase(parts, scene=name, parts=len(groups), images=shown)
    if options.disconnected == "refuse":
        raise InputError(f"{text}; ask for pairs across them, or set `disconnected` to mark to scale each for itself")
    return joined([text, Phrase("scores of different parts are not comparable")])


def _centring(component: Places) -> Array:
    """Return the matrix that centres each component on 0."""
    same = component[:, None] == component
    return np.asarray(np.eye(len(component)) - same / same.sum(1), np.float64)


def _bootstrap(tally: RaterTally, fit: Fit, component: Places, options: ScalingOptions, name: str) -> Array:
    """Return centred scores of resamples of the raters, shape (resamples, images); the prior's sd is kept."""
    raters = len(tally.raters)
    if raters < 2:
        raise InputError(f"scene {name} has answers of one rater alone, whom no bootstrap can resample; set it to 0")
    rng = np.random.default_rng([options.seed, zlib.crc32(name.encode("utf-8", "surrogatepass"))])
    centre, drawn = _centring(component), []
    kept = replace(options, prior_sd=fit.prior_sd) if options.prior == "normal" else options
    for _ in range(options.bootstrap):
        counts = tally.counts(np.bincount(rng.integers(raters, size=raters), minlength=raters).astype(np.float64))
        if options.prior == "normal":
            score = fit_normal(counts, kept.prior_sd, fit.score).score
        elif (components(counts) != component).any() or (options.prior == "none" and _connected(counts, True).any()):
            continue  # a resample that leaves images unconnected says nothing of their distance
        else:
            score = fit_scene(counts, component, kept, name).score
        drawn.append(centre @ score)
    if len(drawn) < max(2, options.bootstrap / 2):
        raise InputError(
            f"scene {name} comes apart in most resamples of its raters; take the prior `normal`, or no bootstrap"
        )
    return np.array(drawn)
