"""The data of the page's plots: scores and predictions by scene, the values of the board, the reliability curve."""

from __future__ import annotations

import math
import re

import pandas as pd

from piqa.evaluation.leaderboard.leaderboard import LOWER_IS_BETTER, Leaderboard
from piqa.evaluation.output import text
from piqa.evaluation.output.text import MEASURE_NAMES

DIGITS = 4  # of measures in the plots; a screen shows no more
RANGE_DIGITS = 4  # of scores and predictions, counted from the first digit of their range


def plot_data(board: Leaderboard) -> dict[str, object]:
    """Return all that the script of the page draws from; frames and NaN are still in it."""
    models = shown_models(board)
    labels = board.predictions.drop_duplicates("image").set_index("image")
    wide = board.predictions.pivot(index="image", columns="model", values="prediction")
    digits = {model: decimals(wide[model]) for model in models}
    score_digits = decimals(labels["score"])
    wide = wide[models].round({model: places + 2 for model, places in digits.items()})
    scenes = []
    by_scene = labels.groupby("scene")["score"]
    names = sorted(by_scene.groups, key=natural)
    for scene in names:
        scores = by_scene.get_group(scene).round(score_digits + 2)
        own = wide.loc[scores.index]
        predictions = [own[model].to_list() for model in models]
        named = {"name": str(scene), "images": [str(name) for name in scores.index]}
        scenes.append(named | {"scores": scores.to_list(), "predictions": predictions})
    srocc = board.scenes.pivot(index="scene", columns="model", values="srocc").reindex(names).round(DIGITS)
    kinds = board.entries.set_index("model")["kind"]
    curves = board.reliability.reindex(columns=["model", "predicted", "observed", "pairs"]).round(DIGITS)
    return {
        "models": [{"name": model, "kind": kinds[model]} for model in models],
        "digits": {"score": score_digits, "prediction": list(digits.values())},
        "scenes": scenes,
        "srocc": [srocc[model].to_list() if model in srocc else [] for model in models],
        "board": [_intervals(block) for block in text.blocks(board) if block.rows],
        "reliability": [curves[curves["model"] == model].drop(columns="model") for model in models],
    }


def shown_models(board: Leaderboard) -> list[str]:
    """Return whose predictions are shown: models, then naive entries that rank; the place is the colour."""
    kinds = board.entries.set_index("model")["kind"]
    there, ranking = set(board.predictions["model"]), set(board.scenes.dropna(subset="srocc")["model"])
    models = [model for model in kinds.index[kinds == "model"] if model in there]
    return models + [model for model in kinds.index[kinds == "naive"] if model in there & ranking]


def decimals(values: pd.Series[float]) -> int:
    """Return how many decimals tell these values apart on any scale: predictions may span 60 or 0.001."""
    extent = float(values.max() - values.min())
    return min(max(RANGE_DIGITS - 1 - math.floor(math.log10(extent)), 0), 12) if extent > 0 else RANGE_DIGITS


def natural(name: object) -> list[str | int]:
    """Return a key that sorts scene 5 before scene 10."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"(\d+)", str(name)))]


def _intervals(block: text.Block) -> dict[str, object]:
    """Return a block's values with their intervals, measure by measure."""
    measures = [
        {
            "name": MEASURE_NAMES[measure],
            "lower": measure in LOWER_IS_BETTER,
            "rows": [
                {"model": row.model, "kind": row.kind, "value": cell.value, "low": cell.low, "high": cell.high}
                for row in block.rows
                if (cell := row.cells.get(measure)) is not None
            ],
        }
        for measure in block.measures
    ]
    return {"protocol": block.protocol, "measures": measures}
