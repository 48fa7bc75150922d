"""Tables of scored images and predictions of them, made up or real, for the tests of the leaderboard."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from piqa.data import PIQ23

LABELS = Path(__file__).resolve().parents[1].parent / "shared" / "piq23"
needs_piq23 = pytest.mark.skipif(not LABELS.is_dir(), reason=f"the PIQ23 label files are not in {LABELS}")


def made_up_truth(scenes=5, images=12, seed=0):
    """Scenes of different size, some scores tied, scores centred in each scene as JODs are."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(scenes):
        score = rng.normal(scale=1.4, size=images + number).round(1)
        for place, value in enumerate(score - score.mean().round(1)):
            rows.append({"image": f"{number}/{place}.jpg", "scene": f"scene {number}", "score": value})
    truth = pd.DataFrame(rows)
    truth["score_std"] = 0.4
    truth["condition"] = np.where(truth["scene"] < "scene 2", "Indoor", "Night")
    truth["device"] = [f"phone {row % 3}" for row in range(len(truth))]
    return truth


def noisy(truth, noise, seed=0):
    """Predictions by image: the score with an error."""
    rng = np.random.default_rng([seed, int(1000 * noise)])
    return pd.Series(truth["score"].to_numpy() + noise * rng.normal(size=len(truth)), index=truth["image"].to_numpy())


def real_labels(attribute, split):
    """PIQ23's own labels, all of them."""
    return PIQ23(LABELS, attribute, split, check_files=False).load()
