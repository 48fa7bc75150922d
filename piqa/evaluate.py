"""`python -m piqa.evaluate --ckpt_path MODEL`, or `--predictions some.csv`: measures against the experts' scores.

Leaves `predictions.csv`, `per_scene.csv`, `metrics.json` and `scatter.png` in `--out`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from rich.console import Console

from piqa import submission, weights
from piqa.arguments import ConfigFile, Parser, command
from piqa.data.table import Table
from piqa.data.transforms import Crops
from piqa.errors import InputError, one_line_errors
from piqa.evaluation.predictions import read_predictions
from piqa.evaluation.report import Report, print_report, write_report
from piqa.scorer import Precision, Scorer
from piqa.store import PreparedStore


def main(args: list[str] | None = None) -> None:
    """Evaluates, from the command line or from a list of its arguments."""
    args = sys.argv[1:] if args is None else args
    if args[:1] == ["submission"]:
        return submission.main(args[1:])
    parser = Parser(prog="piqa evaluate", description=__doc__)
    parser.add_argument("--config", action=ConfigFile, help="A YAML file of these arguments.")
    parser.add_function_arguments(evaluate)
    parsed = parser.parse_args(args)
    with one_line_errors():
        arguments = parser.instantiate(parsed).as_dict()
        arguments.pop("config", None)
        print_report(evaluate(**arguments), Console())


def evaluate(
    ckpt_path: str | None = None,
    predictions: str | None = None,
    table: Table | None = None,
    split: Literal["train", "val", "test"] = "test",
    out: str | None = None,
    store: str = "data/prepared",
    crops: Crops = "five",
    batch_size: int = 4,
    device: str = "auto",
    precision: Precision = "32",
    liqe: str | None = None,
) -> Report:
    """Measures a model, or a CSV of predictions, scene by scene.

    Args:
        ckpt_path: The model: a run's folder, piqa's own file, a training checkpoint, or an official DN-PIQA checkpoint.
        predictions: Instead of a model, a CSV with `image, prediction`, and `scene, score` where no table is given.
        table: The scored pictures; by default those that the model was trained with.
        split: Which of them.
        out: Folder of the results; by default `evaluation` beside the model or the CSV.
        store: Folder of the prepared store.
        crops: `five` crops whose scores are averaged, or `one` from the centre.
        batch_size: Pictures in one pass through the network.
        device: `cpu`, `cuda`, `cuda:1`, ... or `auto`.
        precision: `32`, or mixed precision in `bf16` or `16`.
        liqe: LIQE's checkpoint, where it does not lie where it lay in training.

    Raises:
        InputError: If there is nothing to measure, or it cannot be read.
    """
    if (ckpt_path is None) == (predictions is None):
        raise InputError("give either `--ckpt_path`, a model, or `--predictions`, a CSV")
    facts: dict[str, Any] = {"split": split, "command": command()}
    if predictions is not None:
        labels = None if table is None else _split(table, split)
        frame = read_predictions(predictions, labels)
        facts |= {"predictions": predictions, "table": Path(predictions).name if table is None else table.name}
        if table is None:
            del facts["split"]
        folder = Path(predictions).parent / "evaluation"
    else:
        assert ckpt_path is not None
        model = weights.find_model(ckpt_path)
        scorer = Scorer.load(model, liqe=liqe, device=device, precision=precision)
        table = table or _trained_on(scorer.card, model)
        frame = _predict(scorer, _split(table, split), store, crops, batch_size)
        selected_on = scorer.card.get("trained_on", {}).get("selected_on")
        facts |= {"table": table.name, "checkpoint": str(model), "selected_on": selected_on, "crops": crops}
        folder = model.parent / "evaluation"
    facts["attribute"] = getattr(table, "attribute", None)
    return write_report(frame, out or folder, facts)


def _split(table: Table, split: str) -> pd.DataFrame:
    frame = table.load()
    part = frame[frame["split"] == split].reset_index(drop=True)
    if part.empty:
        there = ", ".join(sorted(frame["split"].unique()))
        raise InputError(f"{table.name} has no pictures in the split '{split}'; it has {there}")
    return part


def _trained_on(card: dict[str, Any], model: Path) -> Table:
    """The table that the model's card names.

    Raises:
        InputError: If it names none that can be had here.
    """
    spec = card.get("trained_on", {}).get("data", {}).get("table")
    if spec is None:
        raise InputError(
            f"{model} does not say which pictures it was trained with; name some, such as "
            "`--table piqa.data.PIQ23 --table.root data/piq23`"
        )
    table: Table = weights.instantiate(spec, Table, f"the card of {model}")
    return table


def _predict(scorer: Scorer, frame: pd.DataFrame, store: str, crops: Crops, batch_size: int) -> pd.DataFrame:
    prepared = PreparedStore(store, scorer.preparation)
    prepared.build(frame["path"], str(scorer.device), max_failed=0)  # a missing prediction would flatter or hurt
    scores = scorer.score_portraits(map(prepared.load, frame["path"]), crops=crops, batch_size=batch_size)
    return frame.assign(prediction=scores)


if __name__ == "__main__":
    main()
