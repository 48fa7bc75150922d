"""Prove the scaling of judgements and the choice of pairs on simulated raters, whose true scores are known.

    python scripts/judgement_proofs.py                          all tables; takes minutes
    python scripts/judgement_proofs.py accuracy raters          some of them
    python scripts/judgement_proofs.py --runs 10                fewer runs of each
    python scripts/judgement_proofs.py --write docs/judge.md    all, into the page

True scores are normal with sd 1.42 JOD, the median within a scene of PIQ23; raters answer by Thurstone's Case V.
All are simulations: people also differ in taste, which no number here shows.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import spearmanr

from piqa.judgement.choice import next_pairs
from piqa.judgement.panel import Habit, SimulatedRater, random_answers
from piqa.judgement.raters import judge_raters
from piqa.judgement.thurstone import SIGMA, Counts, fit_normal

Array = NDArray[np.float64]
TRUE_SD = 1.42  # JOD
WRONG_SD = 3.0  # JOD, of a prior that is wrong
METHODS = ("random", "neighbours", "active")
Table = list[list[str]]


@dataclass(frozen=True)
class Accuracy:
    """How far scores are from the true ones, after so many answers an image.

    Attributes:
        rmse: In JOD, both centred.
        srocc: With the true scores.
        covered: Share of the true scores in their 95 % intervals.
    """

    rmse: float
    srocc: float
    covered: float


def play(
    images: int,
    method: str,
    moments: Sequence[float],
    rng: np.random.Generator,
    prior_sd: float | None = None,
    one_by_one: bool = False,
) -> list[Accuracy]:
    """Simulate a scene; return the accuracy at each moment.

    Args:
        images: How many.
        method: "random" pairs, "neighbours" in the current order, or "active".
        moments: Answers divided by images, growing.
        rng: Draws everything.
        prior_sd: Of the fits, for the choice and the scores; None: estimated.
        one_by_one: Whether the choice is made anew after each answer, as in a session, and not after a batch.
    """
    truth = TRUE_SD * rng.standard_normal(images)
    wins, answers, found = np.zeros((images, images)), 0, []
    for moment in moments:
        last = round(moment * images)
        while answers < last:
            for one, other in _batch(wins, method, rng, prior_sd, one_by_one)[: last - answers]:
                first = rng.random() < ndtr((truth[one] - truth[other]) / SIGMA)
                wins[(one, other) if first else (other, one)] += 1
                answers += 1
        found.append(measure(wins, truth, prior_sd))
    return found


def measure(wins: Array, truth: Array, prior_sd: float | None = None) -> Accuracy:
    """Fit the answers and compare the scores with the true ones."""
    fit = fit_normal(Counts.of(wins), prior_sd)
    centre = np.eye(len(truth)) - 1 / len(truth)
    score, truth = centre @ fit.score, centre @ truth
    std = np.sqrt(np.diag(centre @ fit.covariance @ centre))
    covered = np.abs(score - truth) < 1.959964 * std
    return Accuracy(float(np.sqrt(np.mean((score - truth) ** 2))), _srocc(score, truth), float(covered.mean()))


def _srocc(score: Array, truth: Array) -> float:
    return float(spearmanr(score, truth).statistic) if np.ptp(score) > 0 else 0.0


def _batch(
    wins: Array, method: str, rng: np.random.Generator, prior_sd: float | None, one_by_one: bool
) -> list[tuple[int, int]]:
    images = len(wins)
    if method == "neighbours":
        order = np.argsort(fit_normal(Counts.of(wins), prior_sd or TRUE_SD).score + 1e-6 * rng.random(images))
        pairs = [(int(order[place]), int(order[place + 1])) for place in range(int(rng.integers(2)), images - 1, 2)]
        return pairs or [(int(order[0]), int(order[1]))]
    return next_pairs(wins, 1 if one_by_one else images - 1, rng, "active" if method == "active" else "random")


def means(runs: Sequence[Sequence[Accuracy]]) -> list[Accuracy]:
    """Return the mean accuracy over runs at each moment."""
    return [
        Accuracy(
            float(np.mean([one.rmse for one in column])),
            float(np.mean([one.srocc for one in column])),
            float(np.mean([one.covered for one in column])),
        )
        for column in zip(*runs, strict=True)
    ]


def needed(moments: Sequence[float], accuracies: Sequence[Accuracy], srocc: float) -> float:
    """Return the answers an image at which the mean SROCC is reached, between moments by a straight line."""
    reached = np.maximum.accumulate([one.srocc for one in accuracies])
    if reached[-1] < srocc:
        return float("inf")
    place = int(np.argmax(reached >= srocc))
    if place == 0:
        return moments[0]
    share = (srocc - reached[place - 1]) / (reached[place] - reached[place - 1])
    return float(moments[place - 1] + share * (moments[place] - moments[place - 1]))


def accuracy(runs: int) -> Table:
    """RMSE, SROCC and coverage of 20 images, by answers an image."""
    moments = (5, 10, 20, 40)
    rows = [["pairs", *(f"n = {moment}" for moment in moments)]]
    for method in METHODS:
        found = means([play(20, method, moments, np.random.default_rng([1, run])) for run in range(runs)])
        rows.append([method, *(f"{one.rmse:.2f} / {one.srocc:.3f} / {one.covered:.3f}" for one in found)])
    return rows


SIZES = {  # images of a scene, and the moments between which the needed answers are looked for
    10: (4, 6, 8, 10, 13, 16, 20, 25, 30, 36),
    20: (4, 6, 8, 10, 12, 14, 16, 18, 21, 25),
    100: (5, 7, 9, 11, 13, 15, 17),
}
RUNS = {10: 2.0, 20: 1.0, 100: 1 / 6}  # times as many: few images say little and are quick, many take half a minute


def savings(runs: int) -> Table:
    """Answers an image for a mean SROCC of 0.90 / 0.95, and the active choice's share of random's at 0.95."""
    head = ["images", "random", "active, in batches", "active, one by one", "share in batches", "share one by one"]
    return [head, *(savings_of(images, int(runs * RUNS[images])) for images in SIZES)]


def savings_of(images: int, runs: int) -> list[str]:
    """Return the row of `savings` for scenes of so many images."""
    moments, level = SIZES[images], []
    for method, one_by_one in (("random", False), ("active", False), ("active", True)):
        draws = [np.random.default_rng([2, images, run]) for run in range(max(runs, 2))]
        found = means([play(images, method, moments, rng, None, one_by_one) for rng in draws])
        level.append([needed(moments, found, srocc) for srocc in (0.9, 0.95)])
    cells = [" / ".join(f"{value:.1f}" for value in pair) for pair in level]
    return [str(images), *cells, *(f"{pair[1] / level[0][1]:.2f}" for pair in level[1:])]


def wrong_prior(runs: int) -> Table:
    """RMSE and coverage of 20 images at 10 answers an image where the prior's sd is right, wrong, or estimated."""
    rows = [["pairs", f"sd {TRUE_SD:g}", f"sd {WRONG_SD:g}", "estimated"]]
    for method in METHODS:
        cells = []
        for prior_sd in (TRUE_SD, WRONG_SD, None):
            (found,) = means(
                [play(20, method, (10,), np.random.default_rng([3, run]), prior_sd) for run in range(runs)]
            )
            cells.append(f"{found.rmse:.2f} / {found.covered:.3f}")
        rows.append([method, *cells])
    return rows


