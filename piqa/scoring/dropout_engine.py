"""Scores of one model with their standard deviation by Monte Carlo dropout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from copy import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from piqa.data.cuts import View
from piqa.errors import InputError
from piqa.models.dropout_passes import SCORES, STDS, DropoutPasses
from piqa.preparation.portrait import Preparation
from piqa.scoring.engine import Seen, Values
from piqa.scoring.scorer import Scorer
from piqa.scoring.stated_std import MODEL_STD, STD
from piqa.scoring.torch_engine import TorchEngine
from piqa.weights.model_card import ModelCard


def with_dropout(scorer: Scorer, passes: int, seed: int = 0) -> Scorer:
    """Return a scorer that gives the same scores, and as `score_std` what is told by passes under dropout.

    `model_std` is the standard deviation of the scores of the passes. Where the network states a standard deviation
    itself, the variance in `score_std` is the mean of the stated ones, after calibration, plus that of the passes;
    else it is that of the passes alone.

    Args:
        scorer: Of a model that PyTorch runs.
        passes: Through the layers behind the first dropout.
        seed: Draws which units are left out.

    Raises:
        InputError: If the model is an exported one, or has no dropout.
    """
    if not isinstance(scorer.engine, TorchEngine):
        raise InputError(
            "`mc_dropout` needs the model that was trained: an exported one, or an ensemble, has no dropout to switch "
            "on; give what it was made of"
        )
    return scorer.with_engine(DropoutEngine(scorer.engine, passes, seed, scorer.std_factor))


class DropoutEngine:
    """Runs a network without dropout for its outputs, and with it for their standard deviation; see `ScoringEngine`.

    Args:
        engine: Of the network; it is not changed.
        passes: As of `DropoutPasses`.
        seed: Likewise.
        std_factor: Makes of the network's `score_std` a standard deviation in the unit of its score.
    """

    faces = threads = None

    def __init__(self, engine: TorchEngine, passes: int, seed: int = 0, std_factor: float = 1.0) -> None:
        self._engine, self._std_factor = copy(engine), std_factor
        self._passes = DropoutPasses(engine.network, passes, seed)
        self._engine.network = self._passes
        self._own = engine

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return self._engine.device

    @property
    def inputs(self) -> Sequence[str]:
        """Names of what the network takes."""
        return self._passes.inputs

    @property
    def classes(self) -> Mapping[str, Sequence[str]]:
        """The classes' names of each output that holds class indices."""
        return self._passes.classes

    @property
    def layers(self) -> list[str]:
        """Names of the dropout layers."""
        return list(self._passes.layers)

    def to(self, device: str | torch.device) -> None:
        """Move the network to a device; InputError if there is none."""
        self._engine.to(device)

    def card(self, preparation: Preparation, view: View, crop_size: int) -> ModelCard:
        """Return the network's card."""
        return self._own.card(preparation, view, crop_size)

    def output_names(self, crop_size: int, view: View) -> list[str]:
        """Return the names of the network's outputs, then `score_std` and `model_std`."""
        names = [name for name in self._own.output_names(crop_size, view) if name not in (STD, MODEL_STD)]
        return [*names, STD, MODEL_STD]

    def values(self, seen: Seen, windows: NDArray[Any] | None, window_counts: Sequence[int]) -> dict[str, Values]:
        """Return the outputs on images."""
        found = self._engine.tensors(seen, windows, window_counts)
        arrays = {name: found.pop(name).cpu().numpy().astype(np.float64) for name in (SCORES, STDS) if name in found}
        outputs: dict[str, Values] = {name: one.tolist() for name, one in found.items() if one.ndim == 1}
        variance = arrays[SCORES].var(axis=1)
        stated = (self._std_factor * arrays[STDS]) ** 2 if STDS in arrays else np.zeros((len(variance), 1))
        outputs[STD] = np.sqrt(stated.mean(axis=1) + variance).tolist()
        outputs[MODEL_STD] = np.sqrt(variance).tolist()
        return outputs

    def enough_memory(self, images: int) -> AbstractContextManager[None]:
        """Turn an error of too little memory in a block into an InputError."""
        return self._engine.enough_memory(images)

    def settings(self, card: ModelCard) -> dict[str, object]:
        """Return what the outputs depend on besides the model's file and the preparation."""
        drawn = {"passes": self._passes.passes, "seed": self._passes.seed, "std_factor": self._std_factor}
        return {**self._own.settings(card), "mc_dropout": drawn}
