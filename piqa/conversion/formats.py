"""The formats of exported models: how each is written, as whole files or not at all, and whose files they are."""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import torch
from torch import Tensor, nn

from piqa.conversion.graph_module import GraphModule, plain_operators
from piqa.conversion.onnx_file import HALF, SMALL, onnx_model, quiet, with_half_weights, with_metadata
from piqa.engines.exported import METADATA_KEY, ExportPrecision
from piqa.engines.graph import Engine
from piqa.errors import InputError
from piqa.system.files import regular_target

if TYPE_CHECKING:
    import onnx

Format = Literal["onnx", "openvino", "torchscript"]


@dataclass(frozen=True)
class FormatFacts:
    """What a format is.

    Attributes:
        suffix: The ending of its files; of OpenVINO's, whose weights lie in a `.bin` beside it.
        engine: What runs it.
        needs: Packages, besides torch, that writing and checking it take.
        precisions: What it can hold.
    """

    suffix: str
    engine: Engine
    needs: Sequence[str]
    precisions: Sequence[ExportPrecision]


FORMATS: dict[Format, FormatFacts] = {
    "onnx": FormatFacts(".onnx", "onnxruntime", ("onnx", "onnxscript", "onnxruntime"), ("32", "16", "int8")),
    "openvino": FormatFacts(
        ".xml", "openvino", ("onnx", "onnxscript", "onnxruntime", "openvino"), ("32", "16", "int8")
    ),
    "torchscript": FormatFacts(".ts", "torch", (), ("32", "16")),
}