def complete(runs: int) -> Table:
    """Coverage and width of intervals of differences: 5 images, all pairs, 10 or 30 answers each."""
    rows = [["answers a pair", "coverage", "mean width in JOD"]]
    for answers in (10, 30):
        covered, width = [], []
        for run in range(runs):
            rng = np.random.default_rng([4, answers, run])
            truth = TRUE_SD * rng.standard_normal(5)
            chance = ndtr((truth[:, None] - truth) / SIGMA)
            first, second = np.triu_indices(5, 1)
            wins = np.zeros((5, 5))
            wins[first, second] = rng.binomial(answers, chance[first, second])
            wins[second, first] = answers - wins[first, second]
            fit = fit_normal(Counts.of(wins))
            variance = np.diag(fit.covariance)
            half = 1.959964 * np.sqrt(variance[first] + variance[second] - 2 * fit.covariance[first, second])
            error = fit.score[first] - fit.score[second] - (truth[first] - truth[second])
            covered.append(float((np.abs(error) < half).mean()))
            width.append(float(2 * half.mean()))
        rows.append([str(answers), f"{np.mean(covered):.3f}", f"{np.mean(width):.2f}"])
    return rows


def found_out(habit: Habit, runs: int, answers: int = 60, honest: int = 11, seed: int = 5) -> tuple[float, float]:
    """Return the share of runs in which a careless rater among honest ones is shown, and the share of honest shown."""
    careless, others = [], []
    for run in range(runs):
        rng = np.random.default_rng([seed, run])
        scores = {
            f"scene {scene}": {f"{scene}/{image}": float(TRUE_SD * rng.standard_normal()) for image in range(10)}
            for scene in range(5)
        }
        panel = [SimulatedRater(f"honest {number}") for number in range(honest)] + [SimulatedRater("careless", habit)]
        table = judge_raters(random_answers(scores, panel, answers, seed=seed * 100_000 + run)).set_index("rater")
        careless.append(bool(table.loc["careless", "outlier"]))
        others.append(float(table["outlier"].drop("careless").mean()))
    return float(np.mean(careless)), float(np.mean(others))


