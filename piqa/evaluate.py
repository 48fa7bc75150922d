"""`python -m piqa.evaluate --ckpt_path MODEL`, or `--predictions ours=a.csv peer=b.csv`: evaluate and compare models.

Writes to `--out` the predictions, the measures of every scene, their summary and a plot of each model
(`predictions.csv`, `per_scene.csv`, `metrics.json`, `scatter.png`; in a folder for each where there are several), and
one leaderboard of all, with confidence intervals, naive rules, published results and the noise ceiling:
`leaderboard.html`, which needs no network, and the same values as `.json`, `.csv`, `.md` and `.tex`.

`python -m piqa.evaluate submission --ckpt_path MODEL --name LAST FIRST` writes the NTIRE 2024 challenge's zip instead.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import pandas as pd
from rich.console import Console

from piqa.data.options import StoreOptions
from piqa.data.tables.table import Table
from piqa.errors import InputError, one_line_errors
from piqa.evaluation.inputs import CandidateTable, naive_candidates, named_paths, read_candidates
from piqa.evaluation.leaderboard.build import LeaderboardOptions, build_leaderboard
from piqa.evaluation.leaderboard.entries import Candidate
from piqa.evaluation.leaderboard.facts import Subject
from piqa.evaluation.leaderboard.leaderboard import Leaderboard, without_places
from piqa.evaluation.leaderboard.published import published_entries
from piqa.evaluation.output.page import write_page
from piqa.evaluation.output.tables import write_tables
from piqa.evaluation.output.terminal import print_board
from piqa.evaluation.pairs import PairBands
from piqa.evaluation.report import Report, ReportFacts, print_report, write_report
from piqa.evaluation.statistics.options import StatisticsOptions
from piqa.preparation.store import PreparedStore
from piqa.scoring.loading import CONFIGS
from piqa.scoring.options import ScoringOptions
from piqa.scoring.precision import tell_precision
from piqa.scoring.scorer import Scorer
from piqa.submission import command as submission
from piqa.system.command_line import ConfigFile, Parser, command
from piqa.system.device import pick_device
from piqa.system.files import digest_of
from piqa.system.memory import keep_freed_memory
from piqa.system.ownership import claim_folder, locked
from piqa.system.progress import Advance, progress
from piqa.system.shown_paths import shown_command, shown_path
from piqa.weights import model_file
from piqa.weights.card_facts import add_to_card, is_own_model
from piqa.weights.licences import licence_of, require_commercial
from piqa.weights.model_card import ModelCard
from piqa.weights.registry import is_name
from piqa.weights.trust import Trust, trusted_packages

SafeTables = Literal["board", "all", "none"]
Item = TypeVar("Item")
STATISTICS, PAIRS, SCORING = StatisticsOptions(), PairBands(), ScoringOptions()
TRUTH = ("image", "scene", "score", "score_std", "condition", "device", "path")
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
            keep it in the card of each model that is a run of piqa's, for `piqa pick`.

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
    if table is None and scorer is not None:
        table = _table_of(scorer.card, next(iter(models.values())), trust)
    labels = None if table is None else _labels(table, split)
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
        if labels is not None:
            used = [split, "train"] if calibrate else [split]
            tables = [*_scored(models, scorer, labels, used, max_failed, scoring, trust), *tables]
        board = without_places(_compare(tables, table, labels, subject, options))
        reports = _write_reports(tables, models, subject, folder, spreadsheet_safe == "all", preference)
        files = [*write_tables(board, folder, spreadsheet_safe=spreadsheet_safe != "none").values()]
        files.append(write_page(board, folder / "leaderboard.html"))
    notes = _keep_preferences(models, own, reports, split) if preference else []
    return Evaluation(board, reports, folder, files, notes)


def _keep_preferences(
    models: Mapping[str, str], own: Mapping[str, str], reports: Mapping[str, Report], split: str
) -> list[str]:
    """Keep the fitted preferences in the cards of runs of piqa's; return a line on each model."""
    notes = []
    for name, model in models.items():
        found = reports[name].calibration
        if found is None:
            notes.append(f"{name}: no preference, as no scene has two images with different predictions")
        elif split == "train":
            notes.append(f"{name}: the preference is not kept: scenes of the training make a model look too sure")
        elif name not in own:
            notes.append(f"{name}: the preference is not kept in a card, as the model is no run of piqa's")
        else:
            try:
                add_to_card(model, {"preference": found.preference.to_dict()}, own[name])
                notes.append(f"{name}: the preference is kept in {Path(model).with_suffix('.json')}, for `piqa pick`")
            except InputError as error:  # the evaluation itself is done
                notes.append(f"{name}: the preference is not kept: {error}")
    return notes


