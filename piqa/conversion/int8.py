"""ONNX models in int8: weights and activations of convolutions and products, but for the layers that would cost ranks.

Two ways are tried. Static: scales of activations are fixed, as observed on portraits; for convolutions, and for
products with weights. Dynamic: scales are found at run time; for products alone. Where the better of the two does not
rank portraits as float32 does, sensitive layers stay in float32: each layer is quantised alone, and layers are taken in
order of the error that they cause, as many as the ranks allow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from piqa.conversion.onnx_file import quiet
from piqa.engines.graph import Arrays
from piqa.errors import InputError
from piqa.scoring.agreement import agreement
from piqa.system.progress import Advance, progress

if TYPE_CHECKING:
    import onnx

Way = Literal["static", "dynamic"]
KINDS: dict[Way, tuple[str, ...]] = {"static": ("Conv", "MatMul", "Gemm"), "dynamic": ("MatMul", "Gemm")}
MOST_GROUPS = 48  # of layers, each of which is quantised alone once; more layers go in groups of neighbours
Tell = Callable[[str], None]


class ScoreModel(Protocol):
    """Scores the portraits of the search by an ONNX file, one crop each."""

    def __call__(self, model: Path) -> NDArray[np.float64]:
        """Return the scores, (portraits,)."""
        ...


@dataclass(frozen=True)
class Quantised:
    """What was found.

    Attributes:
        model: The model in int8.
        way: How its activations are scaled.
        layers: How many layers are in int8.
        of: How many could be.
        in_float: Names of the others, most sensitive first.
        spearman: What it reaches on the portraits of the search.
    """

    model: onnx.ModelProto
    way: Way
    layers: int
    of: int
    in_float: Sequence[str]
    spearman: float

    def told(self) -> str:
        """Return what was found in a line."""
        left = f"; in float32 stay {', '.join(self.in_float[:3])}" if self.in_float else ""
        more = f" and {len(self.in_float) - 3} more" if len(self.in_float) > 3 else ""
        return f"{self.way} int8, {self.layers} of {self.of} layers, Spearman {self.spearman:.5f} in the search{left}{more}"


class Quantiser:
    """Quantises chosen layers of a model, over and over.

    Args:
        model: In float32.
        folder: For files of its own.
        calibration: Inputs of the model for portraits on which activations are observed.
        total: How many those are.
    """

    def __init__(self, model: onnx.ModelProto, folder: Path, calibration: Iterable[Arrays], total: int) -> None:
        import onnx
        from onnxruntime.quantization.shape_inference import quant_pre_process

        self._folder, self._float = folder, folder / "float.onnx"
        onnx.save_model(model, folder / "given.onnx")
        with quiet():
            quant_pre_process(folder / "given.onnx", self._float, skip_symbolic_shape=True)
        self._calibration, self._total = calibration, total
        self._ranges: object = None
        graph = onnx.load_model(self._float).graph
        weights = {one.name for one in graph.initializer}
        # What is left out: products of two activations, as in attention.
        self._layers = [(node.name, node.op_type) for node in graph.node if set(node.input[1:2]) & weights]

    def layers(self, way: Way) -> list[str]:
        """Return the names of the layers that can be quantised in a way, in the graph's order."""
        return [name for name, kind in self._layers if kind in KINDS[way]]

    def quantise(self, layers: Sequence[str], way: Way) -> Path:
        """Write the model with these layers in int8, and return its path, which the next call writes again."""
        from onnxruntime.quantization import QuantType, quantize_dynamic
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
        from onnxruntime.quantization.quant_utils import load_model_with_shape_infer

        path = self._folder / "int8.onnx"
        kinds = [*KINDS[way]]
        if way == "static" and self._ranges is None:
            self._ranges = self._observed()
        with quiet():
            if way == "dynamic":
                settings = {"nodes_to_quantize": [*layers], "op_types_to_quantize": kinds, "per_channel": True}
                quantize_dynamic(self._float, path, weight_type=QuantType.QInt8, **settings)
            else:
                model = load_model_with_shape_infer(self._float)
                types = (QuantType.QInt8, QuantType.QUInt8)  # of weights, by channel, and of activations
                quantizer = QDQQuantizer(model, True, False, *types, self._ranges, [*layers], [], kinds, {})
                quantizer.quantize_model()
                quantizer.model.save_model_to_file(str(path), False)
        return path

    def _observed(self) -> object:
        """Return the ranges of all activations on the portraits of the calibration."""
        from onnxruntime.quantization.calibrate import CalibrationMethod, create_calibrator

        with progress(self._total, task="observing activations", unit="portraits") as advance, quiet():
            augmented = str(self._folder / "observed.onnx")
            calibrator = create_calibrator(
                self._float, None, augmented_model_path=augmented, calibrate_method=CalibrationMethod.MinMax
            )
            calibrator.collect_data(_Reader(self._calibration, advance))
            return calibrator.compute_data()


