"""The results that the PIQ23 board publishes, to stand beside measured ones."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

PUBLISHED_MEASURES = ("srocc", "plcc", "krocc", "mae")
FILE = Path(__file__).with_name("published.csv")
NOTE = "at the highest SROCC of all epochs; whether PLCC and MAE follow a mapping is not stated"


def published_entries(attribute: str | None, official_split: str | None) -> pd.DataFrame:
    """Return the board's entries for an attribute and an official split.

    Each measure is the median over the test scenes of that split. According to the authors, the epoch was chosen by the
    highest SROCC on the test set, which flatters the models; small differences are not reproducible.

    There are attributes `overall`, `details` and `exposure` and splits `scene` and `device`; any other has no entries.

    Returns:
        One row a model in the board's order: `model`, `srocc`, `plcc`, `krocc`, `mae`, `selected_on`, `source`.
    """
    board = pd.read_csv(FILE)
    rows = board[(board["attribute"] == attribute) & (board["split"] == official_split)]
    return rows.drop(columns=["attribute", "split"]).reset_index(drop=True)