def raters(runs: int) -> Table:
    """How often a careless rater is shown, and an honest one: 12 raters, 60 answers each, 5 scenes of 10 images."""
    rows = [["the twelfth rater", "shown", "honest raters shown"]]
    for habit, words in (("coin", "flips a coin"), ("left", "always left"), ("honest", "honest, too")):
        shown, others = found_out(habit, runs)  # type: ignore[arg-type]
        rows.append([words, f"{shown:.3f}", f"{others:.4f}"])
    return rows


TABLES: dict[str, tuple[Callable[[int], Table], int]] = {
    "accuracy": (accuracy, 100),
    "savings": (savings, 100),
    "wrong_prior": (wrong_prior, 40),
    "complete": (complete, 400),
    "raters": (raters, 100),
}


def markdown(table: Table) -> str:
    """Return a table in Markdown."""
    head, *rows = [f"| {' | '.join(row)} |" for row in table]
    return "\n".join([head, "|" + "---|" * len(table[0]), *rows])


def write_tables(page: Path, tables: dict[str, Table]) -> None:
    """Put tables between their marks in a page."""
    text = page.read_text(encoding="utf-8")
    for name, table in tables.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        before, rest = text.split(begin)
        text = f"{before}{begin}\n{markdown(table)}\n{end}{rest.split(end, 1)[1]}"
    page.write_text(text, encoding="utf-8")


def main() -> None:
    """Simulate, print the tables, and write them into a page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="*", help=f"some of {', '.join(TABLES)}")
    parser.add_argument("--runs", type=int, help="runs of each simulation")
    parser.add_argument("--write", help="a page with the marks of the tables")
    given = parser.parse_args()
    if unknown := [name for name in given.tables if name not in TABLES]:
        sys.exit(f"there is no table {', '.join(unknown)}; choose of {', '.join(TABLES)}")
    tables = {}
    for name in given.tables or TABLES:
        function, runs = TABLES[name]
        tables[name] = function(given.runs or runs)
        print(f"{name}: {function.__doc__}\n{markdown(tables[name])}\n", flush=True)
    if given.write:
        write_tables(Path(given.write), tables)


if __name__ == "__main__":
    main()
