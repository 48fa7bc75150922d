"""The check that ends every export: the file runs in its engine, on the same prepared portraits as PyTorch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from piqa.conversion.graph_module import LIQE_WINDOWS
from piqa.conversion.spoilt_portraits import SpoiltPortrait
from piqa.data.cuts import Crops
from piqa.engines.exported_network import ExportedNetwork
from piqa.engines.graph import Arrays, Graph
from piqa.errors import InputError
from piqa.scoring.agreement import Agreement, agreement
from piqa.scoring.image_batches import ImageBatch
from piqa.scoring.scorer import Scorer
from piqa.system.progress import progress

Score = Callable[[ImageBatch], float]


@dataclass(frozen=True)
class PreparedPortrait:
    """A portrait as the scorer prepares it, a batch of one, and the scene that it belongs to."""

    batch: ImageBatch
    scene: str


@dataclass(frozen=True)
class Timed:
    """Scores of portraits, (portraits,), and what each took, in seconds of the processor and of the clock."""

    scores: NDArray[np.float64]
    cpu_seconds: float
    wall_seconds: float


@dataclass(frozen=True)
class Check:
    """How a file scores in its engine, against PyTorch in float32, both in one run.

    Attributes:
        agreement: Of the scores.
        wall_seconds, reference_wall_seconds: Of the clock, a portrait; the agreement has those of the processor.
    """

    agreement: Agreement
    wall_seconds: float
    reference_wall_seconds: float

    def to_dict(self) -> dict[str, float | int]:
        """Return what a card or a file keeps: the agreement, and the seconds of the clock."""
        walls = {"wall_seconds": self.wall_seconds, "reference_wall_seconds": self.reference_wall_seconds}
        return self.agreement.to_dict() | walls


def prepared_portraits(
    scorer: Scorer, portraits: Iterable[SpoiltPortrait], count: int, task: str, crops: Crops = "five"
) -> list[PreparedPortrait]:
    """Prepare portraits as the scorer does; those that cannot be prepared are left out.

    Raises:
        InputError: If fewer than three are left.
    """
    scenes: list[str] = []

    def images() -> Iterator[Any]:
        for portrait in portraits:
            scenes.append(portrait.scene)
            yield portrait.image

    prepared, fault = [], ""
    with progress(count, task=task, unit="portraits") as advance:
        for at, batch in enumerate(scorer.batches(images(), test_crops=crops, batch_size=1)):
            fault = batch.errors[0] or fault
            prepared += [] if batch.errors[0] else [PreparedPortrait(batch, scenes[at])]
            advance(1)
    if len(prepared) < 3:
        raise InputError(
            f"{len(prepared)} portraits could be prepared, and 3 are needed ({fault or 'no more are there'})"
        )
    return prepared


def graph_inputs(inputs: Sequence[str], batch: ImageBatch, by_image: bool) -> Arrays:
    """Return the inputs of a graph for a batch of one image.

    Args:
        inputs: The graph's.
        batch: One image.
        by_image: Whether the pixels have an axis of crops or windows behind that of images; else each crop counts as an
            image.
    """
    arrays: Arrays = {}
    for name in inputs:
        if name == LIQE_WINDOWS:
            assert batch.windows is not None
            arrays[name] = batch.windows[None]
        else:
            pixels = batch.crops[name]
            arrays[name] = np.asarray(pixels[0])[None] if by_image else np.asarray(pixels[0])
    return arrays


def score_by_file(network: ExportedNetwork) -> Score:
    """Return what scores a batch of one image by an exported file, as `Scorer` does."""
    inputs = network.facts.inputs

    def score(batch: ImageBatch) -> float:
        given: dict[str, Any] = {name: batch.crops[name] for name in inputs if name != LIQE_WINDOWS}
        given |= {LIQE_WINDOWS: [batch.windows]} if LIQE_WINDOWS in inputs else {}
        return float(network.outputs(given)["score"][0])

    return score


def score_by(graph: Graph, inputs: Sequence[str], by_image: bool) -> Score:
    """Return what scores a batch of one image by a graph; crops that count as images are averaged here."""
    return lambda batch: float(graph.run(graph_inputs(inputs, batch, by_image))["score"].mean())


def score_by_torch(scorer: Scorer) -> Score:
    """Return what scores a batch of one image by PyTorch."""

    def score(batch: ImageBatch) -> float:
        row = scorer.rows(batch)[0]
        if row["error"] is not None:
            raise InputError(str(row["error"]))
        return float(row["score"] or 0)

    return score


def timed_scores(score: Score, portraits: Sequence[PreparedPortrait], task: str, quiet: bool = False) -> Timed:
    """Score portraits one by one, after a first one that is not timed; `quiet` shows no progress.

    Raises:
        InputError: If a score is no number.
    """
    score(portraits[0].batch)
    scores = []
    with progress(len(portraits), quiet=quiet, task=task, unit="portraits") as advance:
        cpu, wall = time.process_time(), time.perf_counter()
        for portrait in portraits:
            scores.append(score(portrait.batch))
            advance(1)
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    values = np.array(scores, np.float64)
    if not np.isfinite(values).all():
        raise InputError(f"{task}: {int((~np.isfinite(values)).sum())} of {len(values)} scores are no numbers")
    return Timed(values, cpu / len(portraits), wall / len(portraits))


def compared(reference: Timed, other: Timed, portraits: Sequence[PreparedPortrait]) -> Check:
    """Compare the scores of the same portraits."""
    scenes = [portrait.scene for portrait in portraits]
    found = agreement(reference.scores, other.scores, scenes, other.cpu_seconds, reference.cpu_seconds)
    return Check(found, other.wall_seconds, reference.wall_seconds)


def checks_table(checks: Mapping[str, Check]) -> str:
    """Return checks by name as lines of a table."""
    head = ("", "portraits", "largest difference", "Spearman", "within scenes", "CPU s", "torch", "wall s", "torch")
    rows = [head]
    for name, check in checks.items():
        found = check.agreement
        ranks = (_rank(found.spearman), _rank(found.within_scenes))
        cpu = (_seconds(found.seconds), _seconds(found.reference_seconds))
        wall = (_seconds(check.wall_seconds), _seconds(check.reference_wall_seconds))
        difference = f"{found.largest:.2g} (std {found.spread:.2g})"
        rows.append((name, str(found.images), difference, *ranks, *cpu, *wall))
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join("  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows)


def _rank(value: float | None) -> str:
    return "-" if value is None else f"{value:.5f}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"
