"""Turn rows of a table into the tensors of a batch, out of the prepared store.

A batch is a dictionary of tensors: `whole` (uint8; a list where images differ in size), `face_crop` where there
are crops, `face_box` (where the face is in `whole`, as `piqa.data.face_boxes` tells) where there are crops or whole
images, `liqe_logits` where prepared, `score`, `index` (row of the table), in training `group` and `groups`, and where
known `score_std`, `teacher_score`, `votes` (how many people gave each rating, 1 to 10), `scene_labels` and
`distortion_label` (LIQE's), and `score.<attribute>`, `score_std.<attribute>` and `class.<name>`, NaN for an image that
has none.
"""

from __future__ import annotations

from functools import partial

import pandas as pd
import torch
from torch.utils.data import Dataset

from piqa.data.options import InputOptions
from piqa.data.sampler import Draw, Step
from piqa.data.tables.database import VOTES
from piqa.data.tables.more_labels import more_of
from piqa.data.transforms import Batch as Batch
from piqa.data.transforms import TrainingCrops, collate, crops_of, training_box, training_image, vectors_of
from piqa.models.liqe import distortion_labels, scene_labels
from piqa.preparation.portrait import Portrait
from piqa.preparation.store import PreparedStore
from piqa.preparation.video import Clip

Store = PreparedStore[Portrait] | PreparedStore[Clip]


class _Portraits(Dataset[Batch]):
    """Rows of a table with their Portraits, or Clips, in the store.

    Args:
        table: The rows.
        store: Where their Portraits, or Clips, are.
        inputs: What the network sees of them.
    """

    def __init__(self, table: pd.DataFrame, store: Store, inputs: InputOptions) -> None:
        self.table = table.reset_index(drop=True)
        self._store, self._inputs = store, inputs
        self._crops = TrainingCrops(inputs.crop_size, inputs.flip)
        self._paths: list[str] = self.table["path"].tolist()
        self._labels = _labels(self.table)

    def __len__(self) -> int:
        return len(self.table)


class TrainingPortraits(_Portraits):
    """Training steps, each drawn by an `EpochSampler`; load them with `batch_size=None`."""

    def __getitem__(self, step: Step) -> Batch:
        """Return the batch of one step.

        `whole` is (portraits, 3, crop, crop), of clips (clips, frames, 3, crop, crop); (portraits, 3, height,
        width) of whole images, or (portraits, 3 windows, 3, 224, 224).
        """
        rows = torch.tensor([draw.index for draw in step.draws])
        batch: Batch = collate([self._draw(draw) for draw in step.draws])
        batch |= {name: values[rows] for name, values in self._labels.items()}
        batch["index"] = rows
        batch["group"] = torch.tensor([draw.group for draw in step.draws])
        batch["groups"] = torch.tensor(step.groups)
        return batch

    def _draw(self, draw: Draw) -> Batch:
        return self._store.read(self._paths[draw.index], partial(self._crop, seed=draw.seed))

    def _crop(self, item: Portrait | Clip, seed: int) -> Batch:
        if isinstance(item, Portrait):
            return self._seen(item, seed) | vectors_of(item)
        return {"whole": self._crops.of_frames(item.frames, seed)} | vectors_of(item)

    def _seen(self, portrait: Portrait, seed: int) -> Batch:
        view, flip = self._inputs.view, self._inputs.flip
        if view == "crops":
            return self._crops.inputs(portrait, seed)
        box = {"face_box": training_box(portrait, seed, flip)} if view == "whole" else {}
        return {"whole": training_image(portrait.whole, view, seed, flip)} | box


class ScoringPortraits(_Portraits):
    """Single images with their fixed crops, for validation and test."""

    def __getitem__(self, row: int) -> Batch:
        """Return one image; `whole` is as `crops_of` returns it."""
        item, inputs = self._store.load(self._paths[row]), self._inputs
        labels = {name: values[row] for name, values in self._labels.items()}
        return crops_of(item, inputs.crop_size, inputs.test_crops, inputs.view) | labels | {"index": torch.tensor(row)}


def _labels(table: pd.DataFrame) -> Batch:
    columns = [*(name for name in ("score", "score_std", "teacher_score") if name in table), *more_of(table)]
    labels = {name: torch.tensor(table[name].to_numpy(), dtype=torch.float32) for name in columns}
    if set(VOTES) <= set(table):
        labels["votes"] = torch.tensor(table[list(VOTES)].to_numpy(dtype="float32"))  # NaN where there are none
    if "scene_tags" in table:
        labels["scene_labels"] = scene_labels(table["scene_tags"])
    if "distortion" in table:
        labels["distortion_label"] = distortion_labels(table["distortion"])
    return labels
