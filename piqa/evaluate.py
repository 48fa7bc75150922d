"""`python -m piqa.evaluate --ckpt_path MODEL`, or `--predictions ours=a.csv peer=b.csv`: who judges portraits how well.

Leaves in `--out` the predictions, the measures of every scene, their summary and a plot of each model
(`predictions.csv`, `per_scene.csv`, `metrics.json`, `scatter.png`; in a folder of its own where there are several), and
puts everyone on one board, with confidence intervals, naive rules, published figures and the noise ceiling:
`leaderboard.html`, which opens without network, and the same figures as `.json`, `.csv`, `.md` and `.tex`.

`python -m piqa.evaluate submission --ckpt_path MODEL --name LAST FIRST` writes the NTIRE 2024 challenge's zip instead.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd
from rich.console import Console

from piqa.data.tables.piq23 import PIQ23, Attribute
from piqa.data.tables.table import Table
from piqa.data.transforms import Crops
from piqa.errors import InputError, one_line_errors
from piqa.evaluation.inputs import Entry, naive, named_paths, read_entries
from piqa.evaluation.leaderboard.build import Rules, hold
from piqa.evaluation.leaderboard.entries import Contestant
from piqa.evaluation.leaderboard.leaderboard import Leaderboard
from piqa.evaluation.leaderboard.published import published
from piqa.evaluation.output.page import write_page
from piqa.evaluation.output.tables import write_tables
from piqa.evaluation.output.terminal import print_board
from piqa.evaluation.pairs import Bands
from piqa.evaluation.report import Report, print_report, write_report
from piqa.evaluation.statistics.bootstrap import Levels
from piqa.preparation.store import PreparedStore
from piqa.scoring.from_config import CONFIGS
from piqa.scoring.options import Precision
from piqa.scoring.scorer import Scorer
from piqa.submission import command as submission
from piqa.system.command_line import ConfigFile, Parser, command
from piqa.system.memory import keep_freed_memory
from piqa.weights import model_file
from piqa.weights.model_card import ModelCard

TRUTH = ("image", "scene", "score", "score_std", "condition", "device", "path")
LISTED = {
    "ckpt_path": "Models: a run's folder, piqa's own file, a training checkpoint, an official DN-PIQA checkpoint, or "
    "the config of a network that needs no training",
    "predictions": "CSVs with `image, prediction`, and `scene, score` where no table is given",
}


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        board: Everyone's figures.
        reports: Each model's own, by name.
        folder: Where they were written.
    """

    board: Leaderboard
    reports: dict[str, Report]
    folder: Path


def main(args: list[str] | None = None) -> None:
    """Evaluates, from the command line or from a list of its arguments."""
    args = sys.argv[1:] if args is None else args
    if args[:1] == ["submission"]:
        return submission.main(args[1:])
    parser = Parser(prog="piqa evaluate", description=__doc__)
    parser.add_argument("--config", action=ConfigFile, help="A YAML file of these arguments.")
    for name, what in LISTED.items():
        parser.add_argument(f"--{name}", nargs="+", type=str, help=f"{what}; each a path or name=path.")
    parser.add_function_arguments(evaluate, skip=set(LISTED))
    parsed = parser.parse_args(args)
    with one_line_errors():
        arguments = parser.instantiate(parsed).as_dict()
        arguments.pop("config", None)
        evaluation = evaluate(**arguments)
        board, folder, console = evaluation.board, evaluation.folder, Console()
        if len(evaluation.reports) == 1:
            print_report(next(iter(evaluation.reports.values())), console)
        print_board(board, console)
        files = [*write_tables(board, folder).values(), write_page(board, folder / "leaderboard.html")]
        console.print(f"Written: {', '.join(map(str, files))}", highlight=False, soft_wrap=True)


