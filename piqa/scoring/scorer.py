"""Scores of images by a trained model, with the preparation that it was trained with."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import asdict, replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from piqa.data.cuts import Crops, View, portrait_seen, together
from piqa.engines.exported_network import LIQE_WINDOWS, ExportedNetwork
from piqa.engines.graph import Engine, check_engine, is_exported
from piqa.errors import InputError, late_imports
from piqa.preparation.portrait import PREPARATION_VERSION, Portrait, Preparation, Preparer
from piqa.scoring.engine import Device, ScoringEngine, Values
from piqa.scoring.image_batches import BatchPreparer, ImageBatch, image_batches
from piqa.scoring.options import Precision, check_inside, check_scoring
from piqa.scoring.pictures import Pictures, pictures
from piqa.scoring.rows import BOX, COLUMNS, as_table, by_image, factor_module, is_finite
from piqa.scoring.rows import Cell as Cell
from piqa.scoring.rows import Row as Row
from piqa.scoring.runtime_engine import RuntimeEngine, digest_of_exported, load_exported_parts
from piqa.scoring.stated_std import STD, std_factor_of
from piqa.system.files import digest_of
from piqa.system.forks import check_process, forks
from piqa.weights.model_card import ModelCard
from piqa.weights.trust import Trust

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from torch import Tensor, nn

    from piqa.data.transforms import Batch
    from piqa.models.contract import ScoringModule
    from piqa.scoring.torch_engine import TorchEngine


class Scorer:
    """Scores images with a trained model.

    Args:
        network: As `piqa.weights.model_file.load_model` returns it, or any other that can score (see
            `piqa.models.contract.ScoringNetwork`). It is moved to the device and put in evaluation mode; its weights
            are not changed, as `bf16` works on a copy. Or an exported one, which has its device and precision.
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
        >>> import numpy as np
        >>> pixels = np.zeros((60, 50, 3), np.uint8)
        >>> scorer([pixels, "a.jpg"])["file"].tolist()
        ['image 0', 'a.jpg']
    """

    def __init__(
        self,
        network: nn.Module | ExportedNetwork,
        preparation: Preparation,
        crop_size: int = 384,
        device: str = "auto",
        precision: Precision = "32",
        card: ModelCard | None = None,
        view: View = "crops",
    ) -> None:
        check_scoring(precision=precision)
        self.preparation, self.crop_size, self.precision, self.view = preparation, crop_size, precision, view
        self.engine: ScoringEngine
        if isinstance(network, ExportedNetwork):
            self.engine = RuntimeEngine(network)
        else:
            with late_imports():
                from piqa.scoring.torch_engine import TorchEngine  # PyTorch, which exported models do without

            self.engine = TorchEngine(network, preparation.liqe, precision, device)
        self.card = card or self.engine.card(preparation, view, crop_size)
        self.std_factor = std_factor_of(self.card)  # of the network's `score_std`; 1 for what the network states itself
        self._preparer: Preparer | None = None
        self._forks = forks()

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
        engine: Engine | None = None,
    ) -> Scorer:
        """Load a scorer from a model file.

        Args:
            path: piqa's own file, the folder of a run, a training checkpoint, an official DN-PIQA checkpoint, the
                config of a network that needs no training, such as `clipiqa.yaml`, or a name: that of a published model
                (`piqa models` lists them), whose files are fetched at the first use, or `hf:owner/name`, a model of
                piqa's own on the Hugging Face Hub. A path that exists comes before a name. Or an exported model,
                `.onnx`, `.xml` or `.ts`, which has LIQE inside and its own precision; the first two do without PyTorch.
            liqe: Path or name of LIQE's checkpoint; default: the one in the model card.
            device: As in the class.
            precision: Likewise; of exported models their own, but OpenVINO computes float32 in `bf16` where asked to.
            prompts: Your own prompts for CLIP-IQA: pairs by name, the better one first. Each pair becomes a column;
                the first gives the score.
            try_turns: Whether an image without a sure face is also looked at turned by 90, 180 and 270 degrees, as
                `Preparation` says; default: what the model card says, which is no for published models.
            trust: Packages or modules besides piqa whose networks the model may name, such as `["my_models"]`. They
                are imported, which runs their code: name only what you know. Any other name is refused.
            engine: What runs the network: `torch`, which runs models that were not exported, `onnxruntime` or
                `openvino`; default: what the file is for. `piqa.conversion.converted.load_scorer` converts.

        Raises:
            InputError: If the model, LIQE's weights or the device are not available, or LIQE's weights are not those
                of the training, or the engine does not run such a file.
        """
        check_scoring(precision=precision)
        if is_exported(path):
            check_inside(path, liqe=liqe, prompts=prompts, precision=precision if precision == "16" else None)
            exported, preparation, card = load_exported_parts(path, engine, device, precision == "bf16")
            if try_turns is not None:
                preparation = replace(preparation, try_turns=try_turns)
            return cls(exported, preparation, card.crop_size, card=card, view=cast(View, card.view))
        check_engine(engine or "torch")
        if engine not in (None, "torch"):
            raise InputError(f"{engine} runs exported models; export {path}, or load it by piqa.conversion.converted")
        with late_imports():
            from piqa.scoring.loading import load_parts

        network, preparation, card = load_parts(path, liqe, prompts, trust)
        if try_turns is not None:
            preparation = replace(preparation, try_turns=try_turns)
        return cls(network, preparation, card.crop_size, device, precision, card, cast(View, card.view))

    @property
    def device(self) -> Any:
        """Where the network runs: a `torch.device`, or what is like it for an exported model."""
        device: Device = self.engine.device
        return device

    @property
    def network(self) -> ScoringModule:
        """The network, as PyTorch runs it; InputError if the model is an exported one."""
        return self._torch.network

    @property
    def takes_portraits(self) -> bool:
        """Whether `score_portraits` serves; else the network looks at LIQE's windows, which are cut from images."""
        return LIQE_WINDOWS not in self.engine.inputs

    @property
    def _torch(self) -> TorchEngine:
        if isinstance(self.engine, RuntimeEngine):
            raise InputError("an exported model scores and does nothing else; give the model that it was made of")
        if not hasattr(self.engine, "network"):
            raise InputError("an ensemble, or one model with dropout, scores and does nothing else; load the one model")
        return cast("TorchEngine", self.engine)

    def with_engine(self, engine: ScoringEngine) -> Scorer:
        """Return a scorer with the same preparation and card and this engine, whose values it takes as they are."""
        other = copy(self)
        other.engine, other.std_factor, other._preparer = engine, 1.0, None
        vars(other).pop("columns", None)
        return other

    def to(self, device: str | torch.device) -> Scorer:
        """Move the scorer, and with it the network, to a device, such as `cuda`; InputError if there is none."""
        move = getattr(self.engine, "to", None) or self._torch.to
        move(device)
        self._preparer = None
        return self

    @cached_property
    def columns(self) -> list[str]:
        """Columns of the scores: `COLUMNS`, then the network's other outputs, as found with a blank image.

        Raises:
            InputError: If the network takes what the preparation does not give, or an output is named as a column.
        """
        more = [name for name in self.engine.output_names(self.crop_size, self.view) if name != "score"]
        if taken := [name for name in more if name in COLUMNS]:
            raise InputError(f"the network returns {', '.join(taken)}, which is a column of its own; rename the output")
        return COLUMNS + more

    @property
    def numbers(self) -> list[str]:
        """The score and the network's other outputs that are numbers, not names of classes."""
        more = [name for name in self.columns if name not in COLUMNS and name not in self.engine.classes]
        return ["score", *more]

    def columns_with(self, factors: bool) -> list[str]:
        """Return the columns, with those of the factors behind them where these are measured.

        Raises:
            InputError: As `columns`, or if an output is named as a factor.
        """
        if not factors:
            return self.columns
        of_factors: list[str] = factor_module().FACTOR_COLUMNS
        if taken := [name for name in self.columns if name in of_factors]:
            raise InputError(f"the network returns {', '.join(taken)}, which is a factor's column; rename the output")
        return self.columns + of_factors

    def settings(self, model: str | Path, factors: bool = False) -> dict[str, object]:
        """Return what the rows depend on, apart from images and crops; files, as the `model` loaded, by content."""
        preparation = asdict(self.preparation) | {"version": PREPARATION_VERSION}
        if self.preparation.liqe is not None:
            from piqa.weights import state_dicts

            preparation["liqe"] = digest_of(state_dicts.require(self.preparation.liqe, "liqe"))
        exported = isinstance(self.engine, RuntimeEngine)
        made_of = {"model": digest_of_exported(Path(model)) if exported else digest_of(model)}
        seen: dict[str, object] = {"view": self.view, "crop": self.crop_size, "preparation": preparation}
        if factors:
            seen["factors"] = factor_module().factor_settings()
        if self.std_factor != 1 and STD in self.columns:
            seen["score_std_factor"] = self.std_factor
        return {**made_of, **self.engine.settings(self.card), **seen}

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
            test_crops: `five` crops whose scores are averaged, or `one` from the centre: five times faster; or `ten`
                and `two`, the same with their mirror images: half as fast. Ignored by models that see whole images
                or windows.
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
        self._check_process()
        faces = self.engine.faces
        if not workers and self._preparer is None:
            # by its name, as an exported model's is no device of PyTorch's
            self._preparer = Preparer(replace(self.preparation, liqe=None), str(self.device), faces)
        preparer = None if workers else self._preparer
        seen = (self.crop_size, test_crops, set(self.engine.inputs), preparer, self.view)
        make = partial(BatchPreparer, self.preparation, *seen, factors=factors, faces=faces)
        checked = pictures(images, look_into_folders=False, colour=self.preparation.colour, with_srgb=factors)
        yield from image_batches(checked, make, batch_size, workers)

    def rows(self, batch: ImageBatch) -> list[Row]:
        """Return a row, by column, for each image of a batch: the second half of `stream`; errors as of `score`."""
        with self.engine.enough_memory(len(batch.files)):
            values = self.engine.values(batch.crops, batch.windows, batch.window_counts) if batch.crops else {}
            outputs = iter(self._by_image(values))
        rows = []
        columns = self.columns_with(bool(batch.factors))
        measured = batch.factors or [None] * len(batch.files)
        images = zip(batch.files, batch.face_boxes, batch.turned, batch.errors, measured, strict=True)
        for file, box, turned, error, factors in images:
            row: Row = {**dict.fromkeys(columns), "file": file, "error": error}
            row |= factors.cells() if factors is not None else {}
            own = next(outputs) if error is None else {}
            if error is None and not is_finite(own["score"]):
                row["error"] = f"{file}: the network's score is {own['score']}, no number; check the model's weights"
            elif error is None:
                row |= {"face_found": box is not None, "turned": turned}
                row |= {name: value if is_finite(value) else None for name, value in own.items()}
                row |= dict(zip(BOX, box, strict=True)) if box is not None else {}
            rows.append(row)
        return rows

    def score_portraits(
        self, portraits: Iterable[Portrait], *, test_crops: Crops = "five", batch_size: int = 4
    ) -> list[float]:
        """Return the scores of prepared portraits, in their order; arguments and errors as of `portrait_outputs`."""
        outputs = self.portrait_outputs(portraits, test_crops=test_crops, batch_size=batch_size)
        return [cast(float, row["score"]) for row in outputs]

    def portrait_outputs(
        self, portraits: Iterable[Portrait], *, test_crops: Crops = "five", batch_size: int = 4
    ) -> list[Row]:
        """Return the network's outputs on prepared portraits, by name, in their order.

        Args:
            portraits: As prepared with this scorer's settings; they may be read while they are scored.
            test_crops: As in `score`.
            batch_size: Portraits in one pass through the network. Their shapes may differ: their crops do not.

        Raises:
            InputError: If a score is no number, as of a network whose weights are none.
        """
        check_scoring(test_crops, batch_size)
        self._check_process()
        rows: list[Row] = []
        remaining = iter(portraits)
        while batch := list(islice(remaining, batch_size)):
            seen = together([portrait_seen(one, self.crop_size, test_crops, self.view) for one in batch])
            with self.engine.enough_memory(len(batch)):
                rows += self._by_image(self.engine.values(seen, None, []))
        if (bad := next((at for at, row in enumerate(rows) if not is_finite(row["score"])), None)) is not None:
            raise InputError(
                f"the network's score of portrait {bad} is {rows[bad]['score']}, no number; check the weights"
            )
        return rows

    def _check_process(self) -> None:
        check_process(self._forks, self.device.type, self.engine.threads)

    def _by_image(self, outputs: Mapping[str, Values]) -> list[Row]:
        return by_image(outputs, self.engine.classes, self.std_factor)

    def inference(self) -> AbstractContextManager[None]:
        """Run a block of PyTorch without gradients and in the scorer's precision."""
        return self._torch.inference()

    def outputs(self, batch: Batch) -> dict[str, Tensor]:
        """Return the network's outputs on a batch that lies on the scorer's device, as `network_outputs` does."""
        return self._torch.outputs(batch)

    def liqe_logits(self, windows: Tensor, counts: list[int]) -> Tensor:
        """Return LIQE's logits, (images, 495), of images with `counts` windows each: 15, or 1 of a small image."""
        return self._torch.liqe_logits(windows, counts)

    def table(self, rows: list[Row], factors: bool = False) -> pd.DataFrame:
        """Return rows as a table, whose types do not depend on the rows, so that tables of a stream fit together."""
        return as_table(rows, self.columns_with(factors), self.engine.classes)
