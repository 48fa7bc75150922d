"""The row on judgements: how long a rater waits for the next pair, and how long a large scene takes to scale."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import torch

from bench_rows.measure import Row, Settings, in_turn
from piqa.judgement.answers import answers_table
from piqa.judgement.choice import next_pairs
from piqa.judgement.panel import SimulatedRater, random_answers
from piqa.judgement.scaling import scale_pairs
from piqa.judgement.session import next_step
from piqa.judgement.study import StudySettings
from piqa.judgement.wins import wins_of

PROMISED = 0.05  # seconds a request


def next_pair(settings: Settings) -> Row:
    """Time the choice of the next pair in a scene of 200 images, and the scaling of 40,000 answers to its pairs."""
    images, answers, raters = (20, 400, 4) if settings.smoke else (200, 40_000, 20)
    rng = np.random.default_rng(0)
    truth = {f"{number}.jpg": float(1.42 * rng.standard_normal()) for number in range(images)}
    panel = [SimulatedRater(f"rater {number}") for number in range(raters)]
    table = random_answers({"hall": truth}, panel, answers // raters)
    scenes = {"hall": list(truth)}
    wins = wins_of(table, "hall", scenes["hall"])
    study = StudySettings(break_every=0, repeat_fraction=0)
    ways = in_turn(
        {
            "active": partial(next_pairs, wins, 8, np.random.default_rng(1)),
            "active, no answers yet": partial(next_pairs, np.zeros_like(wins), 8, np.random.default_rng(1)),
            "random": partial(next_pairs, wins, 8, np.random.default_rng(1), "random"),
            "a whole step": partial(next_step, study, scenes, table, "rater 0"),
            "a step, no answers yet": partial(next_step, study, scenes, answers_table(), "rater 0"),
            "scaling": partial(_scale, table),
        },
        settings.times(9),
        "cpu",
        torch.device("cpu"),
    )
    return Row(
        row="next-pair",
        what=f"the next pair of a scene of {images} images after {len(table)} answers of simulated raters: its choice, "
        f"the whole step of a rater with {answers // raters} answers, and the scaling of all answers",
        ratio=PROMISED / ways["active"]["median_s"],
        compared=f"{1000 * PROMISED:g} ms : choice of a pair",
        expected="under 50 ms a request, 40,000 answers scale within seconds",
        clock="cpu",
        ways=ways,
        facts={"images": images, "answers": len(table)},
    )


def _scale(table: pd.DataFrame) -> None:
    scale_pairs(table)
