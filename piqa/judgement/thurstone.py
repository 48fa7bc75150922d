"""Thurstone's Case V for one scene: scores whose differences explain counts of preferences, in JOD.

P(i preferred to j) = Phi((q_i - q_j) / 1.4826), so that a difference of 1 JOD is preferred with 0.75.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize, minimize_scalar
from scipy.special import log_ndtr

Array = NDArray[np.float64]
Places = NDArray[np.intp]
SIGMA = 1.4826  # sd of the noise of a difference, in JOD; 1 / Phi^-1(0.75), as pwcmp rounds it
USUAL_SD = 1.42  # JOD: the median sd within a scene of PIQ23, where the estimate of a prior's sd is drawn to
USUAL_LOG_SD = 1.0  # how weakly: sd of the logarithm, so that 95 % lie between 0.2 and 10 JOD
SDS = (0.05, 20.0)  # JOD: between these the sd of a prior is looked for
SD_STEP = 0.1  # of the logarithm of that sd, for derivatives
MOST_STEPS, CLOSE = 100, 1e-9  # Newton steps; the largest change of a score at the end, in JOD
MAX_STEP = 5.0  # JOD: a Newton step of a score is cut to that
MEAN_WEIGHT = 0.01  # of the squared mean, as in pwcmp; it only says where 0 is
PRIOR_OFFSET = 0.1  # in the logarithm of pwcmp's prior
LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Counts:
    """Answers to the pairs of a scene that were compared.

    Attributes:
        images: How many images.
        first, second: Places of the images of each pair, shape (pairs,).
        wins: How often the first one was preferred; halves for "same".
        total: How many answers.
    """

    images: int
    first: Places
    second: Places
    wins: Array
    total: Array

    @classmethod
    def of(cls, wins: Array) -> Counts:
        """Return the counts of a matrix: how often the row's image was preferred to the column's."""
        total = wins + wins.T
        first, second = np.nonzero(np.triu(total, 1) > 0)
        return cls(len(wins), first, second, wins[first, second], total[first, second])

    def among(self, places: Places) -> Counts:
        """Return the counts of some images alone, in this order."""
        number = np.full(self.images, -1)
        number[places] = np.arange(len(places))
        first, second = number[self.first], number[self.second]
        kept = (first >= 0) & (second >= 0)
        return Counts(len(places), first[kept], second[kept], self.wins[kept], self.total[kept])

    def differences(self, score: Array) -> Array:
        """Return the difference of the scores of each pair, in JOD."""
        return score[self.first] - score[self.second]


@dataclass(frozen=True)
class Fit:
    """Scores of a scene, and the covariance of their errors, before they are centred."""

    score: Array
    covariance: Array
    prior_sd: float = math.nan


def fit_normal(counts: Counts, prior_sd: float | None = None, start: Array | None = None, close: float = CLOSE) -> Fit:
    """Fit scores with a normal prior, by Newton's method.

    Args:
        counts: Of the scene.
        prior_sd: In JOD; None: the one that makes the answers most likely (empirical Bayes, by Laplace's method), with
            a weak pull to what scenes of portraits have, as two images that nobody doubts about would not bound it.
        start: Scores to begin with.
        close: The largest change of a score at the end, in JOD.

    Returns:
        The most likely scores, and the inverse Hessian there; where the sd is estimated, with what that adds (Kass and
        Steffey 1989), as intervals would be too short without it where answers are few or images far apart.
    """
    score = np.zeros(counts.images) if start is None else start
    of_sd = np.zeros(counts.images)
    if prior_sd is None:
        score, prior_sd, of_sd = _estimate_sd(counts, score)
    score, factor = _newton(counts, score, prior_sd, close)
    return Fit(score, _inverse(factor) + np.outer(of_sd, of_sd), prior_sd)


def fit_free(counts: Counts, start: Array | None = None) -> Fit:
    """Fit scores without a prior; finite only where answers lead from every image to every other one, both ways."""
    score, factor = _newton(counts, np.zeros(counts.images) if start is None else start, None)
    return Fit(score, _inverse(factor))


def fit_pwcmp(counts: Counts) -> Fit:
    """Fit scores with the prior on distances of pwcmp (`pw_scale`, options "gaussian" and "mean0").

    A pair's distance is the more likely the better it explains the answers to the other pairs. Unanimous pairs count
    there as if one answer had been the other one. Logarithms are used throughout, as products of many probabilities
    are 0 in floating point.

    Returns:
        The scores, and the inverse Hessian of the likelihood alone.

    Reference: Perez-Ortiz and Mantiuk 2017, arXiv 1712.03686, and its code.
    """
    prior = _DistancePrior(counts)

    def objective(score: Array) -> tuple[float, Array]:
        """Return the objective and its gradient; both orders of each pair count, as in the original."""
        difference = counts.differences(score)
        value, slope, _ = _at(counts, score, 0.0)
        of_prior, prior_slope = prior(difference)
        mean = float(score.mean())
        gradient = _to_images(counts, 2 * slope + prior_slope) + 2 * MEAN_WEIGHT * mean / counts.images
        return 2 * value + of_prior + MEAN_WEIGHT * mean**2, gradient

    options = {"maxiter": 2000, "gtol": 1e-8}
    score = np.asarray(minimize(objective, np.zeros(counts.images), jac=True, method="BFGS", options=options).x)
    hessian = _hessian(counts, _at(counts, score, 0.0)[2], None)
    return Fit(score, np.asarray(np.linalg.pinv(hessian, hermitian=True), np.float64))


class _DistancePrior:
    """Minus the logarithm of pwcmp's prior, and its slope, as a function of the differences of pairs."""

    def __init__(self, counts: Counts) -> None:
        against = counts.total - counts.wins
        wins = np.where(against == 0, counts.wins - 1, np.where(counts.wins == 0, 1, counts.wins))
        both = np.concatenate([np.stack([wins, counts.total], 1), np.stack([counts.total - wins, counts.total], 1)])
        kinds, times = np.unique(both, axis=0, return_counts=True)  # pairs with equal counts have equal columns
        self._wins, self._losses, self._times = kinds[:, 0], kinds[:, 1] - kinds[:, 0], times.astype(np.float64)

    def __call__(self, difference: Array) -> tuple[float, Array]:
        x = np.concatenate([difference, -difference]) / SIGMA  # (2 pairs,)
        log_p, log_q, ratio_p, ratio_q = _tails(x)
        logs = log_p[:, None] * self._wins + log_q[:, None] * self._losses  # (2 pairs, kinds)
        weight = np.exp(logs - logs.max(0))
        weight *= self._times / weight.sum(0)
        prior = weight.sum(1)
        inverse = 1 / (prior + PRIOR_OFFSET)
        mean = (inverse @ weight) / self._times
        slope = ratio_p[:, None] * self._wins - ratio_q[:, None] * self._losses
        by_place = -((inverse[:, None] - mean) * weight * slope).sum(1) / SIGMA
        pairs = len(difference)
        return -float(np.log(prior + PRIOR_OFFSET).sum()), by_place[:pairs] - by_place[pairs:]


def _estimate_sd(counts: Counts, score: Array) -> tuple[Array, float, Array]:
    """Return scores, the sd of the normal prior under which the answers are most likely, and what its error moves.

    The last is the change of the scores, each by the standard error of the logarithm of the sd.
    """
    best = score

    def loss(log_sd: float) -> float:
        """Return minus the logarithm of the evidence by Laplace's method; the mean score adds nothing to it."""
        nonlocal best
        sd = math.exp(log_sd)
        best, factor = _newton(counts, best, sd)
        volume = counts.images * log_sd + float(np.log(np.diag(factor)).sum())
        return _at(counts, best, 1 / sd**2)[0] + volume + ((log_sd - math.log(USUAL_SD)) / USUAL_LOG_SD) ** 2 / 2

    ends = (math.log(SDS[0]), math.log(SDS[1]))
    found = minimize_scalar(loss, bounds=ends, method="bounded", options={"xatol": 1e-3})
    losses, scores = [], []
    for step in (-SD_STEP, 0.0, SD_STEP):
        losses.append(loss(float(found.x) + step))
        scores.append(best)
    curvature = (losses[0] - 2 * losses[1] + losses[2]) / SD_STEP**2
    std = 1 / math.sqrt(max(curvature, 1 / USUAL_LOG_SD**2))  # never less certain than without answers
    return scores[1], math.exp(float(found.x)), std * (scores[2] - scores[0]) / (2 * SD_STEP)


def _newton(counts: Counts, score: Array, prior_sd: float | None, close: float = CLOSE) -> tuple[Array, Array]:
    """Return the most likely scores, and the lower Cholesky factor of the Hessian there."""
    weight = 0.0 if prior_sd is None else 1 / prior_sd**2
    value, slope, curve = _at(counts, score, weight)
    for _ in range(MOST_STEPS):
        factor = _factor(_hessian(counts, curve, prior_sd))
        step = cho_solve((factor, True), _to_images(counts, slope) + weight * score, check_finite=False)
        step *= min(1.0, MAX_STEP / max(float(np.abs(step).max()), 1e-300))
        before, length = value, 1.0
        while True:
            value, slope, curve = _at(counts, score - length * step, weight)
            if value <= before + 1e-12 * abs(before) or length < 1e-6:
                break
            length /= 2
        score = score - length * step
        if float(np.abs(step).max()) < close:
            break
    return score, _factor(_hessian(counts, curve, prior_sd))


def _inverse(factor: Array) -> Array:
    """Return the inverse of a matrix from its lower Cholesky factor."""
    lower = np.tril(dpotri(factor, lower=1)[0])
    return np.asarray(lower + np.tril(lower, -1).T)


def _at(counts: Counts, score: Array, weight: float) -> tuple[float, Array, Array]:
    """Return minus the log likelihood and prior; of the likelihood slope and curvature in each pair's difference."""
    x = counts.differences(score) / SIGMA
    log_p, log_q, ratio_p, ratio_q = _tails(x)
    losses = counts.total - counts.wins
    value = weight * float(score @ score) / 2 - float(counts.wins @ log_p + losses @ log_q)
    slope = (losses * ratio_q - counts.wins * ratio_p) / SIGMA
    curve = (counts.wins * ratio_p * (ratio_p + x) + losses * ratio_q * (ratio_q - x)) / SIGMA**2
    return value, slope, curve


def _factor(hessian: Array) -> Array:
    try:
        return np.asarray(cho_factor(hessian, lower=True, check_finite=False)[0])
    except LinAlgError:  # answers so unanimous that the likelihood is flat in floating point
        return np.asarray(cho_factor(hessian + 1e-9 * np.eye(len(hessian)), lower=True)[0])


def _hessian(counts: Counts, curve: Array, prior_sd: float | None) -> Array:
    """Return the Hessian of minus the log likelihood and prior; without a prior the mean is held at 0."""
    hessian = np.zeros((counts.images, counts.images))
    hessian[counts.first, counts.second] = -curve
    hessian[counts.second, counts.first] = -curve
    diagonal = np.bincount(counts.first, curve, counts.images) + np.bincount(counts.second, curve, counts.images)
    hessian[np.diag_indices(counts.images)] = diagonal + (0.0 if prior_sd is None else 1 / prior_sd**2)
    return hessian + 1 / counts.images if prior_sd is None else hessian


def _tails(x: Array) -> tuple[Array, Array, Array, Array]:
    """Return log Phi(x), log Phi(-x), phi(x) / Phi(x) and phi(x) / Phi(-x)."""
    log_p, log_q = np.asarray(log_ndtr(x)), np.asarray(log_ndtr(-x))
    log_density = -(x**2 + LOG_2PI) / 2
    return log_p, log_q, np.exp(log_density - log_p), np.exp(log_density - log_q)


def _to_images(counts: Counts, slope: Array) -> Array:
    """Return the gradient in the scores from the slopes in the differences."""
    gradient = np.bincount(counts.first, slope, counts.images) - np.bincount(counts.second, slope, counts.images)
    return np.asarray(gradient, np.float64)
