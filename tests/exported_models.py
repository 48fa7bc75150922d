"""Tiny exported models, written here by torch's own exporters, for the tests of what runs them."""

import json
import warnings
from pathlib import Path

import onnx
import torch
from torch import nn

from piqa.conversion.face_networks import face_networks
from piqa.conversion.graph_module import without_text_tower
from piqa.engines.exported import FACES_KEY, METADATA_KEY, ExportedModel, faces_text
from piqa.models.liqe import LIQE
from piqa.weights.model_card import ClassSpec, ModelCard


class Graph(nn.Module):
    """Scores images by their crops, whose mean is taken here or, with `outside`, by whoever runs it."""

    def __init__(self, network: nn.Module, liqe: LIQE | None, outside: bool) -> None:
        super().__init__()
        self.network, self.outside = network, outside
        self.liqe = None if liqe is None else without_text_tower(liqe)

    def forward(self, *inputs):
        given = dict(zip(self.network.inputs, inputs, strict=True))
        crops = 1 if self.outside else given["whole"].shape[1]
        flat = {name: one if self.outside else one.flatten(0, 1) for name, one in given.items()}
        if "liqe_logits" in given:
            flat["liqe_logits"] = self.liqe.window_logits(given["liqe_logits"]).repeat_interleave(crops, dim=0)
        outputs = self.network(**flat)
        return tuple(values.view(-1, crops).float().mean(dim=1) for values in outputs.values() if values.ndim == 1)


def write_exported(path: Path, network: nn.Module, preparation, liqe=None, outside=False, faces=None, **facts) -> Path:
    """Export a network to a file whose ending tells the format; returns the path."""
    side = network.image_size
    shape = (2, 3, side, side) if outside else (2, 5, 3, side, side)
    inputs = ["liqe_windows" if name == "liqe_logits" else name for name in network.inputs]
    examples = [
        torch.zeros((2, 3, 3, 224, 224) if name == "liqe_windows" else shape, dtype=torch.uint8) for name in inputs
    ]
    card = ModelCard(ClassSpec.of(network), preparation, crop_size=side)
    settings = {"crop_size": side, "crops": "outside" if outside else "inside"} | facts
    document = ExportedModel(card, preparation, inputs, ["score"], liqe=liqe is not None, **settings)
    graph = Graph(network.eval(), liqe, outside).eval()
    texts = {METADATA_KEY: document.text()}
    if path.suffix == ".ts":
        torch.jit.save(torch.jit.trace(graph, tuple(examples), check_trace=False), path, _extra_files=texts)
        return path
    axes = {name: {0: "images"} | ({} if outside and name != "liqe_windows" else {1: "crops"}) for name in inputs}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        onnx_path = path.with_suffix(".onnx")
        torch.onnx.export(
            graph, tuple(examples), onnx_path, input_names=inputs, output_names=["score"], dynamic_axes=axes,
            dynamo=False, opset_version=17,
        )  # fmt: skip
    if preparation.get("face_rule") != "none" if faces is None else faces:
        texts[FACES_KEY] = faces_text(face_networks())
    model = onnx.load(onnx_path)
    onnx.helper.set_model_props(model, texts)
    onnx.save(model, onnx_path)
    if path.suffix == ".xml":
        write_openvino(onnx_path, path, texts)
    return path


def write_openvino(source: Path, path: Path, texts: dict[str, str]) -> None:
    import openvino

    model = openvino.Core().read_model(source)
    for key, text in texts.items():
        model.set_rt_info(text, [key])
    openvino.save_model(model, path, compress_to_fp16=False)


def change_document(path: Path, **changes) -> Path:
    """Change entries of an ONNX file's document; returns the path."""
    model = onnx.load(path)
    texts = {one.key: one.value for one in model.metadata_props}
    texts[METADATA_KEY] = json.dumps(json.loads(texts[METADATA_KEY]) | changes)
    onnx.helper.set_model_props(model, texts)
    onnx.save(model, path)
    return path
