"""MTCNN's three networks as ONNX, for `piqa.preparation.runtime_faces`, which does the rest of MTCNN in numpy.

They are written node by node: five kinds of layers make all three, and torch's exporter takes half a minute for them.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from piqa.engines.exported import FACE_NETWORKS

if TYPE_CHECKING:
    import onnx

OPSET, IR_VERSION = 17, 8  # old enough for every runtime that is supported
HEADS = {"_1": "faces", "_2": "moves", "_3": "points"}  # by the end of the last layers' names


@cache
def face_networks() -> dict[str, bytes]:
    """Return P-Net, R-Net and O-Net with the weights that facenet-pytorch ships, each as the bytes of an ONNX file.

    The input is `pixels`, float32, (images, 3, height, width), scaled as MTCNN does: (pixels - 127.5) / 128. `faces`
    are the probabilities of no face and of a face, `moves` how the box is corrected, `points` those of the face. Sides
    are 24 px for R-Net and 48 px for O-Net; P-Net takes any from 12 px on, and answers for every place.
    """
    from facenet_pytorch import MTCNN

    mtcnn = MTCNN(keep_all=True).eval()
    return {name: _model(getattr(mtcnn, name), name == "pnet").SerializeToString() for name in FACE_NETWORKS}


def _model(network: nn.Module, pool_first: bool) -> onnx.ModelProto:
    """Return a chain of layers with two or three heads at its end as an ONNX model.

    Args:
        network: One of MTCNN's.
        pool_first: Whether the first PReLU comes after the pooling that follows it.
    """
    from onnx import TensorProto, helper

    graph, trunk, outputs = _Graph(), "pixels", []
    layers = list(network.named_children())
    if pool_first:
        convolution, prelu, pooling = (layer for _, layer in layers[:3])
        trunk, layers = graph.add_pool_first(convolution, prelu, pooling, trunk), layers[3:]
    for name, layer in layers:
        head = HEADS.get(name[-2:])
        if head is None:
            trunk = graph.add(layer, trunk)
        elif isinstance(layer, nn.Softmax):
            graph.add(layer, "logits", "faces")
        else:
            outputs.append(head)
            graph.add(layer, trunk, "logits" if head == "faces" else head)
    inputs = [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["images", 3, "height", "width"])]
    answers = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    made = helper.make_graph(graph.nodes, type(network).__name__, inputs, answers, graph.weights)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


class _Graph:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._flat = False  # whether there is no height and width any more

    def add(self, layer: nn.Module, given: str, result: str = "") -> str:
        """Add a layer, and return the name of its result."""
        if isinstance(layer, nn.Conv2d):
            return self._node("Conv", [given, *self._parameters(layer)], result)
        if isinstance(layer, nn.MaxPool2d):
            kernel, stride = [int(layer.kernel_size)] * 2, [int(layer.stride)] * 2  # type: ignore[arg-type]
            return self._node("MaxPool", [given], result, kernel_shape=kernel, strides=stride, ceil_mode=1)
        if isinstance(layer, nn.PReLU):
            return self._prelu(given, layer.weight if self._flat else layer.weight.view(-1, 1, 1), result)
        if isinstance(layer, nn.Softmax):
            return self._node("Softmax", [given], result, axis=1) if self._flat else self._softmax(given, result)
        if isinstance(layer, nn.Linear):
            if not self._flat:
                self._flat = True
                given = self._node("Flatten", [self._node("Transpose", [given], perm=[0, 3, 2, 1])], axis=1)
            return self._node("Gemm", [given, *self._parameters(layer)], result, transB=1)
        raise TypeError(f"MTCNN of this facenet-pytorch has a layer {type(layer).__name__}, which is not known here")

    def add_pool_first(self, convolution: nn.Module, prelu: nn.Module, pooling: nn.Module, given: str) -> str:
        """Add three layers so that PReLU sees a quarter of the values, and gives the same to the last bit.

        Of values through a PReLU whose slope is not negative, the largest is that of the largest value. One of a
        negative slope falls below zero: there it is that of the largest, or of the lowest. So the convolution gives
        such channels a second time, negated, and pooling both finds both. In P-Net these are 10 and 6 channels, the 16
        that ONNX Runtime computes in any case; in the other networks they would cost more than they save.
        """
        assert isinstance(convolution, nn.Conv2d) and convolution.bias is not None and isinstance(prelu, nn.PReLU)
        slopes = prelu.weight
        falls = slopes < 0
        weight, bias = (torch.cat([one, -one[falls]]) for one in (convolution.weight, convolution.bias))
        both = self.add(pooling, self._node("Conv", [given, self._weight(weight), self._weight(bias)]))
        own = torch.arange(len(slopes))
        negated = torch.where(falls, len(slopes) - 1 + falls.cumsum(0), own)
        largest, lowest = (self._node("Gather", [both, self._weight(some)], axis=1) for some in (own, negated))
        of_lowest = self._times(self._node("Relu", [lowest]), -slopes.clamp(max=0).view(-1, 1, 1))
        above = self._node("Max", [self._node("Relu", [largest]), of_lowest])
        below = self._times(self._node("Relu", [self._node("Neg", [largest])]), slopes.clamp(min=0).view(-1, 1, 1))
        return self._node("Sub", [above, below])

    def _prelu(self, given: str, slope: Tensor, result: str) -> str:
        """Add PReLU as relu(x) - slope * relu(-x), which is the same to the last bit.

        ONNX Runtime decides for each value in turn which side of zero it lies on, which takes ten times as long.
        OpenVINO knows these nodes as PReLU, and makes it a part of the layer before it.
        """
        below = self._times(self._node("Relu", [self._node("Neg", [given])]), slope)
        return self._node("Sub", [self._node("Relu", [given]), below], result)

    def _times(self, given: str, factors: Tensor) -> str:
        return self._node("Mul", [given, self._weight(factors)])

    def _softmax(self, given: str, result: str) -> str:
        """Add the softmax of an image's channels step by step: for its own, ONNX Runtime transposes the image twice."""
        below = self._node("Sub", [given, self._node("ReduceMax", [given], axes=[1], keepdims=1)])
        powers = self._node("Exp", [below])
        channels = self._weight(torch.tensor([1]))
        return self._node("Div", [powers, self._node("ReduceSum", [powers, channels], keepdims=1)], result)

    def _node(self, kind: str, inputs: list[str], result: str = "", **attributes: Any) -> str:
        from onnx import helper

        result = result or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [result], **attributes))
        return result

    def _parameters(self, layer: nn.Conv2d | nn.Linear) -> list[str]:
        assert layer.bias is not None
        return [self._weight(layer.weight), self._weight(layer.bias)]

    def _weight(self, values: Tensor) -> str:
        from onnx import numpy_helper

        name = f"weight_{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values.detach().numpy().copy(), name))
        return name
