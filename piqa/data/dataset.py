"""Rows of a table become the tensors of a batch, by way of the prepared store.

A batch is a dictionary: `full_image`, `face_crop` (uint8 crops), `liqe_logits` where prepared, `score`, `index` (row of
the table) and, in training, `group`, `groups` and, where known, `score_std`.
"""

from __future__ import annotations

import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from piqa.data.sampler import Step
from piqa.data.transforms import Crops, TrainingCrops, scoring_crops
from piqa.portrait import Portrait
from piqa.store import PreparedStore

Batch = dict[str, Tensor]


class TrainingPortraits(Dataset[Batch]):
    """Whole training steps, each drawn by a `StepSampler`; load it with `batch_size=None`.

    Args:
        table: Training rows.
        store: Where their portraits are.
        crop: Side of the crops in pixels.
        flip: Whether half of the portraits are mirrored.
    """

    def __init__(self, table: pd.DataFrame, store: PreparedStore, crop: int, flip: bool = False) -> None:
        self.table = table.reset_index(drop=True)
        self._store = store
        self._crops = TrainingCrops(crop, flip)
        self._paths: list[str] = self.table["path"].tolist()
        self._labels = _labels(self.table)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, step: Step) -> Batch:
        """One step's batch; `full_image` is (portraits, 3, crop, crop)."""
        rows = torch.tensor([draw.index for draw in step.draws])
        portraits = [self._store.load(self._paths[draw.index]) for draw in step.draws]
        whole, face = zip(*map(self._crops, portraits, [draw.seed for draw in step.draws]), strict=True)
        batch = {"full_image": torch.stack(whole), "face_crop": torch.stack(face), "index": rows}
        if portraits[0].liqe_logits is not None:
            batch["liqe_logits"] = torch.stack([liqe_tensor(portrait) for portrait in portraits])
        batch |= {name: values[rows] for name, values in self._labels.items()}
        batch["group"] = torch.tensor([draw.group for draw in step.draws])
        batch["groups"] = torch.tensor(step.groups)
        return batch


class ScoringPortraits(Dataset[Batch]):
    """Single portraits with their fixed crops, for validation and test.

    Args:
        table: Rows to score.
        store: Where their portraits are.
        crop: Side of the crops in pixels.
        crops: How many, and where.
    """

    def __init__(self, table: pd.DataFrame, store: PreparedStore, crop: int, crops: Crops) -> None:
        self.table = table.reset_index(drop=True)
        self._store, self._crop, self._crops = store, crop, crops
        self._paths: list[str] = self.table["path"].tolist()
        self._labels = _labels(self.table)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, row: int) -> Batch:
        """One portrait; `full_image` is (crops, 3, crop, crop)."""
        portrait = self._store.load(self._paths[row])
        labels = {name: values[row] for name, values in self._labels.items()}
        return crops_of(portrait, self._crop, self._crops) | labels | {"index": torch.tensor(row)}


def crops_of(portrait: Portrait, size: int, crops: Crops) -> Batch:
    """What a network scores of one portrait: crop i of the whole goes with crop i of the face."""
    batch = {
        "full_image": scoring_crops(portrait.full_image, size, crops),
        "face_crop": scoring_crops(portrait.face_crop, size, crops),
    }
    if portrait.liqe_logits is not None:
        batch["liqe_logits"] = liqe_tensor(portrait)
    return batch


def liqe_tensor(portrait: Portrait) -> Tensor:
    """LIQE's logits of a portrait that has them, (495,)."""
    return torch.from_numpy(portrait.liqe_logits)


def _labels(table: pd.DataFrame) -> Batch:
    columns = [name for name in ("score", "score_std") if name in table]
    return {name: torch.tensor(table[name].to_numpy(), dtype=torch.float32) for name in columns}
