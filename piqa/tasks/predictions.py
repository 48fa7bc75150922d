"""Collects predictions over batches and processes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat


class Predictions(Metric):
    """Predicted scores by table row, gathered from all processes; a row that came twice counts once."""

    full_state_update = False

    index: list[Tensor]
    prediction: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("index", default=[], dist_reduce_fx="cat")
        self.add_state("prediction", default=[], dist_reduce_fx="cat")

    def update(self, index: Tensor, prediction: Tensor) -> None:
        """Adds one batch: table rows and predicted scores, both (portraits,)."""
        self.index.append(index)
        self.prediction.append(prediction.detach().float())

    def compute(self) -> tuple[Tensor, Tensor]:
        """All rows in ascending order, and their predictions."""
        index, prediction = dim_zero_cat(self.index), dim_zero_cat(self.prediction)
        rows, position = torch.unique(index, return_inverse=True)
        return rows, torch.empty_like(rows, dtype=prediction.dtype).scatter_(0, position, prediction)
