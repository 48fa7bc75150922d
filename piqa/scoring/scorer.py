"""Scores of images by a trained model, with the preparation that it was trained with."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn

from piqa.data.transforms import Batch, Crops, View, collate, crops_of
from piqa.errors import InputError
from piqa.models.backbone import with_bfloat16_backbones
from piqa.models.contract import as_scoring_network, network_outputs
from piqa.models.liqe import LIQE, LIQE_LOGITS
from piqa.preparation.image_file import Pixels
from piqa.preparation.portrait import PREPARATION_VERSION, Portrait, Preparation, Preparer
from piqa.scoring.image_batches import BatchPreparer, ImageBatch, image_batches
from piqa.scoring.loading import load_parts
from piqa.scoring.options import Precision, check_scoring
from piqa.scoring.pictures import Pictures, pictures
from piqa.system.device import pick_device
from piqa.system.files import digest_of
from piqa.system.forks import check_process, forks
from piqa.weights import state_dicts
from piqa.weights.model_card import ClassSpec, ModelCard
from piqa.weights.trust import Trust

if TYPE_CHECKING:
    import pandas as pd

BOX = ["face_x1", "face_y1", "face_x2", "face_y2"]
Cell = str | float | bool | None
Row = dict[str, Cell]  # by column
COLUMNS = ["file", "score", "face_found", *BOX, "turned", "error"]


class Scorer:
    """Scores images with a trained model.

    Args:
        network: As `piqa.weights.model_file.load_model` returns it, or any other that can score (see
            `piqa.models.contract.ScoringNetwork`). It is moved to the device and put in evaluation mode; its weights
            are not changed, as `bf16` works on a copy.
        preparation: The preparation that the network was trained with.
        crop_size: Side in pixels of the square crops.
        device: `cpu`, `cuda`, `cuda:1`, ... or `auto`.
        precision: `32`; or `bf16`, which holds the weights of the backbones and of LIQE's image tower in bfloat16;
            or `16`, float16 by autocast, for GPUs without bfloat16.
        card: The card of the model's file; by default one that describes the other arguments.
        view: How the network sees a portrait, as in training: `crops`, `whole` or `windows`.

    Examples:
        >>> scorer = Scorer.load("runs/demo")
        >>> table = scorer.score(["a.jpg", "b.jpg", "missing.jpg"])
        >>> table["file"].tolist(), table["score"].notna().tolist()
        (['a.jpg', 'b.jpg', 'missing.jpg'], [True, True, False])
        >>> pixels = np.zeros((60, 50, 3), np.uint8)
        >>> scorer([pixels, "a.jpg"])["file"].tolist()
        ['image 0', 'a.jpg']
    """

    def __init__(
        self,
        network: nn.Module,
        preparation: Preparation,
        crop_size: int = 384,
        device: str = "auto",
        precision: Precision = "32",
        card: ModelCard | None = None,
        view: View = "crops",
    ) -> None:
        check_scoring(precision=precision)
        self.preparation, self.crop_size, self.precision, self.view = preparation, crop_size, precision, view
        self._autocast = {"16": torch.float16}.get(precision)
        if precision == "bf16":
            halved = with_bfloat16_backbones(network)
            self._autocast = torch.bfloat16 if halved is None else None
            network = network if halved is None else halved
        self.network = as_scoring_network(network)
        self.network.eval()
        self.card = card or ModelCard(ClassSpec.of(self.network), asdict(preparation), view, crop_size)
        self._preparer: Preparer | None = None
        self._liqe: LIQE | None = None
        self._forks = forks()
        self.to(device)

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        liqe: str | Path | None = None,
        device: str = "auto",
        precision: Precision = "32",
        prompts: Mapping[str, Sequence[str]] | None = None,
        try_turns: bool | None = None,
        trust: Trust = None,
    ) -> Scorer:
        """Load a scorer from a model file.

        Args:
            path: piqa's own file, the folder of a run, a training checkpoint, an official DN-PIQA checkpoint, the
                config of a network that needs no training, such as `clipiqa.yaml`, or a name: that of a published model
                (`piqa models` lists them), whose files are fetched at the first use, or `hf:owner/name`, a model of
                piqa's own on the Hugging Face Hub. A path that exists comes before a name.
            liqe: Path or name of LIQE's checkpoint; default: the one in the model card.
            device: As in the class.
            precision: Likewise.
            prompts: Your own prompts for CLIP-IQA: pairs by name, the better one first. Each pair becomes a column;
                the first gives the score.
            try_turns: Whether an image without a sure face is also looked at turned by 90, 180 and 270 degrees, as
                `Preparation` says; default: what the model card says, which is no for published models.
            trust: Packages or modules besides piqa whose networks the model may name, such as `["my_models"]`. They
                are imported, which runs their code: name only what you know. Any other name is refused.

        Raises:
            InputError: If the model, LIQE's weights or the device are not available, or LIQE's weights are not those
                of the training.
        """
        check_scoring(precision=precision)
        network, preparation, card = load_parts(path, liqe, prompts, trust)
        if try_turns is not None:
            preparation = replace(preparation, try_turns=try_turns)
        return cls(network, preparation, card.crop_size, device, precision, card, cast(View, card.view))

    def to(self, device: str | torch.device) -> Scorer:
        """Move the scorer, and with it the network, to a device, such as `cuda`; InputError if there is none."""
        self.device = pick_device(device) if isinstance(device, str) else device
        self.network.to(self.device)
        self._preparer = None
        if self._liqe is not None:
            self._liqe.to(self.device)
        return self

    @cached_property
    def columns(self) -> list[str]:
        """Columns of the scores: `COLUMNS`, then the network's other outputs, as found with a blank image.

        Raises:
            InputError: If the network takes what the preparation does not give, or an output is named as a column.
        """
        blank = np.zeros((self.crop_size, self.crop_size, 3), np.uint8)
        logits = None if self.preparation.liqe is None else np.zeros(LIQE_LOGITS, np.float32)
        portrait = Portrait(blank, blank, None, logits)
        outputs = self.outputs(self._collated([portrait], "one"))
        more = [name for name, values in outputs.items() if values.ndim == 1 and name != "score"]
        if taken := [name for name in more if name in COLUMNS]:
            raise InputError(f"the network returns {', '.join(taken)}, which is a column of its own; rename the output")
        return COLUMNS + more

    @property
    def numbers(self) -> list[str]:
        """The score and the network's other outputs that are numbers, not names of classes."""
        more = [name for name in self.columns if name not in COLUMNS and name not in self.network.classes]
        return ["score", *more]

    def columns_with(self, factors: bool) -> list[str]:
        """Return the columns, with those of the factors behind them where these are measured.

        Raises:
            InputError: As `columns`, or if an output is named as a factor.
        """
        if not factors:
            return self.columns
        from piqa.scoring.factor_columns import FACTOR_COLUMNS

        if taken := [name for name in self.columns if name in FACTOR_COLUMNS]:
            raise InputError(f"the network returns {', '.join(taken)}, which is a factor's column; rename the output")
        return self.columns + FACTOR_COLUMNS

    def settings(self, model: str | Path, factors: bool = False) -> dict[str, object]:
        """Return what the rows depend on, apart from images and crops; files, as the `model` loaded, by content."""
        preparation = asdict(self.preparation) | {"version": PREPARATION_VERSION}
        if self.preparation.liqe is not None:
            preparation["liqe"] = digest_of(state_dicts.require(self.preparation.liqe, "liqe"))
        made_of = {"model": digest_of(model), "network": self.network.init_args, "weights": self.card.weights}
        seen = {"view": self.view, "crop": self.crop_size, "preparation": preparation}
        if factors:
            from piqa.scoring.factor_columns import factor_settings

            seen["factors"] = factor_settings()
        return {**made_of, "precision": self.precision, **seen}

    def score(
        self,
        images: Pictures,
        *,
        test_crops: Crops = "five",
        batch_size: int = 4,
        workers: int = 0,
        factors: bool = False,
    ) -> pd.DataFrame:
        """Score images; an image that cannot be read has an error in its row. `scorer(images)` does the same.

        Args:
            images: A path, a folder, a PIL image, an array or tensor, or a list or an iterator of any of them. A string
                is one path; a folder stands for the images below it. Arrays hold uint8, or floats in [0, 1], of
                shape (height, width, 3), (3, height, width), or (images, 3, height, width) for several pictures. PIL
                images are turned upright and converted as files are.
            test_crops: `five` crops whose scores are averaged, or `one` from the centre: five times faster. Ignored by
                models that see whole images or windows.
            batch_size: Images in one pass through the network.
            workers: Processes that decode images and find faces; 0 does it in this one. A script that asks for some
                must keep its own work under `if __name__ == "__main__":`, as they import it.
            factors: Whether to measure the images' factors as well, as `measure_factors` does, of the face that the
                model's preparation finds.

        Returns:
            One row an image, in their order: `file` (of what was given in memory its row: `image 3`), `score` (higher
            is better, comparable among images of one scene), `face_found`, the face box `face_x1` ... `face_y2` in
            pixels of the upright image, the clockwise degrees by which it was `turned` to find a face, `error`, and
            the network's other outputs. An image that could not be read has an error and no score. With `factors` a
            column for each factor, and `factors_error`, which says why an image could not be measured.

        Raises:
            InputError: If something is no picture, a setting is not possible, a worker process is killed, or the device
                has too little memory for the batch.
        """
        check_scoring(test_crops, batch_size, workers=workers)
        checked = pictures(images, colour=self.preparation.colour, with_srgb=factors)
        batches = self.batches(checked, test_crops=test_crops, batch_size=batch_size, workers=workers, factors=factors)
        return self.table([row for batch in batches for row in self.rows(batch)], factors)

    __call__ = score

    def stream(
        self,
        images: Pictures,
        *,
        test_crops: Crops = "five",
        batch_size: int = 4,
        workers: int = 0,
        factors: bool = False,
    ) -> Iterator[pd.DataFrame]:
        """Return the rows of `score` batch by batch, in constant memory; `images` is read a few batches ahead."""
        check_scoring(test_crops, batch_size, workers=workers)
        checked = pictures(images, colour=self.preparation.colour, with_srgb=factors)
        batches = self.batches(checked, test_crops=test_crops, batch_size=batch_size, workers=workers, factors=factors)
        return (self.table(self.rows(batch), factors) for batch in batches)

    def batches(
        self,
        images: Pictures,
        *,
        test_crops: Crops = "five",
        batch_size: int = 4,
        workers: int = 0,
        factors: bool = False,
    ) -> Generator[ImageBatch, None, None]:
        """Prepare images as batches, for `rows`: the first half of `stream`.

        Arguments and errors are as of `score`, but a folder among several images costs its row.
        """
        check_scoring(test_crops, batch_size, workers=workers)
        check_process(self._forks, self.device.type)
        if not workers and self._preparer is None:
            self._preparer = Preparer(replace(self.preparation, liqe=None), self.device)
        preparer = None if workers else self._preparer
        inputs = set(self.network.inputs)
        seen = (self.crop_size, test_crops, inputs, preparer, self.view)
        make = partial(BatchPreparer, self.preparation, *seen, factors=factors)
        checked = pictures(images, look_into_folders=False, colour=self.preparation.colour, with_srgb=factors)
        yield from image_batches(checked, make, batch_size, workers)

    def rows(self, batch: ImageBatch) -> list[Row]:
        """Return a row, by column, for each image of a batch: the second half of `stream`; errors as of `score`."""
        with _enough_memory(len(batch.files)):
            outputs = iter(self._outputs_of(batch) if batch.crops else [])
        rows = []
        columns = self.columns_with(bool(batch.factors))
        measured = batch.factors or [None] * len(batch.files)
        images = zip(batch.files, batch.face_boxes, batch.turned, batch.errors, measured, strict=True)
        for file, box, turned, error, factors in images:
            row: Row = {**dict.fromkeys(columns), "file": file, "error": error}
            row |= factors.cells() if factors is not None else {}
            values = next(outputs) if error is None else {}
            if error is None and not is_finite(values["score"]):
                row["error"] = f"{file}: the network's score is {values['score']}, no number; check the model's weights"
            elif error is None:
                row |= {"face_found": box is not None, "turned": turned}
                row |= {name: value if is_finite(value) else None for name, value in values.items()}
                row |= dict(zip(BOX, box, strict=True)) if box is not None else {}
            rows.append(row)
        return rows

    def score_portraits(
        self, portraits: Iterable[Portrait], *, test_crops: Crops = "five", batch_size: int = 4
    ) -> list[float]:
        """Return the scores of prepared portraits, in their order.

        Args:
            portraits: As prepared with this scorer's settings; they may be read while they are scored.
            test_crops: As in `score`.
            batch_size: Portraits in one pass through the network. Their shapes may differ: their crops do not.

        Raises:
            InputError: If a score is no number, as of a network whose weights are none.
        """
        check_scoring(test_crops, batch_size)
        check_process(self._forks, self.device.type)
        scores: list[float] = []
        remaining = iter(portraits)
        while batch := list(islice(remaining, batch_size)):
            with _enough_memory(len(batch)):
                scores += self.outputs(self._collated(batch, test_crops))["score"].tolist()
        if (bad := next((at for at, score in enumerate(scores) if not is_finite(score)), None)) is not None:
            raise InputError(f"the network's score of portrait {bad} is {scores[bad]}, no number; check the weights")
        return scores

    def _collated(self, portraits: list[Portrait], test_crops: Crops) -> Batch:
        batch = collate([crops_of(portrait, self.crop_size, test_crops, self.view) for portrait in portraits])
        return {
            name: [one.to(self.device) for one in values]
            if isinstance(values, list)
            else values.to(self.device, non_blocking=True)
            for name, values in batch.items()
        }

    def _outputs_of(self, batch: ImageBatch) -> list[Row]:
        """Return the network's outputs on the good images of a batch; class indices by their names."""
        crops: Batch = {
            name: [self._on_device(own) for own in pixels] if isinstance(pixels, list) else self._on_device(pixels)
            for name, pixels in batch.crops.items()
        }
        if batch.windows is not None:
            crops["liqe_logits"] = self.liqe_logits(self._on_device(batch.windows), batch.window_counts)
        classes = self.network.classes
        columns: dict[str, list[Cell]] = {}
        for name, values in self.outputs(crops).items():
            if values.ndim > 1:
                continue  # for losses
            plain = values.tolist()
            columns[name] = [classes[name][index] for index in plain] if name in classes else plain
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    def _on_device(self, pixels: Pixels) -> Tensor:
        """Move bytes to the device; page-locked on their way to a GPU, which copies them while it computes."""
        tensor = torch.from_numpy(pixels)
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    @contextmanager
    def inference(self) -> Iterator[None]:
        """Run a block without gradients and in the scorer's precision."""
        autocast = torch.autocast(self.device.type, self._autocast) if self._autocast else nullcontext()
        with torch.inference_mode(), autocast:
            yield

    def outputs(self, batch: Batch) -> dict[str, Tensor]:
        """Return the network's outputs on a batch that lies on the scorer's device, as `network_outputs` does."""
        with self.inference():
            return network_outputs(self.network, batch)

    @torch.inference_mode()
    def liqe_logits(self, windows: Tensor, counts: list[int]) -> Tensor:
        """Return LIQE's logits, (images, 495), of images with `counts` windows each: 15, or 1 of a small image."""
        if self._liqe is None:
            assert self.preparation.liqe is not None
            self._liqe = state_dicts.load_liqe(self.preparation.liqe).to(self.device)
            if self.precision == "bf16":
                self._liqe.clip.visual.to(torch.bfloat16)
        logits = torch.empty(len(counts), LIQE_LOGITS, device=self.device)
        of_images = torch.split(windows, counts)
        for count in sorted(set(counts)):
            rows = [row for row, windows_here in enumerate(counts) if windows_here == count]
            logits[rows] = self._liqe.window_logits(torch.stack([of_images[row] for row in rows]))
        return logits

    def table(self, rows: list[Row], factors: bool = False) -> pd.DataFrame:
        """Return rows as a table, whose types do not depend on the rows, so that tables of a stream fit together."""
        import pandas as pd  # `piqa predict` makes no table, and starts the faster without it

        columns = self.columns_with(factors)
        texts = {"file", "error", "factors_error", *self.network.classes}
        types = dict.fromkeys((name for name in columns if name not in texts), "float64")
        types |= {"face_found": "boolean", "turned": "Int64"}
        return pd.DataFrame(rows, columns=columns, dtype=object).astype(types)


def is_finite(value: Cell) -> bool:
    """Whether a cell is anything but NaN or an infinity."""
    return not isinstance(value, float) or math.isfinite(value)


@contextmanager
def _enough_memory(images: int) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        reason = str(error).split(". ")[0]
        raise InputError(f"{reason} for a batch of {images} images; use a smaller `batch_size`") from error
