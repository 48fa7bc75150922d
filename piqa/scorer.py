"""A trained model and the preparation it was trained with: pictures in, a table of scores out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, default_collate

from piqa import weights
from piqa.data.dataset import Batch, crops_of
from piqa.data.transforms import Crops
from piqa.device import pick_device
from piqa.digests import digest_of
from piqa.errors import InputError
from piqa.models.scoring import score_crops
from piqa.portrait import Portrait, Preparation, Preparer

Precision = Literal["32", "bf16", "16"]
COLUMNS = ["file", "score", "face_found", "face_x1", "face_y1", "face_x2", "face_y2", "error"]
DTYPES = {"bf16": torch.bfloat16, "16": torch.float16}


class Scorer:
    """Scores pictures with a trained model.

    Args:
        network: Answers scores; as `piqa.weights.load_model` gives it.
        preparation: The preparation that the network was trained with.
        crop: Side in pixels of its square crops.
        device: Where it runs.
        precision: `32`, or mixed precision in `bf16` or `16`.
        card: What else the model's file says of it.
    """

    def __init__(
        self,
        network: nn.Module,
        preparation: Preparation,
        crop: int = 384,
        device: str = "auto",
        precision: Precision = "32",
        card: dict[str, Any] | None = None,
    ) -> None:
        self.device = pick_device(device)
        self.network = network.to(self.device).eval()
        self.preparation, self.crop, self.precision, self.card = preparation, crop, precision, card or {}
        self._preparer: Preparer | None = None

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        liqe: str | Path | None = None,
        device: str = "auto",
        precision: Precision = "32",
    ) -> Scorer:
        """A scorer from a model file.

        Args:
            path: piqa's own file, the folder of a run, a training checkpoint, or an official DN-PIQA checkpoint.
            liqe: LIQE's checkpoint, where it does not lie where it lay in training.
            device: `cpu`, `cuda`, `cuda:1`, ... or `auto`.
            precision: `32`, or mixed precision in `bf16` or `16`.

        Raises:
            InputError: If the model, or LIQE's weights where it uses them, cannot be had, or those are not the weights
                of the training, or there is no such device.
        """
        network, card = weights.load_model(path)
        settings = dict(card.get("preparation", {"liqe": "data/weights/LIQE.pt"}))
        if "liqe_logits" not in getattr(network, "inputs", ["liqe_logits"]):
            settings["liqe"] = None
        elif liqe is not None:
            settings["liqe"] = str(liqe)
        if settings.get("liqe") is not None and "liqe_digest" in card:
            used = weights.require(settings["liqe"], "liqe")
            if digest_of(used) != card["liqe_digest"]:
                raise InputError(f"{used} is not the LIQE checkpoint that {path} was trained with; name that by `liqe`")
        try:
            return cls(network, Preparation(**settings), card.get("crop", 384), device, precision, card)
        except TypeError as error:
            raise InputError(
                f"{path}: its card names a preparation that this version does not know: {error}"
            ) from error

    def score(
        self,
        pictures: Iterable[str | Path],
        *,
        crops: Crops = "five",
        batch_size: int = 4,
        workers: int = 0,
        progress: Callable[[pd.DataFrame], None] | None = None,
    ) -> pd.DataFrame:
        """Scores pictures; a bad one costs its row, not the run.

        Args:
            pictures: Image files.
            crops: `five` crops whose scores are averaged, or `one` from the centre: five times faster.
            batch_size: Pictures in one pass through the network.
            workers: Processes that decode pictures and find faces; 0 does it in this one.
            progress: Called with the rows of each batch.

        Returns:
            One row a picture, in their order: `file`, `score` (higher is better, comparable among pictures of one
            scene), `face_found`, the face box `face_x1` ... `face_y2` in pixels of the upright picture, and `error`.
            A picture that could not be read has an error and no score.
        """
        files = [str(picture) for picture in pictures]
        parts = []
        for rows, portraits in self._prepared(files, batch_size, workers):
            good = [portrait for portrait in portraits if isinstance(portrait, Portrait)]
            scores = iter(self.score_portraits(good, crops=crops, batch_size=batch_size))
            part = pd.DataFrame(
                [_row(files[row], portrait, scores) for row, portrait in zip(rows, portraits, strict=True)],
                columns=COLUMNS,
            )
            if progress is not None:
                progress(part)
            parts.append(part)
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)

    def _prepared(
        self, files: Sequence[str], batch_size: int, workers: int
    ) -> Iterator[tuple[list[int], list[Portrait | str]]]:
        if workers:
            dataset = _Pictures(files, self.preparation)
        else:
            self._preparer = self._preparer or Preparer(self.preparation, self.device)
            dataset = _Pictures(files, self.preparation, self._preparer)
        loader = DataLoader(
            dataset,
            batch_size,
            num_workers=workers,
            collate_fn=_as_lists,
            multiprocessing_context="spawn" if workers else None,
        )
        yield from loader

    def score_portraits(
        self, portraits: Iterable[Portrait], *, crops: Crops = "five", batch_size: int = 4
    ) -> list[float]:
        """Scores of prepared portraits, in their order.

        Args:
            portraits: As prepared with this scorer's settings; they may be read while they are scored.
            crops: `five` crops whose scores are averaged, or `one` from the centre.
            batch_size: Portraits in one pass through the network. Their shapes may differ: their crops do not.
        """
        scores: list[float] = []
        remaining = iter(portraits)
        while batch := list(islice(remaining, batch_size)):
            scores += self._score_batch(default_collate([crops_of(portrait, self.crop, crops) for portrait in batch]))
        return scores

    @torch.inference_mode()
    def _score_batch(self, batch: Batch) -> list[float]:
        on_device = {name: values.to(self.device, non_blocking=True) for name, values in batch.items()}
        dtype = DTYPES.get(self.precision)
        with torch.autocast(self.device.type, dtype) if dtype else nullcontext():
            scores: list[float] = score_crops(self.network, on_device).tolist()
        return scores


class _Pictures(Dataset[tuple[int, "Portrait | str"]]):
    """Files as Portraits, or as the reason why not; without a preparer, each worker process makes its own."""

    def __init__(self, files: Sequence[str], preparation: Preparation, preparer: Preparer | None = None) -> None:
        self._files, self._preparation, self._preparer = files, preparation, preparer

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, row: int) -> tuple[int, Portrait | str]:
        if self._preparer is None:
            self._preparer = Preparer(self._preparation)
        try:
            return row, self._preparer(self._files[row])
        except InputError as error:
            return row, str(error)


def _as_lists(items: list[tuple[int, Portrait | str]]) -> tuple[list[int], list[Portrait | str]]:
    return [row for row, _ in items], [portrait for _, portrait in items]


def _row(file: str, portrait: Portrait | str, scores: Iterator[float]) -> list[Any]:
    if isinstance(portrait, str):
        return [file, None, None, None, None, None, None, portrait]
    box = portrait.face_box or (None, None, None, None)
    return [file, next(scores), portrait.face_found, *box, None]
