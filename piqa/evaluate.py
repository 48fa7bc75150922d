"""`python -m piqa.evaluate --ckpt_path MODEL`, or `--predictions ours=a.csv peer=b.csv`: evaluate and compare models.

Writes to `--out` the predictions, the measures of every scene, their summary and a plot of each model
(`predictions.csv`, `per_scene.csv`, `metrics.json`, `scatter.png`; in a folder for each where there are several), and
one leaderboard of all, with confidence intervals, naive rules, published results and the noise ceiling:
`leaderboard.html`, which needs no network, and the same values as `.json`, `.csv`, `.md` and `.tex`.

Where table and model have several attributes, as PIQ23's details and exposure beside its overall score, each has a
leaderboard and reports of its own in `by_attribute/`, and `attributes.csv` and `.json` have a row for each.

`python -m piqa.evaluate submission --ckpt_path MODEL --name LAST FIRST` writes the NTIRE 2024 challenge's zip instead.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import pandas as pd
from rich.console import Console

from piqa.data.options import StoreOptions
from piqa.data.tables.more_labels import attributes_of
from piqa.data.tables.splits import hold_out_scenes
from piqa.data.tables.table import Table
from piqa.errors import InputError, one_line_errors
from piqa.evaluation.inputs import named_paths, read_candidates
from piqa.evaluation.kept_preferences import keep_preferences
from piqa.evaluation.kept_uncertainty import keep_uncertainty
from piqa.evaluation.leaderboard.build import LeaderboardOptions
from piqa.evaluation.leaderboard.facts import Subject
from piqa.evaluation.leaderboard.leaderboard import Leaderboard
from piqa.evaluation.output.all_files import Results, SafeTables, folder_name
from piqa.evaluation.output.attributes import print_attributes
from piqa.evaluation.output.terminal import print_board
from piqa.evaluation.pairs import PairBands
from piqa.evaluation.report import Report, print_report
from piqa.evaluation.statistics.options import StatisticsOptions
from piqa.scoring.loading import CONFIGS
from piqa.scoring.options import ScoringOptions
from piqa.scoring.scorer import Scorer
from piqa.scoring.table_scores import scored_candidates
from piqa.submission import command as submission
from piqa.system.command_line import ConfigFile, Parser, command
from piqa.system.device import pick_device
from piqa.system.files import digest_of
from piqa.system.memory import keep_freed_memory
from piqa.system.ownership import claim_folder, locked
from piqa.system.shown_paths import shown_command
from piqa.weights import model_file
from piqa.weights.card_facts import is_own_model
from piqa.weights.licences import require_commercial
from piqa.weights.model_card import ModelCard
from piqa.weights.registry import is_name
from piqa.weights.trust import Trust, trusted_packages

STATISTICS, PAIRS, SCORING = StatisticsOptions(), PairBands(), ScoringOptions()
LISTED = {
    "ckpt_path": "Models: a run's folder, piqa's own file, a training checkpoint, an official DN-PIQA checkpoint, "
    "the config of a network that needs no training, or a name that `piqa models` lists",
    "predictions": "CSVs with `image, prediction`, and `scene, score` where no table is given",
}


@dataclass(frozen=True)
class Evaluation:
    """The leaderboard of all, each entry's own report by name, the folder of the results, and the board's files."""

    board: Leaderboard
    reports: dict[str, Report]
    folder: Path
    files: list[Path]
    notes: Sequence[str] = ()  # on the models' cards
    attributes: pd.DataFrame | None = None  # how well each attribute is predicted, where there are several


def main(args: list[str] | None = None) -> None:
    """Evaluate, from the command line or from a list of its arguments."""
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
        if arguments["ckpt_path"] and pick_device(arguments["scoring"].device).type == "cpu":
            keep_freed_memory()
        evaluation, console = evaluate(**arguments), Console()
        if len(evaluation.reports) == 1:
            print_report(next(iter(evaluation.reports.values())), console)
        print_board(evaluation.board, console)
        if evaluation.attributes is not None:
            print_attributes(evaluation.attributes, console)
        for note in evaluation.notes:
            console.print(note, markup=False, highlight=False, soft_wrap=True)
        console.print(f"Written: {', '.join(map(str, evaluation.files))}", highlight=False, soft_wrap=True)


def evaluate(
    ckpt_path: str | Sequence[str] | None = None,
    predictions: str | Sequence[str] | None = None,
    table: Table | None = None,
    split: Literal["train", "val", "test"] = "test",
    out: str | None = None,
    max_missing: float = 0.0,
    max_failed: float = StoreOptions.max_failed,
    calibrate: bool = False,
    selected_on: dict[str, str] | None = None,
    spreadsheet_safe: SafeTables = "board",
    statistics: StatisticsOptions = STATISTICS,
    pairs: PairBands = PAIRS,
    scoring: ScoringOptions = SCORING,
    trust: Trust = None,
    commercial: bool = False,
    preference: bool = True,
) -> Evaluation:
    """Measure models and CSVs of predictions, scene by scene, compare them, and write the results.

    Args:
        ckpt_path: Models, as `--help` lists them; each a path or name=path.
        predictions: CSVs with `image, prediction`, and `scene, score` where no table is given; or, with a table, what
            `piqa.predict` wrote; each as above.
        table: The scored images; by default those that the first model was trained with.
        split: The part of the table that is evaluated.
        out: Folder of the results, new or empty or of an earlier evaluation; by default `evaluation` beside the first
            model or CSV.
        max_missing: Fraction of the images that a CSV may leave without a prediction. An entry with missing images is
            measured on the others, which may flatter it.
        max_failed: Fraction of the table's images that may be broken, as in training; models are measured on the
            others.
        calibrate: Let the models score the training images too, for the calibrated protocol. A CSV takes part if it
            has rows of training images.
        selected_on: By name, the set that the checkpoint behind a CSV was chosen on: `{peer: test}`.
        spreadsheet_safe: In which CSV files texts are marked that a spreadsheet might run, such as a name that begins
            with `=`: in that of the `board`, which is for people, in `all`, or in `none`. Numbers stay numbers.
        statistics: How confidence intervals are computed.
        pairs: What clear pairs and near ties are.
        scoring: How models score images.
        trust: Packages besides piqa whose networks and tables a model file may name; they are imported, which runs
            their code.
        commercial: Refuse models that are not known to allow commercial use.
        preference: Whether to fit how a difference of scores becomes the probability that one image is better, and to
            keep it in the card of each model that is a run of piqa's, for `piqa pick`; and likewise how sure the scores
            themselves are, with the unit of the network's `score_std` where it answers one.

    Raises:
        InputError: If there is nothing to evaluate, or it cannot be read, or `out` holds files of somebody else.
    """
    models, csvs = _named(ckpt_path, predictions, selected_on)
    for model in models.values() if commercial else ():
        require_commercial(model)
    options = LeaderboardOptions(statistics, pairs, max_missing)
    if not 0 <= max_failed <= 1:
        raise InputError(f"`max_failed` is {max_failed}; a fraction between 0 and 1 is needed")
    folder = Path(out) if out else _beside([*models.values(), *csvs.values()][0])
    scorer = _load(next(iter(models.values())), scoring, trust) if models else None  # its card may name the table
    used_by = None
    if table is None and scorer is not None:
        table = _table_of(scorer.card, next(iter(models.values())), trust)
        used_by = scorer.card
    labels = None if table is None else _labels(table, split, used_by)
    tables = read_candidates(csvs, labels, split, max_missing, selected_on)
    subject = Subject(
        table=", ".join(Path(path).name for path in csvs.values()) if table is None else table.name,
        split=None if table is None else split,
        attribute=None if table is None else table.attribute,
        official_split=table.official_split if table is not None and split == "test" else None,
        command=shown_command(command()),
        test_crops=scoring.test_crops if models else None,
    )
    own = {name: digest_of(path) for name, path in models.items() if preference and is_own_model(path)}
    with locked(folder, folder=True):  # all inputs are read, and hours of scoring may follow
        claim_folder(folder, "evaluation", made_before=_made_before)
        attributes = attributes_of(() if labels is None else labels)
        if labels is not None:
            used = [split, "train"] if calibrate else [split]
            load = partial(_load, options=scoring, trust=trust)
            scored = scored_candidates(models, scorer, labels, used, max_failed, scoring, load, attributes)
            tables = [*scored, *tables]
        for one in tables:
            one.frame.attrs["std_of_ratings"] = table is not None and table.std_of_ratings
        rivals, centred = (None, None) if table is None else (table.rival_scores(), table.centred_score)
        results = Results(labels, models, options, spreadsheet_safe, preference, centred)
        written = results.write(tables, subject, folder, rivals)
        by_attribute = results.write_attributes(tables, attributes, subject, folder, written.board)
    board, reports, files = written.board, written.reports, written.files
    frame, more = (None, []) if by_attribute is None else by_attribute
    notes = []
    if preference:
        notes = [*keep_preferences(models, own, reports, split), *keep_uncertainty(models, own, reports, split)]
    return Evaluation(board, reports, folder, [*files, *more], notes, frame)


def _named(
    ckpt_path: str | Sequence[str] | None, predictions: str | Sequence[str] | None, selected_on: dict[str, str] | None
) -> tuple[dict[str, str], dict[str, str]]:
    """Return models and CSVs by name. Neither names nor the folders named after them may be mistaken for each other."""
    listed = [[given] if isinstance(given, str) else list(given or []) for given in (ckpt_path, predictions)]
    models, csvs = (named_paths(paths) for paths in listed)
    if not models and not csvs:
        raise InputError("nothing to evaluate; give a model by `--ckpt_path`, a CSV by `--predictions`, or both")
    folders: dict[str, str] = {}
    for name in (*models, *csvs):
        other = folders.setdefault(folder_name(name).lower(), name)
        if other != name or name in models.keys() & csvs.keys():
            raise InputError(f"the names {other!r} and {name!r} are too alike; choose another, such as other=some.csv")
    unknown = [name for name in selected_on or {} if name not in csvs]
    if unknown:
        known = ", ".join(csvs) or "none"
        raise InputError(f"`selected_on` names {unknown[0]!r}, but the CSVs are {known}; use their names")
    found = {name: path if is_name(path) else str(model_file.find_model(path)) for name, path in models.items()}
    return found, csvs


def _beside(path: str) -> Path:
    """Return where results go by default: beside the file, but not among the configs or downloads."""
    file = Path(path)
    if is_name(path):
        return Path("runs") / folder_name(path) / "evaluation"
    return (Path("runs") / file.stem if file.suffix in CONFIGS else file.parent) / "evaluation"


def _load(model: str, options: ScoringOptions, trust: Trust) -> Scorer:
    from piqa.conversion.converted import load_scorer  # not needed where there are CSVs alone

    how = {"device": options.device, "precision": options.precision}
    return load_scorer(model, options.engine, liqe=options.liqe, trust=trust, **how)  # type: ignore[arg-type]


def _made_before(folder: Path) -> bool:
    """Whether a folder holds an evaluation by a version that did not mark its folders yet."""
    return any(
        all((folder / name).is_file() for name in files)
        for files in (("metrics.json", "per_scene.csv"), ("leaderboard.json", "leaderboard.html"))
    )


def _labels(table: Table, split: str, trained: ModelCard | None) -> pd.DataFrame:
    """Load the whole table, which must have images in the split.

    Where it names no validation split, the scenes are taken that the training held out, as the model's card tells.
    """
    frame = table.load()
    if split == "val" and split not in set(frame["split"]) and trained is not None:
        data = trained.trained_on.get("data") or {}
        if data.get("validation_fraction"):
            frame = hold_out_scenes(frame, data["validation_fraction"], data["seed"])
    if split not in set(frame["split"]):
        found = ", ".join(sorted(frame["split"].unique()))
        raise InputError(f"{table.name} has no images in the split '{split}' (found: {found}); choose one of these")
    return frame


def _table_of(card: ModelCard, model: str, trust: Trust) -> Table:
    """Return the table that the model was trained with, as its card names it."""
    data = card.trained_on.get("data")
    spec = data.get("table") if isinstance(data, dict) else None
    if spec is None:
        example = "`--table piqa.data.PIQ23 --table.root data/piq23`"
        raise InputError(f"{model} does not say which images it was trained with; name some, such as {example}")
    table: Table = model_file.instantiate(spec, Table, f"the card of {model}", trusted_packages(trust))
    return table


if __name__ == "__main__":
    main()
