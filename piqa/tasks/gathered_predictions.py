"""Gathers predictions over batches and processes."""

from __future__ import annotations

import numpy as np
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class Predictions(Metric):
    """Predicted scores by table row, gathered from all processes; a row that came twice counts once."""

    full_state_update = False

    index: list[Tensor]
    prediction: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        for name in ("index", "prediction"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, index: Tensor, prediction: Tensor) -> None:
        """Add one batch: table rows and predictions, first dimension images."""
        self.index.append(index)
        self.prediction.append(prediction.detach().float())

    def compute(self) -> tuple[np.ndarray, np.ndarray]:
        """Return all rows in ascending order and the first prediction of each; each process must have added a batch."""
        if not len(self.index):
            return np.empty(0, np.int64), np.empty(0, np.float32)
        index, prediction = dim_zero_cat(self.index).cpu().numpy(), dim_zero_cat(self.prediction).cpu().numpy()
        rows, first = np.unique(index, return_index=True)
        return rows, prediction[first]
