"""What a scorer has its networks run by: PyTorch, or the runtime of an exported model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from numpy.typing import NDArray

from piqa.data.cuts import View
from piqa.preparation.portrait import Preparation
from piqa.preparation.runtime_faces import RuntimeFaces
from piqa.weights.model_card import ModelCard

Values = list[float] | list[int]
Seen = Mapping[str, NDArray[Any] | list[NDArray[Any]]]  # what images show, by the names of a network's inputs


class Device(Protocol):
    """Where an engine computes: `torch.device`, or what is like it; as text its name, such as `cuda:1`."""

    @property
    def type(self) -> str:
        """The kind of device: `cpu` or `cuda`."""


class ScoringEngine(Protocol):
    """Runs a network on what prepared images show.

    Attributes:
        device: Where.
        threads: How many it computes with on a CPU; None for as many as torch's.
        inputs: Names of what it is given of an image.
        classes: The classes' names of each output that holds class indices.
        faces: MTCNN's networks where a runtime finds the faces; None where PyTorch does.
    """

    @property
    def device(self) -> Device: ...  # noqa: D102
    @property
    def threads(self) -> int | None: ...  # noqa: D102
    @property
    def inputs(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def classes(self) -> Mapping[str, Sequence[str]]: ...  # noqa: D102
    @property
    def faces(self) -> RuntimeFaces | None: ...  # noqa: D102

    def card(self, preparation: Preparation, view: View, crop_size: int) -> ModelCard:
        """Return a card that describes the network."""
        ...

    def output_names(self, crop_size: int, view: View) -> list[str]:
        """Return the names of the outputs that are one value an image, in their order; `score` is among them."""
        ...

    def values(self, seen: Seen, windows: NDArray[Any] | None, window_counts: Sequence[int]) -> dict[str, Values]:
        """Return those outputs on images, taken over each image's crops.

        Args:
            seen: As `piqa.data.cuts.together` returns it.
            windows: LIQE's windows of the images one after another, where the network needs them.
            window_counts: How many each image has.
        """
        ...

    def enough_memory(self, images: int) -> AbstractContextManager[None]:
        """Turn an error of too little memory in a block into an InputError that says so."""
        ...

    def settings(self, card: ModelCard) -> dict[str, object]:
        """Return what the outputs depend on besides the model's file and the preparation."""
        ...
