"""Which pair is judged next: at random, or the pairs from which most is learnt.

The active choice fits the answers so far, which gives every difference a mean and a variance, and takes the expected
information gain (EIG) of an answer: its entropy less that which the rater's noise would leave if the difference were
known. A batch is chosen pair by pair, as if those before had been answered, and as a tree: it connects all images, so
that no part of the scale hangs in the air, as it does where only neighbours are compared.

Reference: Mikhailiuk et al. 2020, arXiv 2004.05691, whose batch is the minimum spanning tree of 1 / EIG, in which an
image of which little is known stands in many pairs; Li et al. 2018 (Hybrid-MST), whose EIG needs no message passing.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr, ndtr

from piqa.judgement.thurstone import SIGMA, USUAL_SD, Array, Counts, Fit, Places, fit_normal

Choice = Literal["active", "random"]
Allowed = NDArray[np.bool_]
SD_STEPS = 2  # of the sd of the prior towards what the answers say
NEAR = 0.01  # JOD: the fit's last change, which is far below what single answers say
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(21)  # for a standard normal variable
WEIGHTS = WEIGHTS / WEIGHTS.sum()
FINE, FAR = 0.01, 9.0  # step and end of the table of entropies; beyond the end an answer is certain
_at = ndtr(np.arange(0, FAR + FINE, FINE))
ENTROPIES: Array = np.asarray(entr(_at) + entr(1 - _at), np.float64)  # of an answer, in nats, by |difference| / SIGMA
TINY = 1e-12  # nats: the least gain that is told apart from none
TOP = 32  # pairs whose gain is computed anew at once


def next_pairs(
    wins: Array,
    count: int,
    rng: np.random.Generator,
    method: Choice = "active",
    allowed: Allowed | None = None,
) -> list[tuple[int, int]]:
    """Return pairs of images of one scene to be judged next.

    Args:
        wins: How often the image of the row was preferred to that of the column, halves for "same", shape
            (images, images).
        count: How many pairs at most.
        rng: Draws.
        method: "active" takes the most informative pair, then the one that will be when the former is answered, and so
            on until a tree connects all images, then begins another tree; "random" takes any.
        allowed: Pairs that may be asked, symmetric, shape (images, images); None: all.

    Returns:
        Pairs of indices i < j, without repetition; fewer than `count` where fewer are allowed.

    Examples:
        >>> next_pairs(np.zeros((2, 2)), 5, np.random.default_rng(0))
        [(0, 1)]
    """
    size = len(wins)
    may = ~np.eye(size, dtype=bool) if allowed is None else np.asarray(allowed, bool) & ~np.eye(size, dtype=bool)
    first, second = np.nonzero(np.triu(may, 1))
    if method == "random":
        taken = rng.permutation(len(first))[:count].tolist()
    else:
        taken = _in_trees(posterior(wins), first, second, count, rng)
    return [(int(first[at]), int(second[at])) for at in taken]


def information_gain(wins: Array, first: Places, second: Places, prior_sd: float | None = None) -> Array:
    """Return the expected information gain of an answer to each pair, in nats.

    Args:
        wins: As of `next_pairs`.
        first: One image of each pair, shape (pairs,).
        second: The other one.
        prior_sd: Of the scores, in JOD; None: two steps from the usual one towards what the answers say.
    """
    return _gains(posterior(wins, prior_sd), first, second)


def posterior(wins: Array, prior_sd: float | None = None) -> Fit:
    """Return the scores and the covariance of their errors as the choice needs them.

    Args:
        wins: As of `next_pairs`.
        prior_sd: As of `information_gain`.
    """
    counts = Counts.of(np.asarray(wins, np.float64))
    fit = fit_normal(counts, prior_sd or USUAL_SD, close=NEAR)
    for _ in range(0 if prior_sd else SD_STEPS):  # of the algorithm EM
        sd = float(np.sqrt(np.mean(fit.score**2 + np.diag(fit.covariance))))
        fit = fit_normal(counts, sd, fit.score, NEAR)
    return fit


def _gains(fit: Fit, first: Places, second: Places) -> Array:
    """Return the expected information gain of an answer to each pair, in nats, shape (pairs,)."""
    variance = np.diag(fit.covariance)
    spread = variance[first] + variance[second] - 2 * fit.covariance[first, second]
    return gain_of(fit.score[first] - fit.score[second], np.maximum(spread, 0))


def gain_of(mean: Array, variance: Array) -> Array:
    """Return the expected information gain of an answer on a difference with this posterior, in nats.

    H(Phi(mean / sqrt(sigma^2 + variance))) - E[H(Phi(difference / sigma))], the expectation by 21-point Gauss-Hermite.
    """
    before = _entropy(mean / np.sqrt(SIGMA**2 + variance))
    std = np.sqrt(variance)
    after = np.zeros_like(mean)
    for node, weight in zip(NODES.tolist(), WEIGHTS.tolist(), strict=True):
        after += weight * _entropy((mean + node * std) / SIGMA)
    return np.asarray(np.maximum(before - after, TINY))


def _entropy(x: Array) -> Array:
    """Return the entropy of an answer that is "first" with Phi(x), in nats, from the table."""
    place = np.minimum(np.abs(x) * (1 / FINE), len(ENTROPIES) - 1.001)
    below = place.astype(np.intp)
    return np.asarray(ENTROPIES[below] + (place - below) * (ENTROPIES[below + 1] - ENTROPIES[below]))


def _in_trees(fit: Fit, first: Places, second: Places, count: int, rng: np.random.Generator) -> list[int]:
    """Return places of pairs: each joins two parts of its tree, and is the best once those before are answered."""
    noise = 1 + 1e-6 * rng.random(len(first))  # of equal pairs, any
    gain, part, left = noise * _gains(fit, first, second), np.arange(len(fit.score)), np.ones(len(first), bool)
    taken = list[int]()
    while len(taken) < count and left.any():
        joins = left & (part[first] != part[second])
        if not joins.any():  # the tree is complete: the next one
            part = np.arange(len(part))
            continue
        best = _best(fit, first, second, gain, noise, np.flatnonzero(joins))
        taken.append(best)
        left[best] = False
        one, other = first[best], second[best]
        part[part == part[other]] = part[one]
        fit = _answered(fit, one, other, gain[best])
    return taken


def _best(fit: Fit, first: Places, second: Places, gain: Array, noise: Array, among: Places) -> int:
    """Return the place of the best pair; `gain` may be of an earlier fit and is renewed where that matters.

    Answers make gains smaller, so a pair whose old gain is below the best new one need not be computed.
    """
    while True:
        top = among[np.argpartition(gain[among], -min(TOP, len(among)))[-TOP:]]
        gain[top] = noise[top] * _gains(fit, first[top], second[top])
        best = top[gain[top].argmax()]
        if gain[best] >= gain[among].max():
            return int(best)


def _answered(fit: Fit, one: int, other: int, gain: float) -> Fit:
    """Return the fit with the covariance after an answer to a pair: after a normal one that tells as much, gain nats.

    Such an answer divides the variance of the difference by exp(2 gain). The scores stay, as it is not known yet.
    """
    toward = fit.covariance[one] - fit.covariance[other]
    share = -np.expm1(-2 * gain) / max(toward[one] - toward[other], TINY)
    return Fit(fit.score, fit.covariance - share * np.outer(toward, toward), fit.prior_sd)
