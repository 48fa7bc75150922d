"""An exported model that is ready to score: from what images show, as arrays, to outputs by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from piqa.engines.exported import FACES_KEY, METADATA_KEY, ExportedModel, read_faces
from piqa.engines.graph import ENGINES, Arrays, Engine, Graph, check_engine, open_graph
from piqa.errors import FileAccessError, InputError

LIQE_WINDOWS = "liqe_windows"
Batch = Mapping[str, NDArray[Any] | Sequence[NDArray[Any]]]


class ExportedNetwork:
    """A graph and what its file says of it.

    Args:
        graph: The graph.
        source: The file, for errors' messages.
        engine: What runs the graph.
        bfloat16: Whether the graph is computed in bfloat16.

    Attributes:
        facts: The file's document.
        faces: The face detector's networks; None where the file has none.
        engine: What runs the graph.
        precision: What the file holds, or `bf16` where it is computed in that.
    """

    def __init__(self, graph: Graph, source: str, engine: Engine, bfloat16: bool = False) -> None:
        self.graph, self.engine = graph, engine
        self.facts = ExportedModel.from_text(graph.metadata(METADATA_KEY), source)
        self.precision = "bf16" if bfloat16 else self.facts.precision
        self.faces = read_faces(graph.metadata(FACES_KEY), source)
        if set(graph.inputs) != set(self.facts.inputs) or not set(self.facts.outputs) <= set(graph.outputs):
            found = f"takes {', '.join(graph.inputs)} and gives {', '.join(graph.outputs)}"
            raise InputError(f"{source} {found}, which is not what its document says; export the model again")

    def outputs(self, batch: Batch) -> Arrays:
        """Return the outputs on images, as `piqa.models.contract.network_outputs` does: each taken over its crops.

        Images that see the same number of crops and windows, of the same size, go through the graph together.

        Args:
            batch: By the names of the graph's inputs, uint8, what each image shows, (images, crops, 3, height,
                width), or of `liqe_windows` (images, windows, 3, 224, 224); of `face_box` float32, (images, crops, 4);
                a list of the images' own where these differ.

        Returns:
            Each output, (images,): numbers as float32, class indices as int64.
        """
        inputs = {name: batch[name] for name in self.facts.inputs}
        shapes = list(zip(*([one.shape for one in values] for values in inputs.values()), strict=True))
        groups: dict[Any, list[int]] = {}
        for row, shape in enumerate(shapes):
            groups.setdefault(shape, []).append(row)
        if len(groups) == 1:
            return self._of_one_shape({name: np.asarray(values) for name, values in inputs.items()})
        parts = [
            self._of_one_shape({name: np.stack([values[row] for row in rows]) for name, values in inputs.items()})
            for rows in groups.values()
        ]
        order = np.argsort([row for rows in groups.values() for row in rows])
        return {name: np.concatenate([part[name] for part in parts])[order] for name in self.facts.outputs}

    def _of_one_shape(self, inputs: Arrays) -> Arrays:
        images, crops = inputs["whole"].shape[:2]
        outside = self.facts.crops == "outside"
        if outside:  # what is an image's own goes with each of its crops
            inputs = {
                name: np.repeat(values, crops, axis=0)
                if name == LIQE_WINDOWS
                else values.reshape(-1, *values.shape[2:])
                for name, values in inputs.items()
            }
        found = self.graph.run(inputs)
        return {
            name: self._combined(name, found[name], images, crops if outside else None) for name in self.facts.outputs
        }

    def _combined(self, name: str, values: NDArray[Any], images: int, crops: int | None) -> NDArray[Any]:
        """Return numbers' mean over the crops, and of class indices the most frequent, the lowest of several."""
        if values.shape != (images * (crops or 1),):
            raise InputError(f"the exported model gives `{name}` of shape {values.shape} for {images} images")
        classes = self.facts.classes.get(name)
        values = values.astype(np.int64 if classes else np.float32)
        if classes and not ((values >= 0) & (values < len(classes))).all():
            raise InputError(f"the exported model gives a `{name}` that is none of its {len(classes)} classes")
        if crops is None:
            return values
        by_image = values.reshape(images, crops)
        if not classes:
            means: NDArray[Any] = by_image.mean(axis=1, dtype=np.float32)
            return means
        votes = (by_image[:, :, None] == np.arange(len(classes))).sum(axis=1)
        winners: NDArray[Any] = votes.argmax(axis=1)
        return winners


def load_exported(
    path: str | Path,
    engine: Engine | None = None,
    device: str = "auto",
    threads: int | None = None,
    bfloat16: bool = False,
) -> ExportedNetwork:
    """Load an exported model.

    Args:
        path: Its file: `.onnx`, `.xml` (OpenVINO's, with its `.bin` beside it) or `.ts` (TorchScript).
        engine: What runs it; by default ONNX Runtime, OpenVINO or PyTorch, by the ending. OpenVINO runs `.onnx`, too.
        device: `auto`, `cpu` or `cuda`.
        threads: Of a CPU; None for what the process may use.
        bfloat16: As of `piqa.engines.graph.open_graph`.

    Raises:
        InputError: If it is no exported model of piqa's, the engine is not installed or does not run such files, or
            there is no such device.
        FileAccessError: If the file cannot be read because of the machine.
    """
    path = Path(path)
    able = ENGINES[path.suffix.lower()]
    if engine is not None:
        check_engine(engine)
    if engine is not None and engine not in able:
        raise InputError(f"{path} is run by {' or '.join(able)}, not by {engine}")
    try:
        with path.open("rb"):
            pass
    except FileNotFoundError as error:
        raise InputError(f"no model at {path}; check the path") from error
    except OSError as error:
        raise FileAccessError(f"cannot read {path}: {error.strerror}; check its permissions") from error
    chosen = engine or able[0]
    return ExportedNetwork(open_graph(path, chosen, device, threads, bfloat16), str(path), chosen, bfloat16)
