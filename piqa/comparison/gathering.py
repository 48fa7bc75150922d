"""From what a command names to scored shots: read, rid of copies, matched in scenes, scored, and accounted for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from piqa.comparison.duplicates import check_no_scene_twice, without_copies
from piqa.comparison.factor_table import factor_named, in_steps
from piqa.comparison.inputs import read_conditions, read_predictions, read_sets, read_table
from piqa.comparison.matching import Match
from piqa.comparison.scoring import errors_of, measure_files, numbers_of, score_files
from piqa.comparison.shots import Account, Scenes, Shot, require_pairs
from piqa.data.tables.table import Table
from piqa.errors import InputError
from piqa.evaluation.statistics.preference import Preference
from piqa.evaluation.statistics.uncertainty import ScoreUncertainty
from piqa.factors.families import FACTORS
from piqa.scoring.options import ModelOptions
from piqa.scoring.stated_std import STD
from piqa.system.phrases import Phrase
from piqa.system.progress import told_if_slow
from piqa.weights.model_file import read_card


@dataclass(frozen=True)
class Source:
    """What is compared, and by what.

    Attributes:
        sets: Folders by name, or CSVs of shots.
        predictions: CSV of scores.
        table: Labelled images.
        match: How scenes of folders are matched.
        conditions: CSV of the condition of each scene.
        model: What scores; None for labels, predictions or factors.
        factor: The factor that decides where there is no model.
        workers: Processes that measure factors; None for as many as the images are worth.
    """

    sets: Sequence[str] = ()
    predictions: str | None = None
    table: Table | None = None
    match: Match = "auto"
    conditions: str | None = None
    model: ModelOptions | None = None
    factor: str | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        if bool(self.sets) + (self.predictions is not None or self.table is not None) != 1:
            raise InputError(
                "there is nothing to compare, or too much; give folders by name (`A=shots/a B=shots/b`), or "
                "`--predictions`, or `--table`"
            )
        if self.factor is not None:
            factor_named(self.factor)
            if self.model is not None or not self.sets:
                raise InputError("`factor` decides where there is no model and no score; leave it out")

    @property
    def by_factors(self) -> bool:
        """Whether neither a model nor a score decides."""
        return bool(self.sets) and self.model is None


@dataclass(frozen=True, eq=False)
class Gathered:
    """Scored shots.

    Attributes:
        shots: All that count, of scenes that two devices have.
        every: All that were named, with their scores where there are any.
        scenes: The scores of `shots`.
        preference: How a difference becomes a probability; None where no model says.
        unit: Of the scores, in words.
        judged_by: In words.
        factors: Values by file, by factor, where there is no model.
        uncertainty: What the model's card says of standard deviations; None where it says nothing, or of predictions.
    """

    shots: Sequence[Shot]
    every: Sequence[Shot]
    scenes: Scenes
    preference: Preference | None
    unit: str
    judged_by: str
    factors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    uncertainty: ScoreUncertainty | None = None


def gather(source: Source, folder: Path, account: Account, max_missing: float, tell: Callable[[str], None]) -> Gathered:
    """Return the scored shots.

    Args:
        source: What is compared.
        folder: The output folder, where scores are kept while they are made.
        account: Gets what is left out.
        max_missing: Share of the scenes and of the images that may be missing.
        tell: Takes what was left out in folders.

    Raises:
        InputError: If something cannot be read or understood.
        DataError: If shots stand there twice, or too many scenes or images are missing.
    """
    shots = _read(source, account, tell)
    if source.conditions is not None:
        shots = read_conditions(source.conditions, shots)
    if source.sets or source.model is not None:
        with told_if_slow("looking for copies"):
            shots = without_copies(shots, account)
        account.shots = len(shots)
        require_pairs(shots, account)  # before anything is scored
        every, found = _scored(source, shots, folder, account)
    else:
        every, found = shots, _by_labels(source)
    counted = require_pairs([shot for shot in every if shot.score == shot.score], account, every)
    account.check(max_missing)
    scenes = Scenes(counted)
    check_no_scene_twice(scenes)
    return replace(found, shots=counted, every=every, scenes=scenes)


def _read(source: Source, account: Account, tell: Callable[[str], None]) -> list[Shot]:
    if source.sets:
        return read_sets(source.sets, source.match, account, tell)
    labels = None if source.table is None else source.table.load()
    if source.predictions is not None:
        return read_predictions(source.predictions, account, labels)
    assert labels is not None and source.table is not None
    account.shots = len(labels)
    return read_table(labels, source.table.name, account, scored=source.model is None)


def _scored(source: Source, shots: Sequence[Shot], folder: Path, account: Account) -> tuple[list[Shot], Gathered]:
    files = list(dict.fromkeys(shot.file for shot in shots))
    names = {shot.file: shot.image for shot in shots}
    nothing = Scenes(())
    if source.model is not None and (source.sets or source.predictions is None):
        rows, scorer = score_files(files, folder, source.model)
        account.unreadable |= errors_of(rows, names)
        preference = Preference.from_dict(scorer.card.preference)
        uncertainty = ScoreUncertainty.from_dict(scorer.card.uncertainty)
        if preference is None:
            account.notes.append(
                "the model's card states no preference, so that P(A better) is not known; `piqa evaluate` fits it"
            )
        name = Path(source.model.ckpt_path).name
        found = Gathered(
            (), (), nothing, preference, Phrase("units of the model's score"), name, uncertainty=uncertainty
        )
        return _with_scores(shots, numbers_of(rows, "score"), numbers_of(rows, STD)), found
    if source.model is not None:  # predictions, and the model that made them: its card alone is read
        card = read_card(source.model.ckpt_path)
        preference = None if card is None else Preference.from_dict(card.preference)
        name = Path(source.model.ckpt_path).name
        return list(shots), Gathered(
            (), (), nothing, preference, Phrase("units of the predictions"), f"predictions of {name}"
        )
    rows = measure_files(files, folder, source.workers)
    account.unreadable |= errors_of(rows, names)
    values = {name: numbers_of(rows, name) for name in FACTORS}
    if source.factor is None:
        done = {file: 0.0 for file, row in rows.items() if not row["error"]}
        found = Gathered((), (), nothing, None, Phrase("steps"), "factors alone", values)
        return _with_scores(shots, done), found
    factor = factor_named(source.factor)
    found = Gathered((), (), nothing, None, Phrase("steps"), f"the factor {factor.title}", values)
    steps = in_steps(factor, values[source.factor])
    for file in files:
        if file not in steps and names[file] not in account.unreadable:
            account.unreadable[names[file]] = f"{names[file]} has no value of {factor.title}"
    return _with_scores(shots, steps), found


def _with_scores(
    shots: Sequence[Shot], scores: Mapping[str, float], stds: Mapping[str, float] | None = None
) -> list[Shot]:
    none, known = float("nan"), stds or {}
    return [replace(shot, score=scores.get(shot.file, none), std=known.get(shot.file, none)) for shot in shots]


def _by_labels(source: Source) -> Gathered:
    unit = (
        Phrase("units of the predictions") if source.predictions is not None else Phrase("units of the table's scores")
    )
    judged = "predictions" if source.predictions is not None else "labels"
    return Gathered((), (), Scenes(()), None, unit, judged)
