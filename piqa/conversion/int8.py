"""ONNX models in int8: weights and activations of convolutions and products, but for the layers that would cost ranks.

Two ways are tried. Static: scales of activations are fixed, as observed on portraits; for convolutions, and for
products with weights. Dynamic: scales are found at run time; for products alone. Where one of them does not rank
portraits as float32 does, sensitive layers stay in float32: each layer is quantised alone, and layers are taken in
order of the error that they cause, as many as the ranks allow. Of what ranks well enough, the smaller one is taken: it
has more of its weights in int8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from piqa.conversion.check import Timed
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
WORTH = 0.8  # of the size of what ranks well already: a search that cannot come below it is left out
Tell = Callable[[str], None]


ScoreModel = Callable[[Path], Timed]  # scores the portraits of the search by an ONNX file


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
        what = f"{self.way} int8, {self.layers} of {self.of} layers"
        return f"{what}: Spearman {self.spearman:.5f} in the search{left}{more}"


class Quantiser:
    """Quantises chosen layers of a model, over and over.

    Args:
        model: In float32.
        folder: For files of its own.
        calibration: Inputs of the model for portraits on which activations are observed.
        total: How many those are.

    Attributes:
        in_float: The model in float32, made ready.
    """

    def __init__(self, model: onnx.ModelProto, folder: Path, calibration: Iterable[Arrays], total: int) -> None:
        import onnx
        from onnxruntime.quantization.shape_inference import quant_pre_process

        self._folder, self.in_float = folder, folder / "float.onnx"
        onnx.save_model(model, folder / "given.onnx")
        with quiet():
            quant_pre_process(folder / "given.onnx", self.in_float, skip_symbolic_shape=True)
        self._calibration, self._total = calibration, total
        self._ranges: object = None
        graph = onnx.load_model(self.in_float).graph
        weights = {one.name for one in graph.initializer}
        # Products of two activations, as in attention, are left out.
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
                products = [*layers, *(f"{name}_MatMul" for name in layers)]  # what becomes of a Gemm first
                settings = {"nodes_to_quantize": products, "op_types_to_quantize": kinds, "per_channel": True}
                quantize_dynamic(self.in_float, path, weight_type=QuantType.QInt8, **settings)
            else:
                model = load_model_with_shape_infer(self.in_float)
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
                self.in_float, None, augmented_model_path=augmented, calibrate_method=CalibrationMethod.MinMax
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
    quantiser: Quantiser,
    reference: NDArray[np.float64],
    score: ScoreModel,
    least: float,
    tell: Tell,
    ways: Sequence[Way] = tuple(KINDS),
) -> Quantised:
    """Quantise as many layers of a model as rank portraits as float32 does.

    Args:
        quantiser: Of the model.
        reference: Scores of the portraits of the search in float32, (portraits,).
        score: Scores the same portraits by a file.
        least: The rank correlation that must be reached on portraits that the search does not see. It aims at half of
            what that allows to lose.
        tell: Takes lines on how the search goes.
        ways: That the engine knows.

    Raises:
        InputError: If the model has no layer that can be quantised, or not even one part of it alone reaches that.
    """
    search = _Search(quantiser, reference, score, 1 - (1 - least) / 2, tell)
    trials = {way: search.trial(layers, way) for way in ways if (layers := quantiser.layers(way))}
    if not trials:
        raise InputError("the network has no convolution and no product with weights; there is nothing to quantise")
    best = min((one for one in trials.values() if one.spearman >= search.aim), key=_size, default=None)
    for way, trial in sorted(trials.items(), key=lambda one: _size(one[1])):
        if trial.spearman < search.aim and (best is None or _size(trial) < WORTH * _size(best)):
            found = search.mixed(way)
            best = min((one for one in (best, found) if one is not None), key=_size, default=None)
    if best is None:
        reached = max(trial.spearman for trial in trials.values())
        raise InputError(
            f"int8 was not written: Spearman {reached:.5f} with all layers in int8, and less than {search.aim:.5f} "
            f"even with the least sensitive part of them alone; take `--precision 16`, or lower `--min_spearman`"
        )
    return best


class _Search:
    """Tries layers in int8, with the settings of `quantised`."""

    def __init__(
        self, quantiser: Quantiser, reference: NDArray[np.float64], score: ScoreModel, aim: float, tell: Tell
    ) -> None:
        self._quantiser, self._reference, self._score, self._tell = quantiser, reference, score, tell
        self.aim = aim

    def trial(self, layers: Sequence[str], way: Way, in_float: Sequence[str] = ()) -> Quantised:
        """Quantise layers, and score the portraits of the search."""
        import onnx

        path = self._quantiser.quantise(layers, way)
        timed = self._score(path)
        spearman = _spearman(self._reference, timed.scores)
        every = len(self._quantiser.layers(way))
        found = Quantised(onnx.load_model(path), way, len(layers), every, in_float, spearman)
        self._tell(f"{way} int8, {len(layers)} of {every} layers: Spearman {spearman:.5f}")
        return found

    def mixed(self, way: Way) -> Quantised | None:
        """Leave sensitive layers in float32: the fewest with which the ranks hold, by bisection; None if none do."""
        every = self._quantiser.layers(way)
        groups = [group.tolist() for group in np.array_split(every, min(MOST_GROUPS, len(every)))]
        errors = []
        with progress(len(groups), task="quantising layers one by one", unit="layers") as advance:
            for group in groups:
                alone = self._score(self._quantiser.quantise(group, way)).scores
                errors.append(float(np.sqrt(np.mean((alone - self._reference) ** 2))))
                advance(1)
        order = [groups[place] for place in np.argsort(errors)]
        best, low, high = None, 0, len(groups)
        while high - low > 1:
            middle = (low + high) // 2
            left = [name for group in order[middle:][::-1] for name in group]
            trial = self.trial([name for group in order[:middle] for name in group], way, left)
            if trial.spearman >= self.aim:
                best, low = trial, middle
            else:
                high = middle
        return best


def _size(found: Quantised) -> int:
    size: int = found.model.ByteSize()
    return size


def _spearman(reference: NDArray[np.float64], scores: NDArray[np.float64]) -> float:
    """Return the rank correlation; 0 where it is not defined, as of scores that are all equal."""
    return agreement(reference, scores).spearman or 0.0
