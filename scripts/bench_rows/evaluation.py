"""The row on the leaderboard: confidence intervals from many resamples at once, against one resample after another."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import torch
from scipy import stats

from bench_rows.measure import Row, Settings, in_turn
from piqa.evaluation.leaderboard.build import LeaderboardOptions, build_leaderboard
from piqa.evaluation.leaderboard.entries import Candidate
from piqa.evaluation.leaderboard.entry_measures import BOARD_VALUES, measure_predictions
from piqa.evaluation.pairs import PairBands
from piqa.evaluation.statistics.bootstrap import Resamples
from piqa.evaluation.statistics.options import StatisticsOptions

# Images in each of the 15 test scenes of PIQ23's official scene split, 1486 together.
SCENES = (45, 50, 74, 78, 87, 94, 102, 112, 112, 114, 119, 124, 125, 125, 125)
MEASURES = ("srocc", "krocc", "plcc", "mae", "rmse", "pair_accuracy")


def evaluation(settings: Settings) -> Row:
    """Time a model's leaderboard with its intervals: all resamples of a scene at once, against a loop with scipy."""
    scenes, samples, looped = ((9, 12, 15), 60, 3) if settings.smoke else (SCENES, 2000, 10)
    truth = scored_images(scenes)
    rng = np.random.default_rng(1)
    predictions = pd.Series(truth["score"].to_numpy() + rng.normal(size=len(truth)), index=truth["image"])
    drawn = Resamples(scenes, looped, seed=0)
    ways = in_turn(
        {
            "board": partial(
                build_leaderboard,
                truth,
                [Candidate("model", predictions)],
                options=LeaderboardOptions(StatisticsOptions(samples)),
            ),
            "scipy's loop": partial(loop, truth, predictions.to_numpy(), drawn),
        },
        settings.times(5),
        "wall",
        torch.device("cpu"),
    )
    ways["board"]["resamples"], ways["scipy's loop"]["resamples"] = samples, looped
    scaled = ways["scipy's loop"]["median_s"] * samples / looped
    return Row(
        row="evaluation",
        what=f"evaluating {len(truth)} made-up predictions of {len(scenes)} scenes, sizes as in PIQ23's scene split, "
        f"with {samples} bootstrap samples. The board also has the three protocols, the pairs that are clear or near, "
        f"the noise ceiling and the failures; scipy's loop has {len(MEASURES)} measures a scene and nothing else. Of "
        f"the loop {looped} resamples are measured, and taken times {samples / looped:g}",
        ratio=scaled / ways["board"]["median_s"],
        compared=f"seconds of {samples} resamples one by one with scipy, scaled up : of the board",
        expected="seconds, not minutes",
        clock="wall",
        ways=ways,
        facts={"loop_scaled_s": scaled, "largest_difference": difference(truth, predictions.to_numpy(), drawn)},
    )


def scored_images(scenes: tuple[int, ...]) -> pd.DataFrame:
    """Make a table of scenes of these sizes: JOD-like scores, centred in each scene, and their standard deviations."""
    rng = np.random.default_rng(0)
    tables = []
    for number, images in enumerate(scenes):
        score = rng.normal(scale=1.4, size=images)
        names = [f"{number:02}/{place:03}.jpg" for place in range(images)]
        tables.append(pd.DataFrame({"image": names, "scene": f"{number:02}", "score": score - score.mean()}))
    return pd.concat(tables, ignore_index=True).assign(score_std=0.4)


def loop(truth: pd.DataFrame, prediction: np.ndarray, drawn: Resamples) -> dict[str, np.ndarray]:
    """Compute the measures of every resample plainly: write out its images and call scipy for each scene.

    Args:
        truth: One row an image, with `scene` in sorted order and `score`.
        prediction: Shape (images,).
        drawn: Which scenes and which of their images.

    Returns:
        The measures by name, shape (samples, scenes).
    """
    rows_of = list(truth.groupby("scene", sort=True).indices.values())
    score = truth["score"].to_numpy()
    parts = []
    for block in drawn.blocks():
        values = np.empty((block.slots.size, len(MEASURES)))
        for scene, places, counts in block.draws():
            for place, own in zip(places, counts, strict=True):
                rows = np.repeat(rows_of[scene], own)
                values[place] = measures(score[rows], prediction[rows])
        parts.append(values.reshape(*block.slots.shape, len(MEASURES)))
    table = np.concatenate(parts)
    return {name: table[..., column] for column, name in enumerate(MEASURES)}


def measures(x: np.ndarray, y: np.ndarray) -> list[float]:
    """Return the measures of one scene, in the order of `MEASURES`."""
    apart, agreeing = np.sign(x[:, None] - x), np.sign(y[:, None] - y)
    return [
        stats.spearmanr(x, y).statistic,
        stats.kendalltau(x, y).statistic,
        stats.pearsonr(x, y).statistic,
        np.abs(x - y).mean(),
        np.sqrt(np.square(x - y).mean()),
        (1 + (apart * agreeing).sum() / np.abs(apart).sum()) / 2,
    ]


def difference(truth: pd.DataFrame, prediction: np.ndarray, drawn: Resamples) -> float:
    """Return the largest difference of the two ways in the official protocol, on the same resamples."""
    board = measure_predictions(truth, prediction, None, drawn, PairBands())
    looped = loop(truth, prediction, drawn)
    official = [one for one in BOARD_VALUES if one.protocol == "official"]
    return max(float(np.abs(board.resampled(one) - np.median(looped[one.column], axis=1)).max()) for one in official)
