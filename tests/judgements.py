"""Answers to pairs and ratings for tests: by counts of wins, and the published data in tests/data/judgements."""

from pathlib import Path

import numpy as np
import pandas as pd

from piqa.judgement.answers import answers_table, check_answers
from piqa.judgement.panel import SimulatedRater, random_answers
from piqa.judgement.ratings import check_ratings

DATA = Path(__file__).parent / "data" / "judgements"


def answers_of(wins, scene="hall", rater="kim", names=None):
    """Answers that give a matrix of wins: how often the row's image was preferred to the column's."""
    names = names or [f"{place}.jpg" for place in range(len(wins))]
    return answers_table(
        {"image_a": names[one], "image_b": names[other], "winner": "a", "scene": scene, "rater": rater}
        for one in range(len(wins))
        for other in range(len(wins))
        for _ in range(int(wins[one][other]))
    )


def published_answers():
    """The 1213 answers of pwcmp's third example."""
    found = pd.read_csv(DATA / "pwcmp_ex3_tmo_cmp_data.csv")
    winner = np.where(found["is_A_selected"] == 1, "a", "b")
    columns = {"image_a": found["condition_A"], "image_b": found["condition_B"], "winner": winner}
    return check_answers(pd.DataFrame(columns | {"scene": found["scene"], "rater": found["observer"]}), "pwcmp")


def published_votes():
    """The votes of P.910's example, shape (79 images, 26 raters)."""
    return np.genfromtxt(DATA / "p910_sample_data.csv", delimiter=",")


def ratings_of(votes, scene="all"):
    """A table of ratings from votes, shape (images, raters), NaN where there is none."""
    rows = [
        {"image": f"{image}.jpg", "scene": scene, "rater": f"r{rater:02}", "rating": votes[image, rater]}
        for image, rater in zip(*np.nonzero(np.isfinite(votes)), strict=True)
    ]
    return check_ratings(pd.DataFrame(rows), "votes")


def write_judged(folder):
    """Write what the documentation's commands scale: `pairs.csv` and `votes.csv`, 12 images in 2 scenes."""
    scores = {scene: {f"{scene}/{n}.jpg": n / 2 for n in range(6)} for scene in ("garden", "hall")}
    random_answers(scores, [SimulatedRater(f"r{n}") for n in range(3)], 60).to_csv(folder / "pairs.csv", index=False)
    rng = np.random.default_rng(0)
    votes = np.clip(np.repeat(np.arange(1, 6.1)[:12, None], 4, 1) + rng.integers(-1, 2, (6, 4)), 1, 5)
    both = pd.concat([ratings_of(votes, "garden"), ratings_of(votes, "hall")], ignore_index=True)
    both.assign(image=both["scene"] + "/" + both["image"]).to_csv(folder / "votes.csv", index=False)


def score_of(scaling, scene=None):
    """Scores by image."""
    scores = scaling.scores if scene is None else scaling.scores[scaling.scores["scene"] == scene]
    return dict(zip(scores["image"], scores["score"], strict=True))
