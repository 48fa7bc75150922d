"""Ordinary models for other engines: converted once, kept in the user's cache, and shared by all processes."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from filelock import SoftFileLock, Timeout

import piqa
from piqa.conversion.document import document_of, metadata_of
from piqa.conversion.formats import extras, writer_of
from piqa.conversion.graph_module import GraphModule, takes_any_size
from piqa.data.cuts import seen_side
from piqa.engines.exported import FORMAT
from piqa.engines.graph import Engine, check_engine, is_exported, open_graph
from piqa.errors import InputError
from piqa.scoring.options import Precision
from piqa.scoring.scorer import Scorer
from piqa.system.files import digest_of
from piqa.system.progress import told_if_slow
from piqa.weights import state_dicts
from piqa.weights.cache import home
from piqa.weights.model_places import find_model
from piqa.weights.trust import Trust

LONGEST_WAIT = 3600.0  # seconds for another process that converts the same model
ALIKE = 1e-3  # largest difference of two outputs, and as a fraction of them, by which a conversion is right


def load_scorer(
    path: str | Path,
    engine: Engine | None = None,
    *,
    liqe: str | Path | None = None,
    device: str = "auto",
    precision: Precision = "32",
    prompts: Mapping[str, Sequence[str]] | None = None,
    try_turns: bool | None = None,
    trust: Trust = None,
) -> Scorer:
    """Load a scorer as `Scorer.load` does, of any model by any engine; arguments and errors as there."""
    if engine in (None, "torch") or is_exported(path):
        return Scorer.load(
            path,
            liqe=liqe,
            device=device,
            precision=precision,
            prompts=prompts,
            try_turns=try_turns,
            trust=trust,
            engine=engine,
        )
    if prompts or precision not in ("32", "bf16" if engine == "openvino" else "32"):
        able = "32 and bf16" if engine == "openvino" else "32"
        raise InputError(
            f"`engine` {engine} takes no `prompts`, and of `precision` only {able}; export the model with what you need"
        )
    file = converted(path, engine, liqe=liqe, trust=trust)
    return Scorer.load(file, device=device, precision=precision, try_turns=try_turns, engine=engine)


def converted(path: str | Path, engine: Engine, *, liqe: str | Path | None = None, trust: Trust = None) -> Path:
    """Return a model as an exported file that an engine runs, from the cache or made now.

    It is kept below `PIQA_HOME`, by the content of the model and of LIQE's weights, and by piqa's version. It scores in
    float32; before it is kept, its outputs on random pixels are compared with PyTorch's.

    Args:
        path: The model, as for `Scorer.load`.
        engine: `onnxruntime` or `openvino`.
        liqe: As for `Scorer.load`.
        trust: Likewise.

    Raises:
        InputError: If the model cannot be read or converted, or a package is missing.
    """
    check_engine(engine)
    extras(["onnx", "onnxscript", engine])
    found = find_model(path)
    target = home() / "converted" / _key(found, liqe) / "model.onnx"
    if target.is_file():
        return target
    with _locked(target), told_if_slow(f"converting {found.name} for {engine}, once"):
        if not target.is_file():
            scorer = Scorer.load(path, liqe=liqe, device="cpu", trust=trust)
            _write(scorer, target, engine)
    return target


def graph_of(scorer: Scorer) -> GraphModule:
    """Return a scorer's network as the module that is exported, with its crops averaged inside."""
    side = seen_side(scorer.view, scorer.preparation, scorer.crop_size)
    liqe = scorer.preparation.liqe if "liqe_logits" in scorer.network.inputs else None
    loaded = None if liqe is None else state_dicts.load_liqe(liqe)
    any_size = takes_any_size(scorer.network) and scorer.view == "whole"
    return GraphModule(scorer.network, loaded, None if any_size else side)


def _write(scorer: Scorer, target: Path, engine: Engine) -> None:
    """Write the file whole or not at all, once it is found to be right."""
    graph = graph_of(scorer)
    metadata = metadata_of(document_of(scorer, graph, "32", f"converted for {engine}", {}))
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        temporary = Path(folder) / target.name
        writer_of("onnx", graph, "32").write(temporary, metadata)
        _check(graph, temporary, engine)
        temporary.replace(target)


def _check(graph: GraphModule, path: Path, engine: Engine) -> None:
    """Compare the outputs of a file on random pixels with PyTorch's; InputError if they are others."""
    examples = graph.examples()
    with torch.inference_mode():
        expected = [values.numpy() for values in graph(*examples)]
    inputs = {one.name: values.numpy() for one, values in zip(graph.inputs, examples, strict=True)}
    found = open_graph(path, engine, "cpu").run(inputs)
    for name, values in zip(graph.outputs, expected, strict=True):
        if not np.allclose(found[name], values, rtol=ALIKE, atol=ALIKE):
            largest = float(np.abs(found[name] - values).max())
            raise InputError(f"{engine} gives another `{name}` than PyTorch, by up to {largest:.2g}; use `torch`")


def _key(model: Path, liqe: str | Path | None) -> str:
    """Return a name of all that the converted file depends on."""
    card = model.with_suffix(".json")
    given = None if liqe is None else state_dicts.require(liqe, "liqe")
    parts = {
        "model": digest_of(model),
        "card": digest_of(card) if model.suffix == ".safetensors" and card.is_file() else None,
        "liqe": None if given is None else digest_of(given),
        "made_by": [piqa.__version__, FORMAT, torch.__version__],
    }
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Hold the lock of a file of the cache, once another process has made it."""
    lock = SoftFileLock(target.with_name(".converting.lock"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=LONGEST_WAIT, poll_interval=0.1)
    except Timeout as error:
        reason = "another process has been converting the model for an hour"
        raise InputError(f"{reason}; remove {lock.lock_file} if that process is gone") from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise InputError(f"cannot write {target.parent}: {reason}; set PIQA_HOME to a folder of yours") from error
    try:
        yield
    finally:
        lock.release()
