"""The figures that the PIQ23 board publishes, so that others stand beside them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

MEASURES = ("srocc", "plcc", "krocc", "mae")
FILE = Path(__file__).with_name("published.csv")
NOTE = "at the highest SROCC of all epochs; whether PLCC and MAE follow a mapping is not stated"


def published(attribute: str | None, split: str | None) -> pd.DataFrame:
    """The board's lines for an attribute and an official split.

    They are medians over the test scenes of that split, each measure by itself, and by the authors' own word chosen at
    the highest SROCC on the test set, so that they flatter the models; small differences do not repeat.

    Args:
        attribute: `overall`, `details` or `exposure`; anything else has no line.
        split: `scene` or `device`; anything else has no line.

    Returns:
        One row a model in the board's order: `model`, `srocc`, `plcc`, `krocc`, `mae`, `selected_on`, `source`.
    """
    board = pd.read_csv(FILE)
    rows = board[(board["attribute"] == attribute) & (board["split"] == split)]
    return rows.drop(columns=["attribute", "split"]).reset_index(drop=True)
