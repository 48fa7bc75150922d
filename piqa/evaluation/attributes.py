"""Predictions of one attribute out of a table that has scores of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from piqa.evaluation.inputs import CandidateTable
from piqa.evaluation.leaderboard.entries import Candidate
from piqa.evaluation.measures import srocc

PREDICTION = "prediction."  # begins the name of a column of predictions of an attribute
OVERALL = "overall"  # what the `score` of a table is called beside its attributes, where it has no name of its own


def attribute_table(table: pd.DataFrame, attribute: str) -> pd.DataFrame:
    """Return the images that have a score in an attribute, with it and its deviation as `score` and `score_std`.

    Images that are alone in their scene, or in their scene's part of a split, are left out: they cannot be ranked. A
    column `prediction.<attribute>`, if there is one, becomes `prediction`; scores and predictions of everything else
    go.

    Args:
        table: `scene`, `score.<attribute>` and any others, as of `piqa.data.tables.table.Table.load`.
        attribute: The attribute.

    Examples:
        >>> rows = {"scene": list("aaabb"), "score": range(5), "score.detail": [3, 4, float("nan"), float("nan"), 1]}
        >>> attribute_table(pd.DataFrame(rows), "detail").to_dict("list")
        {'scene': ['a', 'a'], 'score': [3.0, 4.0]}
    """
    known = table[table[f"score.{attribute}"].notna()]
    known = known[known.duplicated(["split", "scene"] if "split" in known else "scene", keep=False)]
    own = {f"{kind}.{attribute}": kind for kind in ("score", "score_std", "prediction")}
    others = [name for name in map(str, known) if name.startswith(("score", "prediction")) and name not in own]
    of_attribute = known.drop(columns=others).rename(columns=own).reset_index(drop=True)
    of_attribute.attrs = dict(table.attrs)
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


def attribute_candidates(tables: Sequence[CandidateTable], attribute: str) -> list[CandidateTable]:
    """Return the candidates that predict an attribute, with their predictions of it; others are left out.

    Args:
        tables: Candidates with the rows that they have scored, where `prediction.<attribute>` may be.
        attribute: The attribute.
    """
    found = []
    for one in tables:
        scored = one.frame if one.scored is None else one.scored
        if PREDICTION + attribute not in scored:
            continue
        predictions = scored.set_index("image")[PREDICTION + attribute]
        frame = attribute_table(one.frame, attribute)
        frame.attrs = dict(one.frame.attrs)
        found.append(CandidateTable(replace(one.candidate, predictions=predictions), frame))
    return found


def rival_candidates(tables: Sequence[CandidateTable], attribute: str) -> list[Candidate]:
    """Return, for each candidate that predicts an attribute, its overall score as if it were that prediction."""
    return [
        replace(
            one.candidate,
            name=f"{one.candidate.name}, overall",
            kind="naive",
            source=f"the overall score by {one.candidate.name}, as if it were its {attribute}",
        )
        for one in tables
        if PREDICTION + attribute in one.frame
    ]
