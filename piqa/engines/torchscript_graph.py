"""Graphs as TorchScript, which PyTorch runs. Loading one runs no Python, but is not made for hostile files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from piqa.engines.exported import METADATA_KEY, ExportedModel
from piqa.engines.graph import Arrays, contiguous
from piqa.errors import InputError
from piqa.system.device import pick_device


class TorchScriptGraph:
    """A TorchScript file; see `piqa.engines.graph.Graph`. Its inputs and outputs have the order of its document."""

    def __init__(self, source: Path | bytes, device: str = "auto", threads: int | None = None) -> None:
        assert isinstance(source, Path)
        self.engine, self.threads = f"torch {torch.__version__}", threads or torch.get_num_threads()
        self._device = pick_device(device)
        self.device = self._device.type
        self._texts = {METADATA_KEY: ""}
        try:
            self._module = torch.jit.load(  # type: ignore[no-untyped-call]
                str(source), map_location=self._device, _extra_files=self._texts
            ).eval()
        except Exception as error:  # whatever a damaged file does to the reader
            raise InputError(f"{source} is no TorchScript that can be read: {_first_line(error)}") from error
        facts = ExportedModel.from_text(self.metadata(METADATA_KEY), str(source))
        self.inputs, self.outputs = facts.inputs, facts.outputs

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Return the outputs by name."""
        given = [torch.from_numpy(values).to(self._device) for values in contiguous(inputs).values()]
        try:
            with torch.inference_mode():
                found = self._module(*given)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise InputError(f"the TorchScript fails: {_first_line(error)}") from error
        answers = found if isinstance(found, tuple) else (found,)
        return {name: values.cpu().numpy() for name, values in zip(self.outputs, answers, strict=True)}

    def metadata(self, key: str) -> str | None:
        """Return the text that the file holds under a key, if any."""
        text = self._texts.get(key)
        return (text.decode("utf-8", errors="replace") if isinstance(text, bytes) else text) or None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