def _write_reports(
    tables: Sequence[CandidateTable],
    models: Mapping[str, str],
    subject: Subject,
    folder: Path,
    spreadsheet_safe: bool,
    preference: bool,
) -> dict[str, Report]:
    """Write the report of every candidate, in folders of their own where there are several."""
    reports = {}
    for one in tables:
        name, source = one.candidate.name, one.candidate.source
        own = folder if len(tables) == 1 else folder / _folder_name(name)
        told: dict[str, object] = (
            {"checkpoint": source} if name in models else {"predictions": source, "test_crops": None}
        )
        if licence := one.frame.attrs.get("licence"):
            told |= {"more": {"licence": licence}}
        told |= {"selected_on": one.candidate.selected_on, "official_split": None}
        reports[name] = write_report(
            one.frame,
            own,
            ReportFacts(**vars(subject) | told),
            spreadsheet_safe=spreadsheet_safe,
            preference=preference,
        )
    return reports


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
        other = folders.setdefault(_folder_name(name).lower(), name)
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
        return Path("runs") / _folder_name(path) / "evaluation"
    return (Path("runs") / file.stem if file.suffix in CONFIGS else file.parent) / "evaluation"


def _folder_name(name: str) -> str:
    return re.sub(r"[^\w-]", "_", name)


def _load(model: str, options: ScoringOptions, trust: Trust) -> Scorer:
    from piqa.conversion.converted import load_scorer  # not needed where there are CSVs alone

    how = {"device": options.device, "precision": options.precision}
    return load_scorer(model, options.engine, liqe=options.liqe, trust=trust, **how)  # type: ignore[arg-type]


def _scored(
    models: dict[str, str],
    scorer: Scorer | None,
    labels: pd.DataFrame,
    used: Sequence[str],
    max_failed: float,
    options: ScoringOptions,
    trust: Trust,
) -> Iterator[CandidateTable]:
    """Yield every model's predictions of the images of some splits, of which the first is evaluated.

    `scorer` is the first model's, loaded already.
    """
    frame = labels[labels["split"].isin(used)]
    for name, model in models.items():
        scorer = scorer or _load(model, options, trust)
        tell_precision(scorer.card, options.precision, shown_path(model))
        selected_on, licence = scorer.card.trained_on.get("selected_on"), licence_of(scorer.card)
        score = _score_stored if scorer.takes_portraits else _score_files
        found, broken = score(scorer, frame["path"], options)
        _check_failed(broken, len(labels), len(frame), max_failed)
        failed = frame["path"].isin([path for path, _ in broken])
        scores = [found[path] for path in frame.loc[~failed, "path"]]
        scorer = None  # one network in memory at a time
        scored = frame[~failed].assign(prediction=scores)
        without = frame.loc[failed & (frame["split"] == used[0]), "image"].to_list()
        candidate = Candidate(
            name,
            scored.set_index("image")["prediction"],
            selected_on=selected_on,
            source=shown_path(model),
            failed=tuple(without),
        )
        evaluated = _part(scored, used[0]).drop(columns="path")
        evaluated.attrs = {"failed": without, "licence": licence}
        yield CandidateTable(candidate, evaluated)


Scores = dict[str, float]
Broken = list[tuple[str, str]]  # images and why they could not be prepared


