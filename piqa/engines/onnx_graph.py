"""Graphs run by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from piqa.engines.graph import Arrays, contiguous
from piqa.errors import InputError
from piqa.system.threads import thread_count

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
FATAL = 4  # what ONNX Runtime logs: its errors are told by exceptions


class OnnxGraph:
    """An ONNX file, or its bytes, in ONNX Runtime; see `piqa.engines.graph.Graph`."""

    def __init__(self, source: Path | bytes, device: str = "auto", threads: int | None = None) -> None:
        self.engine = f"onnxruntime {onnxruntime.__version__}"
        self.threads = threads or thread_count()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = FATAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # workers share the cores
        name = source if isinstance(source, Path) else "a network of the face detector"
        try:
            content = source if isinstance(source, bytes) else str(source)
            self._session = onnxruntime.InferenceSession(content, options, providers=_providers(device))
        except InputError:
            raise
        except Exception as error:  # its errors have no common class but this one
            raise InputError(f"{name} cannot be run by ONNX Runtime: {_first_line(error)}") from error
        self.device = "cuda" if CUDA in self._session.get_providers() else "cpu"
        self.inputs = [one.name for one in self._session.get_inputs()]
        self.outputs = [one.name for one in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Return the outputs by name."""
        try:
            return dict(zip(self.outputs, self._session.run(self.outputs, contiguous(inputs)), strict=True))
        except Exception as error:
            raise InputError(f"ONNX Runtime fails: {_first_line(error)}") from error

    def metadata(self, key: str) -> str | None:
        """Return the text that the file holds under a key, if any."""
        found: str | None = self._session.get_modelmeta().custom_metadata_map.get(key)
        return found


def _providers(device: str) -> list[str]:
    there = CUDA in onnxruntime.get_available_providers()
    kind = device.partition(":")[0]
    if kind not in ("auto", "cpu", "cuda"):
        raise InputError(f"ONNX Runtime has no device '{device}'; choose auto, cpu or cuda")
    if kind == "cuda" and not there:
        raise InputError("this ONNX Runtime has no CUDA; install onnxruntime-gpu in its place, or use `cpu`")
    return [CUDA, CPU] if there and kind != "cpu" else [CPU]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
