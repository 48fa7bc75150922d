"""A network as a graph that some engine runs: arrays by name in, arrays by name out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from piqa.errors import InputError

Arrays = dict[str, NDArray[Any]]
Engine = Literal["torch", "onnxruntime", "openvino"]

# What runs a file by default, by its ending, and what else can.
ENGINES: dict[str, tuple[Engine, ...]] = {
    ".onnx": ("onnxruntime", "openvino"),
    ".xml": ("openvino",),
    ".ts": ("torch",),
}
EXTRAS = {"onnxruntime": "runtime", "openvino": "openvino", "torch": "torch"}  # of the package dn-piqa


class Graph(Protocol):
    """A graph that is ready to run.

    Attributes:
        engine: The engine's name and version, such as `onnxruntime 1.20`.
        device: `cpu` or `cuda`.
        threads: How many it computes with on a CPU.
        inputs: Names of its inputs.
        outputs: Names of its outputs.
    """

    engine: str
    device: str
    threads: int
    inputs: Sequence[str]
    outputs: Sequence[str]

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Return the outputs by name; raise InputError if the engine fails."""
        ...

    def metadata(self, key: str) -> str | None:
        """Return the text that the file holds under a key, if any."""
        ...


def check_engine(name: object) -> None:
    """Raise an InputError if a name is that of no engine."""
    if name not in get_args(Engine):
        raise InputError(f"`engine` is {name!r}; choose one of {', '.join(get_args(Engine))}")


def is_exported(path: str | Path) -> bool:
    """Whether a path is that of an exported model, by its ending."""
    return Path(path).suffix.lower() in ENGINES


def open_graph(
    source: Path | bytes, engine: Engine, device: str = "cpu", threads: int | None = None, bfloat16: bool = False
) -> Graph:
    """Open a graph.

    Args:
        source: A file, or the bytes of an ONNX file.
        engine: Which engine runs it.
        device: `auto`, `cpu` or `cuda`.
        threads: Of a CPU; None for what the process may use.
        bfloat16: Whether what the file holds in float32 is computed in bfloat16; OpenVINO can.

    Raises:
        InputError: If the engine is not installed, does not read the file, or has no such device or precision.
    """
    if bfloat16 and engine != "openvino":
        raise InputError(f"{engine} runs a file in the precision that it has; bf16 takes `engine` openvino")
    makers: dict[Engine, Callable[[], Any]] = {
        "onnxruntime": _onnx,
        "openvino": _openvino,
        "torch": _torchscript,
    }
    try:
        kind = makers[engine]()
    except ImportError as error:
        if (error.name or "").partition(".")[0] != engine:
            raise
        advice = f'`pip install "dn-piqa[{EXTRAS[engine]}]"`' if engine != "torch" else "`pip install torch`"
        raise InputError(f"{engine} is not installed: {advice}") from error
    graph: Graph = kind(source, device, threads, bfloat16) if bfloat16 else kind(source, device, threads)
    return graph


def contiguous(inputs: Mapping[str, NDArray[Any]]) -> Arrays:
    """Return arrays as engines take them."""
    return {name: np.ascontiguousarray(values) for name, values in inputs.items()}


def _onnx() -> object:
    from piqa.engines.onnx_graph import OnnxGraph

    return OnnxGraph


def _openvino() -> object:
    from piqa.engines.openvino_graph import OpenVINOGraph

    return OpenVINOGraph


def _torchscript() -> object:
    from piqa.engines.torchscript_graph import TorchScriptGraph

    return TorchScriptGraph
