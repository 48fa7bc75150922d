"""Networks run by PyTorch, with LIQE's image tower where they need its logits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from piqa.data.cuts import View, portrait_seen, together
from piqa.data.transforms import Batch
from piqa.errors import InputError
from piqa.models.backbone import with_bfloat16_backbones
from piqa.models.contract import as_scoring_network, network_outputs
from piqa.models.liqe import LIQE, LIQE_LOGITS
from piqa.preparation.portrait import Portrait, Preparation
from piqa.scoring.engine import Seen, Values
from piqa.scoring.options import Precision
from piqa.system.device import pick_device
from piqa.weights import state_dicts
from piqa.weights.model_card import ClassSpec, ModelCard


class TorchEngine:
    """A network of PyTorch; see `piqa.scoring.engine.ScoringEngine`.

    Args:
        network: As for `Scorer`.
        liqe: LIQE's checkpoint; None where its logits are not needed.
        precision: As for `Scorer`.
        device: Likewise.
    """

    faces = threads = None

    def __init__(self, network: nn.Module, liqe: str | None, precision: Precision, device: str) -> None:
        self._liqe_path, self.precision = liqe, precision
        self._autocast = {"16": torch.float16}.get(precision)
        if precision == "bf16":
            halved = with_bfloat16_backbones(network)
            self._autocast = torch.bfloat16 if halved is None else None
            network = network if halved is None else halved
        self.network = as_scoring_network(network)
        self.network.eval()
        self._liqe: LIQE | None = None
        self.device = torch.device("cpu")
        self.to(device)

    @property
    def inputs(self) -> Sequence[str]:
        """Names of what the network takes."""
        return self.network.inputs

    @property
    def classes(self) -> Mapping[str, Sequence[str]]:
        """The classes' names of each output that holds class indices."""
        return self.network.classes

    def to(self, device: str | torch.device) -> None:
        """Move the networks to a device; InputError if there is none."""
        self.device = pick_device(device) if isinstance(device, str) else device
        self.network.to(self.device)
        if self._liqe is not None:
            self._liqe.to(self.device)

    def card(self, preparation: Preparation, view: View, crop_size: int) -> ModelCard:
        """Return a card that describes the network."""
        return ModelCard(ClassSpec.of(self.network), asdict(preparation), view, crop_size)

    def output_names(self, crop_size: int, view: View) -> list[str]:
        """Return the names of the outputs that are one value an image, as found with a blank image."""
        blank = np.zeros((crop_size, crop_size, 3), np.uint8)
        logits = None if self._liqe_path is None else np.zeros(LIQE_LOGITS, np.float32)
        seen = together([portrait_seen(Portrait(blank, blank, None, logits), crop_size, "one", view)])
        outputs = self.outputs(self._moved(seen))
        return [name for name, values in outputs.items() if values.ndim == 1]

    def values(self, seen: Seen, windows: NDArray[Any] | None, window_counts: Sequence[int]) -> dict[str, Values]:
        """Return the outputs on images that are one value each."""
        found = self.tensors(seen, windows, window_counts)
        # those of more dimensions are for losses
        return {name: values.tolist() for name, values in found.items() if values.ndim == 1}

    def tensors(self, seen: Seen, windows: NDArray[Any] | None, window_counts: Sequence[int]) -> dict[str, Tensor]:
        """Return all outputs on images, first dimension images."""
        batch = self._moved(seen)
        if windows is not None:
            batch["liqe_logits"] = self.liqe_logits(self._on_device(windows), list(window_counts))
        return self.outputs(batch)

    @contextmanager
    def enough_memory(self, images: int) -> Iterator[None]:
        """Turn an error of too little memory in a block into an InputError."""
        try:
            yield
        except torch.OutOfMemoryError as error:
            reason = str(error).split(". ")[0]
            raise InputError(f"{reason} for a batch of {images} images; use a smaller `batch_size`") from error

    def settings(self, card: ModelCard) -> dict[str, object]:
        """Return what the outputs depend on besides the model's file and the preparation."""
        found = {"network": self.network.init_args, "weights": card.weights, "precision": self.precision}
        # Of a Focus, whose card says nothing of it, former versions did not see the face.
        return found | ({"face_box": True} if "face_box" in self.network.inputs else {})

    @contextmanager
    def inference(self) -> Iterator[None]:
        """Run a block without gradients and in this precision."""
        autocast = torch.autocast(self.device.type, self._autocast) if self._autocast else nullcontext()
        with torch.inference_mode(), autocast:
            yield

    def outputs(self, batch: Batch) -> dict[str, Tensor]:
        """Return the network's outputs on a batch that lies on this device, as `network_outputs` does."""
        with self.inference():
            return network_outputs(self.network, batch)

    @torch.inference_mode()
    def liqe_logits(self, windows: Tensor, counts: list[int]) -> Tensor:
        """Return LIQE's logits, (images, 495), of images with `counts` windows each: 15, or 1 of a small image."""
        if self._liqe is None:
            assert self._liqe_path is not None
            self._liqe = state_dicts.load_liqe(self._liqe_path).to(self.device)
            if self.precision == "bf16":
                self._liqe.clip.visual.to(torch.bfloat16)
        logits = torch.empty(len(counts), LIQE_LOGITS, device=self.device)
        of_images = torch.split(windows, counts)
        for count in sorted(set(counts)):
            rows = [row for row, windows_here in enumerate(counts) if windows_here == count]
            logits[rows] = self._liqe.window_logits(torch.stack([of_images[row] for row in rows]))
        return logits

    def _moved(self, seen: Seen) -> Batch:
        return {
            name: [self._on_device(own) for own in values] if isinstance(values, list) else self._on_device(values)
            for name, values in seen.items()
        }

    def _on_device(self, values: NDArray[Any]) -> Tensor:
        """Move values to the device; page-locked on their way to a GPU, which copies them while it computes."""
        tensor = torch.from_numpy(values)
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)
