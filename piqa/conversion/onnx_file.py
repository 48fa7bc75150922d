"""A graph as an ONNX model: written by torch's exporter, its weights in float16 where asked for, its facts inside.

Of torch's two exporters the one that traces is tried first: for a network of 0.2 to 30 million parameters it took 0.2
to 4 seconds, the one built on `torch.export` 9 to 45, and the graphs compute the same. The other one is for networks
that cannot be traced, and for versions of torch that only have it.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from piqa.conversion.graph_module import GraphModule, plain_operators
from piqa.errors import InputError

if TYPE_CHECKING:
    import onnx

OPSET = 18  # the lowest that torch's newer exporter writes
LARGEST = 2**31 - 2**24  # bytes: a protobuf holds less than 2 GB, and the facts need some room
SMALL = 256  # values: a tensor of fewer stays in float32, as it takes no room
HALF = 65504.0  # the largest float16


def onnx_model(graph: GraphModule) -> onnx.ModelProto:
    """Return a graph as an ONNX model in float32, with the graph's names; the axes of images and crops take any length.

    Raises:
        InputError: If the model is larger than one file can hold, or the network refuses it, or neither of torch's
            exporters can write it.
    """
    import onnx

    size = sum(values.numel() * values.element_size() for values in graph.state_dict().values())
    if size > LARGEST:
        raise InputError(
            f"the model has {size / 1e9:.1f} GB, and one ONNX file holds 2 GB; take `--format torchscript`"
        )
    faults = []
    for write in (_traced, _exported):
        buffer = io.BytesIO()
        try:
            with plain_operators(graph), quiet(), torch.no_grad():
                write(graph, buffer)
        except InputError:  # the network itself says why not
            raise
        except Exception as error:  # whatever a network's code leads an exporter to
            faults.append(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
        else:
            return onnx.load_model_from_string(buffer.getvalue())
    raise InputError(f"torch cannot write this network as ONNX ({'; then '.join(faults)})")


def _traced(graph: GraphModule, file: io.BytesIO) -> None:
    axes: dict[str, Any] = {one.name: dict(one.axes) for one in graph.inputs}
    torch.onnx.export(
        graph,
        graph.examples(),
        cast(Any, file),  # which this exporter takes, too
        dynamo=False,
        opset_version=OPSET,
        input_names=[one.name for one in graph.inputs],
        output_names=graph.outputs,
        dynamic_axes=axes | {name: {0: "images"} for name in graph.outputs},
    )


def _exported(graph: GraphModule, file: io.BytesIO) -> None:
    automatic = torch.export.Dim.AUTO  # torch.export finds out itself which axes depend on each other
    shapes = tuple(dict.fromkeys(one.axes, automatic) for one in graph.inputs)
    program = torch.onnx.export(
        graph,
        graph.examples(),
        dynamo=True,
        opset_version=OPSET,
        dynamic_shapes=(shapes,),
        input_names=[one.name for one in graph.inputs],
        output_names=graph.outputs,
        verbose=False,
    )
    assert program is not None
    program.save(cast(Any, file))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep exporters and quantisers from telling users what is for their own developers."""
    before, log = logging.root.manager.disable, getattr(torch._C, "_jit_onnx_log", None)
    logging.disable(logging.ERROR)
    if log is not None:  # it prints the whole graph where an operator is not known
        torch._C._jit_onnx_log = lambda *_: None  # type: ignore[assignment]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
        if log is not None:
            torch._C._jit_onnx_log = log


def with_half_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model whose large weights are stored in float16, and turned into float32 when it is loaded.

    It computes as before, in float32, and takes half the room. Arithmetic in float16 would be slower on a CPU, where
    engines put conversions around every operator. Weights beyond float16's range stay as they are.
    """
    import onnx
    from onnx import numpy_helper

    halved = onnx.ModelProto()
    halved.CopyFrom(model)
    casts = []
    for tensor in halved.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size < SMALL or not np.abs(values).max() <= HALF:
            continue
        name, stored = tensor.name, f"{tensor.name}_float16"
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored))
        casts.append(onnx.helper.make_node("Cast", [stored], [name], name=f"{name}_float32", to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *halved.graph.node]
    del halved.graph.node[:]
    halved.graph.node.extend(nodes)
    return halved


def with_metadata(model: onnx.ModelProto, metadata: Mapping[str, str]) -> bytes:
    """Return a model's file with texts by their keys in it, in place of all that was there.

    Raises:
        InputError: If the file were larger than 2 GB.
    """
    import onnx

    del model.metadata_props[:]
    onnx.helper.set_model_props(model, dict(metadata))
    model.producer_name = "piqa"
    if (size := model.ByteSize()) > LARGEST:
        raise InputError(
            f"the model has {size / 1e9:.1f} GB, and one ONNX file holds 2 GB; take `--format torchscript`"
        )
    content: bytes = model.SerializeToString()
    return content
