"""`piqa models check MODEL --precision bf16`: how far a model's scores in that precision agree with those in float32.

The same portraits are scored in both: by default generated ones, the two public-domain portraits of the demo in several
lights, spoilt by sixteen devices each; or those of a folder, as they are and spoilt. What is found is written into the
model's card, where `predict`, `evaluate` and others read it whenever that precision is chosen.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from piqa.conversion.spoilt_portraits import Portraits
from piqa.data.cuts import Crops
from piqa.errors import InputError
from piqa.scoring.agreement import Agreement, agreement
from piqa.scoring.precision import in_words
from piqa.scoring.scorer import Row, Scorer
from piqa.system.command_line import run_command
from piqa.system.ownership import locked
from piqa.system.progress import progress, told_if_slow
from piqa.weights.card_facts import add_to_card
from piqa.weights.model_file import find_model, read_card
from piqa.weights.registry import is_name
from piqa.weights.trust import Trust

FEWEST = 48  # portraits of a check that is kept


def main(args: list[str] | None = None) -> None:
    """Check a precision, from the command line or from a list of its arguments."""
    text = "The model, as of `piqa predict`."
    run_command(check_precision, args, "piqa models check", __doc__, "model", help=text)


def check_precision(
    model: str,
    precision: Literal["bf16", "16"] = "bf16",
    pictures: str | None = None,
    portraits: int = FEWEST,
    test_crops: Crops = "five",
    device: str = "auto",
    liqe: str | None = None,
    trust: Trust = None,
) -> Agreement:
    """Score the same portraits in a precision and in float32, and keep in the model's card how far they agree.

    Args:
        model: The model.
        precision: What is checked: `bf16` or `16`.
        pictures: A folder of portraits; by default generated ones.
        portraits: How many are scored, at least 48.
        test_crops: `five` or `one`, as of `piqa predict`.
        device: `cpu`, `cuda`, `cuda:1`, ... or `auto`. Rounding differs between kinds of devices; the card names it.
        liqe: Path of LIQE's checkpoint; default: the one in the model card.
        trust: Packages besides piqa whose networks a model file may name; they are imported, which runs their code.

    Raises:
        InputError: If the model or the pictures cannot be read, portraits cannot be scored, or the card not written.
    """
    if portraits < FEWEST:
        raise InputError(f"`portraits` is {portraits}; at least {FEWEST} are needed, or ranks tell little")
    source = Portraits.of_folder(pictures)
    with told_if_slow("loading the model"):
        reference = Scorer.load(model, liqe=liqe, device=device, trust=trust)
        other = Scorer.load(model, liqe=liqe, device=device, precision=precision, trust=trust)
    found = _compared(reference, other, source, portraits, test_crops)
    said = in_words(asdict(found))
    kept = _keep(model, reference, precision, found, f"{source.told()}, {reference.device.type}")
    print(f"{precision} against float32 on {source.told()}: {said}")
    seconds = f"{found.seconds:.3g} instead of {found.reference_seconds:.3g} CPU seconds an image in the networks"
    print(f"{seconds}; {kept}")
    return found


def _compared(reference: Scorer, other: Scorer, source: Portraits, count: int, crops: Crops) -> Agreement:
    """Score portraits one by one, each in both ways in turn, so that a busy machine slows down both."""
    scenes: list[str] = []

    def images() -> Iterator[Image.Image]:
        for portrait in source.checked(count):
            scenes.append(portrait.scene)
            yield portrait.image

    ways = (reference, other)
    scores: list[list[float]] = []
    seconds: list[list[float]] = []
    fault = ""
    batches = reference.batches(images(), test_crops=crops, batch_size=1)
    with progress(count, task="checking", unit="portraits") as advance, closing(batches):
        for batch in batches:
            rows: list[Row] = []
            took: list[float] = []
            for scorer in ways:
                start = time.process_time()
                rows += scorer.rows(batch)
                took.append(time.process_time() - start)
            errors = [str(row["error"]) for row in rows if row["error"] is not None]
            fault = errors[0] if errors else fault
            scores.append([float("nan") if errors else float(row["score"] or 0) for row in rows])
            seconds.append(took)
            advance(1)
    usable: NDArray[np.bool_] = np.isfinite(np.array(scores).reshape(-1, 2)).all(axis=1)
    if usable.sum() < FEWEST:
        reason = fault or "there are no more"
        raise InputError(f"{usable.sum()} portraits could be scored, and {FEWEST} are needed ({reason})")
    values, scene = np.array(scores)[usable], np.array(scenes)[: len(usable)][usable]
    mean = np.array(seconds)[1:].mean(axis=0)  # the first ones include what is done once
    return agreement(values[:, 0], values[:, 1], scene, float(mean[1]), float(mean[0]))


def _keep(model: str, scorer: Scorer, precision: str, found: Agreement, how: str) -> str:
    """Write what was found into the card of a model of piqa's own; return what became of it."""
    path = find_model(model)
    if is_name(model) or path.suffix != ".safetensors":
        return "not kept, as the model has no card of its own"
    sidecar = path.with_suffix(".json")
    with locked(sidecar):
        card = read_card(path)
        known = {} if card is None else card.checks
        checks = {**known, precision: found.to_dict() | {"on": how}}
        add_to_card(path, {"checks": checks}, scorer.card.weights_digest)
    return f"kept in {Path(sidecar)}"


if __name__ == "__main__":
    main()