def evaluate(
    ckpt_path: str | Sequence[str] | None = None,
    predictions: str | Sequence[str] | None = None,
    table: Table | None = None,
    split: Literal["train", "val", "test"] = "test",
    out: str | None = None,
    max_missing: float = 0.0,
    samples: int = 2000,
    levels: Levels = "both",
    seed: int = 0,
    clear: float = 1.0,
    near: float = 0.25,
    calibrate: bool = False,
    selected_on: dict[str, str] | None = None,
    store: str = "data/prepared",
    crops: Crops = "five",
    batch_size: int = 4,
    device: str = "auto",
    precision: Precision = "32",
    liqe: str | None = None,
) -> Evaluation:
    """Measures models and CSVs of predictions, scene by scene, and compares them.

    Args:
        ckpt_path: Models: a run's folder, piqa's own file, a training checkpoint, or an official DN-PIQA checkpoint;
            each a path or name=path.
        predictions: CSVs with `image, prediction`, and `scene, score` where no table is given; each as above.
        table: The scored images; by default those that the first model was trained with.
        split: Which of them.
        out: Folder of the results; by default `evaluation` beside the first model or CSV.
        max_missing: Share of the images that a CSV may leave without a prediction. A line with gaps is measured on
            what it predicts, which may flatter it.
        samples: Resamples of the bootstrap.
        levels: What the bootstrap resamples: scenes and the images of each (`both`), `scenes` or `images`.
        seed: Of the bootstrap, the permutations and the noise ceiling.
        clear: Experts separate two images clearly above this difference, in units of the score.
        near: Two images are a near tie below this difference.
        calibrate: Let the models score the training images too, for the calibrated protocol. A CSV takes part if it
            has rows of training images.
        selected_on: What chose the checkpoint behind a CSV, by name: `{peer: test}`.
        store: Folder of the prepared store.
        crops: `five` crops whose scores are averaged, or `one` from the centre.
        batch_size: Images in one pass through the network.
        device: `cpu`, `cuda`, `cuda:1`, ... or `auto`.
        precision: `32`, or mixed precision in `bf16` or `16`.
        liqe: LIQE's checkpoint, where it does not lie where it lay in training.

    Raises:
        InputError: If there is nothing to measure, or it cannot be read.
    """
    models, csvs = _named(ckpt_path, predictions, selected_on)
    rules = Rules(samples, seed, levels, max_missing, Bands(clear, near))
    scoring = _Scoring(store, crops, batch_size, device, precision, liqe)
    scorer = scoring.load(next(iter(models.values()))) if models else None  # its card may name the table
    if scorer is not None and scorer.device.type == "cpu":
        keep_freed_memory()
    if table is None and scorer is not None:
        table = _trained_on(scorer.card, next(iter(models.values())))
    labels = None if table is None else _labels(table, split)
    entries = read_entries(csvs, labels, split, max_missing, selected_on)  # before hours of scoring
    if labels is not None:
        wanted = labels[labels["split"].isin([split, "train"] if calibrate else [split])]
        entries = [*scoring.entries(models, scorer, wanted, split), *entries]
    facts = {
        "table": ", ".join(Path(path).name for path in csvs.values()) if table is None else table.name,
        "split": None if table is None else split,
        "attribute": getattr(table, "attribute", None),
        "command": command(),
    }
    board = _hold(entries, table, labels, split, facts | ({"crops": crops} if models else {}), rules)
    folder = Path(out) if out else _beside([*models.values(), *csvs.values()][0])
    own = {name: folder if len(entries) == 1 else folder / _folder_name(name) for name in (*models, *csvs)}
    reports = {
        (name := entry.contestant.name): write_report(entry.frame, own[name], _facts_of(entry, models, facts, crops))
        for entry in entries
    }
    return Evaluation(board, reports, folder)


def _named(
    ckpt_path: str | Sequence[str] | None, predictions: str | Sequence[str] | None, selected_on: dict[str, str] | None
) -> tuple[dict[str, str], dict[str, str]]:
    """Models and CSVs by name, none of which may be taken for another, nor may the folders called after them."""
    listed = [[given] if isinstance(given, str) else list(given or []) for given in (ckpt_path, predictions)]
    models, csvs = (named_paths(paths) for paths in listed)
    if not models and not csvs:
        raise InputError("give `--ckpt_path`, a model, or `--predictions`, a CSV, or both")
    folders: dict[str, str] = {}
    for name in (*models, *csvs):
        other = folders.setdefault(_folder_name(name).lower(), name)
        if other != name or name in models.keys() & csvs.keys():
            raise InputError(f"the names {other!r} and {name!r} are too alike; choose another, such as other=some.csv")
    unknown = [name for name in selected_on or {} if name not in csvs]
    if unknown:
        raise InputError(f"`selected_on` tells of {unknown[0]!r}, but the CSVs are {', '.join(csvs) or 'none'}")
    return {name: str(model_file.find_model(path)) for name, path in models.items()}, csvs


def _beside(path: str) -> Path:
    """Where results go by default; of a config, not among the configs."""
    file = Path(path)
    return (Path("runs") / file.stem if file.suffix in CONFIGS else file.parent) / "evaluation"