def _score_stored(scorer: Scorer, paths: pd.Series, options: ScoringOptions) -> tuple[Scores, Broken]:
    """Return the scores of images by way of the store, and the images that could not be prepared."""
    prepared = PreparedStore(options.store, scorer.preparation)
    broken = [*prepared.build(paths, str(scorer.device), max_failed=1).failed]
    failed = {path for path, _ in broken}
    usable = [path for path in paths if path not in failed]
    with progress(len(usable)) as advance:
        portraits = _counted(map(prepared.load, usable), advance)
        scores = scorer.score_portraits(portraits, test_crops=options.test_crops, batch_size=options.batch_size)
    return dict(zip(usable, scores, strict=True)), broken


def _score_files(scorer: Scorer, paths: pd.Series, options: ScoringOptions) -> tuple[Scores, Broken]:
    """Return the same of the files themselves, for a model that the store does not serve."""
    scores: Scores = {}
    broken: Broken = []
    with progress(len(paths)) as advance:
        for batch in scorer.batches(paths, test_crops=options.test_crops, batch_size=options.batch_size):
            for row in scorer.rows(batch):
                file, error = str(row["file"]), row["error"]
                if error is None:
                    scores[file] = float(row["score"] or 0)
                else:
                    broken.append((file, str(error)))
            advance(len(batch.files))
    return scores, broken


def _counted(portraits: Iterable[Item], advance: Advance) -> Iterator[Item]:
    for portrait in portraits:
        yield portrait
        advance(1)


def _check_failed(failed: Sequence[tuple[str, str]], images: int, wanted: int, max_failed: float) -> None:
    """Apply the rule of training: of all images of the table, at most this fraction may be broken."""
    if len(failed) > max_failed * images or len(failed) == wanted:
        raise InputError(
            f"{len(failed)} of the {wanted} images to be scored could not be prepared, more than the fraction of "
            f"{max_failed:g} of the table's {images} images; mend them or raise `max_failed`; the first: "
            f"{min(failed)[1]}"
        )


def _made_before(folder: Path) -> bool:
    """Whether a folder holds an evaluation by a version that did not mark its folders yet."""
    return any(
        all((folder / name).is_file() for name in files)
        for files in (("metrics.json", "per_scene.csv"), ("leaderboard.json", "leaderboard.html"))
    )


def _labels(table: Table, split: str) -> pd.DataFrame:
    """Load the whole table, which must have images in the split."""
    frame = table.load()
    if split not in set(frame["split"]):
        found = ", ".join(sorted(frame["split"].unique()))
        raise InputError(f"{table.name} has no images in the split '{split}' (found: {found}); choose one of these")
    return frame


def _part(frame: pd.DataFrame, split: str) -> pd.DataFrame:
    return frame[frame["split"] == split].reset_index(drop=True)


def _table_of(card: ModelCard, model: str, trust: Trust) -> Table:
    """Return the table that the model was trained with, as its card names it."""
    data = card.trained_on.get("data")
    spec = data.get("table") if isinstance(data, dict) else None
    if spec is None:
        example = "`--table piqa.data.PIQ23 --table.root data/piq23`"
        raise InputError(f"{model} does not say which images it was trained with; name some, such as {example}")
    table: Table = model_file.instantiate(spec, Table, f"the card of {model}", trusted_packages(trust))
    return table


def _compare(
    tables: list[CandidateTable],
    table: Table | None,
    labels: pd.DataFrame | None,
    subject: Subject,
    options: LeaderboardOptions,
) -> Leaderboard:
    """Build the leaderboard of the candidates, the naive rules and the published results."""
    truth = tables[0].frame if labels is None or subject.split is None else _part(labels, subject.split)
    truth = truth[[name for name in TRUTH if name in truth]]
    training = None if labels is None or subject.split == "train" else _part(labels, "train")
    rivals, centred = (None, None) if table is None else (table.rival_scores(), table.centred_score)
    candidates = [*naive_candidates(truth, training, rivals, centred), *(one.candidate for one in tables)]
    published = published_entries(subject.attribute, subject.official_split)
    return build_leaderboard(
        truth, candidates, training=training, published=published, subject=subject, options=options
    )


if __name__ == "__main__":
    main()