class Writer(Protocol):
    """Writes one model, as often as its metadata change."""

    def write(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the model to a path of its format's ending, with texts by their keys inside."""
        ...


class OnnxWriter:
    """Writes ONNX, one file."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model

    def write(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the `.onnx`."""
        path.write_bytes(with_metadata(self._model, metadata))


class OpenVINOWriter:
    """Writes OpenVINO's format, an `.xml` and the weights in a `.bin`, of an ONNX model."""

    def __init__(self, model: onnx.ModelProto, half: bool) -> None:
        import openvino

        try:
            self._model = openvino.Core().read_model(model.SerializeToString())
        except Exception as error:
            raise InputError(f"OpenVINO cannot read this network: {' '.join(str(error).split())[-200:]}") from error
        for operator in self._model.get_ops():  # a result may get an inner tensor's name when nodes are merged
            for port in operator.outputs():
                port.get_tensor().set_names(set())
        ports = [*zip(self._model.inputs, model.graph.input, strict=True)]
        ports += zip(self._model.outputs, model.graph.output, strict=True)
        for port, known in ports:
            port.get_tensor().set_names({known.name})
        self._half = half

    def write(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the `.xml` and the `.bin`."""
        import openvino

        for key, text in metadata.items():
            self._model.set_rt_info(text, [key])
        try:
            openvino.save_model(self._model, path, compress_to_fp16=self._half)
        except RuntimeError as error:  # a full disk, say
            raise InputError(
                f"cannot write {path.name}: {' '.join(str(error).split())[-200:]}; is there room"
            ) from error


class HalfWeights(nn.Module):
    """A module whose large weights are held in float16, and which computes with them in float32; to be traced."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._module = [module]  # in a list, so that its own weights are not weights of this one
        self._places: list[tuple[nn.Module, str]] = []
        for owner in module.modules():
            for name, value in owner.named_parameters(recurse=False):
                if value.numel() >= SMALL and value.abs().max() <= HALF:
                    self.register_buffer(f"weight_{len(self._places)}", value.detach().half())
                    self._places.append((owner, name))

    def forward(self, *inputs: Tensor) -> Any:
        """Return what the module returns, with weights that a trace sees as converted ones."""
        own = [owner._parameters.pop(name) for owner, name in self._places]
        try:
            for number, (owner, name) in enumerate(self._places):
                owner.__dict__[name] = getattr(self, f"weight_{number}").float()
            return self._module[0](*inputs)
        finally:
            for (owner, name), value in zip(self._places, own, strict=True):
                owner.__dict__.pop(name, None)
                owner._parameters[name] = value


class TorchScriptWriter:
    """Writes TorchScript, one file, by tracing."""

    def __init__(self, graph: GraphModule, half: bool) -> None:
        traced = HalfWeights(graph) if half else graph
        try:
            with plain_operators(graph), quiet(), torch.no_grad():
                self._traced = torch.jit.trace(traced, graph.examples(), check_trace=False)  # type: ignore[no-untyped-call]
        except InputError:  # the network itself says why not
            raise
        except Exception as error:  # whatever a network's code leads the tracer to
            raise InputError(f"torch cannot trace this network: {' '.join(str(error).split())[:200]}") from error

    def write(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the `.ts`."""
        with quiet():
            torch.jit.save(self._traced, str(path), _extra_files=dict(metadata))  # type: ignore[no-untyped-call]


def writer_of(kind: Format, graph: GraphModule, precision: ExportPrecision) -> Writer:
    """Return what writes a graph in float32 or float16.

    Raises:
        InputError: If the network cannot be written in this format.
    """
    half = precision == "16"
    if kind == "torchscript":
        return TorchScriptWriter(graph, half)
    return writer_of_onnx(kind, onnx_model(graph), half)


def writer_of_onnx(kind: Format, model: onnx.ModelProto, half: bool = False) -> Writer:
    """Return what writes an ONNX model as ONNX or for OpenVINO, its weights in float16 where asked for."""
    if kind == "openvino":
        return OpenVINOWriter(model, half)
    return OnnxWriter(with_half_weights(model) if half else model)


def files_of(out: Path) -> list[Path]:
    """Return the files of an export, that which is named last."""
    return [*([out.with_suffix(".bin")] if out.suffix == ".xml" else []), out]


def check_target(out: Path, kind: Format, overwrite: bool) -> Path:
    """Check where an export goes, before anything is computed; return the regular file.

    Raises:
        InputError: If the ending is another format's, the folder does not exist, or a file is there that is not to be
            replaced or was not written by piqa.
    """
    suffix = FORMATS[kind].suffix
    if out.suffix.lower() != suffix:
        raise InputError(f"`--out {out}`: a file of the format {kind} ends in {suffix}")
    if not out.parent.is_dir():
        raise InputError(f"cannot write {out}: the folder {out.parent} does not exist; make it, or name another one")
    if not os.access(out.parent, os.W_OK):
        raise InputError(f"cannot write {out}: you may not write in {out.parent}; name another folder")
    out = regular_target(out)
    there = [file for file in files_of(out) if file.exists() and file.stat().st_size]
    if there and not (out in there and is_ours(out)):
        raise InputError(f"{there[0]} is there and was not written by piqa; name another `--out`, or move it away")
    if there and not overwrite:
        raise InputError(f"{there[0]} is there already; give `--overwrite true` to replace it, or name another `--out`")
    return out


def is_ours(path: Path) -> bool:
    """Whether a file is an exported model that piqa wrote: one that holds our document."""
    key = METADATA_KEY.encode()
    try:
        if path.suffix.lower() == ".ts":
            with zipfile.ZipFile(path) as archive:
                return any(name.endswith(f"/extra/{METADATA_KEY}") for name in archive.namelist())
        # As OpenVINO writes an entry of its XML; as protobuf writes a pair of texts, the key behind its length.
        mark = b"<" + key + b" " if path.suffix.lower() == ".xml" else b"\n" + bytes([len(key)]) + key + b"\x12"
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            place = content.find(mark)
            return place >= 0 and content.find(b"piqa export ", place) >= 0
    except (OSError, ValueError, zipfile.BadZipFile):  # ValueError: an empty file
        return False


@contextmanager
def workplace(out: Path) -> Iterator[Path]:
    """Yield a folder beside an output that is gone when the block ends, whatever ends it.

    Raises:
        InputError: If it cannot be made or written.
    """
    folder: str | None = None
    try:
        folder = tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent)
        yield Path(folder)
    except OSError as error:
        if error.errno is None or isinstance(error, InputError):
            raise
        reason = f"{error.strerror}; is there room, and may you write there?"
        raise InputError(f"cannot write {out}: {reason}") from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def put_in_place(written: Path, out: Path) -> None:
    """Move the files of an export from the workplace to where they belong, each at once, that which is named last."""
    umask = os.umask(0)
    os.umask(umask)
    for source, target in zip(files_of(written), files_of(out), strict=True):
        source.chmod(0o666 & ~umask)
        source.replace(target)


def extras(packages: Sequence[str]) -> None:
    """Check that packages are installed, of which one line says how to get them; InputError if not."""
    from importlib.util import find_spec

    if missing := [name for name in packages if find_spec(name) is None]:
        raise InputError(f'{", ".join(missing)} is not installed: `pip install "dn-piqa[export]"`')
