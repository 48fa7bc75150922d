"""Exported models, run by the runtime that their file is for; PyTorch is not needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from piqa.data.cuts import View, check_crop
from piqa.engines.exported_network import LIQE_WINDOWS, ExportedNetwork, load_exported
from piqa.engines.graph import Engine
from piqa.errors import InputError
from piqa.preparation.portrait import Preparation
from piqa.preparation.runtime_faces import RuntimeFaces
from piqa.scoring.engine import Seen, Values
from piqa.system.files import digest_of
from piqa.weights.model_card import ModelCard
from piqa.weights.trust import check_arguments


@dataclass(frozen=True)
class RuntimeDevice:
    """Where a runtime computes: `cpu` or `cuda`."""

    type: str

    def __str__(self) -> str:
        return self.type


class RuntimeEngine:
    """An exported network; see `piqa.scoring.engine.ScoringEngine`."""

    def __init__(self, network: ExportedNetwork) -> None:
        self.network, self.facts = network, network.facts
        self.device, self.threads = RuntimeDevice(network.graph.device), network.graph.threads
        self.inputs: Sequence[str] = self.facts.inputs
        self.classes: Mapping[str, Sequence[str]] = self.facts.classes
        self.faces = None if network.faces is None else RuntimeFaces(network.faces, network.engine)

    def card(self, preparation: Preparation, view: View, crop_size: int) -> ModelCard:
        """Return the card of the model that was exported."""
        return self.facts.card

    def output_names(self, crop_size: int, view: View) -> list[str]:
        """Return the names of the outputs."""
        return list(self.facts.outputs)

    def values(self, seen: Seen, windows: NDArray[Any] | None, window_counts: Sequence[int]) -> dict[str, Values]:
        """Return the outputs on images."""
        batch = dict(seen)
        if windows is not None:
            batch[LIQE_WINDOWS] = np.split(windows, np.cumsum(window_counts)[:-1])
        if LIQE_WINDOWS in self.inputs and LIQE_WINDOWS not in batch:
            raise InputError("this exported model looks at LIQE's windows, which are cut from images; give files")
        return {name: values.tolist() for name, values in self.network.outputs(batch).items()}

    def enough_memory(self, images: int) -> AbstractContextManager[None]:
        """Return a block in which nothing is done: a runtime's errors are told where it runs."""
        return nullcontext()

    def settings(self, card: ModelCard) -> dict[str, object]:
        """Return what the outputs depend on besides the model's file and the preparation."""
        return {"engine": self.network.engine, "precision": self.network.precision}


def load_exported_parts(
    path: str | Path, engine: Engine | None, device: str, bfloat16: bool = False
) -> tuple[ExportedNetwork, Preparation, ModelCard]:
    """Load what `Scorer.load` makes a scorer of; arguments and errors as there."""
    network = load_exported(path, engine, device, bfloat16=bfloat16)
    facts = network.facts
    source = f"the preparation in {path}"
    check_arguments(Preparation, facts.preparation, source)
    preparation = Preparation(**facts.preparation)
    check_crop(preparation, facts.view, facts.crop_size, path)
    looks = preparation.face_rule != "none" and preparation.detector == "mtcnn"
    if looks and network.faces is None and find_spec("facenet_pytorch") is None:
        raise InputError(f"{path} holds no face detector; install facenet-pytorch, or export it again as ONNX")
    return network, preparation, replace(facts.card, view=facts.view, crop_size=facts.crop_size)


def digest_of_exported(path: Path) -> str:
    """Return a digest of an exported model: of all its files."""
    weights = path.with_suffix(".bin")
    return digest_of(path) + (f"-{digest_of(weights)}" if path.suffix == ".xml" and weights.is_file() else "")