class _Reader:
    """Hands inputs to ONNX Runtime's calibration, one portrait's a call."""

    def __init__(self, inputs: Iterable[Arrays], advance: Advance) -> None:
        self._inputs, self._advance = iter(inputs), advance

    def get_next(self) -> Arrays | None:
        """Return the next portrait's inputs; None after the last."""
        self._advance(1)
        return next(self._inputs, None)

    def __iter__(self) -> Iterator[Arrays]:
        """Return the portraits that are left."""
        return self._inputs


def quantised(
    quantiser: Quantiser, reference: NDArray[np.float64], score: ScoreModel, least: float, tell: Tell
) -> Quantised:
    """Quantise as many layers of a model as rank portraits as float32 does.

    Args:
        quantiser: Of the model.
        reference: Scores of the portraits of the search in float32, (portraits,).
        score: Scores the same portraits by a file.
        least: The rank correlation that must be reached on portraits that the search does not see. It aims at half of
            what that allows to lose.
        tell: Takes lines on how the search goes.

    Raises:
        InputError: If the model has no layer that can be quantised, or not even one of them alone reaches it.
    """
    import onnx

    aim = 1 - (1 - least) / 2
    found: dict[Way, float] = {}
    for way in KINDS:
        if layers := quantiser.layers(way):
            found[way] = _spearman(reference, score(quantiser.quantise(layers, way)))
            tell(f"{way} int8, all {len(layers)} layers: Spearman {found[way]:.5f}")
    if not found:
        raise InputError("the network has no convolution and no product with weights; there is nothing to quantise")
    ways = sorted(found, key=lambda one: (found[one] >= aim, one == "static" or found[one]), reverse=True)
    way = ways[0] if found[ways[0]] >= aim else max(found, key=lambda one: found[one])
    every = quantiser.layers(way)
    if found[way] >= aim:
        model = onnx.load_model(quantiser.quantise(every, way))
        return Quantised(model, way, len(every), len(every), [], found[way])
    return _mixed(quantiser, way, reference, score, aim, tell)


def _mixed(
    quantiser: Quantiser, way: Way, reference: NDArray[np.float64], score: ScoreModel, aim: float, tell: Tell
) -> Quantised:
    """Leave sensitive layers in float32: the fewest with which the ranks hold, by bisection."""
    import onnx

    every = quantiser.layers(way)
    groups = [list(group) for group in np.array_split(every, min(MOST_GROUPS, len(every)))]
    errors = []
    with progress(len(groups), task="quantising layers one by one", unit="layers") as advance:
        for group in groups:
            alone = score(quantiser.quantise(group, way))
            errors.append(float(np.sqrt(np.mean((alone - reference) ** 2))))
            advance(1)
    order = np.argsort(errors)
    low, high, reached = 0, len(groups), 0.0
    while high - low > 1:
        middle = (low + high) // 2
        now = _spearman(reference, score(quantiser.quantise(_first(groups, order, middle), way)))
        tell(f"{way} int8, the {middle} least sensitive of {len(groups)} parts: Spearman {now:.5f}")
        low, high, reached = (middle, high, now) if now >= aim else (low, middle, reached)
    if not low:
        raise InputError(f"int8 was not written: with its least sensitive part alone in int8 it does not reach {aim:.4f}")
    layers = _first(groups, order, low)
    model = onnx.load_model(quantiser.quantise(layers, way))
    left = [name for place in order[low:][::-1] for name in groups[place]]
    return Quantised(model, way, len(layers), len(every), left, reached)


def _first(groups: Sequence[Sequence[str]], order: NDArray[np.intp], count: int) -> list[str]:
    return [name for place in order[:count] for name in groups[place]]


def _spearman(reference: NDArray[np.float64], scores: NDArray[np.float64]) -> float:
    """Return the rank correlation; 0 where it is not defined, as of scores that are all equal."""
    return agreement(reference, scores).spearman or 0.0 if np.isfinite(scores).all() else 0.0
