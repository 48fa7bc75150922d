"""Predictions of one attribute out of a table that has scores of several."""

from __future__ import annotations

import numpy as np
import pandas as pd

from piqa.evaluation.measures import srocc
from piqa.evaluation.metrics import per_scene

OVERALL = "overall"  # what the `score` of a table is called beside its attributes, where it has no name of its own


def attribute_table(table: pd.DataFrame, attribute: str) -> pd.DataFrame:
    """Return the images that have a score in an attribute, with it and its deviation as `score` and `score_std`.

    Images that are alone in their scene are left out: they cannot be ranked. A column `prediction.<attribute>`, if
    there is one, becomes `prediction`; scores and predictions of everything else go.

    Args:
        table: `scene`, `score.<attribute>` and any others, as `piqa.data.tables.table.Table.load` describes them.
        attribute: The attribute.

    Examples:
        >>> rows = {"scene": list("aaabb"), "score": range(5), "score.detail": [3, 4, float("nan"), float("nan"), 1]}
        >>> attribute_table(pd.DataFrame(rows), "detail").to_dict("list")
        {'scene': ['a', 'a'], 'score': [3.0, 4.0]}
    """
    known = table[table[f"score.{attribute}"].notna()]
    known = known[known.duplicated("scene", keep=False)]
    own = {f"{kind}.{attribute}": kind for kind in ("score", "score_std", "prediction")}
    others = [name for name in known if name.startswith(("score", "prediction")) and name not in own]
    of_attribute = known.drop(columns=others).rename(columns=own).reset_index(drop=True)
    first = [name for name in table if name in of_attribute]  # `score` where it stood
    return of_attribute[[*first, *(name for name in of_attribute if name not in first)]]


def partial_srocc(table: pd.DataFrame, attribute: str) -> float:
    """Return the median over scenes of the rank correlation of an attribute's scores and predictions, given `score`.

    It is what a prediction knows of the attribute beyond what the overall score tells: attributes often follow the
    overall score so closely that a network without any idea of them reaches a high SROCC. NaN where it is not defined.

    Args:
        table: `scene`, `score`, `score.<attribute>` and `prediction.<attribute>`.
        attribute: The attribute.

    Reference: the first-order partial correlation (r_xy - r_xz r_yz) / sqrt((1 - r_xz^2)(1 - r_yz^2)) of ranks.
    """
    names = [f"score.{attribute}", f"prediction.{attribute}", "score"]
    found = []
    for _, scene in table.dropna(subset=names).groupby("scene"):
        if len(scene) < 4:
            continue
        truth, predicted, overall = scene[names].to_numpy(np.float64).T
        known, told = float(srocc(truth, overall)), float(srocc(predicted, overall))
        rest = (1 - known**2) * (1 - told**2)
        if rest > 1e-12:
            found.append((float(srocc(truth, predicted)) - known * told) / np.sqrt(rest))
    defined = [value for value in found if np.isfinite(value)]
    return float(np.median(defined)) if defined else float("nan")


def attribute_scenes(table: pd.DataFrame, attribute: str) -> pd.DataFrame:
    """Return the measures of every scene, as `per_scene`, of `prediction.<attribute>`; empty where no image has both.

    Args:
        table: As for `attribute_table`.
        attribute: The attribute.
    """
    own = attribute_table(table, attribute)
    return per_scene(own) if len(own) else pd.DataFrame({"srocc": []}, dtype="float64")