def _folder_name(name: str) -> str:
    return re.sub(r"[^\w-]", "_", name)


@dataclass(frozen=True)
class _Scoring:
    """How models score the table's images."""

    store: str
    crops: Crops
    batch_size: int
    device: str
    precision: Precision
    liqe: str | None

    def load(self, model: str) -> Scorer:
        return Scorer.load(model, liqe=self.liqe, device=self.device, precision=self.precision)

    def entries(
        self, models: dict[str, str], scorer: Scorer | None, frame: pd.DataFrame, split: str
    ) -> Iterator[Entry]:
        """Every model's predictions of the frame's images; `scorer` is the first one's, loaded already."""
        for name, model in models.items():
            scorer = scorer or self.load(model)
            selected_on = scorer.card.trained_on.get("selected_on")
            scored = frame.assign(prediction=self._predict(scorer, frame))
            scorer = None  # one network in memory at a time
            predictions = scored.set_index("image")["prediction"]
            yield Entry(Contestant(name, predictions, selected_on=selected_on, source=model), _part(scored, split))

    def _predict(self, scorer: Scorer, frame: pd.DataFrame) -> list[float]:
        prepared = PreparedStore(self.store, scorer.preparation)
        prepared.build(frame["path"], str(scorer.device), max_failed=0)  # a missing prediction would flatter or hurt
        portraits = map(prepared.load, frame["path"])
        return scorer.score_portraits(portraits, test_crops=self.crops, batch_size=self.batch_size)


def _labels(table: Table, split: str) -> pd.DataFrame:
    """The whole table, which must have images in the split."""
    frame = table.load()
    if split not in set(frame["split"]):
        there = ", ".join(sorted(frame["split"].unique()))
        raise InputError(f"{table.name} has no images in the split '{split}'; it has {there}")
    return frame


def _part(frame: pd.DataFrame, split: str) -> pd.DataFrame:
    return frame[frame["split"] == split].reset_index(drop=True)


def _trained_on(card: ModelCard, model: str) -> Table:
    """The table that the model's card names.

    Raises:
        InputError: If it names none that can be had here.
    """
    spec = card.trained_on.get("data", {}).get("table")
    if spec is None:
        raise InputError(
            f"{model} does not say which images it was trained with; name some, such as "
            "`--table piqa.data.PIQ23 --table.root data/piq23`"
        )
    table: Table = model_file.instantiate(spec, Table, f"the card of {model}")
    return table


def _hold(
    entries: list[Entry],
    table: Table | None,
    labels: pd.DataFrame | None,
    split: str,
    facts: dict[str, Any],
    rules: Rules,
) -> Leaderboard:
    truth = entries[0].frame if labels is None else _part(labels, split)
    truth = truth[[name for name in TRUTH if name in truth]]
    training = None if labels is None or split == "train" else _part(labels, "train")
    official = table.split if isinstance(table, PIQ23) and split == "test" else None
    centred = 0.0 if isinstance(table, PIQ23) else None  # JODs are, in every scene
    rivals = naive(truth, training, _other_attributes(table), centred)
    return hold(
        truth,
        [*rivals, *(entry.contestant for entry in entries)],
        training=training,
        published=published(facts["attribute"], official),
        facts=facts | {"official_split": official},
        rules=rules,
    )


def _other_attributes(table: Table | None) -> dict[str, pd.Series[float]]:
    """The JODs of PIQ23's other attributes, of those whose labels are here."""
    found: dict[str, pd.Series[float]] = {}
    if not isinstance(table, PIQ23):
        return found
    for attribute in get_args(Attribute):
        if attribute != table.attribute:
            with suppress(InputError):
                other = PIQ23(table.root, attribute, table.split, table.labels, check_files=False)
                found[f"{attribute.title()} JOD"] = other.load().set_index("image")["score"]
    return found


def _facts_of(entry: Entry, models: dict[str, str], facts: dict[str, Any], crops: Crops) -> dict[str, Any]:
    """The facts of one model's own report."""
    contestant = entry.contestant
    own = {name: value for name, value in facts.items() if value is not None}
    if contestant.name in models:
        return own | {"checkpoint": contestant.source, "selected_on": contestant.selected_on, "crops": crops}
    return own | {"predictions": contestant.source, "selected_on": contestant.selected_on}


if __name__ == "__main__":
    main()
