"""From files and tables to candidates: named CSVs of predictions, and the naive rules that every model must beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from piqa.errors import InputError
from piqa.evaluation.leaderboard.entries import Candidate
from piqa.evaluation.predictions import read_predictions
from piqa.system.shown_paths import shown_path


@dataclass(frozen=True)
class CandidateTable:
    """A candidate, and its predictions of the images to be evaluated, as `read_predictions` returns them.

    `scored` has the rows of other splits too, where a model has scored them.
    """

    candidate: Candidate
    frame: pd.DataFrame
    scored: pd.DataFrame | None = None


def named_paths(arguments: Sequence[str]) -> dict[str, str]:
    """Return paths by name: `ours=a.csv` has a name, a file takes its stem, a run's `model.safetensors` its folder.

    Raises:
        InputError: If a name repeats or a path is empty.
    """
    paths: dict[str, str] = {}
    for argument in arguments:
        name, equals, path = argument.partition("=")
        if not equals or not name or Path(argument).exists():
            name, path = _default_name(Path(argument)), argument
        if not path:
            raise InputError(f"{argument!r} names no file; write it as {name or 'name'}=file")
        if name in paths:
            raise InputError(f"{paths[name]} and {path} are both called {name!r}; name them, such as other={path}")
        paths[name] = path
    return paths


def _default_name(path: Path) -> str:
    if path.is_dir():
        return path.resolve().name
    return path.resolve().parent.name if path.stem == "model" else path.stem


def read_candidates(
    paths: Mapping[str, str],
    table: pd.DataFrame | None,
    split: str,
    max_missing: float = 0.0,
    selected_on: Mapping[str, str] | None = None,
) -> list[CandidateTable]:
    """Read CSVs of predictions of the same images.

    Args:
        paths: Files by name.
        table: The whole table of labels, with `split`; without it the first file must have `scene` and `score`, all its
            rows are evaluated, and the other files are matched with it.
        split: The split that is evaluated.
        max_missing: The fraction of its images that a file may leave without a prediction.
        selected_on: The sets that the checkpoints behind the files were chosen on, by name, where they are known.

    Raises:
        InputError: If a file cannot be read, contradicts the labels, or lacks too many images.
    """
    found: list[CandidateTable] = []
    for name, path in paths.items():
        labels = found[0].frame.drop(columns="prediction") if table is None and found else table
        frame = read_predictions(path, labels, split=None if table is None else split, max_missing=max_missing)
        candidate = Candidate(
            name,
            frame.set_index("image")["prediction"],
            selected_on=(selected_on or {}).get(name),
            source=shown_path(path),
            unmatched=tuple(map(shown_path, frame.attrs.get("unmatched", ()))),
        )
        evaluated = frame if table is None else frame[frame["split"] == split].reset_index(drop=True)
        evaluated.attrs = dict(frame.attrs)
        found.append(CandidateTable(candidate, evaluated))
    return found


def naive_candidates(
    truth: pd.DataFrame,
    training: pd.DataFrame | None,
    others: Mapping[str, pd.Series[float]] | None = None,
    constant: float | None = None,
) -> list[Candidate]:
    """Return the rules that a model must beat: one score for every image, and other scores of the same images.

    The one score is `constant`, where it is known without looking, as 0 is for scores that are centred in every scene;
    else the mean score of the training images, or of the evaluated ones if there are no training images. Of the other
    scores, by name and by image, such as another attribute's, those that lack an image of `truth` are left out.
    """
    images = truth["image"] if training is None else pd.concat([truth["image"], training["image"]])
    rule = "which the scores are centred on"
    if constant is None and training is not None and len(training):
        constant, rule = float(training["score"].mean()), "the mean score of the training images"
    elif constant is None:  # this favours the rule, never a model
        constant, rule = float(truth["score"].mean()), "the mean score of the evaluated images"
    one_score = pd.Series(constant, index=images, dtype="float64")
    source = f"{constant:.3g} for every image, {rule}"
    complete = {name: scores for name, scores in (others or {}).items() if truth["image"].isin(scores.index).all()}
    rules = [Candidate("constant", one_score, "naive", source=source)]
    for name, scores in complete.items():
        rules.append(Candidate(name, scores, "naive", source=f"the experts' {name}, as if it were a prediction"))
    return rules
