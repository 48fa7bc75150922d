"""The row on engines: PyTorch, ONNX Runtime and OpenVINO, each in the precisions that it has."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

from bench_rows.measure import Row, Settings, in_turn
from bench_rows.scoring import write_model, write_spoilt
from piqa import Scorer
from piqa.system.memory import keep_freed_memory

BASE = "torch, float32"


def engines(settings: Settings) -> Row:
    """Time scoring by each engine in turn, and compare its scores with PyTorch's in float32."""
    pictures, timed, megapixels = (4, 1, 0.2) if settings.smoke else (24, 2, 2)
    keep_freed_memory()  # as the commands do
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_model(folder, settings)
        files = write_spoilt(folder, pictures, megapixels)
        scorers = dict(of_each_engine(model, folder, settings.smoke))
        ways = in_turn(
            {way: partial(one.score, files[:timed], batch_size=timed) for way, one in scorers.items()},
            settings.times(3),
            "wall",
            torch.device("cpu"),
        )
        scores = {way: one.score(files)["score"].to_numpy(dtype=float) for way, one in scorers.items()}
    for way, figures in ways.items():
        figures["times_faster"] = ways[BASE]["cpu_s"] / max(figures["cpu_s"], 1e-3)
        figures["spearman_with_float32"] = float(spearmanr(scores[way], scores[BASE]).statistic)
        figures["scores_differ"] = float(np.abs(scores[way] - scores[BASE]).max())
    best = max((way for way in ways if way != BASE), key=lambda way: ways[way]["times_faster"])
    return Row(
        row="engines",
        what=f"{timed} JPEGs of about {megapixels} MP from file to score on the CPU, five crops, random weights (their "
        f"int8 keeps ranks worse than that of trained ones); agreement over {pictures} spoilt portraits",
        ratio=ways[best]["times_faster"],
        compared=f"CPU seconds of PyTorch in float32 : of the fastest, {best}",
        expected="no promise",
        clock="wall",
        ways=ways,
    )


def of_each_engine(model: Path, folder: Path, smoke: bool) -> Iterator[tuple[str, Scorer]]:
    """Yield a scorer of each engine and precision; the smoke version leaves out int8, whose calibration takes long."""
    from piqa.export import export

    yield BASE, Scorer.load(model, device="cpu")
    yield "torch, bf16", Scorer.load(model, device="cpu", precision="bf16")
    for engine, kind, suffix in (("onnxruntime", "onnx", "onnx"), ("openvino", "openvino", "xml")):
        for precision in ("32",) if smoke else ("32", "int8"):
            file = folder / f"{engine}-{precision}.{suffix}"
            with redirect_stdout(StringIO()):
                few: dict[str, Any] = {"check_images": 3} if smoke else {}
                export(str(model), kind, precision, str(file), min_spearman=0.0, **few)  # type: ignore[arg-type]
            yield f"{engine}, {'float32' if precision == '32' else precision}", Scorer.load(file, device="cpu")
            if engine == "openvino" and precision == "32":
                yield "openvino, bf16", Scorer.load(file, device="cpu", precision="bf16")
