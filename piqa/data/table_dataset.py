"""A table of scored images as a `torch.utils.data.Dataset`, for training loops and studies of your own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from piqa.data.tables.table import SPLITS, Table
from piqa.errors import InputError
from piqa.preparation.image_file import open_image
from piqa.preparation.portrait import resize_short_side

SHORT_SIDE, CROP_SIDE = 448, 384  # px, as DN-PIQA was published


def centre_crop(image: Image.Image) -> Tensor:
    """Return the centre of an image as the published network sees it: uint8, (3, 384, 384).

    Examples:
        >>> centre_crop(Image.new("RGB", (600, 800))).shape
        torch.Size([3, 384, 384])
    """
    resized = resize_short_side(image, SHORT_SIDE)
    left, top = (resized.width - CROP_SIDE) // 2, (resized.height - CROP_SIDE) // 2
    pixels = np.asarray(resized.crop((left, top, left + CROP_SIDE, top + CROP_SIDE)))
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


class TableDataset(Dataset[tuple[Any, Tensor, str]]):
    """The images of a table: item i is the image, its score, float32, and the name of its scene.

    Files are decoded whenever they are asked for, in any number of loader processes. Training by `piqa fit` reads the
    prepared store instead.

    Args:
        table: Any table, such as `PIQ23("data/piq23")` or `CSVTable("scores.csv")`.
        split: `train`, `val` or `test`; None for all images.
        transform: What becomes of an image, which comes upright, in RGB, as a PIL image; by default `centre_crop`, of
            one size for all, which a `DataLoader` can put together.

    Attributes:
        frame: The rows of the images, as `Table.load` returns them.

    Raises:
        InputError: If the table cannot be read, or has no image in the split. Asking for an image that cannot be read
            raises one, too.

    Examples:
        >>> rows = {"image": ["a.jpg", "b.jpg"], "score": [3.2, 1.7], "scene": ["hall", "hall"]}
        >>> import pandas as pd
        >>> pd.DataFrame(rows).to_csv("scores.csv", index=False)
        >>> from piqa import CSVTable
        >>> dataset = TableDataset(CSVTable("scores.csv", test_fraction=1), split="test")
        >>> images, scores, scenes = next(iter(torch.utils.data.DataLoader(dataset, batch_size=2)))
        >>> images.shape, [round(score, 1) for score in scores.tolist()], list(scenes)
        (torch.Size([2, 3, 384, 384]), [3.2, 1.7], ['hall', 'hall'])
    """

    def __init__(
        self, table: Table, split: str | None = "train", transform: Callable[[Image.Image], Any] = centre_crop
    ) -> None:
        if split is not None and split not in SPLITS:
            raise InputError(f"`split` is {split!r}; choose one of {', '.join(SPLITS)}, or None for all images")
        frame = table.load()
        self.frame = frame if split is None else frame[frame["split"] == split].reset_index(drop=True)
        if self.frame.empty:
            found = ", ".join(sorted(frame["split"].unique())) or "none"
            raise InputError(f"{table.name} has no image in the split {split} (found: {found}); choose one of these")
        self._transform = transform
        self._paths: list[str] = self.frame["path"].tolist()
        self._scores = torch.tensor(self.frame["score"].to_numpy(), dtype=torch.float32)
        self._scenes: list[str] = self.frame["scene"].tolist()

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> tuple[Any, Tensor, str]:
        """Return image, score and scene of one row."""
        return self._transform(open_image(self._paths[index])), self._scores[index], self._scenes[index]
