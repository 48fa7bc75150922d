"""Graphs run by OpenVINO, on a CPU: its own `.xml`, or ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import openvino
from numpy.typing import NDArray

from piqa.engines.graph import Arrays, contiguous
from piqa.errors import InputError
from piqa.system.threads import thread_count

FRAMEWORK = "framework"  # where OpenVINO keeps the metadata of an ONNX file


class OpenVINOGraph:
    """An OpenVINO or ONNX file, or an ONNX file's bytes, in OpenVINO; see `piqa.engines.graph.open_graph`."""

    device = "cpu"

    def __init__(
        self, source: Path | bytes, device: str = "auto", threads: int | None = None, bfloat16: bool = False
    ) -> None:
        if device.partition(":")[0] not in ("auto", "cpu"):
            raise InputError(f"OpenVINO scores on the CPU here, not on '{device}'; use `cpu`, or ONNX Runtime")
        self.engine = f"openvino {openvino.__version__.partition('-')[0]}"
        self.threads = threads or thread_count()
        core = _core()
        # By itself OpenVINO computes in bfloat16 wherever a CPU has it.
        precision = "bf16" if bfloat16 else "f32"
        settings = {"INFERENCE_NUM_THREADS": self.threads, "INFERENCE_PRECISION_HINT": precision}
        settings |= {"PERFORMANCE_HINT": "LATENCY"}
        name = source if isinstance(source, Path) else "a network of the face detector"
        try:
            self._model = core.read_model(str(source) if isinstance(source, Path) else source)
            self._compiled = core.compile_model(self._model, "CPU", settings)
        except Exception as error:  # its errors are RuntimeErrors, and others of its bindings
            raise InputError(f"{name} cannot be run by OpenVINO: {_reason(error)}") from error
        self.inputs = [one.get_any_name() for one in self._compiled.inputs]
        self.outputs = [one.get_any_name() for one in self._compiled.outputs]

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Return the outputs by name."""
        try:
            found = self._compiled(contiguous(inputs), share_inputs=True)
        except Exception as error:
            raise InputError(f"OpenVINO fails: {_reason(error)}") from error
        return {name: found[port] for name, port in zip(self.outputs, self._compiled.outputs, strict=True)}

    def metadata(self, key: str) -> str | None:
        """Return the text that the file holds under a key, if any."""
        for path in ([key], [FRAMEWORK, key]):
            if self._model.has_rt_info(path):
                return str(self._model.get_rt_info(path).astype(str))
        return None


@cache
def _core() -> openvino.Core:
    """Return the one core of the process, which stays.

    Each core's plug-in gives its thread a stack for signals, and takes it away when it goes. Of two that go in the
    order in which they came, the second one puts back the first one's stack, which is gone: the next signal that
    Python handles, such as Ctrl-C, would end the process by a segmentation fault.
    """
    return openvino.Core()


def _reason(error: Exception) -> str:
    """Return the last line that says anything: OpenVINO begins with places in its own sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]
